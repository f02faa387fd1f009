//! An organisation's projects, for its owner.
//!
//! It stands behind the door and the role check. It does not know keys.

use crate::keys::{LIMITS_MAX, NAME_CHARS_MAX};
use crate::make::{self, Random};
use crate::page::Page;
use records::{Database, DatabaseError, Row, Value};
use regional::fields::Fields;
use regional::{Answer, ApiError, Asked, Principal};
use serde_json::json;

/// Projects of one organisation, at most.
const PROJECTS_MAX: u32 = 1_000;

const FIND: &str =
    "SELECT id, name, created_at_ms, requests_per_minute, tokens_per_minute FROM projects
    WHERE organization_id = ?1 AND id = ?2";
const LIST: &str =
    "SELECT id, name, created_at_ms, requests_per_minute, tokens_per_minute FROM projects
    WHERE organization_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
const PLACE: &str = "SELECT seq FROM projects WHERE organization_id = ?1 AND id = ?2";
const INSERT: &str = "INSERT INTO projects
        (id, organization_id, name, requests_per_minute, tokens_per_minute, created_at_ms,
         created_by)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
    WHERE (SELECT count(*) FROM projects WHERE organization_id = ?2) < ?8
    RETURNING id, name, created_at_ms, requests_per_minute, tokens_per_minute";

/// `GET /v1/organization/projects`.
pub async fn list(
    database: &impl Database,
    who: &Principal,
    asked: &Asked,
) -> Result<Answer, ApiError> {
    let page = Page::read(asked.query.as_deref())?;
    let organization = || Value::from(who.organization_id.as_str());
    let place = match &page.after {
        None => 0,
        Some(after) => {
            let found = database
                .execute(PLACE, vec![organization(), Value::from(after.as_str())])
                .await?;
            let row = found.first();
            row.ok_or_else(|| ApiError::invalid("after", "'after' is no project's id."))?
                .integer(0)?
        }
    };
    let parameters = vec![
        organization(),
        Value::from(place),
        Value::from(page.rows_max()),
    ];
    let rows = database.execute(LIST, parameters).await?;
    let found = rows.iter().map(shape).collect::<Result<_, _>>()?;
    Ok(page.list(found))
}

/// `POST /v1/organization/projects`.
pub async fn create(
    database: &impl Database,
    who: &Principal,
    asked: &Asked,
    now_ms: i64,
    random: Random,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::parse(&asked.body)?;
    let name = fields.text("name", NAME_CHARS_MAX)?;
    let limits = rate_limits(&mut fields)?;
    fields.finish()?;
    let parameters = vec![
        Value::from(make::id("proj", random)?),
        Value::from(who.organization_id.as_str()),
        Value::from(name.ok_or_else(|| ApiError::missing("name"))?),
        Value::from(limits.0),
        Value::from(limits.1),
        Value::from(now_ms),
        Value::from(who.key_id.as_str()),
        Value::from(PROJECTS_MAX),
    ];
    let rows = database.execute(INSERT, parameters).await?;
    match rows.first() {
        Some(row) => Ok(Answer::ok(shape(row)?)),
        None => {
            let message = format!("An organization has at most {PROJECTS_MAX} projects.");
            Err(ApiError::conflict("too_many_projects", message))
        }
    }
}

/// `GET /v1/organization/projects/{project}`.
pub async fn get(
    database: &impl Database,
    who: &Principal,
    project: &str,
) -> Result<Answer, ApiError> {
    Ok(Answer::ok(shape(&find(database, who, project).await?)?))
}

/// The project, if it is the organisation's.
pub(crate) async fn find(
    database: &impl Database,
    who: &Principal,
    project: &str,
) -> Result<Row, ApiError> {
    let parameters = vec![
        Value::from(who.organization_id.as_str()),
        Value::from(project),
    ];
    let found = database.execute(FIND, parameters).await?.into_iter().next();
    found.ok_or_else(|| ApiError::not_found("project"))
}

/// `rate_limits` in a body: requests and tokens a minute.
pub(crate) fn rate_limits(fields: &mut Fields) -> Result<(Option<i64>, Option<i64>), ApiError> {
    let Some(mut limits) = fields.object("rate_limits")? else {
        return Ok((None, None));
    };
    let requests = limits.number("requests_per_minute", 0, LIMITS_MAX.0)?;
    let tokens = limits.number("tokens_per_minute", 0, LIMITS_MAX.1)?;
    limits.finish()?;
    Ok((requests, tokens))
}

fn shape(row: &Row) -> Result<serde_json::Value, DatabaseError> {
    Ok(json!({
        "object": "organization.project",
        "id": row.text(0)?,
        "name": row.text(1)?,
        "created_at": row.integer(2)? / 1_000,
        "archived_at": null,
        "status": "active",
        "rate_limits": {
            "requests_per_minute": row.optional_integer(3)?,
            "tokens_per_minute": row.optional_integer(4)?,
        },
    }))
}
