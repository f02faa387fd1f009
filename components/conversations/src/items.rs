//! A conversation's items, for its owner.
//!
//! It stands behind the door and beside [`turns`](crate::turns). An item is never changed.

use crate::conversations::{must_see, new_id};
use crate::given::{self, Item, Kind};
use crate::page::{self, Order, Page, page};
use crate::quota::has_room;
use crate::routes::Now;
use crate::schema::item_bytes;
use records::{Database, DatabaseError, Row, Value};
use regional::fields::Fields;
use regional::{Answer, ApiError, Asked, Principal};
use serde::Serialize;
use serde_json::{Value as Json, json};

const PLACE: &str = "SELECT seq FROM items WHERE conversation_id = ?1 AND id = ?2";

macro_rules! list {
    (among: $source:literal, order: $order:literal) => {
        page!(select: "id, type, role, name, call_id, text, refused", from: "items",
              among: $source, bytes: item_bytes!(""), order: $order)
    };
}
const LIST_UP: &str = list!(among: "items WHERE conversation_id = ?4 AND seq > ?3", order: "ASC");
const LIST_DOWN: &str =
    list!(among: "items WHERE conversation_id = ?4 AND seq < ?3", order: "DESC");

/// One statement, so a turn is stored whole or not at all; and none for a conversation that the
/// project does not have, or has no more. ?1 is an array of [`NewItem`], ?2 the time.
macro_rules! insert {
    ($condition:expr) => {
        concat!(
            "INSERT INTO items
                (id, conversation_id, request_id, message_index, part_index, type, role, name,
                 call_id, text, refused, created_at_ms)
            SELECT coalesce(value ->> 'id', 'msg_' || lower(hex(randomblob(12)))),
                   conversations.id, value ->> 'request_id', value ->> 'message_index',
                   value ->> 'part_index', value ->> 'type', value ->> 'role', value ->> 'name',
                   value ->> 'call_id', value ->> 'text', value ->> 'refused', ?2
            FROM json_each(?1) JOIN conversations
                ON conversations.id = value ->> 'conversation_id'
                AND conversations.project_id = value ->> 'project_id'
            WHERE ",
            $condition,
            " ORDER BY json_each.key
            ON CONFLICT (conversation_id, request_id, message_index, part_index) DO NOTHING
            RETURNING id"
        )
    };
}
/// For turns that were answered.
pub(crate) const INSERT_TURNS: &str = insert!("true");
/// For a client's own items: ?3 is the project, ?4 how many they are, ?5 their bytes.
const INSERT_GIVEN: &str =
    insert!(has_room!(project: "?3", conversations: "0", items: "?4", bytes: "?5"));

/// One row of a statement's first parameter.
#[derive(Debug, Serialize)]
pub(crate) struct NewItem<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) project_id: &'a str,
    pub(crate) conversation_id: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) message_index: usize,
    pub(crate) part_index: usize,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) role: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) call_id: Option<&'a str>,
    pub(crate) text: &'a str,
    pub(crate) refused: u8,
}

/// `GET /v1/conversations/{id}/items`: newest first, unless asked otherwise.
pub async fn list(
    database: &impl Database,
    who: &Principal,
    conversation: &str,
    asked: &Asked,
) -> Result<Answer, ApiError> {
    let page = Page::read(asked.query.as_deref())?;
    must_see(database, who, conversation).await?;
    let place = match &page.after {
        None => page.start(),
        Some(after) => {
            let parameters = vec![Value::from(conversation), Value::from(after.as_str())];
            let rows = database.execute(PLACE, parameters).await?;
            let row = rows.first();
            row.ok_or_else(|| ApiError::invalid("after", "'after' is no item's id."))?
                .integer(0)?
        }
    };
    let statement = match page.order {
        Order::Ascending => LIST_UP,
        Order::Descending => LIST_DOWN,
    };
    let mut parameters = page.parameters(place);
    parameters.push(Value::from(conversation));
    Ok(Page::list(
        database.execute(statement, parameters).await?,
        shape_row,
    )?)
}

