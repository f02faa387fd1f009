//! What a project may store: conversations, items and bytes.
//!
//! It stands under everything that a client writes: the statement that writes looks at the counts
//! itself. A turn that was answered is stored all the same: `session` asks for room before a model
//! is called, so a project exceeds its quota by no more than the turns that were under way.

use records::{Database, Value};
use regional::{Answer, ApiError};
use serde_json::json;

/// The variables, and their values where they have none: also those of `spin.toml`.
const CONVERSATIONS: (&str, i64) = ("project_conversations_max", 100_000);
const ITEMS: (&str, i64) = ("project_items_max", 1_000_000);
const BYTES: (&str, i64) = ("project_stored_bytes_max", 1 << 30);

/// The condition that a project, by its parameter, has room for so much more; its quota stands in
/// the parameters 11 to 13, see [`Quota::parameters`].
macro_rules! has_room {
    (project: $project:literal, conversations: $conversations:literal, items: $items:literal,
     bytes: $bytes:expr) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM (
                SELECT coalesce(sum(conversations), 0) AS conversations,
                    coalesce(sum(items), 0) AS items, coalesce(sum(bytes), 0) AS bytes
                FROM stored WHERE project_id = ",
            $project,
            ") AS now WHERE now.conversations + ",
            $conversations,
            " > ?11 OR now.items + ",
            $items,
            " > ?12 OR now.bytes + ",
            $bytes,
            " > ?13)"
        )
    };
}
pub(crate) use has_room;

const STORED: &str = "SELECT items, bytes FROM stored WHERE project_id = ?1";

/// The most that one project stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Conversations.
    pub conversations: i64,
    /// Items of all of them.
    pub items: i64,
    /// Bytes of all of them: texts and metadata, and a little for each row.
    pub bytes: i64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            conversations: CONVERSATIONS.1,
            items: ITEMS.1,
            bytes: BYTES.1,
        }
    }
}

/// The variables that [`Quota::read`] reads.
pub const VARIABLES: [&str; 3] = [CONVERSATIONS.0, ITEMS.0, BYTES.0];

impl Quota {
    /// The quota in the values of [`VARIABLES`]; an empty one is the default. An error names the
    /// variable.
    pub fn read(values: [Option<String>; 3]) -> Result<Self, String> {
        let number = |(name, default): (&str, i64), text: Option<String>| {
            let text = text.unwrap_or_default();
            match (text.trim(), text.trim().parse::<i64>()) {
                ("", _) => Ok(default),
                (_, Ok(number)) if number >= 0 => Ok(number),
                _ => Err(format!(
                    "variable `{name}` must be a whole number from 0 on"
                )),
            }
        };
        let [conversations, items, bytes] = values;
        Ok(Self {
            conversations: number(CONVERSATIONS, conversations)?,
            items: number(ITEMS, items)?,
            bytes: number(BYTES, bytes)?,
        })
    }

    /// The parameters of a statement with [`has_room!`], of which the first ten are its own.
    pub(crate) fn parameters(&self, mut own: Vec<Value>) -> Vec<Value> {
        own.resize(10, Value::Null);
        own.extend([self.conversations, self.items, self.bytes].map(Value::from));
        own
    }

    pub(crate) fn exceeded(&self) -> ApiError {
        ApiError::quota_exceeded(format!(
            "The project has no room for this: it may store {} conversations, {} items and {} \
             bytes. Delete conversations to make room.",
            self.conversations, self.items, self.bytes
        ))
    }

    /// No further turn fits.
    pub(crate) async fn is_full(
        &self,
        database: &impl Database,
        project: &str,
    ) -> Result<bool, ApiError> {
        let rows = database.execute(STORED, vec![Value::from(project)]).await?;
        let (items, bytes) = match rows.first() {
            Some(row) => (row.integer(0)?, row.integer(1)?),
            None => (0, 0),
        };
        Ok(items >= self.items || bytes >= self.bytes)
    }
}

/// `GET /internal/projects/{project}/room`: whether one more turn may be answered.
pub async fn room(
    database: &impl Database,
    project: &str,
    quota: &Quota,
) -> Result<Answer, ApiError> {
    let is_full = quota.is_full(database, project).await?;
    Ok(Answer::ok(json!({ "is_full": is_full })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_number_or_named() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            Quota::read([None, text(""), text(" ")]),
            Ok(Quota::default())
        );
        let read = Quota::read([text("1"), text(" 2 "), text("0")]).unwrap();
        assert_eq!((read.conversations, read.items, read.bytes), (1, 2, 0));
        for wrong in ["-1", "1.5", "many", "1 GiB", "9223372036854775808"] {
            for place in 0..3 {
                let mut values = [None, None, None];
                values[place] = text(wrong);
                let error = Quota::read(values).unwrap_err();
                assert!(error.contains(VARIABLES[place]), "{error}");
            }
        }
    }
}
