// One turn: asks, gathers what arrives, and hands on a grown answer at most once per frame.
// It ends exactly once, whatever happens: complete, stopped or failed.
import { failureOfThrown } from "../api/failure";
import type { ChatEvent } from "../api/stream";
import { withEvents, type Answer } from "./message";

/** Calls back before the next paint, or soon if the page is hidden and nothing is painted. */
export type Schedule = (work: () => void) => () => void;

const HIDDEN_INTERVAL_MS = 250;

export const onNextFrame: Schedule = (work) => {
  if (document.visibilityState === "hidden") {
    const timer = setTimeout(work, HIDDEN_INTERVAL_MS);
    return () => clearTimeout(timer);
  }
  const frame = requestAnimationFrame(work);
  return () => cancelAnimationFrame(frame);
};

export async function runTurn(
  start: Answer,
  events: AsyncIterable<ChatEvent>,
  signal: AbortSignal,
  onGrown: (answer: Answer) => void,
  schedule: Schedule = onNextFrame,
): Promise<Answer> {
  let answer = start;
  let waiting: ChatEvent[] = [];
  let cancel: (() => void) | null = null;
  const take = (): void => {
    cancel?.();
    cancel = null;
    answer = withEvents(answer, waiting);
    waiting = [];
  };
  try {
    for await (const event of events) {
      if (signal.aborted) break;
      waiting.push(event);
      cancel ??= schedule(() => {
        take();
        // The last word is the returned one; a frame between never says that it is over.
        onGrown({ ...answer, ending: "streaming" });
      });
    }
    take();
    return ended(answer, signal);
  } catch (thrown) {
    take();
    if (signal.aborted) return ended(answer, signal);
    return { ...answer, ending: "failed", failure: failureOfThrown(thrown) };
  }
}

function ended(answer: Answer, signal: AbortSignal): Answer {
  if (answer.ending !== "streaming") return answer;
  return { ...answer, ending: signal.aborted ? "stopped" : "complete" };
}
