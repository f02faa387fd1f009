//! The tables.
//!
//! It stands under everything here. Instants are milliseconds since the Unix epoch, amounts are
//! the model's tokens.

use records::migrate::Step;

/// All steps, oldest first.
pub const STEPS: &[Step] = &[TABLES, ESTIMATED];

const TABLES: Step = &[
    "CREATE TABLE IF NOT EXISTS usage (
        request_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        project_id TEXT NOT NULL,
        user_id TEXT,
        key_id TEXT NOT NULL,
        model TEXT NOT NULL,
        backend TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        model_calls INTEGER NOT NULL,
        tool_calls INTEGER NOT NULL,
        started_at_ms INTEGER NOT NULL,
        duration_ms INTEGER NOT NULL,
        applied_at_ms INTEGER NOT NULL
    ) STRICT",
    "CREATE INDEX IF NOT EXISTS usage_of ON usage (organization_id, started_at_ms)",
];

/// What was applied before was not marked.
const ESTIMATED: Step = &["ALTER TABLE usage ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0"];
