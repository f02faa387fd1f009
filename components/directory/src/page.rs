//! A page of a list, in OpenAI's shape: `limit` and `after` in, `has_more` out.
//!
//! It stands between a list's statement and its answer. It does not know what is listed.

use regional::query::Query;
use regional::{Answer, ApiError};
use serde_json::{Value, json};

/// Entries of a page where nothing is said.
const LIMIT_DEFAULT: i64 = 20;
/// Entries of a page, at most.
const LIMIT_MAX: i64 = 100;

/// Which page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Entries, at most.
    pub limit: i64,
    /// The id after which the page begins.
    pub after: Option<String>,
}

impl Page {
    /// The page in a query that asks for nothing else.
    pub fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Query::parse(query)?;
        let limit = query
            .number("limit", 1, LIMIT_MAX)?
            .unwrap_or(LIMIT_DEFAULT);
        let after = query.one("after")?;
        query.finish()?;
        Ok(Self { limit, after })
    }

    /// How many rows to ask for: one more tells whether there are more.
    pub fn rows_max(&self) -> i64 {
        self.limit + 1
    }

    /// The list in what was found.
    pub fn list(&self, mut found: Vec<Value>) -> Answer {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let id = |entry: Option<&Value>| entry.map_or(Value::Null, |entry| entry["id"].clone());
        Answer::ok(json!({
            "object": "list",
            "first_id": id(found.first()),
            "last_id": id(found.last()),
            "data": found,
            "has_more": has_more,
        }))
    }
}
