// Tells a screen reader what arrives, a few sentences at a time: a live region over the stream
// itself would be read again with every token.
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";
import { textOf } from "../chat/message";
import { current, lastAnswer } from "../state";

const SPEAK_INTERVAL_MS = 2500;

/** The length of the longest beginning of `text` that ends with a sentence or a line. */
export function spokenLength(text: string): number {
  const ends = [...text.matchAll(/[.!?:](?=\s)|\n/g)];
  const last = ends.at(-1);
  return last ? last.index + 1 : 0;
}

export function LiveRegion(): JSX.Element {
  const region = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let spokenId = "";
    let spoken = 0;
    let lastMs = 0;
    return effect(() => {
      const answer = lastAnswer.value;
      const busy = current.value.busy.value;
      if (!answer || !region.current) return;
      if (answer.id !== spokenId) {
        // An answer of a chat that is opened again is not read out.
        spoken = busy ? 0 : textOf(answer).length;
        spokenId = answer.id;
        if (busy) region.current.textContent = "The model is answering.";
        return;
      }
      if (busy && Date.now() - lastMs < SPEAK_INTERVAL_MS) return;
      const fresh = textOf(answer).slice(spoken);
      const length = busy ? spokenLength(fresh) : fresh.length;
      if (length === 0) return;
      region.current.textContent = fresh.slice(0, length).replace(/[*_`#|]+/g, " ");
      spoken += length;
      lastMs = Date.now();
    });
  }, []);
  return <div ref={region} class="unseen" aria-live="polite" aria-atomic="true" data-live="" />;
}
