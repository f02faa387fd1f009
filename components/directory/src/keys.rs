//! A project's keys, for its owner: make, list, look at, end.
//!
//! It stands behind the door and the role check. A key's value passes through here once, when it
//! is made; after that there is only its digest.

use crate::authority::{self, by_living_owner};
use crate::make::{self, Random};
use crate::page::Page;
use crate::{projects, users};
use records::{Database, DatabaseError, Row, Value};
use regional::fields::Fields;
use regional::{Answer, ApiError, Asked, Principal};
use serde_json::json;

/// Characters of a name, at most.
pub(crate) const NAME_CHARS_MAX: usize = 100;
/// Requests and tokens a minute, at most. What `rate-limit` keeps per key grows with the first.
pub(crate) const LIMITS_MAX: (i64, i64) = (100_000, 1_000_000_000);
/// Living keys of one project, at most.
const KEYS_MAX: u32 = 1_000;
/// The latest end of a key, in seconds since the Unix epoch: the year 9999.
const EXPIRES_AT_MAX: i64 = 253_402_300_799;

/// The columns that `shape` reads, in its order. `u` is null for a key of no person.
macro_rules! columns {
    () => {
        "k.id, k.name, k.redacted_value, k.created_at_ms, k.last_used_at_ms, k.role,
         k.expires_at_ms, k.requests_per_minute, k.tokens_per_minute,
         u.id, u.name, u.role, u.created_at_ms"
    };
}

const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
    WHERE k.project_id = ?1 AND k.seq > ?2 AND k.revoked_at_ms IS NULL
    ORDER BY k.seq LIMIT ?3"
);
const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
    WHERE k.project_id = ?1 AND k.id = ?2 AND k.revoked_at_ms IS NULL"
);
/// A key that was ended meanwhile still marks its place.
const PLACE: &str = "SELECT seq FROM api_keys WHERE project_id = ?1 AND id = ?2";
const INSERT: &str = concat!(
    "INSERT INTO api_keys
        (id, project_id, user_id, name, role, sha256, redacted_value, requests_per_minute,
         tokens_per_minute, created_at_ms, created_by, expires_at_ms)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
    WHERE (SELECT count(*) FROM api_keys WHERE project_id = ?2 AND revoked_at_ms IS NULL) < ?13
      AND ",
    by_living_owner!(key: "?11", organization: "?14", now_ms: "?10"),
    " RETURNING id"
);
/// The organisation keeps at least one key of role owner that still works.
const REVOKE: &str = concat!(
    "UPDATE api_keys SET revoked_at_ms = ?3, revoked_by = ?4
    WHERE project_id = ?1 AND id = ?2 AND revoked_at_ms IS NULL
      AND (role <> 'owner' OR EXISTS (
            SELECT 1 FROM api_keys o JOIN projects p ON p.id = o.project_id
            WHERE p.organization_id = ?5 AND o.id <> ?2 AND o.role = 'owner'
              AND o.revoked_at_ms IS NULL AND o.expires_at_ms IS NULL))
      AND ",
    by_living_owner!(key: "?4", organization: "?5", now_ms: "?3"),
    " RETURNING id"
);

/// `GET /v1/organization/projects/{project}/api_keys`.
pub async fn list(
    database: &impl Database,
    who: &Principal,
    project: &str,
    asked: &Asked,
) -> Result<Answer, ApiError> {
    let page = Page::read(asked.query.as_deref())?;
    projects::find(database, who, project).await?;
    let place = match &page.after {
        None => 0,
        Some(after) => {
            let parameters = vec![Value::from(project), Value::from(after.as_str())];
            let found = database.execute(PLACE, parameters).await?;
            let row = found.first();
            row.ok_or_else(|| ApiError::invalid("after", "'after' is no key's id."))?
                .integer(0)?
        }
    };
    let parameters = vec![
        Value::from(project),
        Value::from(place),
        Value::from(page.rows_max()),
    ];
    let rows = database.execute(LIST, parameters).await?;
    let found = rows.iter().map(shape).collect::<Result<_, _>>()?;
    Ok(page.list(found))
}

/// `GET /v1/organization/projects/{project}/api_keys/{key}`.
pub async fn get(
    database: &impl Database,
    who: &Principal,
    project: &str,
    key: &str,
) -> Result<Answer, ApiError> {
    projects::find(database, who, project).await?;
    Ok(Answer::ok(find(database, project, key).await?))
}

