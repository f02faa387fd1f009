//! The host's SQLite (`spin:sqlite@3.1.0`) behind the trait.
//!
//! It is the last thing that a component does before the host takes over. It does not know which
//! file, or which machine, is behind a label.

use crate::{Database, DatabaseError, Row, Value};
use spin_sdk::sqlite;

/// One connection to a database label.
pub struct SpinDatabase(sqlite::Connection);

impl SpinDatabase {
    /// Opens the database that the manifest grants under this label.
    pub async fn open(label: &str) -> Result<Self, DatabaseError> {
        sqlite::Connection::open(label)
            .await
            .map(Self)
            .map_err(failed)
    }
}

impl Database for SpinDatabase {
    async fn execute(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let parameters = parameters.into_iter().map(|parameter| match parameter {
            Value::Null => sqlite::Value::Null,
            Value::Integer(integer) => sqlite::Value::Integer(integer),
            Value::Text(text) => sqlite::Value::Text(text),
        });
        let answer = self
            .0
            .execute(statement, parameters)
            .await
            .map_err(failed)?;
        let rows = answer.collect().await.map_err(failed)?;
        Ok(rows
            .into_iter()
            .map(|row| Row(row.values.into_iter().map(value).collect()))
            .collect())
    }
}

fn value(value: sqlite::Value) -> Value {
    match value {
        sqlite::Value::Integer(integer) => Value::Integer(integer),
        sqlite::Value::Text(text) => Value::Text(text),
        sqlite::Value::Null | sqlite::Value::Real(_) | sqlite::Value::Blob(_) => Value::Null,
    }
}

fn failed(error: sqlite::Error) -> DatabaseError {
    match error {
        sqlite::Error::Io(words) => DatabaseError::from_words(words),
        sqlite::Error::DatabaseFull => DatabaseError::Unavailable("it is full".to_owned()),
        sqlite::Error::InvalidConnection => {
            DatabaseError::Unavailable("the connection is closed".to_owned())
        }
        sqlite::Error::NoSuchDatabase => {
            DatabaseError::Unavailable("no such database is configured".to_owned())
        }
        sqlite::Error::AccessDenied => {
            DatabaseError::Unavailable("the manifest does not grant it".to_owned())
        }
    }
}
