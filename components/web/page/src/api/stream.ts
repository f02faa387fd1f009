// From the bytes of a streamed answer to events. It knows server-sent events and the shape of
// chat.completion.chunk; it does not know messages, the page, or where the bytes come from.
import { createParser } from "eventsource-parser";
import { FailureError, failureOf, failureOfErrorObject } from "./failure";

export type ChatEvent =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "reasoning"; readonly text: string }
  /** A piece of a call that the model writes; pieces of one call share `index`. */
  | { readonly kind: "call-delta"; readonly index: number; readonly id?: string; readonly name?: string; readonly arguments: string }
  /** A call that the platform itself runs, and what came of it. */
  | { readonly kind: "call"; readonly id: string; readonly name: string; readonly arguments: string }
  | { readonly kind: "call-result"; readonly id: string; readonly name: string; readonly output: string }
  | { readonly kind: "finish"; readonly reason: string };

/** The longest single event, in characters. */
const EVENT_CHARS_MAX = 1024 * 1024;
/** The longest silence. The platform sends a comment well before this while it works. */
export const SILENCE_MAX_MS = 120_000;
const DONE = "[DONE]";

/** Reads a body to its end. Chunk borders may fall anywhere, also inside a character. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ChatEvent, void> {
  const reader = body.getReader();
  const utf8 = new TextDecoder();
  const queue: string[] = [];
  let tooLong = false;
  const parser = createParser({
    onEvent: (event) => queue.push(event.data),
    onError: (error) => {
      tooLong ||= error.type === "max-buffer-size-exceeded";
    },
    maxBufferSize: EVENT_CHARS_MAX,
  });
  let finished = false;
  try {
    for (;;) {
      const { value, done } = await readWithin(reader, SILENCE_MAX_MS);
      // The blank line ends an event whose own blank line the server forgot before it closed.
      parser.feed(done ? `${utf8.decode()}\n\n` : utf8.decode(value, { stream: true }));
      if (tooLong) throw new FailureError(failureOf("server", "The server sent an event that is too long."));
      for (const data of queue.splice(0)) {
        if (data === DONE) return;
        for (const event of eventsOf(data)) {
          finished ||= event.kind === "finish";
          yield event;
        }
      }
      if (done) break;
    }
    if (!finished) throw new FailureError(failureOf("cut"));
  } finally {
    // Also on `return()` and on a throw: the connection must not stay open.
    await reader.cancel().catch(() => undefined);
  }
}

async function readWithin(reader: ReadableStreamDefaultReader<Uint8Array>, limitMs: number) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new FailureError(failureOf("cut", "The server fell silent."))), limitMs);
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** The events in the data of one server-sent event; an error object is thrown. */
export function eventsOf(data: string): ChatEvent[] {
  const chunk = parseObject(data);
  if (chunk.error !== undefined && chunk.error !== null) {
    throw new FailureError(failureOfErrorObject(chunk.error));
  }
  const events: ChatEvent[] = [];
  const extension = objectOf(chunk.skerry);
  if (extension) events.push(...extensionEvents(extension));
  // The page asks for one choice.
  const choice = Array.isArray(chunk.choices) ? objectOf(chunk.choices[0]) : null;
  if (choice) events.push(...choiceEvents(choice));
  return events;
}

function choiceEvents(choice: Record<string, unknown>): ChatEvent[] {
  const events: ChatEvent[] = [];
  const delta = objectOf(choice.delta) ?? {};
  if (typeof delta.reasoning_content === "string" && delta.reasoning_content !== "") {
    events.push({ kind: "reasoning", text: delta.reasoning_content });
  }
  for (const text of [delta.content, delta.refusal]) {
    if (typeof text === "string" && text !== "") events.push({ kind: "text", text });
  }
  const calls = Array.isArray(delta.tool_calls) ? delta.tool_calls : [];
  calls.forEach((piece: unknown, position) => {
    const call = objectOf(piece);
    if (!call) return;
    const fn = objectOf(call.function) ?? {};
    events.push({
      kind: "call-delta",
      index: typeof call.index === "number" ? call.index : position,
      ...(typeof call.id === "string" ? { id: call.id } : {}),
      ...(typeof fn.name === "string" ? { name: fn.name } : {}),
      arguments: textOf(fn.arguments),
    });
  });
  if (typeof choice.finish_reason === "string") events.push({ kind: "finish", reason: choice.finish_reason });
  return events;
}

function extensionEvents(event: Record<string, unknown>): ChatEvent[] {
  const id = textOf(event.id);
  const name = textOf(event.name);
  if (event.type === "tool_call") return [{ kind: "call", id, name, arguments: textOf(event.arguments) }];
  if (event.type === "tool_result") return [{ kind: "call-result", id, name, output: textOf(event.output) }];
  // An event of a later version of the platform.
  return [];
}

function parseObject(data: string): Record<string, unknown> {
  try {
    const parsed = objectOf(JSON.parse(data));
    if (parsed) return parsed;
  } catch {
    // Said below, in the same words.
  }
  throw new FailureError(failureOf("server", "The server sent something that is not a chat event."));
}

function objectOf(value: unknown): Record<string, unknown> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? "" : JSON.stringify(value);
}
