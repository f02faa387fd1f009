// How the page is built: hashed files under assets/, and their compressed forms beside them.
import { defineConfig } from "vitest/config";
import { precompress } from "./build/precompress.ts";

export default defineConfig({
  base: "/",
  plugins: [
    precompress(),
    {
      // The first paint waits for the script, so a chosen dark theme does not flash white.
      name: "script-blocks-rendering",
      transformIndexHtml: {
        order: "post",
        handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
      },
    },
  ],
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    target: "es2022",
    // The content security policy admits no data: font or script, and inlining saves nothing.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    // `npm run dev` beside a running `edge up`.
    proxy: {
      "/v1": { target: process.env.SKERRY_URL ?? "https://localhost:8443", secure: false, changeOrigin: true },
    },
  },
  test: { include: ["test/**/*.test.ts"] },
});
