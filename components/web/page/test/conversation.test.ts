// Turns against a scripted platform: they end exactly once, and never twice at a time.
import { describe, expect, it, vi } from "vitest";
import type { ChatRequest } from "../src/api/client";
import { FailureError, failureOf } from "../src/api/failure";
import type { ChatEvent } from "../src/api/stream";
import { Conversation, type StoredConversation } from "../src/chat/conversation";
import { textOf, type Answer } from "../src/chat/message";

const VOICE = { key: "sk-test-key", model: "m" };
const text = (words: string): ChatEvent => ({ kind: "text", text: words });
const stop: ChatEvent = { kind: "finish", reason: "stop" };

/** A platform that is fed by the test. */
class Platform {
  readonly requests: ChatRequest[] = [];
  readonly kept: StoredConversation[] = [];
  #frames: (() => void)[] = [];
  #answers: ((request: ChatRequest) => AsyncIterable<ChatEvent>)[] = [];

  conversation(): Conversation {
    return new Conversation({
      ask: (request) => {
        this.requests.push(request);
        const answer = this.#answers.shift();
        if (!answer) throw new Error("not scripted");
        return answer(request);
      },
      keep: (conversation) => this.kept.push(conversation),
      schedule: (work) => {
        this.#frames.push(work);
        return () => (this.#frames = this.#frames.filter((one) => one !== work));
      },
    });
  }

  answers(...events: (ChatEvent | Error)[]): this {
    this.#answers.push(async function* () {
      for (const event of events) {
        if (event instanceof Error) throw event;
        yield event;
      }
    });
    return this;
  }

  /** Says one word, then waits until it is told to stop. */
  waits(words: string): this {
    this.#answers.push(async function* (request) {
      yield text(words);
      await new Promise((_, reject) => request.signal.addEventListener("abort", () => reject(request.signal.reason as Error)));
    });
    return this;
  }

  paint(): number {
    const frames = this.#frames.splice(0);
    frames.forEach((frame) => frame());
    return frames.length;
  }
}

const lastAnswer = (conversation: Conversation): Answer => conversation.messages.value.at(-1) as Answer;

describe("a turn", () => {
  it("ends with the whole answer and is kept", async () => {
    const platform = new Platform().answers(text("Hel"), text("lo"), stop);
    const conversation = platform.conversation();
    await conversation.say("  hi ", VOICE);
    expect(conversation.messages.value.map(textOf)).toEqual(["hi", "Hello"]);
    expect(lastAnswer(conversation).ending).toBe("complete");
    expect(conversation.busy.value).toBe(false);
    expect(platform.requests[0]?.messages).toEqual([{ role: "user", content: "hi" }]);
    expect(platform.kept.at(-1)).toMatchObject({ title: "hi", messages: conversation.messages.value });
  });

  it("shows many tokens with one frame", async () => {
    const platform = new Platform().waits("a");
    const conversation = platform.conversation();
    const turn = conversation.say("hi", VOICE);
    await vi.waitFor(() => expect(platform.paint()).toBe(1));
    expect(textOf(lastAnswer(conversation))).toBe("a");
    expect(lastAnswer(conversation).ending).toBe("streaming");
    expect(platform.paint()).toBe(0);
    conversation.stop();
    await turn;
  });

  it("that is stopped keeps what has come and no failure", async () => {
    const platform = new Platform().waits("half");
    const conversation = platform.conversation();
    const turn = conversation.say("hi", VOICE);
    await vi.waitFor(() => expect(platform.paint()).toBe(1));
    conversation.stop();
    await turn;
    expect(lastAnswer(conversation)).toMatchObject({ ending: "stopped", parts: [{ text: "half" }] });
    expect(lastAnswer(conversation).failure).toBeUndefined();
    expect(conversation.busy.value).toBe(false);
  });

  it("that fails keeps what has come and the platform's words", async () => {
    const platform = new Platform().answers(text("half"), new FailureError(failureOf("server", "engine gone")));
    const conversation = platform.conversation();
    await conversation.say("hi", VOICE);
    expect(lastAnswer(conversation)).toMatchObject({ ending: "failed", parts: [{ text: "half" }], failure: { kind: "server", message: "engine gone" } });
  });

  it("that meets no network says so", async () => {
    const platform = new Platform().answers(new TypeError("Failed to fetch"));
    const conversation = platform.conversation();
    await conversation.say("hi", VOICE);
    expect(lastAnswer(conversation).failure).toMatchObject({ kind: "network" });
  });

  it("is one at a time", async () => {
    const platform = new Platform().waits("a");
    const conversation = platform.conversation();
    const turn = conversation.say("one", VOICE);
    await conversation.say("two", VOICE);
    await conversation.answerAgain(VOICE);
    expect(platform.requests).toHaveLength(1);
    conversation.stop();
    await turn;
  });

  it("does not begin with nothing said", async () => {
    const platform = new Platform();
    await platform.conversation().say(" \n ", VOICE);
    expect(platform.requests).toHaveLength(0);
  });
});

describe("answering again", () => {
  it("replaces the answer and does not send it", async () => {
    const platform = new Platform().answers(text("first"), stop).answers(text("second"), stop);
    const conversation = platform.conversation();
    await conversation.say("hi", VOICE);
    await conversation.answerAgain(VOICE);
    expect(conversation.messages.value.map(textOf)).toEqual(["hi", "second"]);
    expect(platform.requests[1]?.messages).toEqual([{ role: "user", content: "hi" }]);
  });

  it("after an edit sends what was said before it only", async () => {
    const platform = new Platform().answers(text("a"), stop).answers(text("b"), stop).answers(text("c"), stop);
    const conversation = platform.conversation();
    await conversation.say("one", VOICE);
    await conversation.say("two", VOICE);
    const second = conversation.messages.value[2];
    expect(conversation.takeBack(second?.id ?? "")).toBe("two");
    await conversation.say("three", VOICE);
    expect(platform.requests[2]?.messages.map((message) => message.content)).toEqual(["one", "a", "three"]);
  });
});