/// `POST /v1/organization/projects/{project}/api_keys`.
pub async fn create(
    database: &impl Database,
    who: &Principal,
    project: &str,
    asked: &Asked,
    now_ms: i64,
    random: Random,
) -> Result<Answer, ApiError> {
    let wanted = Wanted::read(&asked.body, now_ms)?;
    projects::find(database, who, project).await?;
    let user = match &wanted.user {
        None => None,
        Some(user) => {
            let role = wanted.role.as_str();
            Some(users::find_or_create(database, who, user, role, now_ms, random).await?)
        }
    };
    let (id, key) = (make::id("key", random)?, make::key(random)?);
    let parameters = vec![
        Value::from(id.as_str()),
        Value::from(project),
        Value::from(user),
        Value::from(wanted.name),
        Value::from(wanted.role),
        Value::from(key.sha256()),
        Value::from(key.redacted()),
        Value::from(wanted.requests_per_minute),
        Value::from(wanted.tokens_per_minute),
        Value::from(now_ms),
        Value::from(who.key_id.as_str()),
        Value::from(wanted.expires_at_ms),
        Value::from(KEYS_MAX),
        Value::from(who.organization_id.as_str()),
    ];
    if database.execute(INSERT, parameters).await?.is_empty() {
        authority::must_live(database, who, now_ms).await?;
        let message = format!("A project has at most {KEYS_MAX} keys.");
        return Err(ApiError::conflict("too_many_keys", message));
    }
    let mut made = find(database, project, &id).await?;
    made["value"] = json!(key.reveal());
    Ok(Answer::ok(made))
}

/// `DELETE /v1/organization/projects/{project}/api_keys/{key}`.
pub async fn delete(
    database: &impl Database,
    who: &Principal,
    project: &str,
    key: &str,
    now_ms: i64,
) -> Result<Answer, ApiError> {
    projects::find(database, who, project).await?;
    let parameters = vec![
        Value::from(project),
        Value::from(key),
        Value::from(now_ms),
        Value::from(who.key_id.as_str()),
        Value::from(who.organization_id.as_str()),
    ];
    if database.execute(REVOKE, parameters).await?.is_empty() {
        authority::must_live(database, who, now_ms).await?;
        // It is not there, or it is the last one.
        find(database, project, key).await?;
        let message = "This is the organization's last owner key without an end. Make another \
                       one first.";
        return Err(ApiError::conflict("last_owner_key", message));
    }
    Ok(Answer::ok(json!({
        "object": "organization.project.api_key.deleted",
        "id": key,
        "deleted": true,
    })))
}

/// What a body asks for.
struct Wanted {
    name: String,
    role: String,
    /// Whose key it will be, by name or id; none is a service of its own.
    user: Option<String>,
    expires_at_ms: Option<i64>,
    requests_per_minute: Option<i64>,
    tokens_per_minute: Option<i64>,
}

impl Wanted {
    fn read(body: &[u8], now_ms: i64) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let name = fields.text("name", NAME_CHARS_MAX)?;
        let role = fields
            .text("role", NAME_CHARS_MAX)?
            .unwrap_or_else(|| "member".to_owned());
        let user = fields.text("user", NAME_CHARS_MAX)?;
        let expires_at = fields.number("expires_at", 0, EXPIRES_AT_MAX)?;
        let (requests_per_minute, tokens_per_minute) =
            projects::rate_limits(&mut fields)?.unwrap_or_default();
        fields.finish()?;
        if !["owner", "member", "reader"].contains(&role.as_str()) {
            let message = "'role' must be 'owner', 'member' or 'reader'.";
            return Err(ApiError::invalid("role", message));
        }
        let expires_at_ms = expires_at.map(|seconds| seconds * 1_000);
        if expires_at_ms.is_some_and(|end| end <= now_ms) {
            let message = "'expires_at' must be in the future, in seconds since the Unix epoch.";
            return Err(ApiError::invalid("expires_at", message));
        }
        Ok(Self {
            name: name.unwrap_or_else(|| "Secret key".to_owned()),
            role,
            user,
            expires_at_ms,
            requests_per_minute,
            tokens_per_minute,
        })
    }
}

async fn find(
    database: &impl Database,
    project: &str,
    key: &str,
) -> Result<serde_json::Value, ApiError> {
    let rows = database
        .execute(FIND, vec![Value::from(project), Value::from(key)])
        .await?;
    let row = rows.first().ok_or_else(|| ApiError::not_found("API key"))?;
    Ok(shape(row)?)
}

fn shape(row: &Row) -> Result<serde_json::Value, DatabaseError> {
    let seconds = |column| -> Result<Option<i64>, DatabaseError> {
        Ok(row.optional_integer(column)?.map(|ms| ms / 1_000))
    };
    let owner = match row.optional_text(9)? {
        None => json!({ "type": "service_account" }),
        Some(user) => json!({ "type": "user", "user": {
            "object": "organization.project.user",
            "id": user,
            "name": row.text(10)?,
            "role": row.text(11)?,
            "added_at": seconds(12)?,
        }}),
    };
    Ok(json!({
        "object": "organization.project.api_key",
        "id": row.text(0)?,
        "name": row.text(1)?,
        "redacted_value": row.text(2)?,
        "created_at": seconds(3)?,
        "last_used_at": seconds(4)?,
        "role": row.text(5)?,
        "expires_at": seconds(6)?,
        "rate_limits": {
            "requests_per_minute": row.optional_integer(7)?,
            "tokens_per_minute": row.optional_integer(8)?,
        },
        "owner": owner,
    }))
}
