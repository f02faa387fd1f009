// What a conversation is made of, and how an answer grows by events. Pure: no network, no page.
import type { RequestMessage } from "../api/client";
import type { Failure } from "../api/failure";
import type { ChatEvent } from "../api/stream";

export interface TextPart {
  readonly kind: "text";
  readonly text: string;
}

/** The model's thoughts before its answer: shown on request, never sent back. */
export interface ReasoningPart {
  readonly kind: "reasoning";
  readonly text: string;
}

export interface CallPart {
  readonly kind: "call";
  readonly id: string;
  readonly name: string;
  /** JSON as the model wrote it; it may be incomplete while it streams. */
  readonly arguments: string;
  /** `null` until there is a result. */
  readonly output: string | null;
  /** The position that pieces of a streamed call name; `null` for the platform's own calls. */
  readonly index: number | null;
}

export type Part = TextPart | ReasoningPart | CallPart;

export type Ending = "streaming" | "complete" | "stopped" | "length" | "filtered" | "failed";

export interface UserMessage {
  readonly role: "user";
  readonly id: string;
  readonly text: string;
}

export interface Answer {
  readonly role: "assistant";
  readonly id: string;
  readonly model: string;
  readonly parts: readonly Part[];
  readonly ending: Ending;
  readonly failure?: Failure;
}

export type Message = UserMessage | Answer;

/** The largest history that is sent, in messages and in characters; the oldest go first. The
 * platform trims to the model's window itself: this only bounds the request. */
export const HISTORY_MESSAGES_MAX = 100;
export const HISTORY_CHARS_MAX = 200_000;
const TITLE_CHARS_MAX = 60;

export function newAnswer(id: string, model: string): Answer {
  return { role: "assistant", id, model, parts: [], ending: "streaming" };
}

/** The answer after some events. Parts that did not change keep their identity. */
export function withEvents(answer: Answer, events: readonly ChatEvent[]): Answer {
  return events.reduce(withEvent, answer);
}

function withEvent(answer: Answer, event: ChatEvent): Answer {
  switch (event.kind) {
    case "text":
    case "reasoning":
      return { ...answer, parts: withText(answer.parts, event.kind, event.text) };
    case "call-delta":
      return { ...answer, parts: withCallDelta(answer.parts, event) };
    case "call":
      return {
        ...answer,
        parts: upsert(answer.parts, (call) => call.id === event.id, (call) => ({
          kind: "call",
          id: event.id,
          name: event.name,
          arguments: event.arguments,
          output: call?.output ?? null,
          index: call?.index ?? null,
        })),
      };
    case "call-result":
      return {
        ...answer,
        parts: upsert(answer.parts, (call) => call.id === event.id, (call) => ({
          kind: "call",
          id: event.id,
          name: event.name || (call?.name ?? ""),
          arguments: call?.arguments ?? "",
          output: event.output,
          index: call?.index ?? null,
        })),
      };
    case "finish":
      return { ...answer, ending: endingOf(event.reason) };
  }
}

function endingOf(reason: string): Ending {
  if (reason === "length") return "length";
  return reason === "content_filter" ? "filtered" : "complete";
}

function withText(parts: readonly Part[], kind: "text" | "reasoning", text: string): Part[] {
  const last = parts.at(-1);
  if (last?.kind === kind) return [...parts.slice(0, -1), { kind, text: last.text + text }];
  return [...parts, { kind, text }];
}

function withCallDelta(parts: readonly Part[], delta: ChatEvent & { kind: "call-delta" }): Part[] {
  // A second round of calls counts its positions from nought again, under new ids.
  const same = (call: CallPart): boolean =>
    call.output === null && call.index === delta.index && (delta.id === undefined || call.id === delta.id);
  return upsert(parts, same, (call) => ({
    kind: "call",
    id: delta.id ?? call?.id ?? "",
    name: (call?.name ?? "") + (delta.name ?? ""),
    arguments: (call?.arguments ?? "") + delta.arguments,
    output: null,
    index: delta.index,
  }));
}

function upsert(
  parts: readonly Part[],
  same: (call: CallPart) => boolean,
  next: (call: CallPart | undefined) => CallPart,
): Part[] {
  const at = parts.findLastIndex((part) => part.kind === "call" && same(part));
  const found = parts[at];
  if (found?.kind !== "call") return [...parts, next(undefined)];
  return parts.with(at, next(found));
}

/** The answer's own words, without its tool calls. */
export function textOf(message: Message): string {
  if (message.role === "user") return message.text;
  const texts = message.parts.filter((part) => part.kind === "text").map((part) => part.text.trim());
  return texts.filter((text) => text !== "").join("\n\n");
}

/** What is sent for a conversation. An answer without words is left out, and what the user then
 * said twice is said once: some chat templates refuse two turns of one speaker. */
export function historyOf(messages: readonly Message[]): RequestMessage[] {
  const turns: RequestMessage[] = [];
  for (const message of messages) {
    const content = textOf(message);
    if (content === "") continue;
    const last = turns.at(-1);
    if (last?.role === message.role) {
      turns[turns.length - 1] = { role: last.role, content: `${last.content}\n\n${content}` };
    } else {
      turns.push({ role: message.role, content });
    }
  }
  return newestWithin(turns);
}

function newestWithin(turns: RequestMessage[]): RequestMessage[] {
  let from = turns.length;
  let chars = 0;
  while (from > 0 && turns.length - from < HISTORY_MESSAGES_MAX) {
    chars += turns[from - 1]?.content.length ?? 0;
    // The newest turn always goes, whatever its size: the platform says if it is too large.
    if (chars > HISTORY_CHARS_MAX && from < turns.length) break;
    from -= 1;
  }
  // A history begins with the user.
  if (turns[from]?.role === "assistant") from += 1;
  return turns.slice(from);
}

export function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length <= TITLE_CHARS_MAX ? line : `${line.slice(0, TITLE_CHARS_MAX - 1).trimEnd()}…`;
}

/** A stored answer that was still streaming when the page went away can go no further. */
export function settled(message: Message): Message {
  return message.role === "assistant" && message.ending === "streaming" ? { ...message, ending: "stopped" } : message;
}
