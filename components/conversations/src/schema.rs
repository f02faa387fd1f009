//! The tables. Instants are milliseconds since the Unix epoch.
//!
//! It stands under everything here. It does not know who asks: every row carries its project.

use records::migrate::Step;

/// All steps, oldest first.
pub const STEPS: &[Step] = &[TABLES, OWNERS, REFUSALS, QUOTAS];

/// Bytes that a conversation, or an item, takes beside its texts: its row and its places in the
/// indexes.
macro_rules! conversation_bytes {
    ($metadata:literal) => {
        concat!("(300 + octet_length(", $metadata, "))")
    };
}
/// As it is read from a row whose text is long, this costs no reading of the text.
macro_rules! item_bytes {
    ($row:literal) => {
        concat!(
            "(200 + octet_length(",
            $row,
            "text) + coalesce(octet_length(",
            $row,
            "name), 0) + coalesce(octet_length(",
            $row,
            "call_id), 0))"
        )
    };
}
pub(crate) use {conversation_bytes, item_bytes};

/// A conversation is its owner's: a user, or a key of no user. One that is older has no owner,
/// and stays every key's of its project.
const OWNERS: Step = &[
    "ALTER TABLE conversations ADD COLUMN owner TEXT",
    "CREATE INDEX IF NOT EXISTS conversations_of_owner ON conversations (project_id, owner, seq)",
];

/// A refused item is shown and is no part of a prompt. What the platform or a client prescribes
/// is found without a look at all that was said since.
const REFUSALS: Step = &[
    "ALTER TABLE items ADD COLUMN refused INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX IF NOT EXISTS instructions_of ON items (conversation_id, seq)
        WHERE role IN ('system', 'developer')",
];

/// What a project stores, counted by triggers in the statement that changes it. The counts are
/// absolute and come last, so that a step that runs twice, or beside a write, ends right.
const QUOTAS: Step = &[
    "ALTER TABLE conversations ADD COLUMN item_count INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE conversations ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE IF NOT EXISTS stored (
        project_id TEXT PRIMARY KEY,
        conversations INTEGER NOT NULL,
        items INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT",
    "CREATE TRIGGER IF NOT EXISTS count_conversation AFTER INSERT ON conversations BEGIN
        INSERT INTO stored (project_id, conversations, items, bytes)
        VALUES (new.project_id, 1, new.item_count, new.bytes)
        ON CONFLICT (project_id) DO UPDATE SET conversations = conversations + 1,
            items = items + new.item_count, bytes = bytes + new.bytes;
    END",
    "CREATE TRIGGER IF NOT EXISTS recount_conversation
    AFTER UPDATE OF item_count, bytes ON conversations BEGIN
        UPDATE stored SET items = items + new.item_count - old.item_count,
            bytes = bytes + new.bytes - old.bytes WHERE project_id = new.project_id;
    END",
    "CREATE TRIGGER IF NOT EXISTS discount_conversation AFTER DELETE ON conversations BEGIN
        UPDATE stored SET conversations = conversations - 1, items = items - old.item_count,
            bytes = bytes - old.bytes WHERE project_id = old.project_id;
    END",
    concat!(
        "CREATE TRIGGER IF NOT EXISTS count_item AFTER INSERT ON items BEGIN
        UPDATE conversations SET item_count = item_count + 1, bytes = bytes + ",
        item_bytes!("new."),
        " WHERE id = new.conversation_id;
    END"
    ),
    concat!(
        "UPDATE conversations SET
        item_count = (SELECT count(*) FROM items WHERE conversation_id = conversations.id),
        bytes = ",
        conversation_bytes!("metadata"),
        " + (SELECT coalesce(sum(",
        item_bytes!("items."),
        "), 0) FROM items WHERE conversation_id = conversations.id)"
    ),
    "INSERT INTO stored (project_id, conversations, items, bytes)
    SELECT project_id, count(*), sum(item_count), sum(bytes) FROM conversations
    WHERE true GROUP BY project_id
    ON CONFLICT (project_id) DO UPDATE SET conversations = excluded.conversations,
        items = excluded.items, bytes = excluded.bytes",
];

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
