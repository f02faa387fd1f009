//! A real SQLite file behind the same trait, so that a component's statements are tested
//! natively.
//!
//! It takes the host's place in a test. It is never part of a component.

use crate::{Database, DatabaseError, Row, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a statement waits for another connection's write.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// How long it pauses where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

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
        keep_a_log(&connection).map_err(failed)?;
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

/// Turns on the journal. Connections that do so at once to a file that is new do not wait for
/// each other by themselves: SQLite tells all but one that it is busy.
fn keep_a_log(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    let end = Instant::now() + BUSY_WAIT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && Instant::now() < end => {
                std::thread::sleep(BUSY_PAUSE);
            }
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
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
