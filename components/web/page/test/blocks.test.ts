// @vitest-environment jsdom
// Splitting growing markdown: nothing is lost, and what is settled stays.
import { describe, expect, it } from "vitest";
import { BlockSplitter } from "../src/markdown/blocks";
import { renderMarkdown } from "../src/markdown/render";

const document_ = `# Title

A paragraph with *emphasis*
over two lines.

- one

  still one
- two

1. first
2. second

\`\`\`rust
fn main() {

    println!("hi");
}
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

Setext
======

> quote
> more

Last.`;

describe("growing markdown", () => {
  it("is the same text however it arrives", () => {
    const splitter = new BlockSplitter();
    for (let length = 0; length <= document_.length; length++) {
      const text = document_.slice(0, length);
      expect(splitter.split(text).join("")).toBe(text);
    }
  });

  it("renders at its end as it renders when it comes whole", () => {
    const splitter = new BlockSplitter();
    let blocks: readonly string[] = [];
    for (let length = 0; length <= document_.length; length++) blocks = splitter.split(document_.slice(0, length));
    const html = (sources: readonly string[]): string => {
      const place = document.createElement("div");
      sources.forEach((source) => place.append(renderMarkdown(source)));
      return place.innerHTML.replace(/\s+/g, " ");
    };
    expect(html(blocks)).toBe(html([document_]).replace(/> </g, "> <"));
    expect(blocks.length).toBeGreaterThan(6);
  });

  it("does not change a settled block", () => {
    const splitter = new BlockSplitter();
    const first = splitter.split("one\n\ntwo\n\nthr");
    const second = splitter.split("one\n\ntwo\n\nthree");
    expect(second.slice(0, 2)).toEqual(first.slice(0, 2));
  });

  it("starts again with another text", () => {
    const splitter = new BlockSplitter();
    splitter.split("one\n\ntwo\n\nthree");
    expect(splitter.split("other\n\ntext")).toEqual(["other\n\n", "text"]);
  });

  it("stays whole where a link is defined below its use", () => {
    expect(new BlockSplitter().split("See [it][1].\n\n[1]: https://example.org")).toHaveLength(1);
  });
});
