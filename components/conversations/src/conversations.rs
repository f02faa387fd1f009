//! Conversations, for their project: OpenAI's Conversations API, and a list of them.
//!
//! It stands behind the door. Another project's conversation is not there (404).

use crate::given::{self, Item};
use crate::items;
use crate::page::{Order, Page};
use crate::routes::Random;
use records::{Database, DatabaseError, Row, Value};
use regional::fields::Fields;
use regional::{Answer, ApiError, Asked, Principal};
use serde_json::{Map, Value as Json, json};

/// As OpenAI: pairs of metadata, and the characters of a key and of a value.
const PAIRS_MAX: usize = 16;
const KEY_CHARS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 512;

const FIND: &str = "SELECT id, metadata, created_at_ms FROM conversations
    WHERE project_id = ?1 AND id = ?2";
const PLACE: &str = "SELECT seq FROM conversations WHERE project_id = ?1 AND id = ?2";
const LIST_UP: &str = "SELECT id, metadata, created_at_ms FROM conversations
    WHERE project_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
const LIST_DOWN: &str = "SELECT id, metadata, created_at_ms FROM conversations
    WHERE project_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
const INSERT: &str =
    "INSERT INTO conversations (id, project_id, metadata, created_at_ms, created_by)
    VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id, metadata, created_at_ms";
const UPDATE: &str = "UPDATE conversations SET metadata = ?3 WHERE project_id = ?1 AND id = ?2
    RETURNING id, metadata, created_at_ms";
const DELETE: &str = "DELETE FROM conversations WHERE project_id = ?1 AND id = ?2 RETURNING id";

/// `GET /v1/conversations`: newest first, unless asked otherwise.
pub async fn list(
    database: &impl Database,
    who: &Principal,
    asked: &Asked,
) -> Result<Answer, ApiError> {
    let page = Page::read(asked.query.as_deref())?;
    let place = match &page.after {
        None => page.start(),
        Some(after) => {
            let rows = database.execute(PLACE, named(who, after)).await?;
            let row = rows.first();
            row.ok_or_else(|| ApiError::invalid("after", "'after' is no conversation's id."))?
                .integer(0)?
        }
    };
    let statement = match page.order {
        Order::Ascending => LIST_UP,
        Order::Descending => LIST_DOWN,
    };
    let project = Value::from(who.project_id.as_str());
    let parameters = vec![project, Value::from(place), Value::from(page.rows_max())];
    let rows = database.execute(statement, parameters).await?;
    let found = rows.iter().map(shape).collect::<Result<_, _>>()?;
    Ok(page.list(found))
}

/// `POST /v1/conversations`.
pub async fn create(
    database: &impl Database,
    who: &Principal,
    asked: &Asked,
    now_ms: i64,
    random: Random,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::parse(&asked.body)?;
    let metadata = metadata(&mut fields)?.unwrap_or_default();
    let given: Vec<Item> = match fields.value("items") {
        None => Vec::new(),
        Some(items) => given::items(items)?,
    };
    fields.finish()?;
    let id = new_id("conv", random)?;
    let parameters = vec![
        Value::from(id.as_str()),
        Value::from(who.project_id.as_str()),
        Value::from(Json::Object(metadata).to_string()),
        Value::from(now_ms),
        Value::from(who.key_id.as_str()),
    ];
    let rows = database.execute(INSERT, parameters).await?;
    let row = rows
        .first()
        .ok_or_else(|| ApiError::internal("an insert returned no row"))?;
    if !given.is_empty() {
        let request_id = new_id("req", random)?;
        items::insert(database, &who.project_id, &id, &request_id, &given, now_ms).await?;
    }
    Ok(Answer::ok(shape(row)?))
}

/// `GET /v1/conversations/{id}`.
pub async fn get(database: &impl Database, who: &Principal, id: &str) -> Result<Answer, ApiError> {
    one(database.execute(FIND, named(who, id)).await?)
}

/// `POST /v1/conversations/{id}`: the metadata, anew.
pub async fn update(
    database: &impl Database,
    who: &Principal,
    id: &str,
    asked: &Asked,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::parse(&asked.body)?;
    let metadata = metadata(&mut fields)?.ok_or_else(|| ApiError::missing("metadata"))?;
    fields.finish()?;
    let mut parameters = named(who, id);
    parameters.push(Value::from(Json::Object(metadata).to_string()));
    one(database.execute(UPDATE, parameters).await?)
}

/// `DELETE /v1/conversations/{id}`, and all its items with it.
pub async fn delete(
    database: &impl Database,
    who: &Principal,
    id: &str,
) -> Result<Answer, ApiError> {
    let rows = database.execute(DELETE, named(who, id)).await?;
    let row = rows
        .first()
        .ok_or_else(|| ApiError::not_found("conversation"))?;
    Ok(Answer::ok(json!({
        "id": row.text(0)?, "object": "conversation.deleted", "deleted": true,
    })))
}

/// Fails with 404 where the project has no such conversation.
pub(crate) async fn must_exist(
    database: &impl Database,
    project_id: &str,
    id: &str,
) -> Result<(), ApiError> {
    let parameters = vec![Value::from(project_id), Value::from(id)];
    match database.execute(PLACE, parameters).await?.is_empty() {
        false => Ok(()),
        true => Err(ApiError::not_found("conversation")),
    }
}

/// `prefix_` and 96 random bits in hexadecimal: no two ids are the same.
pub(crate) fn new_id(prefix: &str, random: Random) -> Result<String, ApiError> {
    let mut bytes = [0; 16];
    random(&mut bytes[4..])?;
    Ok(format!("{prefix}_{:024x}", u128::from_be_bytes(bytes)))
}

fn named(who: &Principal, id: &str) -> Vec<Value> {
    vec![Value::from(who.project_id.as_str()), Value::from(id)]
}

fn one(rows: Vec<Row>) -> Result<Answer, ApiError> {
    let row = rows
        .first()
        .ok_or_else(|| ApiError::not_found("conversation"))?;
    Ok(Answer::ok(shape(row)?))
}

fn metadata(fields: &mut Fields) -> Result<Option<Map<String, Json>>, ApiError> {
    let Some(value) = fields.value("metadata") else {
        return Ok(None);
    };
    let fits = |pairs: &Map<String, Json>| {
        pairs.len() <= PAIRS_MAX
            && pairs.iter().all(|(key, value)| {
                let value = value.as_str().map(|value| value.chars().count());
                (1..=KEY_CHARS_MAX).contains(&key.chars().count())
                    && value.is_some_and(|chars| chars <= VALUE_CHARS_MAX)
            })
    };
    match value {
        Json::Object(pairs) if fits(&pairs) => Ok(Some(pairs)),
        _ => Err(ApiError::invalid(
            "metadata",
            format!(
                "'metadata' must be an object of at most {PAIRS_MAX} texts; a key has up to \
                 {KEY_CHARS_MAX} characters, a value up to {VALUE_CHARS_MAX}."
            ),
        )),
    }
}

fn shape(row: &Row) -> Result<Json, DatabaseError> {
    let metadata: Json = serde_json::from_str(row.text(1)?).map_err(|_| DatabaseError::Shape {
        column: 1,
        expected: "JSON",
    })?;
    Ok(json!({
        "id": row.text(0)?,
        "object": "conversation",
        "created_at": row.integer(2)? / 1_000,
        "metadata": metadata,
    }))
}
