//! Statements on one connection: each has a time, and one that was given up costs the
//! connection, which its server is then asked to leave.

use super::session::{Server, Session};
use super::value::{Cell, Parameter, column};
use async_trait::async_trait;
use deadpool::managed::Object;
use edge_bindings::port::{
    PostgresConnection, PostgresDatabaseError, PostgresError, PostgresRow, PostgresRows,
    PostgresValue,
};
use futures::{Stream, StreamExt as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::error::DbError;
use tokio_postgres::{Error, Row, RowStream};

/// How long a statement may take until it is done, or until its next row is there.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A connection that a component has opened.
pub(super) struct Open(Arc<Held>);

/// What the handle and the streams of its rows hold in common.
struct Held {
    session: Option<Object<Server>>,
    /// A statement took too long: what follows on this connection cannot be told apart.
    broken: AtomicBool,
    _place: OwnedSemaphorePermit,
}

impl Open {
    pub(super) fn new(session: Object<Server>, place: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Held {
            session: Some(session),
            broken: AtomicBool::new(false),
            _place: place,
        }))
    }
}

impl Held {
    fn session(&self) -> Result<&Session, PostgresError> {
        match &self.session {
            Some(session) if !self.broken.load(Relaxed) => Ok(session),
            _ => Err(PostgresError::ConnectionFailed(
                "the connection was given up when a statement took too long".to_owned(),
            )),
        }
    }

    /// Waits for a part of an answer.
    async fn in_time<T>(
        &self,
        part: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, PostgresError> {
        match tokio::time::timeout(ANSWER_TIME_MAX, part).await {
            Ok(done) => done.map_err(explain),
            Err(_) => {
                self.broken.store(true, Relaxed);
                Err(PostgresError::QueryFailed(format!(
                    "no answer within {} s",
                    ANSWER_TIME_MAX.as_secs()
                )))
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        if session.is_clean() {
            return;
        }
        // It leaves its pool, and its server is told.
        let session = Object::take(session);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { session.cancel().await });
        }
    }
}

/// Marks a session as unfinished until its statement is.
struct Statement(Arc<Held>);

impl Statement {
    fn begin(held: &Arc<Held>) -> Result<Self, PostgresError> {
        held.session()?.begun();
        Ok(Self(Arc::clone(held)))
    }

    fn finish(self) {
        if let Ok(session) = self.0.session() {
            session.ended();
        }
    }
}

#[async_trait]
impl PostgresConnection for Open {
    async fn execute(
        &self,
        statement: &str,
        parameters: Vec<PostgresValue>,
    ) -> Result<u64, PostgresError> {
        let parameters = checked(parameters)?;
        let running = Statement::begin(&self.0)?;
        let client = &self.0.session()?.client;
        let changed = self
            .0
            .in_time(client.execute_raw(statement, parameters))
            .await;
        running.finish();
        changed
    }

    async fn query(
        &self,
        statement: &str,
        parameters: Vec<PostgresValue>,
    ) -> Result<PostgresRows, PostgresError> {
        let parameters = checked(parameters)?;
        let running = Statement::begin(&self.0)?;
        let client = &self.0.session()?.client;
        let begun = async {
            let prepared = client.prepare(statement).await?;
            let columns = prepared.columns().iter().map(column).collect();
            let rows = client.query_raw(&prepared, parameters).await?;
            Ok((columns, rows))
        };
        match self.0.in_time(begun).await {
            Ok((columns, rows)) => Ok(PostgresRows {
                columns,
                rows: stream(running, rows),
            }),
            Err(error) => {
                running.finish();
                Err(error)
            }
        }
    }
}

fn checked(parameters: Vec<PostgresValue>) -> Result<Vec<Parameter>, PostgresError> {
    parameters
        .into_iter()
        .map(|value| Parameter::check(value).map_err(PostgresError::BadParameter))
        .collect()
}

/// The rows as values; the statement is finished at the last one.
fn stream(
    running: Statement,
    rows: RowStream,
) -> Pin<Box<dyn Stream<Item = Result<PostgresRow, PostgresError>> + Send>> {
    let state = Some((running, Box::pin(rows)));
    Box::pin(futures::stream::unfold(state, |state| async move {
        let (running, mut rows): (Statement, Pin<Box<RowStream>>) = state?;
        let next = async { rows.next().await.transpose() };
        match running.0.in_time(next).await {
            Ok(Some(row)) => match values(&row) {
                Ok(row) => Some((Ok(row), Some((running, rows)))),
                Err(error) => Some((Err(error), None)),
            },
            Ok(None) => {
                running.finish();
                None
            }
            Err(error) => {
                running.finish();
                Some((Err(error), None))
            }
        }
    }))
}

fn values(row: &Row) -> Result<PostgresRow, PostgresError> {
    let value = |position| {
        row.try_get::<_, Cell>(position)
            .map(|cell| cell.0)
            .map_err(|error| PostgresError::ValueConversionFailed(format!("{error:?}")))
    };
    (0..row.len()).map(value).collect()
}

/// The texts are those of Spin, for the components that read them.
fn explain(error: Error) -> PostgresError {
    let as_text = format!("{error:?}");
    match error.as_db_error() {
        None => PostgresError::QueryFailed(as_text),
        Some(told) => PostgresError::Database(Box::new(PostgresDatabaseError {
            as_text,
            severity: told.severity().to_owned(),
            code: told.code().code().to_owned(),
            message: told.message().to_owned(),
            detail: told.detail().map(str::to_owned),
            extras: extras(told),
        })),
    }
}

fn extras(told: &DbError) -> Vec<(String, String)> {
    let line = told.line().map(|line| line.to_string());
    [
        ("column", told.column()),
        ("constraint", told.constraint()),
        ("routine", told.routine()),
        ("hint", told.hint()),
        ("table", told.table()),
        ("datatype", told.datatype()),
        ("schema", told.schema()),
        ("file", told.file()),
        ("line", line.as_deref()),
        ("where_", told.where_()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
    .collect()
}
