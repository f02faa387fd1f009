//! The newest part of a conversation, as `session` asks for it before a model is called.
//!
//! It stands beside [`turns`](crate::turns). It knows no model: `session` says how many bytes can
//! be of use, and leaves out more.

use crate::conversations::owner_of;
use crate::given::Kind;
use crate::quota::Quota;
use crate::schema::item_bytes;
use crate::turns::{Message, ToolCall};
use records::{Database, DatabaseError, Row, Value};
use regional::query::Query;
use regional::{Answer, ApiError};
use serde_json::json;

/// The newest items of a history: more than any model's window holds.
const ITEMS_MAX: i64 = 2_000;
/// Bytes of a history, at most. With instructions that are older it is a quarter more.
const BYTES_MAX: i64 = 1 << 20;

/// Whole messages, newest first, as long as their sum stays within ?3 bytes, and the newest
/// anyhow; and the newest instructions, wherever they stand, within a quarter of that. The sums
/// read no text. The last column says whether something was left out.
const READ: &str = concat!(
    "WITH newest AS (
        SELECT seq, request_id, message_index, ",
    item_bytes!(""),
    " AS bytes
        FROM items WHERE conversation_id = ?1 AND refused = 0 ORDER BY seq DESC LIMIT ?2 + 1
    ), summed AS (
        SELECT *, sum(bytes) OVER (ORDER BY seq DESC) AS sum,
            row_number() OVER (ORDER BY seq DESC) AS number FROM newest
    ), messages AS (
        SELECT seq, max(sum) OVER message AS sum, max(number) OVER message AS number,
            min(sum - bytes) OVER message AS before
        FROM summed WINDOW message AS (PARTITION BY request_id, message_index)
    ), kept AS (
        SELECT seq FROM messages WHERE before = 0 OR (sum <= ?3 AND number <= ?2)
    ), instructions AS (
        SELECT seq FROM (
            SELECT seq, sum(bytes) OVER (ORDER BY seq DESC) AS sum FROM (
                SELECT seq, ",
    item_bytes!(""),
    " AS bytes FROM items
                WHERE conversation_id = ?1 AND refused = 0 AND role IN ('system', 'developer')
                ORDER BY seq DESC LIMIT ?2
            )
        ) WHERE sum <= ?3 / 4
    )
    SELECT request_id, message_index, type, role, name, call_id, text,
        (SELECT count(*) FROM newest) > (SELECT count(*) FROM kept)
    FROM items WHERE seq IN (SELECT seq FROM kept UNION SELECT seq FROM instructions)
    ORDER BY seq"
);

/// `GET /internal/projects/{project}/conversations/{id}/messages?bytes_max=…`: oldest first, with
/// the conversation's owner, and whether the project has room for one more turn.
pub async fn read(
    database: &impl Database,
    project: &str,
    conversation: &str,
    query: Option<&str>,
    quota: &Quota,
) -> Result<Answer, ApiError> {
    let mut query = Query::parse(query)?;
    let bytes_max = query
        .number("bytes_max", 1, BYTES_MAX)?
        .unwrap_or(BYTES_MAX);
    query.finish()?;
    let owner = owner_of(database, project, conversation).await?;
    let is_full = quota.is_full(database, project).await?;
    let parameters = [ITEMS_MAX, bytes_max].map(Value::from);
    let parameters = [Value::from(conversation)].into_iter().chain(parameters);
    let rows = database.execute(READ, parameters.collect()).await?;
    let is_cut = rows.first().map_or(Ok(0), |row| row.integer(7))? != 0;
    let mut messages = put_together(rows)?;
    if is_cut {
        begin_with_a_turn(&mut messages);
    }
    Ok(Answer::ok(
        json!({"messages": messages, "owner": owner, "is_full": is_full}),
    ))
}

/// Leaves out what is left of a turn whose beginning was cut: a template may refuse a prompt that
/// begins with an answer. A turn that is alone stays as it is.
fn begin_with_a_turn(messages: &mut Vec<Message>) {
    let is_instruction = |message: &Message| matches!(&*message.role, "system" | "developer");
    let Some(first) = messages.iter().position(|message| message.role == "user") else {
        return;
    };
    let mut place = 0;
    messages.retain(|message| {
        place += 1;
        place > first || is_instruction(message)
    });
}

/// Items in order as messages: the items of one message follow each other.
fn put_together(rows: Vec<Row>) -> Result<Vec<Message>, DatabaseError> {
    let mut messages: Vec<Message> = Vec::new();
    let mut last: Option<(String, i64)> = None;
    for row in rows {
        let place = Some((row.text(0)?.to_owned(), row.integer(1)?));
        if last != place {
            last = place;
            messages.push(Message {
                role: row.text(3)?.to_owned(),
                content: String::new(),
                name: None,
                tool_calls: Vec::new(),
                tool_call_id: None,
            });
        }
        let Some(message) = messages.last_mut() else {
            continue;
        };
        let text = row.text(6)?.to_owned();
        match Kind::parse(row.text(2)?) {
            Some(Kind::FunctionCall) => message.tool_calls.push(ToolCall {
                id: row.text(5)?.to_owned(),
                name: row.text(4)?.to_owned(),
                arguments: text,
            }),
            Some(Kind::FunctionCallOutput) => {
                message.tool_call_id = Some(row.text(5)?.to_owned());
                message.content = text;
            }
            Some(Kind::Message) | None => {
                message.name = row.optional_text(4)?.map(str::to_owned);
                message.content = text;
            }
        }
    }
    Ok(messages)
}
