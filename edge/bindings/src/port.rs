//! What a component may ask of its host, in plain Rust: the host's providers implement
//! these traits and the bindings call them.
//!
//! They know labels, keys, rows and requests; they do NOT know WIT, stores or resources.

mod llm;
mod postgres;
mod stages;

pub use llm::{Embedded, Inference, Inferred, LanguageModels, LlmError};
pub use postgres::{
    PostgresBound, PostgresColumn, PostgresConnection, PostgresDatabaseError, PostgresError,
    PostgresRange, PostgresRow, PostgresRows, PostgresServers, PostgresType, PostgresValue,
};
pub use stages::Stages;

use async_trait::async_trait;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

/// The most that one answer may hold in the host's memory: keys, values or rows.
/// The figure is Spin's `MAX_HOST_BUFFERED_BYTES`.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Why a key-value call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyValueError {
    /// No provider is configured for the label.
    #[error("no such store")]
    NoSuchStore,
    /// The component was not granted the label.
    #[error("access denied")]
    AccessDenied,
    /// The provider failed.
    #[error("{0}")]
    Other(String),
}

/// The key-value stores that one component may open.
#[async_trait]
pub trait KeyValueStores: Send + Sync {
    /// Opens the store behind `label`.
    async fn open(&self, label: &str) -> Result<Arc<dyn KeyValue>, KeyValueError>;
}

/// One key-value store.
#[async_trait]
pub trait KeyValue: Send + Sync {
    /// The value under `key`.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError>;
    /// Puts `value` under `key`.
    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError>;
    /// Removes `key`; a missing key is no error.
    async fn delete(&self, key: &str) -> Result<(), KeyValueError>;
    /// Is there a value under `key`?
    async fn exists(&self, key: &str) -> Result<bool, KeyValueError>;
    /// All keys.
    async fn keys(&self) -> Result<Vec<String>, KeyValueError>;
    /// Adds `delta` to the number under `key` in one step, and returns the sum. A missing
    /// key counts as zero. A number is stored as its decimal text.
    async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError>;
    /// Puts `value` under `key` if it still holds `expected`; says whether it did.
    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KeyValueError>;
    /// Puts all pairs, in one step where the provider can.
    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError>;
    /// Removes all keys, in one step where the provider can.
    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError>;
}

/// Why a SQLite call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SqliteError {
    /// No database is configured for the label.
    #[error("no such database")]
    NoSuchDatabase,
    /// The component was not granted the label.
    #[error("access denied")]
    AccessDenied,
    /// The connection is not open.
    #[error("invalid connection")]
    InvalidConnection,
    /// The database may not grow further.
    #[error("database full")]
    DatabaseFull,
    /// The statement or the file failed.
    #[error("{0}")]
    Io(String),
}

/// A value in a row or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum SqliteValue {
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// NULL.
    Null,
}

/// What a statement returned.
#[derive(Debug, Clone, Default)]
pub struct SqliteRows {
    /// Column names.
    pub columns: Vec<String>,
    /// One entry a row, each as long as `columns`.
    pub rows: Vec<Vec<SqliteValue>>,
}

/// The SQLite databases that one component may open.
#[async_trait]
pub trait SqliteDatabases: Send + Sync {
    /// Opens a connection to the database behind `label`.
    async fn open(&self, label: &str) -> Result<Arc<dyn SqliteConnection>, SqliteError>;
}

/// One connection: its transaction is its own.
#[async_trait]
pub trait SqliteConnection: Send + Sync {
    /// Runs one statement.
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<SqliteValue>,
    ) -> Result<SqliteRows, SqliteError>;
    /// The row id of the last insert on this connection.
    async fn last_insert_rowid(&self) -> Result<i64, SqliteError>;
    /// Rows changed by the last statement on this connection.
    async fn changes(&self) -> Result<u64, SqliteError>;
}

/// Why a Redis call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// The address is none, or the component was not granted it.
    #[error("invalid address")]
    InvalidAddress,
    /// There is no room for another connection.
    #[error("too many connections")]
    TooManyConnections,
    /// A value has another type than the command needs.
    #[error("type error")]
    TypeError,
    /// The server or the way to it failed.
    #[error("{0}")]
    Other(String),
}

/// An argument of a Redis command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisArgument {
    /// A number.
    Integer(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A part of a Redis answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisValue {
    /// Nothing.
    Nil,
    /// A status line.
    Status(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// The Redis servers that one component may speak to.
#[async_trait]
pub trait RedisServers: Send + Sync {
    /// Connects to the server at `address`, a `redis://` URL.
    async fn open(&self, address: &str) -> Result<Arc<dyn RedisConnection>, RedisError>;
}

/// One connection to a Redis server.
#[async_trait]
pub trait RedisConnection: Send + Sync {
    /// Runs one command; a nested answer is laid out flat.
    async fn command(
        &self,
        name: &str,
        arguments: Vec<RedisArgument>,
    ) -> Result<Vec<RedisValue>, RedisError>;
}

/// Why a variable could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VariableError {
    /// The name breaks the rule for names.
    #[error("{0}")]
    InvalidName(String),
    /// The component has no such variable.
    #[error("no variable {0:?}")]
    Undefined(String),
}

/// The variables of one component.
pub trait Variables: Send + Sync {
    /// The value of `name`.
    fn get(&self, name: &str) -> Result<String, VariableError>;
    /// All variables of the component.
    fn all(&self) -> Vec<(String, String)>;
}

/// A boxed future, as `wasi:http` wants it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The request on whose behalf a component calls out.
#[derive(Debug)]
pub struct CallContext {
    /// How many components called each other before this one.
    pub depth: u32,
    /// The trace that the request belongs to.
    pub traceparent: Option<http::HeaderValue>,
    /// Cancelled when whoever asked is gone.
    pub gone: CancellationToken,
    /// Where the parts of the request's way are timed, if somebody may know.
    pub stages: Option<Arc<Stages>>,
}

/// The outbound side of `wasi:http` for one component.
pub trait Outbound: Send + Sync {
    /// Sends `request`; the body of the answer streams. `context` is absent when the
    /// component calls out on nobody's behalf.
    fn send(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        context: Option<Arc<CallContext>>,
    ) -> BoxFuture<Result<http::Response<WasiBody>, HttpError>>;
}
