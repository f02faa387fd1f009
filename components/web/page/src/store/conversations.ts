// The conversations of this browser, in IndexedDB. Bounded: the oldest go first. Where the browser
// refuses a database (some private windows), they live as long as the page.
import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { StoredConversation } from "../chat/conversation";

export type Summary = Pick<StoredConversation, "id" | "title" | "updatedAtMs">;

export const CONVERSATIONS_MAX = 200;
const DATABASE = "skerry";
const VERSION = 1;

interface Schema extends DBSchema {
  conversations: { key: string; value: StoredConversation; indexes: { updatedAtMs: number } };
}

export class ConversationStore {
  readonly #database: Promise<IDBPDatabase<Schema> | null>;
  readonly #memory = new Map<string, StoredConversation>();

  constructor(name = DATABASE) {
    // Some browsers refuse by a throw, some by a rejection: `async` makes both the latter.
    this.#database = openDatabase(name).catch(() => null);
  }

  async get(id: string): Promise<StoredConversation | null> {
    const database = await this.#database;
    return (database ? await database.get("conversations", id) : this.#memory.get(id)) ?? null;
  }

  /** Stores one and lets the oldest beyond the limit go. */
  async put(conversation: StoredConversation): Promise<void> {
    const database = await this.#database;
    if (!database) {
      this.#memory.set(conversation.id, conversation);
      return;
    }
    const transaction = database.transaction("conversations", "readwrite");
    await transaction.store.put(conversation);
    let excess = (await transaction.store.count()) - CONVERSATIONS_MAX;
    let oldest = excess > 0 ? await transaction.store.index("updatedAtMs").openCursor() : null;
    while (oldest && excess > 0) {
      await oldest.delete();
      excess -= 1;
      oldest = await oldest.continue();
    }
    await transaction.done;
  }

  async remove(id: string): Promise<void> {
    this.#memory.delete(id);
    await (await this.#database)?.delete("conversations", id);
  }

  async removeAll(): Promise<void> {
    this.#memory.clear();
    await (await this.#database)?.clear("conversations");
  }

  /** All of them, the newest first. */
  async list(): Promise<Summary[]> {
    const database = await this.#database;
    const all = database
      ? await database.getAllFromIndex("conversations", "updatedAtMs")
      : [...this.#memory.values()].sort((a, b) => a.updatedAtMs - b.updatedAtMs);
    return all.reverse().map(({ id, title, updatedAtMs }) => ({ id, title, updatedAtMs }));
  }
}

async function openDatabase(name: string): Promise<IDBPDatabase<Schema>> {
  return await openDB<Schema>(name, VERSION, {
    upgrade(database) {
      const store = database.createObjectStore("conversations", { keyPath: "id" });
      store.createIndex("updatedAtMs", "updatedAtMs");
    },
  });
}
