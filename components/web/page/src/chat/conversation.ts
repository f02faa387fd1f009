// One conversation that is open: its messages, and at most one turn under way. It goes on while
// another conversation is shown. It does not know the page or the store; it is told how to ask.
import { signal, type Signal } from "@preact/signals";
import type { ChatRequest } from "../api/client";
import type { ChatEvent } from "../api/stream";
import { historyOf, newAnswer, settled, titleOf, type Answer, type Message } from "./message";
import { onNextFrame, runTurn, type Schedule } from "./turn";

export interface StoredConversation {
  readonly id: string;
  readonly title: string;
  readonly updatedAtMs: number;
  readonly messages: readonly Message[];
}

export interface Surroundings {
  readonly ask: (request: ChatRequest) => AsyncIterable<ChatEvent>;
  /** Called when something worth keeping has changed. */
  readonly keep: (conversation: StoredConversation) => void;
  readonly schedule?: Schedule;
}

export interface Voice {
  readonly key: string;
  readonly model: string;
}

/** How often a growing answer is stored. */
const KEEP_INTERVAL_MS = 2000;

export class Conversation {
  readonly messages: Signal<readonly Message[]>;
  readonly busy = signal(false);
  readonly id: string;
  title: string;
  #turn: AbortController | null = null;
  #keptAtMs = 0;
  readonly #around: Surroundings;

  constructor(around: Surroundings, stored?: StoredConversation) {
    this.#around = around;
    this.id = stored?.id ?? crypto.randomUUID();
    this.title = stored?.title ?? "";
    this.messages = signal((stored?.messages ?? []).map(settled));
  }

  /** The user says something and the model answers. Nothing happens while a turn is under way. */
  async say(text: string, voice: Voice): Promise<void> {
    if (this.busy.value || text.trim() === "") return;
    if (this.title === "") this.title = titleOf(text);
    const said: Message = { role: "user", id: crypto.randomUUID(), text: text.trim() };
    this.messages.value = [...this.messages.value, said];
    await this.#answer(voice);
  }

  /** Answers the last thing the user said once more, in place of the answer it has. */
  async answerAgain(voice: Voice): Promise<void> {
    if (this.busy.value) return;
    const lastSaid = this.messages.value.findLastIndex((message) => message.role === "user");
    if (lastSaid < 0) return;
    this.messages.value = this.messages.value.slice(0, lastSaid + 1);
    await this.#answer(voice);
  }

  /** Takes back what the user said under `id` and all that followed; returns its text. */
  takeBack(id: string): string | null {
    const at = this.messages.value.findIndex((message) => message.id === id);
    const said = this.messages.value[at];
    if (this.busy.value || said?.role !== "user") return null;
    this.messages.value = this.messages.value.slice(0, at);
    this.#keep();
    return said.text;
  }

  stop(): void {
    this.#turn?.abort();
  }

  async #answer(voice: Voice): Promise<void> {
    const turn = new AbortController();
    this.#turn = turn;
    this.busy.value = true;
    const before = this.messages.value;
    const show = (answer: Answer): void => {
      this.messages.value = [...before, answer];
    };
    const start = newAnswer(crypto.randomUUID(), voice.model);
    show(start);
    this.#keep();
    const events = this.#around.ask({ ...voice, messages: historyOf(before), signal: turn.signal });
    const grown = (answer: Answer): void => {
      show(answer);
      if (Date.now() - this.#keptAtMs > KEEP_INTERVAL_MS) this.#keep();
    };
    show(await runTurn(start, events, turn.signal, grown, this.#around.schedule ?? onNextFrame));
    this.#turn = null;
    this.busy.value = false;
    this.#keep();
  }

  #keep(): void {
    this.#keptAtMs = Date.now();
    const { id, title } = this;
    this.#around.keep({ id, title, updatedAtMs: this.#keptAtMs, messages: this.messages.value });
  }
}
