//! `spin:sqlite` and `fermyon:spin/sqlite` on the SQLite port. It does NOT know a file,
//! a pool or SQL.

use crate::generated::fermyon::spin::sqlite as v2;
use crate::generated::spin::sqlite::sqlite as v3;
use crate::port::{SqliteConnection, SqliteError, SqliteRows, SqliteValue};
use crate::state::{Capabilities, OpenDatabase, State};
use std::sync::Arc;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

impl State {
    fn connection(
        &self,
        handle: &Resource<OpenDatabase>,
    ) -> wasmtime::Result<Arc<dyn SqliteConnection>> {
        Ok(Arc::clone(&self.table.get(handle)?.0))
    }

    async fn open_database(
        &mut self,
        label: &str,
    ) -> wasmtime::Result<Result<Resource<OpenDatabase>, SqliteError>> {
        let opened = self.grants.sqlite.open(label).await;
        self.progress.made();
        Ok(match opened {
            Ok(connection) => Ok(self.table.push(OpenDatabase(connection))?),
            Err(error) => Err(error),
        })
    }
}

impl v3::Host for State {}

impl v3::HostConnection for State {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenDatabase>, v3::Error>> {
        Ok(self
            .open_database(&database)
            .await?
            .map_err(v3::Error::from))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenDatabase>,
        statement: String,
        parameters: Vec<v3::Value>,
    ) -> wasmtime::Result<Result<v3::QueryResult, v3::Error>> {
        let connection = self.connection(&connection)?;
        let parameters = parameters.into_iter().map(SqliteValue::from).collect();
        let answer = connection.execute(statement, parameters).await;
        self.progress.made();
        Ok(answer.map(v3::QueryResult::from).map_err(v3::Error::from))
    }

    async fn last_insert_rowid(
        &mut self,
        connection: Resource<OpenDatabase>,
    ) -> wasmtime::Result<i64> {
        Ok(self.connection(&connection)?.last_insert_rowid().await?)
    }

    async fn changes(&mut self, connection: Resource<OpenDatabase>) -> wasmtime::Result<u64> {
        Ok(self.connection(&connection)?.changes().await?)
    }

    async fn drop(&mut self, connection: Resource<OpenDatabase>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

type RowStream = (
    Vec<String>,
    StreamReader<v3::RowResult>,
    FutureReader<Result<(), v3::Error>>,
);

impl<T: Send> v3::HostConnectionWithStore<T> for Capabilities {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenDatabase>, v3::Error>> {
        let grants = accessor.with(|mut access| Arc::clone(&access.get().grants));
        match grants.sqlite.open(&database).await {
            Ok(connection) => accessor.with(|mut access| {
                let state = access.get();
                state.progress.made();
                Ok(Ok(state.table.push(OpenDatabase(connection))?))
            }),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<OpenDatabase>,
        statement: String,
        parameters: Vec<v3::Value>,
    ) -> wasmtime::Result<Result<RowStream, v3::Error>> {
        let connection = accessor.with(|mut access| access.get().connection(&connection))?;
        let parameters = parameters.into_iter().map(SqliteValue::from).collect();
        let answer = match connection.execute(statement, parameters).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error.into())),
        };
        let rows: Vec<v3::RowResult> = answer.rows.into_iter().map(v3::RowResult::from).collect();
        accessor.with(|mut access| {
            access.get().progress.made();
            let rows = StreamReader::new(&mut access, rows)?;
            let done = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((answer.columns, rows, done)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<OpenDatabase>,
    ) -> wasmtime::Result<i64> {
        let connection = accessor.with(|mut access| access.get().connection(&connection))?;
        Ok(connection.last_insert_rowid().await?)
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<OpenDatabase>,
    ) -> wasmtime::Result<u64> {
        let connection = accessor.with(|mut access| access.get().connection(&connection))?;
        Ok(connection.changes().await?)
    }
}

impl v2::Host for State {}

impl v2::HostConnection for State {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenDatabase>, v2::Error>> {
        Ok(self
            .open_database(&database)
            .await?
            .map_err(v2::Error::from))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenDatabase>,
        statement: String,
        parameters: Vec<v2::Value>,
    ) -> wasmtime::Result<Result<v2::QueryResult, v2::Error>> {
        let connection = self.connection(&connection)?;
        let parameters = parameters.into_iter().map(SqliteValue::from).collect();
        let answer = connection.execute(statement, parameters).await;
        self.progress.made();
        Ok(answer.map(v2::QueryResult::from).map_err(v2::Error::from))
    }

    async fn drop(&mut self, connection: Resource<OpenDatabase>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

/// The two versions of the interface have types of one shape and two identities.
macro_rules! convert {
    ($version:ident) => {
        impl From<SqliteError> for $version::Error {
            fn from(error: SqliteError) -> Self {
                match error {
                    SqliteError::NoSuchDatabase => Self::NoSuchDatabase,
                    SqliteError::AccessDenied => Self::AccessDenied,
                    SqliteError::InvalidConnection => Self::InvalidConnection,
                    SqliteError::DatabaseFull => Self::DatabaseFull,
                    SqliteError::Io(text) => Self::Io(text),
                }
            }
        }

        impl From<$version::Value> for SqliteValue {
            fn from(value: $version::Value) -> Self {
                match value {
                    $version::Value::Integer(v) => Self::Integer(v),
                    $version::Value::Real(v) => Self::Real(v),
                    $version::Value::Text(v) => Self::Text(v),
                    $version::Value::Blob(v) => Self::Blob(v),
                    $version::Value::Null => Self::Null,
                }
            }
        }

        impl From<Vec<SqliteValue>> for $version::RowResult {
            fn from(row: Vec<SqliteValue>) -> Self {
                let values = row
                    .into_iter()
                    .map(|value| match value {
                        SqliteValue::Integer(v) => $version::Value::Integer(v),
                        SqliteValue::Real(v) => $version::Value::Real(v),
                        SqliteValue::Text(v) => $version::Value::Text(v),
                        SqliteValue::Blob(v) => $version::Value::Blob(v),
                        SqliteValue::Null => $version::Value::Null,
                    })
                    .collect();
                Self { values }
            }
        }

        impl From<SqliteRows> for $version::QueryResult {
            fn from(answer: SqliteRows) -> Self {
                Self {
                    columns: answer.columns,
                    rows: answer.rows.into_iter().map(Into::into).collect(),
                }
            }
        }
    };
}

convert!(v3);
convert!(v2);
