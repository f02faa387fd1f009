//! Whose key is this? The private route that `auth` asks on a miss.
//!
//! It does not know the key, only its digest, and not what the answer is used for.

use api_key::wire::{Limits, Principal, Role, VerifiedKey, VerifyRequest};
use records::{Database, DatabaseError, Row, Value};
use regional::{Answer, ApiError};

/// How exact `last_used_at` is. A write per request would cost more than it tells.
const LAST_USED_STEP_MS: i64 = 60_000;

const FIND: &str = "SELECT p.organization_id, k.project_id, k.user_id, k.id, k.role,
           k.requests_per_minute, k.tokens_per_minute,
           p.requests_per_minute, p.tokens_per_minute, k.expires_at_ms, k.last_used_at_ms,
           p.platform_tools
    FROM api_keys k JOIN projects p ON p.id = k.project_id
    WHERE k.sha256 = ?1 AND k.revoked_at_ms IS NULL";
const TOUCH: &str = "UPDATE api_keys SET last_used_at_ms = ?2
    WHERE id = ?1 AND coalesce(last_used_at_ms, 0) < ?2";

const LIVES: &str = "SELECT 1 FROM api_keys WHERE id = ?1 AND revoked_at_ms IS NULL
    AND (expires_at_ms IS NULL OR expires_at_ms > ?2)";

/// `GET /internal/keys/{id}`: 204 where the key still lives, 404 where it does not. Another half
/// asks before what cannot be undone, for what `auth` remembers may be seconds old.
pub async fn lives(database: &impl Database, key: &str, now_ms: i64) -> Result<Answer, ApiError> {
    let parameters = vec![Value::from(key), Value::from(now_ms)];
    match database.execute(LIVES, parameters).await?.is_empty() {
        false => Ok(Answer::nothing()),
        true => Err(ApiError::not_found("key")),
    }
}

/// 200 with the principal, 404 if no such key lives, 410 if its time is over.
pub async fn verify(
    database: &impl Database,
    body: &[u8],
    now_ms: i64,
) -> Result<Answer, ApiError> {
    let asked: VerifyRequest = serde_json::from_slice(body)
        .map_err(|error| ApiError::not_json(format!("not a question about a key: {error}")))?;
    let rows = database
        .execute(FIND, vec![Value::from(asked.key_sha256)])
        .await?;
    let Some(row) = rows.first() else {
        return Err(ApiError::not_found("key"));
    };
    let expires_at_ms = row.optional_integer(9)?;
    if expires_at_ms.is_some_and(|end| end <= now_ms) {
        return Err(ApiError::gone("key"));
    }
    let known = VerifiedKey {
        principal: principal(row)?,
        expires_at_ms: expires_at_ms.and_then(|end| u64::try_from(end).ok()),
    };
    let mut answer = Answer::ok(
        serde_json::to_value(&known).map_err(|error| ApiError::internal(error.to_string()))?,
    );
    if row
        .optional_integer(10)?
        .is_none_or(|last| last + LAST_USED_STEP_MS <= now_ms)
    {
        let touched = vec![Value::from(known.principal.key_id), Value::from(now_ms)];
        // The key is good all the same.
        answer.log = database
            .execute(TOUCH, touched)
            .await
            .err()
            .map(|error| error.to_string());
    }
    Ok(answer)
}

fn principal(row: &Row) -> Result<Principal, DatabaseError> {
    let limits = |column| -> Result<Limits, DatabaseError> {
        Ok(Limits {
            requests_per_minute: row.optional_u32(column)?,
            tokens_per_minute: row.optional_u32(column + 1)?,
        })
    };
    Ok(Principal {
        organization_id: row.text(0)?.to_owned(),
        project_id: row.text(1)?.to_owned(),
        user_id: row.optional_text(2)?.map(str::to_owned),
        key_id: row.text(3)?.to_owned(),
        roles: roles(row.text(4)?),
        key_limits: limits(5)?,
        project_limits: limits(7)?,
        platform_tools: row.integer(11)? != 0,
    })
}

/// What a key of this role may do. A role that is not known may do nothing.
fn roles(role: &str) -> Vec<Role> {
    match role {
        "owner" => vec![Role::Owner, Role::Member, Role::Reader],
        "member" => vec![Role::Member],
        "reader" => vec![Role::Reader],
        _ => vec![],
    }
}
