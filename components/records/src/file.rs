//! A real SQLite file behind the same trait, so that a component's statements are tested
//! natively.
//!
//! It takes the host's place in a test. It is never part of a component.

use crate::{Database, DatabaseError, Row, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another connection's write.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// One connection. Two of them to the same file race as two instances of a component do.
#[derive(Debug)]
pub struct FileDatabase(rusqlite::Connection);

impl FileDatabase {
    /// A database of its own, gone with the value.
    pub fn in_memory() -> Result<Self, DatabaseError> {
        rusqlite::Connection::open_in_memory()
            .map(Self)
            .map_err(failed)
    }

    /// A connection to a file, with the journal that the host uses.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let connection = rusqlite::Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(failed)?;
        Ok(Self(connection))
    }

    fn rows(&self, statement: &str, parameters: &[Value]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.0.prepare_cached(statement)?;
        let columns = statement.column_count();
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        let mut answer = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|column| row.get_ref(column).map(value));
            answer.push(Row(values.collect::<rusqlite::Result<_>>()?));
        }
        Ok(answer)
    }
}

impl Database for FileDatabase {
    async fn execute(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.rows(statement, &parameters).map_err(failed)
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Value::Null,
    }
}

fn failed(error: rusqlite::Error) -> DatabaseError {
    DatabaseError::from_words(error.to_string())
}
