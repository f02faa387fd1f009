//! The PostgreSQL port: servers, connections, and the values of their rows and parameters.
//!
//! The values are those of `spin:postgres@4`, which has all that the older interfaces have.
//! It does NOT know how a server writes them.

use async_trait::async_trait;
use futures::Stream;
use std::pin::Pin;
use std::sync::Arc;

/// Why a PostgreSQL call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresError {
    /// There is no connection: it was not granted, refused or broken.
    #[error("connection failed: {0}")]
    ConnectionFailed(String),
    /// A parameter is no value of its type.
    #[error("bad parameter: {0}")]
    BadParameter(String),
    /// The statement failed before the server said why.
    #[error("query failed: {0}")]
    QueryFailed(String),
    /// The server refused the statement.
    #[error("query failed: {}", .0.as_text)]
    Database(Box<PostgresDatabaseError>),
    /// A value of the server's cannot be told.
    #[error("value conversion failed: {0}")]
    ValueConversionFailed(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// What a server says of a statement that it refused; the fields are PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresDatabaseError {
    /// All of it as one text.
    pub as_text: String,
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// Other fields by name, such as `constraint` and `hint`.
    pub extras: Vec<(String, String)>,
}

/// One end of a range, and whether it is part of the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresBound<T> {
    /// The value at this end.
    pub value: T,
    /// The value itself is in the range.
    pub inclusive: bool,
}

/// A range: its lower and its upper end, each absent where the range has none.
pub type PostgresRange<T> = (Option<PostgresBound<T>>, Option<PostgresBound<T>>);

/// A value of a row or a parameter.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names and units are those of spin:postgres@4"
)]
pub enum PostgresValue {
    Null,
    Boolean(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Floating32(f32),
    Floating64(f64),
    Text(String),
    Binary(Vec<u8>),
    /// Year, month, day.
    Date((i32, u8, u8)),
    /// Hour, minute, second, nanosecond.
    Time((u8, u8, u8, u32)),
    /// Year, month, day, hour, minute, second, nanosecond, in UTC.
    Datetime((i32, u8, u8, u8, u8, u8, u32)),
    /// Seconds since 1970.
    Timestamp(i64),
    Uuid(String),
    /// The JSON text.
    Jsonb(Vec<u8>),
    /// The number in decimal digits.
    Decimal(String),
    RangeInt32(PostgresRange<i32>),
    RangeInt64(PostgresRange<i64>),
    RangeDecimal(PostgresRange<String>),
    ArrayInt32(Vec<Option<i32>>),
    ArrayInt64(Vec<Option<i64>>),
    ArrayDecimal(Vec<Option<String>>),
    ArrayText(Vec<Option<String>>),
    Interval {
        micros: i64,
        days: i32,
        months: i32,
    },
    /// A value of another type, as the server wrote it; in rows only.
    Unsupported(Vec<u8>),
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of spin:postgres@4")]
pub enum PostgresType {
    Boolean,
    Int16,
    Int32,
    Int64,
    Floating32,
    Floating64,
    Text,
    Binary,
    Date,
    Time,
    Datetime,
    Uuid,
    Jsonb,
    Decimal,
    RangeInt32,
    RangeInt64,
    RangeDecimal,
    ArrayInt32,
    ArrayInt64,
    ArrayDecimal,
    ArrayText,
    Interval,
    /// Any other, by the server's name for it.
    Other(String),
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: PostgresType,
}

/// One row, as long as there are columns.
pub type PostgresRow = Vec<PostgresValue>;

/// What a query returns: its columns at once, its rows as the server sends them.
pub struct PostgresRows {
    /// The columns.
    pub columns: Vec<PostgresColumn>,
    /// The rows. An error is the last item. To drop the stream is to give up the query.
    pub rows: Pin<Box<dyn Stream<Item = Result<PostgresRow, PostgresError>> + Send>>,
}

/// The PostgreSQL servers that one component may speak to.
#[async_trait]
pub trait PostgresServers: Send + Sync {
    /// Connects to the server at `address`, a `postgres://` URL or `key=value` pairs.
    /// `ca_root` is a certificate in PEM that is trusted besides the system's.
    async fn open(
        &self,
        address: &str,
        ca_root: Option<&str>,
    ) -> Result<Arc<dyn PostgresConnection>, PostgresError>;

    /// Is `certificate` one that [`Self::open`] takes?
    fn check_ca_root(&self, certificate: &str) -> Result<(), PostgresError>;
}

/// One connection: its transaction is its own.
#[async_trait]
pub trait PostgresConnection: Send + Sync {
    /// Runs a statement and returns how many rows it changed.
    async fn execute(
        &self,
        statement: &str,
        parameters: Vec<PostgresValue>,
    ) -> Result<u64, PostgresError>;

    /// Runs a statement and returns its rows.
    async fn query(
        &self,
        statement: &str,
        parameters: Vec<PostgresValue>,
    ) -> Result<PostgresRows, PostgresError>;
}
