//! The persons for whom keys are made: what a key's user may do and see follows from the key.
//!
//! It stands under the keys. It does not know passwords or logins: there are none.

use crate::authority::{self, by_living_owner};
use crate::make::{self, Random};
use records::{Database, Value};
use regional::{ApiError, Principal};

/// Users of one organisation, at most.
const USERS_MAX: u32 = 10_000;
/// How the ids begin. A name may not, so that it is never taken for an id.
const ID_PREFIX: &str = "user_";

const FIND: &str = "SELECT id FROM users
    WHERE organization_id = ?1 AND (id = ?2 OR name = ?2) ORDER BY id <> ?2 LIMIT 1";
const INSERT: &str = concat!(
    "INSERT INTO users (id, organization_id, name, role, created_at_ms)
    SELECT ?3, ?1, ?2, ?4, ?5
    WHERE (SELECT count(*) FROM users WHERE organization_id = ?1) < ?7 AND ",
    by_living_owner!(key: "?6", organization: "?1", now_ms: "?5"),
    " ON CONFLICT (organization_id, name) DO NOTHING RETURNING id"
);

/// The id of the user of that id or name; a name that is new is written down.
pub(crate) async fn find_or_create(
    database: &impl Database,
    who: &Principal,
    user: &str,
    role: &str,
    now_ms: i64,
    random: Random,
) -> Result<String, ApiError> {
    if let Some(known) = find(database, who, user).await? {
        return Ok(known);
    }
    if user.starts_with(ID_PREFIX) {
        let message = "'user' is no user's id. Give the name of a new user, or an id.";
        return Err(ApiError::invalid("user", message));
    }
    let parameters = vec![
        Value::from(who.organization_id.as_str()),
        Value::from(user),
        Value::from(make::id("user", random)?),
        Value::from(role),
        Value::from(now_ms),
        Value::from(who.key_id.as_str()),
        Value::from(USERS_MAX),
    ];
    database.execute(INSERT, parameters).await?;
    // Another request may have written it down meanwhile.
    if let Some(made) = find(database, who, user).await? {
        return Ok(made);
    }
    authority::must_live(database, who, now_ms).await?;
    let message = format!("An organization has at most {USERS_MAX} users.");
    Err(ApiError::conflict("too_many_users", message))
}

async fn find(
    database: &impl Database,
    who: &Principal,
    user: &str,
) -> Result<Option<String>, ApiError> {
    let parameters = vec![Value::from(who.organization_id.as_str()), Value::from(user)];
    let rows = database.execute(FIND, parameters).await?;
    Ok(rows
        .first()
        .map(|row| row.text(0))
        .transpose()?
        .map(str::to_owned))
}
