// Cuts growing markdown into top-level blocks, so that a token that arrives re-renders one block
// and not the whole answer.
//
// Invariant: the blocks joined are the text. A block is settled once another has begun after it;
// only what follows the settled blocks is looked at again.
import { Lexer } from "marked";

/** A link's target may be defined anywhere in the text: such a text stays whole. */
const REFERENCE = /^ {0,3}\[[^\]\n]+\]:\s*\S/m;

export class BlockSplitter {
  #settled: string[] = [];
  #settledText = "";
  #whole = false;

  /** The blocks of `text`, which usually continues the text of the call before. */
  split(text: string): readonly string[] {
    const normal = text.replace(/\r\n?/g, "\n");
    if (!normal.startsWith(this.#settledText)) {
      this.#settled = [];
      this.#settledText = "";
      this.#whole = false;
    }
    const tail = normal.slice(this.#settledText.length);
    this.#whole ||= REFERENCE.test(tail);
    if (this.#whole) return [normal];
    const begun = blocksOf(tail).slice(0, -1);
    const begunText = begun.join("");
    // The lexer rewrites some unfinished lines; what it rewrote waits.
    if (tail.startsWith(begunText)) {
      this.#settled.push(...begun);
      this.#settledText += begunText;
    }
    const rest = normal.slice(this.#settledText.length);
    return rest === "" ? [...this.#settled] : [...this.#settled, rest];
  }
}

function blocksOf(text: string): string[] {
  const blocks: string[] = [];
  for (const token of new Lexer().blockTokens(text, [])) {
    // Blank lines belong to the block before them: they may still turn into a part of it.
    if (token.type === "space" && blocks.length > 0) blocks[blocks.length - 1] += token.raw;
    else blocks.push(token.raw);
  }
  return blocks;
}
