//! Conversations, for their owner: OpenAI's Conversations API, and a list of them.
//!
//! It stands behind the door. Another project's conversation, or another user's, is not there
//! (404).

use crate::given::{self, Item};
use crate::items;
use crate::page::{Order, Page, page};
use crate::quota::{Quota, has_room};
use crate::routes::{Now, Random};
use crate::schema::conversation_bytes;
use records::{Database, DatabaseError, Row, Value};
use regional::fields::Fields;
use regional::{Answer, ApiError, Asked, Principal, Role};
use serde_json::{Map, Value as Json, json};

/// As OpenAI: pairs of metadata, and the characters of a key and of a value.
const PAIRS_MAX: usize = 16;
const KEY_CHARS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 512;

/// Whose a conversation may be for a key to see it, by the parameters that [`named`] gives: its
/// own, its project's as a whole, or anybody's where it is of role owner.
macro_rules! visible {
    () => {
        "project_id = ?1 AND id = ?2 AND (owner IS NULL OR owner = ?3 OR ?4)"
    };
}

const FIND: &str = concat!(
    "SELECT id, metadata, created_at_ms FROM conversations WHERE ",
    visible!()
);
const PLACE: &str = concat!("SELECT seq FROM conversations WHERE ", visible!());
const OWNER: &str = "SELECT owner FROM conversations WHERE project_id = ?1 AND id = ?2";

macro_rules! list {
    (of: $source:expr, order: $order:literal) => {
        page!(select: "id, metadata, created_at_ms", from: "conversations", among: $source,
              bytes: conversation_bytes!("metadata"), order: $order)
    };
}
/// Two ranges of an index: what others have is not looked at.
macro_rules! own {
    ($comparison:literal) => {
        concat!(
            "(SELECT seq, metadata FROM conversations
                WHERE project_id = ?4 AND owner = ?5 AND seq ",
            $comparison,
            " ?3
            UNION ALL SELECT seq, metadata FROM conversations
                WHERE project_id = ?4 AND owner IS NULL AND seq ",
            $comparison,
            " ?3)"
        )
    };
}
const LIST_OWN_UP: &str = list!(of: own!(">"), order: "ASC");
const LIST_OWN_DOWN: &str = list!(of: own!("<"), order: "DESC");
const LIST_ALL_UP: &str =
    list!(of: "conversations WHERE project_id = ?4 AND seq > ?3", order: "ASC");
const LIST_ALL_DOWN: &str =
    list!(of: "conversations WHERE project_id = ?4 AND seq < ?3", order: "DESC");

const INSERT: &str = concat!(
    "INSERT INTO conversations (id, project_id, metadata, created_at_ms, created_by, owner, bytes)
    SELECT ?2, ?1, ?3, ?4, ?5, ?6, ",
    conversation_bytes!("?3"),
    " WHERE ",
    has_room!(project: "?1", conversations: "1", items: "0", bytes: conversation_bytes!("?3")),
    " RETURNING id, metadata, created_at_ms"
);
/// What becomes shorter needs no room.
const UPDATE: &str = concat!(
    "UPDATE conversations SET metadata = ?5,
        bytes = bytes + octet_length(?5) - octet_length(metadata)
    WHERE ",
    visible!(),
    " AND (octet_length(?5) <= octet_length(metadata) OR ",
    has_room!(project: "?1", conversations: "0", items: "0",
              bytes: "octet_length(?5) - octet_length(metadata)"),
    ") RETURNING id, metadata, created_at_ms"
);
const DELETE: &str = concat!(
    "DELETE FROM conversations WHERE ",
    visible!(),
    " RETURNING id"
);

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
    let mut parameters = page.parameters(place);
    parameters.push(Value::from(who.project_id.as_str()));
    let statement = match (sees_all(who), page.order) {
        (true, Order::Ascending) => LIST_ALL_UP,
        (true, Order::Descending) => LIST_ALL_DOWN,
        (false, order) => {
            parameters.push(Value::from(owner(who)));
            match order {
                Order::Ascending => LIST_OWN_UP,
                Order::Descending => LIST_OWN_DOWN,
            }
        }
    };
    Ok(Page::list(
        database.execute(statement, parameters).await?,
        shape,
    )?)
}

