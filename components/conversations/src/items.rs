//! A conversation's items, for its project.
//!
//! It stands behind the door and under [`turns`](crate::turns). An item is never changed.

use crate::conversations::{must_exist, new_id};
use crate::given::{self, Item};
use crate::page::{Order, Page};
use crate::routes::Random;
use records::{Database, DatabaseError, Row, Value};
use regional::fields::Fields;
use regional::{Answer, ApiError, Asked, Principal};
use serde_json::{Value as Json, json};

const PLACE: &str = "SELECT seq FROM items WHERE conversation_id = ?1 AND id = ?2";
const LIST_UP: &str = "SELECT id, type, role, name, call_id, text FROM items
    WHERE conversation_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
const LIST_DOWN: &str = "SELECT id, type, role, name, call_id, text FROM items
    WHERE conversation_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";

/// One statement, so a turn is stored whole or not at all; and none for a conversation that the
/// project does not have, or has no more.
pub(crate) const INSERT: &str = "INSERT INTO items
        (id, conversation_id, request_id, message_index, part_index, type, role, name, call_id,
         text, created_at_ms)
    SELECT 'msg_' || lower(hex(randomblob(12))), conversations.id, value ->> 'request_id',
           value ->> 'message_index', value ->> 'part_index', value ->> 'type', value ->> 'role',
           value ->> 'name', value ->> 'call_id', value ->> 'text', ?2
    FROM json_each(?1) JOIN conversations
        ON conversations.id = value ->> 'conversation_id'
        AND conversations.project_id = value ->> 'project_id'
    ORDER BY json_each.key
    ON CONFLICT (conversation_id, request_id, message_index, part_index) DO NOTHING
    RETURNING id, type, role, name, call_id, text";

/// `GET /v1/conversations/{id}/items`: newest first, unless asked otherwise.
pub async fn list(
    database: &impl Database,
    who: &Principal,
    conversation: &str,
    asked: &Asked,
) -> Result<Answer, ApiError> {
    let page = Page::read(asked.query.as_deref())?;
    must_exist(database, &who.project_id, conversation).await?;
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
    let parameters = vec![
        Value::from(conversation),
        Value::from(place),
        Value::from(page.rows_max()),
    ];
    let rows = database.execute(statement, parameters).await?;
    let found = rows.iter().map(shape).collect::<Result<_, _>>()?;
    Ok(page.list(found))
}

/// `POST /v1/conversations/{id}/items`.
pub async fn create(
    database: &impl Database,
    who: &Principal,
    conversation: &str,
    asked: &Asked,
    now_ms: i64,
    random: Random,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::parse(&asked.body)?;
    let items = fields
        .value("items")
        .ok_or_else(|| ApiError::missing("items"))?;
    fields.finish()?;
    let given = given::items(items)?;
    must_exist(database, &who.project_id, conversation).await?;
    let request_id = new_id("req", random)?;
    let rows = insert(
        database,
        &who.project_id,
        conversation,
        &request_id,
        &given,
        now_ms,
    )
    .await?;
    let data = rows.iter().map(shape).collect::<Result<Vec<_>, _>>()?;
    let id = |entry: Option<&Json>| entry.map_or(Json::Null, |entry| entry["id"].clone());
    Ok(Answer::ok(json!({
        "object": "list", "first_id": id(data.first()), "last_id": id(data.last()),
        "data": data, "has_more": false,
    })))
}

pub(crate) async fn insert(
    database: &impl Database,
    project: &str,
    conversation: &str,
    request_id: &str,
    items: &[Item],
    now_ms: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = items
        .iter()
        .map(|item| to_row(project, conversation, request_id, item));
    let rows = Json::Array(rows.collect()).to_string();
    database
        .execute(INSERT, vec![Value::from(rows), Value::from(now_ms)])
        .await
}

/// One row of `INSERT`'s first parameter.
pub(crate) fn to_row(project: &str, conversation: &str, request_id: &str, item: &Item) -> Json {
    json!({
        "project_id": project,
        "conversation_id": conversation,
        "request_id": request_id,
        "message_index": item.message_index,
        "part_index": item.part_index,
        "type": item.kind.name(),
        "role": item.role,
        "name": item.name,
        "call_id": item.call_id,
        "text": item.text,
    })
}

/// OpenAI's conversation item.
fn shape(row: &Row) -> Result<Json, DatabaseError> {
    let (id, kind, role, text) = (row.text(0)?, row.text(1)?, row.text(2)?, row.text(5)?);
    let mut item = match kind {
        "function_call" => json!({
            "call_id": row.text(4)?, "name": row.text(3)?, "arguments": text,
        }),
        "function_call_output" => json!({"call_id": row.text(4)?, "output": text}),
        _ if role == "assistant" => json!({"role": role, "content": [
            {"type": "output_text", "text": text, "annotations": [], "logprobs": []},
        ]}),
        _ => json!({"role": role, "content": [{"type": "input_text", "text": text}]}),
    };
    item["id"] = id.into();
    item["type"] = kind.into();
    item["status"] = "completed".into();
    Ok(item)
}
