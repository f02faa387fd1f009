// Markdown that may still be growing: only a block whose source changed is rendered again.
import { useLayoutEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";
import { BlockSplitter } from "../markdown/blocks";
import { renderMarkdown } from "../markdown/render";
import { memo } from "./memo";

export function MarkdownView({ text }: { text: string }): JSX.Element {
  const splitter = useRef<BlockSplitter>(null);
  splitter.current ??= new BlockSplitter();
  return (
    <div class="prose">
      {splitter.current.split(text).map((source, at) => <Block key={at} source={source} />)}
    </div>
  );
}

const Block = memo(({ source }: { source: string }): JSX.Element => {
  const place = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => place.current?.replaceChildren(renderMarkdown(source)), [source]);
  return <div class="block" ref={place} />;
});
