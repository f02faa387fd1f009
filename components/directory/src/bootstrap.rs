//! The first key: one organisation, project, user and key, made once.
//!
//! The host asks for it in process after every start; the private route is reachable from no
//! outside. It does not know how the key is shown.

use crate::make::{self, Random};
use records::{Database, Value};
use regional::{Answer, ApiError};
use serde_json::json;

const INSERT: &str = "INSERT INTO installation
        (only, organization_id, project_id, user_id, key_id, key_sha256, key_redacted_value,
         created_at_ms)
    VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (only) DO NOTHING
    RETURNING only";

/// 200 with the key the first time, 204 ever after. Of two at once one gets the key.
pub async fn bootstrap(
    database: &impl Database,
    now_ms: i64,
    random: Random,
) -> Result<Answer, ApiError> {
    let (organization, project) = (make::id("org", random)?, make::id("proj", random)?);
    let key = make::key(random)?;
    let parameters = vec![
        Value::from(organization.as_str()),
        Value::from(project.as_str()),
        Value::from(make::id("user", random)?),
        Value::from(make::id("key", random)?),
        Value::from(key.sha256()),
        Value::from(key.redacted()),
        Value::from(now_ms),
    ];
    if database.execute(INSERT, parameters).await?.is_empty() {
        return Ok(Answer::nothing());
    }
    Ok(Answer::ok(json!({
        "api_key": key.reveal(),
        "project_id": project,
        "organization_id": organization,
    })))
}