/// `POST /v1/conversations`.
pub async fn create(
    database: &impl Database,
    who: &Principal,
    asked: &Asked,
    now: &Now<'_>,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::parse(&asked.body)?;
    let metadata = metadata(&mut fields)?.unwrap_or_default();
    let given: Vec<Item> = match fields.value("items") {
        None => Vec::new(),
        Some(items) => given::items(items)?,
    };
    fields.finish()?;
    let id = new_id("conv", now.random)?;
    let parameters = vec![
        Value::from(who.project_id.as_str()),
        Value::from(id.as_str()),
        Value::from(Json::Object(metadata).to_string()),
        Value::from(now.ms),
        Value::from(who.key_id.as_str()),
        Value::from(owner(who)),
    ];
    let rows = database
        .execute(INSERT, now.quota.parameters(parameters))
        .await?;
    let row = rows.first().ok_or_else(|| now.quota.exceeded())?;
    if !given.is_empty()
        && let Err(error) = items::insert(database, who, &id, given, now).await
    {
        // It was to be made with them, or not at all.
        database.execute(DELETE, named(who, &id)).await?;
        return Err(error);
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
    quota: &Quota,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::parse(&asked.body)?;
    let metadata = metadata(&mut fields)?.ok_or_else(|| ApiError::missing("metadata"))?;
    fields.finish()?;
    let mut parameters = named(who, id);
    parameters.push(Value::from(Json::Object(metadata).to_string()));
    let rows = database
        .execute(UPDATE, quota.parameters(parameters))
        .await?;
    if rows.is_empty() {
        must_see(database, who, id).await?;
        return Err(quota.exceeded());
    }
    one(rows)
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

/// Fails with 404 where there is no such conversation for this key.
pub(crate) async fn must_see(
    database: &impl Database,
    who: &Principal,
    id: &str,
) -> Result<(), ApiError> {
    match database.execute(PLACE, named(who, id)).await?.is_empty() {
        false => Ok(()),
        true => Err(ApiError::not_found("conversation")),
    }
}

/// Whose a project's conversation is, or 404.
pub(crate) async fn owner_of(
    database: &impl Database,
    project_id: &str,
    id: &str,
) -> Result<Option<String>, ApiError> {
    let parameters = vec![Value::from(project_id), Value::from(id)];
    let rows = database.execute(OWNER, parameters).await?;
    let row = rows.first();
    let row = row.ok_or_else(|| ApiError::not_found("conversation"))?;
    Ok(row.optional_text(0)?.map(str::to_owned))
}

/// `prefix_` and 96 random bits in hexadecimal: no two ids are the same.
pub(crate) fn new_id(prefix: &str, random: Random) -> Result<String, ApiError> {
    let mut bytes = [0; 16];
    random(&mut bytes[4..])?;
    Ok(format!("{prefix}_{:024x}", u128::from_be_bytes(bytes)))
}

/// Whose a conversation is that a key makes: its user's, or its own where it has none.
pub(crate) fn owner(who: &Principal) -> &str {
    who.user_id.as_deref().unwrap_or(&who.key_id)
}

/// An owner of the organisation reads and deletes what anybody left behind.
fn sees_all(who: &Principal) -> bool {
    who.is(Role::Owner)
}

/// The parameters of [`visible!`].
fn named(who: &Principal, id: &str) -> Vec<Value> {
    vec![
        Value::from(who.project_id.as_str()),
        Value::from(id),
        Value::from(owner(who)),
        Value::from(u32::from(sees_all(who))),
    ]
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
    let mut shape = json!({
        "id": row.text(0)?,
        "object": "conversation",
        "created_at": row.integer(2)? / 1_000,
    });
    shape["metadata"] = metadata;
    Ok(shape)
}
