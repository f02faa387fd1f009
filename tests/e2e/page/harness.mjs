// A user at a browser: opens the page, reads, writes, presses. The tests read as sentences over it.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const WAIT_MS = 60_000;
const axeSource = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const pictures = process.env.SCREENSHOTS;
if (pictures) mkdirSync(pictures, { recursive: true });

export async function openBrowser() {
  return await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // In a container there is no second user to drop to.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

export const desktop = { viewport: { width: 1280, height: 800 } };
export const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

/** A new browser profile with the page open in it. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...desktop, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const user = new User(page, context);
  await page.goto(url);
  return user;
}

export class User {
  problems = [];
  /** Requests that left the page's own origin. */
  strayRequests = [];

  constructor(page, context) {
    this.page = page;
    this.context = context;
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") this.problems.push(message.text());
    });
    page.on("pageerror", (error) => this.problems.push(String(error)));
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== new URL(page.url()).origin && /^https?:/.test(request.url()) && page.url() !== "about:blank") {
        this.strayRequests.push(request.url());
      }
    });
  }

  get composer() {
    return this.page.getByRole("textbox", { name: "Message" });
  }
  get dialog() {
    return this.page.getByRole("dialog");
  }
  get answer() {
    return this.page.getByRole("article", { name: "Answer" }).last();
  }

  async enterKey(key) {
    await this.dialog.getByLabel("API key", { exact: true }).fill(key);
    await this.dialog.getByRole("button", { name: "Continue" }).click();
  }

  async signIn(key) {
    await this.enterKey(key);
    await this.dialog.waitFor({ state: "detached" });
  }

  async say(text) {
    await this.composer.fill(text);
    await this.page.getByRole("button", { name: "Send" }).click();
  }

  /** Waits until the answer is over, however it ended, and returns its text. */
  async answered() {
    await this.page.waitForFunction(() => {
      const last = [...document.querySelectorAll(".answer")].at(-1);
      return last && last.dataset.ending !== "streaming";
    });
    return await this.answer.innerText();
  }

  async ask(text) {
    const before = await this.page.locator(".answer").count();
    await this.say(text);
    await this.page.waitForFunction((count) => document.querySelectorAll(".answer").length > count, before);
    return await this.answered();
  }

  async picture(name) {
    if (pictures) await this.page.screenshot({ path: join(pictures, `${name}.png`), animations: "disabled" });
  }

  /** Waits until nothing moves or fades: colours between two states are no one's to read. What
   * turns for ever, such as the sign of work, is not waited for. */
  async settled() {
    await this.page.waitForFunction(() =>
      document.getAnimations().every((animation) => animation.playState !== "running" || animation.effect.getComputedTiming().endTime === Infinity),
    );
  }

  /** No violation of WCAG 2.2 A and AA that axe can find. */
  async checkAccessible() {
    await this.settled();
    await this.page.evaluate(axeSource);
    const violations = await this.page.evaluate(async () => {
      const found = await window.axe.run(document, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      });
      return found.violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map((node) => `${node.html} ${node.failureSummary}`) }));
    });
    assert.deepEqual(violations, []);
  }

  /** Says goodbye; the page must have run without a complaint and without asking elsewhere. A
   * refused request is logged by the browser itself, so a test that provokes one allows it. */
  async leave({ allow } = {}) {
    const problems = this.problems.filter((text) => !allow?.test(text));
    await this.context.close();
    assert.deepEqual(problems, []);
    assert.deepEqual(this.strayRequests, []);
  }
}

export const refusedRequest = /Failed to load resource/;
