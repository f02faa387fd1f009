// Markdown of a model to DOM nodes that can do nothing but be read.
//
// Three layers, each enough on its own: raw HTML in the markdown is shown as text; the HTML that
// comes out is cut down to an allow-list by DOMPurify; the content security policy runs no inline
// code. Pictures become links, for a picture's address would carry data away unasked.
import DOMPurify, { type Config } from "dompurify";
import { Marked, type Tokens } from "marked";
import { highlighted } from "./highlight";

/** A longer piece is shown as plain text. */
export const MARKDOWN_CHARS_MAX = 200_000;

/**
 * Emphasis is looked for from each of its signs to the end of the paragraph: signs times
 * characters of one paragraph. Beyond this, which takes a tenth of a second, it is shown as text.
 */
const EMPHASIS_WORK_MAX = 5_000_000;
const FENCED = /^ *(`{3,}|~{3,})[^\n]*\n[\s\S]*?(?:^ *\1[`~]* *$|$(?![\s\S]))/gm;
const PARAGRAPH_END = /\n[ \t>]*\n|\n(?=[ \t>]*\|)/;
const EMPHASIS = /[*_~]/g;

const ADDRESS = /^(?:https?:\/\/|mailto:)/i;
/** Tags without attributes that models write for want of markdown. */
const HARMLESS_TAG = /^<\/?(?:br|sub|sup|kbd|mark)\s*\/?>$/i;
const OWN_CLASS = /^(?:plain|hljs(?:-[a-z_-]+)?|[a-z]+_|language-[\w+#.-]{1,30})$/;

const POLICY: Config & { RETURN_DOM_FRAGMENT: true } = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "kbd", "li",
    "mark", "ol", "p", "pre", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead",
    "tr", "ul", "#text",
  ],
  ALLOWED_ATTR: ["align", "class", "href", "start"],
  ALLOWED_URI_REGEXP: ADDRESS,
  // DOMPurify holds every other attribute against that pattern too.
  ADD_URI_SAFE_ATTR: ["align", "start"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

DOMPurify.addHook("uponSanitizeAttribute", (_node, data) => {
  if (data.attrName === "class") {
    data.attrValue = data.attrValue.split(/\s+/).filter((name) => OWN_CLASS.test(name)).join(" ");
    data.keepAttr = data.attrValue !== "";
  }
});

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text, block }) => {
      if (HARMLESS_TAG.test(text.trim())) return text;
      return block ? `<p class="plain">${escapeHtml(text.trimEnd())}</p>` : escapeHtml(text);
    },
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code: ({ text, lang }: Tokens.Code) => {
      const language = lang?.match(/^[\w+#.-]{1,30}/)?.[0]?.toLowerCase() ?? "";
      const body = (language && highlighted(text, language)) || escapeHtml(text);
      return `<pre><code class="hljs${language ? ` language-${language}` : ""}">${body}</code></pre>`;
    },
  },
});

/** The nodes of a piece of markdown. Never throws. */
export function renderMarkdown(source: string): DocumentFragment {
  if (source.length > MARKDOWN_CHARS_MAX || isCostly(source)) return plain(source);
  let html: string;
  try {
    html = marked.parse(source, { async: false });
  } catch {
    return plain(source);
  }
  const nodes = DOMPurify.sanitize(html, POLICY);
  for (const link of nodes.querySelectorAll("a[href]")) {
    link.setAttribute("target", "_blank");
    link.setAttribute("rel", "noopener noreferrer nofollow");
  }
  nodes.querySelectorAll("pre").forEach(dressCode);
  nodes.querySelectorAll("table").forEach(dressTable);
  return nodes;
}

/** Would looking for emphasis hold the page up? */
function isCostly(source: string): boolean {
  if (source.length ** 2 <= EMPHASIS_WORK_MAX) return false;
  return source
    .replace(FENCED, "")
    .split(PARAGRAPH_END)
    .some((paragraph) => paragraph.length * (paragraph.match(EMPHASIS)?.length ?? 0) > EMPHASIS_WORK_MAX);
}

/** A bar above the code with its language and a button; the button is wired by delegation. */
function dressCode(pre: HTMLPreElement): void {
  const name = [...(pre.querySelector("code")?.classList ?? [])].find((one) => one.startsWith("language-"));
  const language = name?.slice("language-".length) ?? "text";
  const figure = element("figure", "code");
  const bar = element("figcaption", "code-bar");
  const button = element("button", "code-copy");
  button.setAttribute("type", "button");
  button.dataset.copyCode = "";
  button.textContent = "Copy";
  bar.append(language, button);
  pre.replaceWith(figure);
  figure.append(bar, pre);
  makeScrollable(pre, `Code, ${language}`);
}

function dressTable(table: HTMLTableElement): void {
  const frame = element("div", "table-frame");
  table.replaceWith(frame);
  frame.append(table);
  makeScrollable(frame, "Table");
}

/** What scrolls sideways must be reachable by keyboard. */
function makeScrollable(node: HTMLElement, label: string): void {
  node.tabIndex = 0;
  node.setAttribute("role", "region");
  node.setAttribute("aria-label", label);
}

function plain(source: string): DocumentFragment {
  const nodes = document.createDocumentFragment();
  const pre = element("p", "plain");
  pre.textContent = source;
  nodes.append(pre);
  return nodes;
}

function element<K extends keyof HTMLElementTagNameMap>(tag: K, className: string): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.className = className;
  return node;
}

function escapeHtml(text: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (sign) => entities[sign] ?? sign);
}
