//! Whether the key of a request still may change something: asked of the records themselves.
//!
//! The door lets a key in that `auth` remembers, which may be one that was revoked seconds ago.
//!
//! Invariant: every statement that changes a project, a user or a key holds
//! `by_living_owner!`, so a key that was revoked before it changes nothing.

use records::{Database, Value};
use regional::{ApiError, Principal};

/// The condition that a key, by the number of its parameter, is an organisation's, of role
/// `owner`, and neither revoked nor at its end. It is part of the statement that it guards.
macro_rules! by_living_owner {
    (key: $key:literal, organization: $organization:literal, now_ms: $now_ms:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM api_keys maker JOIN projects home ON home.id = maker.project_id
                WHERE maker.id = ",
            $key,
            " AND home.organization_id = ",
            $organization,
            " AND maker.role = 'owner' AND maker.revoked_at_ms IS NULL
                AND (maker.expires_at_ms IS NULL OR maker.expires_at_ms > ",
            $now_ms,
            "))"
        )
    };
}
pub(crate) use by_living_owner;

const LIVES: &str = concat!(
    "SELECT 1 WHERE ",
    by_living_owner!(key: "?1", organization: "?2", now_ms: "?3")
);

/// Fails with 401 where the key is no owner's any more.
pub(crate) async fn must_live(
    database: &impl Database,
    who: &Principal,
    now_ms: i64,
) -> Result<(), ApiError> {
    let parameters = vec![
        Value::from(who.key_id.as_str()),
        Value::from(who.organization_id.as_str()),
        Value::from(now_ms),
    ];
    match database.execute(LIVES, parameters).await?.is_empty() {
        false => Ok(()),
        true => Err(ApiError::unauthorized("Incorrect API key provided.")),
    }
}
