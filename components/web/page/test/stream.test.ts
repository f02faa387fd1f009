// The bytes of a stream to events, with chunk borders everywhere they can fall.
import { describe, expect, it, vi } from "vitest";
import { FailureError } from "../src/api/failure";
import { eventsOf, readEvents, SILENCE_MAX_MS, type ChatEvent } from "../src/api/stream";

const utf8 = new TextEncoder();

function bodyOf(chunks: readonly Uint8Array[], onCancel: () => void = () => undefined): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      const chunk = chunks[at++];
      if (chunk) controller.enqueue(chunk);
      else controller.close();
    },
    cancel: onCancel,
  });
}

async function read(chunks: readonly Uint8Array[]): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  for await (const event of readEvents(bodyOf(chunks))) events.push(event);
  return events;
}

const text = (content: string): string => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`;
const finish = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n`;
const done = "data: [DONE]\n\n";

const whole =
  `: hello\n\ndata: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n` +
  text("Grüß 👋🏽 ") +
  text("日本語\nline") +
  `data: {"object":"chat.completion.chunk","choices":[],"skerry":{"type":"tool_call","id":"call_1","name":"calculator","arguments":"{\\"expression\\":\\"12*7\\"}"}}\n\n` +
  `data: {"choices":[],"skerry":{"type":"tool_result","id":"call_1","name":"calculator","output":"84"}}\n\n` +
  finish +
  `data: {"choices":[],"usage":{"total_tokens":3}}\n\n` +
  done;

const expected: ChatEvent[] = [
  { kind: "text", text: "Grüß 👋🏽 " },
  { kind: "text", text: "日本語\nline" },
  { kind: "call", id: "call_1", name: "calculator", arguments: '{"expression":"12*7"}' },
  { kind: "call-result", id: "call_1", name: "calculator", output: "84" },
  { kind: "finish", reason: "stop" },
];

describe("a stream", () => {
  it("reads the same with a border after every single byte", async () => {
    const bytes = utf8.encode(whole);
    expect(await read([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  it("reads the same with one border at any place", async () => {
    const bytes = utf8.encode(whole);
    for (let at = 0; at <= bytes.length; at++) {
      expect(await read([bytes.slice(0, at), bytes.slice(at)]), `border at ${at}`).toEqual(expected);
    }
  });

  it("reads the same with CRLF and with CR", async () => {
    for (const end of ["\r\n", "\r"]) {
      const bytes = utf8.encode(whole.replaceAll("\n", end));
      expect(await read([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(expected);
    }
  });

  it("ends at [DONE] and closes the connection", async () => {
    const cancel = vi.fn();
    const events: ChatEvent[] = [];
    const open = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(utf8.encode(finish + done + text("after"))),
      cancel,
    });
    for await (const event of readEvents(open)) events.push(event);
    expect(events).toEqual([{ kind: "finish", reason: "stop" }]);
    expect(cancel).toHaveBeenCalledOnce();
  });

  it("closes the connection when the reader stops early", async () => {
    const cancel = vi.fn();
    for await (const event of readEvents(bodyOf([utf8.encode(text("a")), utf8.encode(text("b"))], cancel))) {
      expect(event).toEqual({ kind: "text", text: "a" });
      break;
    }
    expect(cancel).toHaveBeenCalledOnce();
  });

  it("takes a finished answer without [DONE], and one whose last blank line is missing", async () => {
    expect(await read([utf8.encode(text("a") + finish)])).toHaveLength(2);
    expect(await read([utf8.encode((text("a") + finish).trimEnd())])).toHaveLength(2);
  });

  it.each([
    ["a stream that ends in the middle", text("a"), "cut"],
    ["an empty stream", "", "cut"],
    ["an error event", text("a") + `data: {"error":{"message":"engine gone","type":"server_error","param":null,"code":null}}\n\n`, "server"],
    ["an error event that says the limit is reached", `data: {"error":{"message":"slow down","type":"rate_limit_error"}}\n\n`, "rate"],
    ["what is not JSON", "data: <html>\n\n", "server"],
    ["JSON that is no object", "data: 7\n\n", "server"],
    ["an endless event", `data: ${"x".repeat(1_100_000)}`, "server"],
  ])("fails on %s", async (_name, stream, kind) => {
    const thrown = await read([utf8.encode(stream)]).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(FailureError);
    expect((thrown as FailureError).failure.kind).toBe(kind);
  });

  it("keeps the words of an error event", async () => {
    const stream = `data: {"error":{"message":"The engine stopped.","type":"server_error","param":null,"code":null}}\n\n`;
    await expect(read([utf8.encode(stream)])).rejects.toThrow("The engine stopped.");
  });

  it("fails after a long silence", async () => {
    vi.useFakeTimers();
    const silent = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => undefined) });
    const reading = expect(readEvents(silent).next()).rejects.toThrow("silent");
    await vi.advanceTimersByTimeAsync(SILENCE_MAX_MS);
    await reading;
    vi.useRealTimers();
  });
});

describe("an event", () => {
  const check = (chunk: unknown, events: ChatEvent[]): void => expect(eventsOf(JSON.stringify(chunk))).toEqual(events);

  it("may hold pieces of several calls", () => {
    check(
      { choices: [{ delta: { tool_calls: [{ index: 0, id: "a", function: { name: "clock", arguments: "" } }, { index: 1, function: { arguments: "{" } }] } }] },
      [
        { kind: "call-delta", index: 0, id: "a", name: "clock", arguments: "" },
        { kind: "call-delta", index: 1, arguments: "{" },
      ],
    );
  });

  it("may be of a kind that is not known yet", () => {
    check({ choices: [], skerry: { type: "citation", id: "1" } }, []);
    check({ choices: [{ delta: { reasoning: "hm" } }] }, []);
    check({}, []);
    check({ choices: [null], skerry: [] }, []);
    check({ choices: "x", error: null }, []);
    check({ choices: [{ delta: { content: 7, tool_calls: [null, 3] } }] }, []);
  });

  it("may be a refusal", () => {
    check({ choices: [{ delta: { refusal: "No." } }] }, [{ kind: "text", text: "No." }]);
  });
});