/// `POST /v1/conversations/{id}/items`.
pub async fn create(
    database: &impl Database,
    who: &Principal,
    conversation: &str,
    asked: &Asked,
    now: &Now<'_>,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::parse(&asked.body)?;
    let items = fields
        .value("items")
        .ok_or_else(|| ApiError::missing("items"))?;
    fields.finish()?;
    let given = given::items(items)?;
    must_see(database, who, conversation).await?;
    let data = insert(database, who, conversation, given, now).await?;
    Ok(Answer::ok(page::list(data, false)))
}

/// Stores a client's items, all or none; they as the client sees them.
pub(crate) async fn insert(
    database: &impl Database,
    who: &Principal,
    conversation: &str,
    given: Vec<Item>,
    now: &Now<'_>,
) -> Result<Vec<Json>, ApiError> {
    let request_id = new_id("req", now.random)?;
    let ids = given.iter().map(|_| new_id("msg", now.random));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let rows = given.iter().zip(&ids).map(|(item, id)| NewItem {
        id: Some(id),
        ..item.new_row(&who.project_id, conversation, &request_id, false)
    });
    let rows = to_json(&rows.collect::<Vec<_>>())?;
    let bytes = given.iter().map(Item::bytes).sum();
    let parameters = vec![
        Value::from(rows),
        Value::from(now.ms),
        Value::from(who.project_id.as_str()),
        Value::from(i64::try_from(given.len()).unwrap_or(i64::MAX)),
        Value::Integer(bytes),
    ];
    let parameters = now.quota.parameters(parameters);
    if database.execute(INSERT_GIVEN, parameters).await?.is_empty() {
        // It is gone, or the project is full.
        must_see(database, who, conversation).await?;
        return Err(now.quota.exceeded());
    }
    let shape = |(id, item): (String, Item)| shape(&id, item, false);
    Ok(ids.into_iter().zip(given).map(shape).collect())
}

/// The first parameter of a statement that stores items.
pub(crate) fn to_json(rows: &[NewItem<'_>]) -> Result<String, ApiError> {
    serde_json::to_string(rows).map_err(|error| ApiError::internal(error.to_string()))
}

fn shape_row(row: &Row) -> Result<Json, DatabaseError> {
    let owned = |column| -> Result<Option<String>, DatabaseError> {
        Ok(row.optional_text(column)?.map(str::to_owned))
    };
    let item = Item {
        message_index: 0,
        part_index: 0,
        kind: Kind::parse(row.text(1)?).unwrap_or(Kind::Message),
        role: row.text(2)?.to_owned(),
        name: owned(3)?,
        call_id: owned(4)?,
        text: row.text(5)?.to_owned(),
    };
    Ok(shape(row.text(0)?, item, row.integer(6)? != 0))
}

/// OpenAI's conversation item.
fn shape(id: &str, item: Item, is_refused: bool) -> Json {
    let kind = item.kind.name();
    let text = Json::String(item.text);
    let mut shape = json!({"id": id, "type": kind, "status": "completed"});
    match item.kind {
        Kind::FunctionCall => {
            shape["call_id"] = item.call_id.into();
            shape["name"] = item.name.into();
            shape["arguments"] = text;
        }
        Kind::FunctionCallOutput => {
            shape["call_id"] = item.call_id.into();
            shape["output"] = text;
        }
        Kind::Message => {
            let mut part = match item.role.as_str() {
                "assistant" => {
                    json!({"type": "output_text", "annotations": [], "logprobs": []})
                }
                _ => json!({"type": "input_text"}),
            };
            part["text"] = text;
            shape["role"] = item.role.into();
            shape["content"] = Json::Array(vec![part]);
        }
    }
    if is_refused {
        shape["status"] = "incomplete".into();
        shape["incomplete_details"] = json!({"reason": "content_filter"});
    }
    shape
}
