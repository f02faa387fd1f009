// @vitest-environment jsdom
// Markdown of a model to nodes. The first half is what it must show, the second what it must not do.
import { describe, expect, it } from "vitest";
import { renderMarkdown } from "../src/markdown/render";

function rendered(source: string): HTMLElement {
  const place = document.createElement("div");
  place.append(renderMarkdown(source));
  return place;
}

describe("markdown", () => {
  it("shows headings, lists, tables and quotes", () => {
    const place = rendered("# T\n\n- a\n- **b**\n\n> q\n\n| x | y |\n|---|--:|\n| 1 | 2 |");
    expect(place.querySelector("h1")?.textContent).toBe("T");
    expect(place.querySelectorAll("li")).toHaveLength(2);
    expect(place.querySelector("blockquote")?.textContent?.trim()).toBe("q");
    expect(place.querySelector(".table-frame td[align=right]")?.textContent).toBe("2");
  });

  it("shows code with its language, highlighted, with a button", () => {
    const place = rendered('```rust\nfn main() { let x = "a<b"; }\n```');
    expect(place.querySelector("code")?.textContent).toContain('fn main() { let x = "a<b"; }');
    expect(place.querySelector(".hljs-keyword")?.textContent).toBe("fn");
    expect(place.querySelector("figcaption")?.firstChild?.textContent).toBe("rust");
    expect(place.querySelector("button[data-copy-code]")).not.toBeNull();
  });

  it("shows code of a language it does not know, and code that is not finished", () => {
    expect(rendered("```zork\n<b>\n```").querySelector("code")?.textContent).toBe("<b>");
    expect(rendered("```py\nprint(1").querySelector("code")?.textContent).toContain("print(1");
  });

  it("lets a link open elsewhere without telling where from", () => {
    const link = rendered("[x](https://example.org/a?b=1)").querySelector("a");
    expect(link?.getAttribute("href")).toBe("https://example.org/a?b=1");
    expect(link?.getAttribute("rel")).toContain("noopener");
    expect(link?.getAttribute("target")).toBe("_blank");
  });

  it("shows raw HTML as text", () => {
    expect(rendered("Use `<b>` or <b>bold</b>.").textContent?.trim()).toBe("Use <b> or <b>bold</b>.");
    expect(rendered("<div>\nhello\n</div>").textContent?.trim()).toContain("<div>");
  });

  it("keeps line breaks and raised letters that models write as tags", () => {
    const place = rendered("a<br>b x<sup>2</sup>");
    expect(place.querySelector("br")).not.toBeNull();
    expect(place.querySelector("sup")?.textContent).toBe("2");
  });

  it("makes a picture a link, which fetches nothing by itself", () => {
    const place = rendered("![a cat](https://example.org/cat.png?secret=1)");
    expect(place.querySelector("img")).toBeNull();
    expect(place.querySelector("a")?.textContent).toBe("a cat");
  });

  it("shows task lists without input fields", () => {
    const place = rendered("- [x] done\n- [ ] open");
    expect(place.querySelector("input")).toBeNull();
    expect(place.textContent).toContain("☑ done");
  });

  it("shows too long a text plain", () => {
    expect(rendered(`# ${"x".repeat(200_001)}`).querySelector("h1")).toBeNull();
  });
});

