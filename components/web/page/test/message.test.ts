// How an answer grows, and what of a conversation is sent.
import { describe, expect, it } from "vitest";
import type { ChatEvent } from "../src/api/stream";
import {
  HISTORY_CHARS_MAX, HISTORY_MESSAGES_MAX, historyOf, newAnswer, settled, textOf, titleOf, withEvents,
  type Answer, type Message,
} from "../src/chat/message";

const grown = (events: readonly ChatEvent[]): Answer => withEvents(newAnswer("a", "m"), events);
const text = (words: string): ChatEvent => ({ kind: "text", text: words });
const said = (words: string): Message => ({ role: "user", id: words, text: words });
const answered = (words: string): Message => ({ ...grown(words ? [text(words)] : []), ending: "complete" });

describe("an answer", () => {
  it("joins its words and keeps calls where they came", () => {
    const answer = grown([
      text("Let me "), text("see."),
      { kind: "call", id: "c1", name: "calculator", arguments: '{"expression":"1+1"}' },
      { kind: "call-result", id: "c1", name: "calculator", output: "2" },
      text("It is 2."),
      { kind: "finish", reason: "stop" },
    ]);
    expect(answer.parts.map((part) => part.kind)).toEqual(["text", "call", "text"]);
    expect(answer.parts[1]).toMatchObject({ name: "calculator", output: "2" });
    expect(textOf(answer)).toBe("Let me see.\n\nIt is 2.");
    expect(answer.ending).toBe("complete");
  });

  it("keeps its reasoning apart from its words, and never sends it back", () => {
    const answer = grown([
      { kind: "reasoning", text: "Hm, " }, { kind: "reasoning", text: "seven." },
      text("Seven."), { kind: "finish", reason: "stop" },
    ]);
    expect(answer.parts).toEqual([{ kind: "reasoning", text: "Hm, seven." }, { kind: "text", text: "Seven." }]);
    expect(textOf(answer)).toBe("Seven.");
    expect(historyOf([said("Which?"), answer]).at(-1)).toEqual({ role: "assistant", content: "Seven." });
  });

  it("puts streamed pieces of calls together by position", () => {
    const answer = grown([
      { kind: "call-delta", index: 0, id: "a", name: "clock", arguments: "" },
      { kind: "call-delta", index: 1, id: "b", name: "calculator", arguments: '{"expr' },
      { kind: "call-delta", index: 0, arguments: "{}" },
      { kind: "call-delta", index: 1, arguments: 'ession":"2"}' },
      { kind: "call-result", id: "a", name: "clock", output: "noon" },
      // A second round begins at nought again.
      { kind: "call-delta", index: 0, id: "c", name: "clock", arguments: "{}" },
    ]);
    expect(answer.parts).toMatchObject([
      { id: "a", name: "clock", arguments: "{}", output: "noon" },
      { id: "b", name: "calculator", arguments: '{"expression":"2"}', output: null },
      { id: "c", name: "clock", arguments: "{}", output: null },
    ]);
  });

  it("shows one call once, though it is told twice", () => {
    const answer = grown([
      { kind: "call-delta", index: 0, id: "a", name: "clock", arguments: "{}" },
      { kind: "call", id: "a", name: "clock", arguments: "{}" },
      { kind: "call-result", id: "a", name: "", output: "noon" },
    ]);
    expect(answer.parts).toEqual([{ kind: "call", id: "a", name: "clock", arguments: "{}", output: "noon", index: 0 }]);
  });

  it("does not touch parts that are done, so that they are not rendered again", () => {
    const before = grown([{ kind: "call-result", id: "a", name: "clock", output: "noon" }, text("It")]);
    const after = withEvents(before, [text(" is noon")]);
    expect(after.parts[0]).toBe(before.parts[0]);
    expect(before.parts[1]).toEqual({ kind: "text", text: "It" });
  });

  it.each([["stop", "complete"], ["length", "length"], ["content_filter", "filtered"], ["tool_calls", "complete"]])(
    "ends with %s as %s",
    (reason, ending) => expect(grown([{ kind: "finish", reason }]).ending).toBe(ending),
  );

  it("that was streaming when the page closed is stopped", () => {
    expect(settled(newAnswer("a", "m"))).toMatchObject({ ending: "stopped" });
    expect(settled(answered("x"))).toMatchObject({ ending: "complete" });
  });
});

describe("a history", () => {
  it("is the words of both, in order", () => {
    expect(historyOf([said("hi"), answered("hello"), said("bye")])).toEqual([
      { role: "user", content: "hi" },
      { role: "assistant", content: "hello" },
      { role: "user", content: "bye" },
    ]);
  });

  it("joins what the user said round an answer that never came", () => {
    expect(historyOf([said("one"), answered(""), said("two")])).toEqual([{ role: "user", content: "one\n\ntwo" }]);
  });

  it("keeps the newest within its limits and begins with the user", () => {
    const many = Array.from({ length: 301 }, (_, at) => (at % 2 === 0 ? said(`q${at}`) : answered(`a${at}`)));
    const sent = historyOf(many);
    expect(sent.length).toBeLessThanOrEqual(HISTORY_MESSAGES_MAX);
    expect(sent[0]?.role).toBe("user");
    expect(sent.at(-1)?.content).toBe("q300");

    const long = "x".repeat(HISTORY_CHARS_MAX / 2);
    expect(historyOf([said(long), answered(long), said("now")])).toEqual([{ role: "user", content: "now" }]);
  });

  it("always sends the newest message, however long", () => {
    const huge = "x".repeat(HISTORY_CHARS_MAX + 1);
    expect(historyOf([said("old"), answered("a"), said(huge)])).toEqual([{ role: "user", content: huge }]);
  });
});

it("a title is one short line", () => {
  expect(titleOf("  What\n is  this? ")).toBe("What is this?");
  expect(titleOf("x".repeat(100))).toHaveLength(60);
});
