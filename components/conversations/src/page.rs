//! Which part of a list: `limit`, `after` and `order`, as OpenAI's conversations have them.
//!
//! It stands between a query and a list's statement. It does not know what is listed.

use regional::query::Query;
use regional::{Answer, ApiError};
use serde_json::{Value, json};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 100;

/// Which way a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first: the default.
    Descending,
}

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Entries, at most.
    pub limit: i64,
    /// The id after which the page begins.
    pub after: Option<String>,
    /// Which way.
    pub order: Order,
}

impl Page {
    /// The page in a query that asks for nothing else.
    pub fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Query::parse(query)?;
        let limit = query
            .number("limit", 1, LIMIT_MAX)?
            .unwrap_or(LIMIT_DEFAULT);
        let after = query.one("after")?;
        let order = match query.one("order")?.as_deref() {
            None | Some("desc") => Order::Descending,
            Some("asc") => Order::Ascending,
            Some(_) => {
                return Err(ApiError::invalid(
                    "order",
                    "'order' must be 'asc' or 'desc'.",
                ));
            }
        };
        query.finish()?;
        Ok(Self {
            limit,
            after,
            order,
        })
    }

    /// How many rows to ask for: one more tells whether there are more.
    pub fn rows_max(&self) -> i64 {
        self.limit + 1
    }

    /// From where a list in its order starts, when nothing is said.
    pub fn start(&self) -> i64 {
        match self.order {
            Order::Ascending => 0,
            Order::Descending => i64::MAX,
        }
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
