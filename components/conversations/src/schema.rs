//! The tables. Instants are milliseconds since the Unix epoch.
//!
//! It stands under everything here. It does not know who asks: every row carries its project.

use records::migrate::Step;

/// All steps, oldest first.
pub const STEPS: &[Step] = &[TABLES];

/// An item is one of OpenAI's: a message, a function call, or a function's output. The items of
/// one message of a turn share `request_id` and `message_index`, so a turn that is delivered
/// twice is stored once, and a message can be put together again.
const TABLES: Step = &[
    "CREATE TABLE IF NOT EXISTS conversations (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        project_id TEXT NOT NULL,
        metadata TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        created_by TEXT NOT NULL
    ) STRICT",
    "CREATE INDEX IF NOT EXISTS conversations_of ON conversations (project_id, seq)",
    "CREATE TABLE IF NOT EXISTS items (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        request_id TEXT NOT NULL,
        message_index INTEGER NOT NULL,
        part_index INTEGER NOT NULL,
        type TEXT NOT NULL,
        role TEXT NOT NULL,
        name TEXT,
        call_id TEXT,
        text TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        UNIQUE (conversation_id, request_id, message_index, part_index)
    ) STRICT",
    "CREATE INDEX IF NOT EXISTS items_of ON items (conversation_id, seq)",
    // `PRAGMA foreign_keys` is off by default, and not every host lets a component set it.
    "CREATE TRIGGER IF NOT EXISTS conversation_deleted AFTER DELETE ON conversations BEGIN
        DELETE FROM items WHERE conversation_id = old.id;
    END",
];
