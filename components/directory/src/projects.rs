//! An organisation's projects, for its owner.
//!
//! It stands behind the door and the role check. It does not know keys.

use crate::authority::{self, by_living_owner};
use crate::keys::{LIMITS_MAX, NAME_CHARS_MAX};
use crate::make::{self, Random};
use crate::page::Page;
use records::{Database, DatabaseError, Row, Value};
use regional::fields::Fields;
use regional::{Answer, ApiError, Asked, Principal};
use serde_json::json;

/// Projects of one organisation, at most.
const PROJECTS_MAX: u32 = 1_000;

const FIND: &str = "SELECT id, name, created_at_ms, requests_per_minute, tokens_per_minute,
        platform_tools
    FROM projects WHERE organization_id = ?1 AND id = ?2";
const LIST: &str = "SELECT id, name, created_at_ms, requests_per_minute, tokens_per_minute,
        platform_tools
    FROM projects WHERE organization_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
const PLACE: &str = "SELECT seq FROM projects WHERE organization_id = ?1 AND id = ?2";
const INSERT: &str = concat!(
    "INSERT INTO projects
        (id, organization_id, name, requests_per_minute, tokens_per_minute, created_at_ms,
         created_by, platform_tools)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?9
    WHERE (SELECT count(*) FROM projects WHERE organization_id = ?2) < ?8 AND ",
    by_living_owner!(key: "?7", organization: "?2", now_ms: "?6"),
    " RETURNING id, name, created_at_ms, requests_per_minute, tokens_per_minute, platform_tools"
);
/// One statement, so that two changes at once lose nothing of each other.
const UPDATE: &str = concat!(
    "UPDATE projects
    SET name = coalesce(?3, name),
        requests_per_minute = CASE WHEN ?4 THEN ?5 ELSE requests_per_minute END,
        tokens_per_minute = CASE WHEN ?4 THEN ?6 ELSE tokens_per_minute END,
        platform_tools = coalesce(?7, platform_tools),
        updated_at_ms = ?8, updated_by = ?9
    WHERE organization_id = ?1 AND id = ?2 AND ",
    by_living_owner!(key: "?9", organization: "?1", now_ms: "?8"),
    " RETURNING id, name, created_at_ms, requests_per_minute, tokens_per_minute, platform_tools"
);

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
    let limits = rate_limits(&mut fields)?.unwrap_or_default();
    let platform_tools = fields.boolean("platform_tools")?.unwrap_or(true);
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
        Value::from(u32::from(platform_tools)),
    ];
    let rows = database.execute(INSERT, parameters).await?;
    match rows.first() {
        Some(row) => Ok(Answer::ok(shape(row)?)),
        None => {
            authority::must_live(database, who, now_ms).await?;
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

/// `POST /v1/organization/projects/{project}`: what is left out stays as it is.
pub async fn update(
    database: &impl Database,
    who: &Principal,
    project: &str,
    asked: &Asked,
    now_ms: i64,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::parse(&asked.body)?;
    let name = fields.text("name", NAME_CHARS_MAX)?;
    let limits = rate_limits(&mut fields)?;
    let platform_tools = fields.boolean("platform_tools")?;
    fields.finish()?;
    let (requests_per_minute, tokens_per_minute) = limits.unwrap_or_default();
    let parameters = vec![
        Value::from(who.organization_id.as_str()),
        Value::from(project),
        Value::from(name),
        Value::from(u32::from(limits.is_some())),
        Value::from(requests_per_minute),
        Value::from(tokens_per_minute),
        Value::from(platform_tools.map(u32::from)),
        Value::from(now_ms),
        Value::from(who.key_id.as_str()),
    ];
    let rows = database.execute(UPDATE, parameters).await?;
    match rows.first() {
        Some(row) => Ok(Answer::ok(shape(row)?)),
        None => {
            authority::must_live(database, who, now_ms).await?;
            Err(ApiError::not_found("project"))
        }
    }
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

/// Requests and tokens a minute; None is the platform's default.
type RateLimits = (Option<i64>, Option<i64>);

/// `rate_limits` in a body, if it is there.
pub(crate) fn rate_limits(fields: &mut Fields) -> Result<Option<RateLimits>, ApiError> {
    let Some(mut limits) = fields.object("rate_limits")? else {
        return Ok(None);
    };
    let requests = limits.number("requests_per_minute", 0, LIMITS_MAX.0)?;
    let tokens = limits.number("tokens_per_minute", 0, LIMITS_MAX.1)?;
    limits.finish()?;
    Ok(Some((requests, tokens)))
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
        "platform_tools": row.integer(5)? != 0,
    }))
}