const attacks = [
  "<script>alert(1)</script>",
  "<ScRiPt src=//evil.example></sCrIpT>",
  "<img src=x onerror=alert(1)>",
  "<svg onload=alert(1)>",
  "<svg><script>alert(1)</script></svg>",
  "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
  "<iframe src=javascript:alert(1)></iframe>",
  "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
  "<object data=javascript:alert(1)></object>",
  "<embed src=javascript:alert(1)>",
  "<form action=javascript:alert(1)><button>go</button></form>",
  "<button formaction=javascript:alert(1)>x</button>",
  "<a href=javascript:alert(1)>x</a>",
  "<a href=\"jav&#x09;ascript:alert(1)\">x</a>",
  "<details open ontoggle=alert(1)>x</details>",
  "<body onload=alert(1)>",
  "<base href=https://evil.example/>",
  "<meta http-equiv=refresh content='0;url=https://evil.example'>",
  "<link rel=stylesheet href=https://evil.example/x.css>",
  "<style>*{background:url(https://evil.example)}</style>",
  "<p style=\"background:url(https://evil.example)\">x</p>",
  "<video><source onerror=alert(1)></video>",
  "<input autofocus onfocus=alert(1)>",
  "<template><img src=x onerror=alert(1)></template>",
  "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
  "<div id=composer name=app>x</div>",
  "<br onclick=alert(1)>",
  "<sup onmouseover=alert(1)>x</sup>",
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](java\tscript:alert(1))",
  "[x](&#106;avascript:alert(1))",
  "[x](javascript&colon;alert(1))",
  "[x](\u0001javascript:alert(1))",
  "[x](vbscript:msgbox(1))",
  "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
  "[x](//evil.example)",
  "[x](/v1/organization/projects)",
  "[x](file:///etc/passwd)",
  "[x](blob:https://example.org/1)",
  "![x](javascript:alert(1))",
  "![\" onerror=alert(1) x=\"](https://example.org/a.png)",
  "![x](https://example.org/\"onerror=alert(1))",
  "[x](https://example.org/ \"title\\\" onclick=alert(1) \")",
  "<javascript:alert(1)>",
  "[x]: javascript:alert(1)\n\n[x]",
  "```js\" onclick=alert(1)\ncode\n```",
  "```html\n<script>alert(1)</script><img src=x onerror=alert(1)>\n```",
  "```<img src=x onerror=alert(1)>\ncode\n```",
  "`<img src=x onerror=alert(1)>`",
  "| <img src=x onerror=alert(1)> |\n|---|\n| <svg onload=alert(1)> |",
  "> <img src=x onerror=alert(1)>",
  "- <img src=x onerror=alert(1)>",
  "# <img src=x onerror=alert(1)>",
  "**<img src=x onerror=alert(1)>**",
  "[<img src=x onerror=alert(1)>](https://example.org)",
  "<!-- --><img src=x onerror=alert(1)>",
  "<![CDATA[<img src=x onerror=alert(1)>]]>",
  "<?xml version=\"1.0\"?><img src=x onerror=alert(1)>",
  "&lt;img src=x onerror=alert(1)&gt;",
  "<span class='page composer'>x</span>",
];

const allowedTags = new Set([
  "a", "blockquote", "br", "button", "code", "del", "div", "em", "figcaption", "figure", "h1", "h2", "h3", "h4",
  "h5", "h6", "hr", "kbd", "li", "mark", "ol", "p", "pre", "span", "strong", "sub", "sup", "table", "tbody",
  "td", "th", "thead", "tr", "ul",
]);
const allowedAttributes = new Set([
  "align", "aria-label", "class", "data-copy-code", "href", "rel", "role", "start", "tabindex", "target", "type",
]);

describe("an attack in the model's answer", () => {
  it.each(attacks)("is only read: %s", (attack) => {
    // Also as it streams: every beginning of it is rendered once.
    for (const source of [attack, `Text ${attack} text`, attack.slice(0, -1), attack.slice(0, attack.length / 2)]) {
      for (const node of rendered(source).querySelectorAll("*")) {
        expect(allowedTags).toContain(node.localName);
        for (const { name, value } of node.attributes) {
          expect(allowedAttributes).toContain(name);
          if (name === "href") expect(value).toMatch(/^(?:https?:\/\/|mailto:)/i);
          if (name === "class") expect(value).toMatch(/^(?:hljs|language-|code|table-frame|plain|[a-z]+_|\s)/);
        }
      }
    }
  });
});

describe("text that would hold the page up", () => {
  it.each(["_a_", "**_a", "*a", "~~a", "a_b*c", "> _a_\n"])("is shown as it is: %s, many times", (unit) => {
    const source = unit.repeat(30_000);
    const place = rendered(source);
    expect(place.querySelectorAll("em, strong, del")).toHaveLength(0);
    expect(place.querySelector("p.plain")?.textContent).toBe(source);
  });

  it.each([
    ["a table", "| a | b |\n|---|---|\n" + "| **a** | _b_ |\n".repeat(1_000), "strong", 1_000],
    ["paragraphs", "Some _words_ of a long answer, and **more**.\n\n".repeat(1_000), "em", 1_000],
    ["code with underscores", "**x**\n\n```py\n" + "a_b_c = d_e_f * g_h\n".repeat(2_000) + "```\n", "strong", 1],
    ["code that is not finished", "**x**\n\n```py\n" + "a_b_c = d_e_f * g_h\n".repeat(2_000), "strong", 1],
  ])("does not include %s", (_name, source, selector, number) => {
    expect(rendered(source).querySelectorAll(selector)).toHaveLength(number);
  });
});
