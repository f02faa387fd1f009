// The conversations of a browser: the newest first, the oldest let go.
import "fake-indexeddb/auto";
import { describe, expect, it, vi } from "vitest";
import type { StoredConversation } from "../src/chat/conversation";
import { CONVERSATIONS_MAX, ConversationStore } from "../src/store/conversations";

const one = (id: string, updatedAtMs: number): StoredConversation => ({ id, title: `title ${id}`, updatedAtMs, messages: [] });
let databases = 0;
const fresh = (): ConversationStore => new ConversationStore(`test-${databases++}`);

describe("the store", () => {
  it("gives back what it was given", async () => {
    const store = fresh();
    await store.put(one("a", 1));
    expect(await store.get("a")).toEqual(one("a", 1));
    expect(await store.get("b")).toBeNull();
  });

  it("lists the newest first, without messages", async () => {
    const store = fresh();
    for (const [id, atMs] of [["a", 2], ["b", 3], ["c", 1]] as const) await store.put(one(id, atMs));
    expect((await store.list()).map((summary) => summary.id)).toEqual(["b", "a", "c"]);
    expect((await store.list())[0]).not.toHaveProperty("messages");
  });

  it("lets the oldest go beyond its limit", async () => {
    const store = fresh();
    for (let at = 0; at < CONVERSATIONS_MAX + 3; at++) await store.put(one(`c${at}`, at));
    expect(await store.list()).toHaveLength(CONVERSATIONS_MAX);
    expect(await store.get("c2")).toBeNull();
    expect(await store.get("c3")).not.toBeNull();
  });

  it("removes one and all", async () => {
    const store = fresh();
    await store.put(one("a", 1));
    await store.put(one("b", 2));
    await store.remove("a");
    expect((await store.list()).map((summary) => summary.id)).toEqual(["b"]);
    await store.removeAll();
    expect(await store.list()).toEqual([]);
  });

  it("works for as long as the page lives where there is no database", async () => {
    vi.stubGlobal("indexedDB", { open: () => { throw new DOMException("denied", "SecurityError"); } });
    const store = fresh();
    await store.put(one("a", 1));
    await store.put(one("b", 2));
    expect((await store.list()).map((summary) => summary.id)).toEqual(["b", "a"]);
    expect(await store.get("a")).toEqual(one("a", 1));
    vi.unstubAllGlobals();
  });
});
