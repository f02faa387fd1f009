//! Which part of a list: `limit`, `after` and `order`, as OpenAI's conversations have them.
//!
//! It stands between a query and a list's statement. It does not know what is listed.
//!
//! A page is bounded in bytes too, since many requests share an instance's memory: it ends early
//! and says that there is more. An entry that is larger alone is a page.

use records::{DatabaseError, Row, Value};
use regional::query::Query;
use regional::{Answer, ApiError};
use serde_json::{Value as Json, json};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 100;
/// Bytes of a page as they are stored. As JSON text they are six times that at most, and an
/// instance of 128 MiB answers 16 requests at once.
pub(crate) const PAGE_BYTES_MAX: i64 = 512 << 10;

/// One page of a table. Sizes are summed before a text is read. Its last column is how many
/// entries there are to show, of which one more than the page has is enough. Parameters: 1 the
/// limit, 2 bytes at most, 3 the place after which it begins.
macro_rules! page {
    (select: $columns:literal, from: $table:literal, among: $source:expr, bytes: $bytes:expr,
     order: $order:literal) => {
        concat!(
            "WITH sizes AS (SELECT seq, ",
            $bytes,
            " AS bytes FROM ",
            $source,
            " ORDER BY seq ",
            $order,
            " LIMIT ?1 + 1),
            summed AS (SELECT seq, sum(bytes) OVER w AS bytes, row_number() OVER w AS number,
                count(*) OVER () AS found FROM sizes WINDOW w AS (ORDER BY seq ",
            $order,
            "))
            SELECT ",
            $columns,
            ", found FROM summed JOIN ",
            $table,
            " USING (seq)
            WHERE number = 1 OR (number <= ?1 AND summed.bytes <= ?2) ORDER BY seq ",
            $order
        )
    };
}
pub(crate) use page;

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

    /// From where a list in its order starts, when nothing is said.
    pub fn start(&self) -> i64 {
        match self.order {
            Order::Ascending => 0,
            Order::Descending => i64::MAX,
        }
    }

    /// The first parameters of a statement that [`page!`] made; `place` is where `after` stands.
    pub(crate) fn parameters(&self, place: i64) -> Vec<Value> {
        [self.limit, PAGE_BYTES_MAX, place].map(Value::from).into()
    }

    /// The list in the rows of a statement that [`page!`] made.
    pub(crate) fn list(
        rows: Vec<Row>,
        shape: impl Fn(&Row) -> Result<Json, DatabaseError>,
    ) -> Result<Answer, DatabaseError> {
        let found = match rows.first() {
            Some(row) => row.integer(row.0.len() - 1)?,
            None => 0,
        };
        // Each row goes as it is shaped: its text is there once.
        let data = rows.into_iter().map(|row| shape(&row));
        let data = data.collect::<Result<Vec<_>, _>>()?;
        let has_more = usize::try_from(found).is_ok_and(|found| found > data.len());
        Ok(Answer::ok(list(data, has_more)))
    }
}

/// OpenAI's list of such entries.
pub(crate) fn list(data: Vec<Json>, has_more: bool) -> Json {
    let id = |entry: Option<&Json>| entry.map_or(Json::Null, |entry| entry["id"].clone());
    let mut list = json!({
        "object": "list",
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": has_more,
    });
    // Moved: the macro would copy each text once more.
    list["data"] = Json::Array(data);
    list
}
