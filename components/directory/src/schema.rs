//! The tables, and the audit that no change can leave out.
//!
//! It stands under everything here. It does not know who asks: every change carries its actor.
//! Instants are milliseconds since the Unix epoch.

use records::migrate::Step;

/// All steps, oldest first.
pub const STEPS: &[Step] = &[TABLES, POLICIES, USERS];

/// A key is its own user's. Until this step every key was its maker's, the first user's, also
/// where it was made for somebody else: those of another role than `owner` are services of their
/// own from now on.
const USERS: Step = &[
    "CREATE UNIQUE INDEX IF NOT EXISTS users_named ON users (organization_id, name)",
    "UPDATE api_keys SET user_id = NULL
    WHERE role <> 'owner' AND created_by <> 'installation'
      AND user_id IN (SELECT user_id FROM installation)",
];

/// A project may be changed, and lets its models call the platform's tools or not.
const POLICIES: Step = &[
    "ALTER TABLE projects ADD COLUMN platform_tools INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE projects ADD COLUMN updated_at_ms INTEGER",
    "ALTER TABLE projects ADD COLUMN updated_by TEXT",
    "CREATE TRIGGER IF NOT EXISTS audit_project_updated
    AFTER UPDATE OF updated_at_ms ON projects BEGIN
        INSERT INTO audit (at_ms, actor, action, target, project_id)
        VALUES (new.updated_at_ms, new.updated_by, 'project.updated', new.id, new.id);
    END",
];

const TABLES: Step = &[
    "CREATE TABLE IF NOT EXISTS organizations (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL
    ) STRICT",
    "CREATE TABLE IF NOT EXISTS projects (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        organization_id TEXT NOT NULL REFERENCES organizations (id),
        name TEXT NOT NULL,
        requests_per_minute INTEGER,
        tokens_per_minute INTEGER,
        created_at_ms INTEGER NOT NULL,
        created_by TEXT NOT NULL
    ) STRICT",
    "CREATE INDEX IF NOT EXISTS projects_of ON projects (organization_id, seq)",
    "CREATE TABLE IF NOT EXISTS users (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL REFERENCES organizations (id),
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL
    ) STRICT",
    "CREATE TABLE IF NOT EXISTS api_keys (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        project_id TEXT NOT NULL REFERENCES projects (id),
        user_id TEXT REFERENCES users (id),
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        sha256 TEXT NOT NULL UNIQUE,
        redacted_value TEXT NOT NULL,
        requests_per_minute INTEGER,
        tokens_per_minute INTEGER,
        created_at_ms INTEGER NOT NULL,
        created_by TEXT NOT NULL,
        last_used_at_ms INTEGER,
        expires_at_ms INTEGER,
        revoked_at_ms INTEGER,
        revoked_by TEXT
    ) STRICT",
    "CREATE INDEX IF NOT EXISTS api_keys_of ON api_keys (project_id, seq)",
    "CREATE TABLE IF NOT EXISTS audit (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT NOT NULL,
        project_id TEXT NOT NULL
    ) STRICT",
    "CREATE TRIGGER IF NOT EXISTS audit_project_created AFTER INSERT ON projects BEGIN
        INSERT INTO audit (at_ms, actor, action, target, project_id)
        VALUES (new.created_at_ms, new.created_by, 'project.created', new.id, new.id);
    END",
    "CREATE TRIGGER IF NOT EXISTS audit_key_created AFTER INSERT ON api_keys BEGIN
        INSERT INTO audit (at_ms, actor, action, target, project_id)
        VALUES (new.created_at_ms, new.created_by, 'api_key.created', new.id, new.project_id);
    END",
    "CREATE TRIGGER IF NOT EXISTS audit_key_revoked
    AFTER UPDATE OF revoked_at_ms ON api_keys WHEN new.revoked_at_ms IS NOT NULL BEGIN
        INSERT INTO audit (at_ms, actor, action, target, project_id)
        VALUES (new.revoked_at_ms, new.revoked_by, 'api_key.deleted', new.id, new.project_id);
    END",
    // One row, and with it the first organisation: a statement is atomic, and so is all that its
    // triggers do.
    "CREATE TABLE IF NOT EXISTS installation (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        organization_id TEXT NOT NULL,
        project_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        key_id TEXT NOT NULL,
        key_sha256 TEXT NOT NULL,
        key_redacted_value TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL
    ) STRICT",
    "CREATE TRIGGER IF NOT EXISTS first_organization AFTER INSERT ON installation BEGIN
        INSERT INTO organizations (id, name, created_at_ms)
        VALUES (new.organization_id, 'Default organization', new.created_at_ms);
        INSERT INTO projects (id, organization_id, name, created_at_ms, created_by)
        VALUES (new.project_id, new.organization_id, 'Default project', new.created_at_ms,
                'installation');
        INSERT INTO users (id, organization_id, name, role, created_at_ms)
        VALUES (new.user_id, new.organization_id, 'Owner', 'owner', new.created_at_ms);
        INSERT INTO api_keys (id, project_id, user_id, name, role, sha256, redacted_value,
                              created_at_ms, created_by)
        VALUES (new.key_id, new.project_id, new.user_id, 'First key', 'owner', new.key_sha256,
                new.key_redacted_value, new.created_at_ms, 'installation');
    END",
];
