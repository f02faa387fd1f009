// What can go wrong between the page and the platform, as data: whose words to show, and whether
// and when trying again can help. The only file that reads status codes and error bodies.

export type FailureKind =
  /** The key is missing, wrong or revoked. */
  | "key"
  /** Too many requests; wait. */
  | "rate"
  /** The platform could not be reached. */
  | "network"
  /** The platform refused this request; the same one will be refused again. */
  | "request"
  /** The platform or its engine failed. */
  | "server"
  /** The answer broke off. */
  | "cut";

export interface Failure {
  readonly kind: FailureKind;
  /** The platform's own words where there are any. */
  readonly message: string;
  /** When trying again can help, in milliseconds since the epoch. */
  readonly retryAtMs?: number;
  readonly requestId?: string;
}

export class FailureError extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
    this.name = "FailureError";
  }
}

/** The longest wait that is believed; a larger `retry-after` is cut to it. */
export const RETRY_AFTER_MAX_S = 3600;
/** Assumed where a 429 does not say. */
export const RETRY_AFTER_DEFAULT_S = 5;
/** The longest message that is shown. */
const MESSAGE_CHARS_MAX = 600;

const ownWords: Record<FailureKind, string> = {
  key: "The API key was not accepted.",
  rate: "Too many requests at once.",
  network: "The server cannot be reached. Check your connection.",
  request: "The server refused this request.",
  server: "The server could not answer.",
  cut: "The answer broke off before it was complete.",
};

export function failureOf(kind: FailureKind, message?: string | null): Failure {
  const words = message?.trim();
  return { kind, message: words ? words.slice(0, MESSAGE_CHARS_MAX) : ownWords[kind] };
}

/** A response that is not a success, with its body read. */
export async function failureOfResponse(response: Response, nowMs = Date.now()): Promise<Failure> {
  const body = await response.text().catch(() => "");
  const error = errorObjectOf(body);
  const kind = kindOfStatus(response.status);
  const requestId = response.headers.get("x-request-id");
  return {
    ...failureOf(kind, error?.message),
    ...(requestId ? { requestId } : {}),
    ...(kind === "rate" && error?.code !== "insufficient_quota"
      ? { retryAtMs: nowMs + retryAfterS(response.headers.get("retry-after"), nowMs) * 1000 }
      : {}),
  };
}

/** An error that arrives inside a stream has an error object and no status. */
export function failureOfErrorObject(error: unknown): Failure {
  const { message, type, code } = asErrorObject(error) ?? {};
  const known: Record<string, FailureKind> = {
    authentication_error: "key",
    invalid_api_key: "key",
    rate_limit_error: "rate",
    rate_limit_exceeded: "rate",
    invalid_request_error: "request",
  };
  return failureOf(known[code ?? ""] ?? known[type ?? ""] ?? "server", message);
}

/** Anything that was thrown; an abort is the caller's own doing and must be caught before. */
export function failureOfThrown(thrown: unknown): Failure {
  return thrown instanceof FailureError ? thrown.failure : failureOf("network");
}

function kindOfStatus(status: number): FailureKind {
  if (status === 401) return "key";
  if (status === 429) return "rate";
  return status >= 500 ? "server" : "request";
}

/** Seconds from a `retry-after` header, in either of its two forms (RFC 9110 §10.2.3). */
export function retryAfterS(header: string | null, nowMs: number): number {
  const text = header?.trim() ?? "";
  const seconds = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : (Date.parse(text) - nowMs) / 1000;
  if (!Number.isFinite(seconds)) return RETRY_AFTER_DEFAULT_S;
  return Math.min(Math.max(Math.ceil(seconds), 1), RETRY_AFTER_MAX_S);
}

interface ErrorObject {
  message?: string | undefined;
  type?: string | undefined;
  code?: string | undefined;
}

function errorObjectOf(body: string): ErrorObject | null {
  try {
    return asErrorObject((JSON.parse(body) as { error?: unknown }).error);
  } catch {
    return null;
  }
}

function asErrorObject(value: unknown): ErrorObject | null {
  if (typeof value === "string") return { message: value };
  if (typeof value !== "object" || value === null) return null;
  const field = (name: string): string | undefined => {
    const found = (value as Record<string, unknown>)[name];
    return typeof found === "string" ? found : undefined;
  };
  return { message: field("message"), type: field("type"), code: field("code") };
}
