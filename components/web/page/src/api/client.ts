// The two requests the page makes, both to its own origin.
import { FailureError, failureOf, failureOfResponse } from "./failure";
import { readEvents, type ChatEvent } from "./stream";

export interface RequestMessage {
  readonly role: "user" | "assistant";
  readonly content: string;
}

/** How long the list of models may take. An answer has its own limit, on silence. */
const MODELS_TIMEOUT_MS = 15_000;
/** How many models are offered. */
const MODELS_MAX = 200;

/** A key goes into a header: printable ASCII without blanks. */
export function isPlausibleKey(key: string): boolean {
  return /^[\x21-\x7e]{8,512}$/.test(key);
}

export interface Model {
  readonly id: string;
  /** Messages to begin with, as the model's own files name them. */
  readonly suggestions: readonly string[];
}

/** How many suggestions fit the welcome. */
const SUGGESTIONS_MAX = 4;

export async function listModels(key: string): Promise<Model[]> {
  const signal = AbortSignal.timeout(MODELS_TIMEOUT_MS);
  const response = await send("/v1/models", { headers: authorization(key), signal });
  const body = (await response.json().catch(() => null)) as { data?: unknown } | null;
  if (!Array.isArray(body?.data)) {
    throw new FailureError(failureOf("server", "The server sent something that is not a list of models."));
  }
  return body.data.flatMap(readModel).slice(0, MODELS_MAX);
}

function readModel(value: unknown): Model[] {
  const model = value as { id?: unknown; suggestions?: unknown } | null;
  if (typeof model?.id !== "string") return [];
  const all: unknown[] = Array.isArray(model.suggestions) ? model.suggestions : [];
  const suggestions = all.filter((text): text is string => typeof text === "string" && text !== "");
  return [{ id: model.id, suggestions: suggestions.slice(0, SUGGESTIONS_MAX) }];
}

export interface ChatRequest {
  readonly key: string;
  readonly model: string;
  readonly messages: readonly RequestMessage[];
  readonly signal: AbortSignal;
}

export async function* streamChat(request: ChatRequest): AsyncGenerator<ChatEvent, void> {
  const response = await send("/v1/chat/completions", {
    method: "POST",
    headers: { ...authorization(request.key), "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify({
      model: request.model,
      messages: request.messages,
      stream: true,
      // Shows the tools that the platform runs; the platform strips it before the engine.
      skerry: { events: true },
    }),
    signal: request.signal,
  });
  const streamed = response.headers.get("content-type")?.startsWith("text/event-stream");
  if (!streamed || !response.body) {
    throw new FailureError(failureOf("server", "The server did not stream its answer."));
  }
  yield* readEvents(response.body);
}

async function send(path: string, init: RequestInit): Promise<Response> {
  const response = await fetch(path, { ...init, cache: "no-store", credentials: "omit", redirect: "error" });
  if (!response.ok) throw new FailureError(await failureOfResponse(response));
  return response;
}

function authorization(key: string): Record<string, string> {
  return { authorization: `Bearer ${key}` };
}
