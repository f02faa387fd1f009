// The page's state, and the only functions that change it. Views read signals and call these.
import { computed, signal } from "@preact/signals";
import { listModels, streamChat, type Model } from "./api/client";
import { failureOfThrown, type Failure } from "./api/failure";
import { Conversation, type StoredConversation } from "./chat/conversation";
import type { Answer } from "./chat/message";
import { ConversationStore, type Summary } from "./store/conversations";
import { apiKey, chosenModel } from "./store/settings";

/** Sent when the list of models is not known; the platform's router decides. */
const MODEL_UNKNOWN = "auto";
const ADDRESS = /^#\/c\/([0-9a-f-]{36})$/;

const store = new ConversationStore();
/** Those with a turn under way go on while another is shown. */
const running = new Map<string, Conversation>();

const served = signal<readonly Model[]>([]);
export const models = computed(() => served.value.map(({ id }) => id));
export const summaries = signal<readonly Summary[]>([]);
export const current = signal(newConversation());
export const draft = signal("");
export const openDialog = signal<"key" | "settings" | null>(apiKey.value === "" ? "key" : null);
/** Why the key dialog is open, if the platform refused a key. */
export const keyFailure = signal<Failure | null>(null);
export const drawerOpen = signal(false);
export const notice = signal<{ readonly text: string; readonly undo?: () => void } | null>(null);

export const model = computed(() => {
  const known = models.value;
  return known.includes(chosenModel.value) ? chosenModel.value : (known[0] ?? (chosenModel.value || MODEL_UNKNOWN));
});

/** Messages to begin with, of the model that is chosen. */
export const suggestions = computed(() => served.value.find(({ id }) => id === model.value)?.suggestions ?? []);

/** The last answer of the conversation that is shown. */
export const lastAnswer = computed<Answer | null>(() => {
  const last = current.value.messages.value.at(-1);
  return last?.role === "assistant" ? last : null;
});

export async function start(): Promise<void> {
  window.addEventListener("hashchange", () => void openFromAddress());
  document.addEventListener("visibilitychange", () => void refreshSummaries());
  await Promise.all([openFromAddress(), refreshSummaries()]);
  if (apiKey.value !== "") await loadModels();
}

export async function send(text: string): Promise<void> {
  if (needsKey()) return;
  const conversation = current.value;
  draft.value = "";
  const address = `#/c/${conversation.id}`;
  // The first message gives a conversation its address.
  if (location.hash !== address) history.pushState(null, "", address);
  await turn(conversation, () => conversation.say(text, voice()));
}

export async function answerAgain(): Promise<void> {
  if (needsKey()) return;
  const conversation = current.value;
  await turn(conversation, () => conversation.answerAgain(voice()));
}

export function stop(): void {
  current.value.stop();
}

/** Puts what was said back into the composer, to be said differently. */
export function edit(id: string): void {
  const text = current.value.takeBack(id);
  if (text !== null) draft.value = text;
}

export function startNew(): void {
  drawerOpen.value = false;
  if (current.value.messages.value.length > 0) current.value = newConversation();
  if (location.hash !== "") history.pushState(null, "", location.pathname);
}

export function open(id: string): void {
  drawerOpen.value = false;
  location.hash = `#/c/${id}`;
}

export async function remove(id: string): Promise<void> {
  running.get(id)?.stop();
  const stored = await store.get(id);
  await store.remove(id);
  removed.add(id);
  if (current.value.id === id) startNew();
  await refreshSummaries();
  const undo = async (): Promise<void> => {
    removed.delete(id);
    notice.value = null;
    if (stored) await store.put(stored);
    await refreshSummaries();
  };
  notice.value = { text: "Chat deleted", ...(stored ? { undo: () => void undo() } : {}) };
}

export async function removeAll(): Promise<void> {
  for (const conversation of running.values()) {
    removed.add(conversation.id);
    conversation.stop();
  }
  await store.removeAll();
  current.value = newConversation();
  history.replaceState(null, "", location.pathname);
  await refreshSummaries();
  notice.value = { text: "All chats of this browser are deleted" };
}

/** Tries a key; returns why it was not taken, or `null`. */
export async function takeKey(key: string): Promise<Failure | null> {
  try {
    served.value = await listModels(key);
  } catch (thrown) {
    return failureOfThrown(thrown);
  }
  apiKey.value = key;
  keyFailure.value = null;
  openDialog.value = null;
  // What was refused for want of a key is asked again.
  if (lastAnswer.value?.failure?.kind === "key") void answerAgain();
  return null;
}

export function forgetKey(): void {
  apiKey.value = "";
  served.value = [];
  keyFailure.value = null;
  openDialog.value = "key";
}

export async function loadModels(): Promise<void> {
  try {
    served.value = await listModels(apiKey.value);
  } catch (thrown) {
    const failure = failureOfThrown(thrown);
    if (failure.kind === "key") askForKey(failure);
    // Any other failure shows when something is asked; the router then chooses the model.
  }
}

/** A turn that was stopped by deletion must not store its conversation again. */
const removed = new Set<string>();

function newConversation(stored?: StoredConversation): Conversation {
  return new Conversation({ ask: streamChat, keep: (changed) => void keep(changed) }, stored);
}

async function keep(changed: StoredConversation): Promise<void> {
  if (removed.has(changed.id)) return;
  await store.put(changed).catch(() => {
    notice.value = { text: "This chat cannot be stored: the browser's storage is full" };
  });
  await refreshSummaries();
}

async function turn(conversation: Conversation, work: () => Promise<void>): Promise<void> {
  running.set(conversation.id, conversation);
  await work();
  running.delete(conversation.id);
  const last = conversation.messages.value.at(-1);
  const failure = last?.role === "assistant" ? last.failure : undefined;
  if (failure?.kind === "key") askForKey(failure);
  else if (models.value.length === 0 && !failure) await loadModels();
}

function needsKey(): boolean {
  if (apiKey.value !== "") return false;
  openDialog.value = "key";
  return true;
}

function askForKey(failure: Failure): void {
  keyFailure.value = failure;
  openDialog.value = "key";
}

function voice(): { key: string; model: string } {
  return { key: apiKey.value, model: model.value };
}

async function openFromAddress(): Promise<void> {
  const id = ADDRESS.exec(location.hash)?.[1];
  if (id === current.value.id) return;
  const stored = id === undefined ? null : await store.get(id);
  const found = (id && running.get(id)) || (stored ? newConversation(stored) : null);
  if (found) current.value = found;
  else if (current.value.messages.value.length > 0 || id !== undefined) {
    current.value = newConversation();
    history.replaceState(null, "", location.pathname);
  }
}

async function refreshSummaries(): Promise<void> {
  if (document.visibilityState === "visible") summaries.value = await store.list();
}
