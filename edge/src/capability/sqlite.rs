//! SQLite databases: the files by label, and connections that components share.
//!
//! A component's handle takes a connection from the pool for one statement, or from BEGIN to
//! COMMIT; it goes back by `Drop`, rolled back if need be. Writes outside of transactions are
//! committed in groups. Statements run on blocking threads. It does NOT know what is in a table.

mod checkpoint;
mod group;
mod statement;

use crate::lanes;
use crate::metrics::Metrics;
use crate::private;
use crate::runtime_config::RuntimeConfig;
use async_trait::async_trait;
use edge_bindings::port::{
    SqliteConnection, SqliteDatabases, SqliteError, SqliteRows, SqliteValue,
};
use group::{Done, Queue, Write};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections to one database at once; a writer waits for another anyway.
const CONNECTIONS_MAX: usize = 32;
/// How long a statement waits for a connection, and then for another writer.
const WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 128;

/// Opens a database file with this host's settings: write-ahead log, and a sync before a
/// commit is acknowledged. Its files are their owner's alone.
pub(crate) fn open_file(path: &Path) -> Result<Connection, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    make_private(path).map_err(|error| failed(&error))?;
    let connection = Connection::open(path).map_err(|error| failed(&error))?;
    connection
        .busy_timeout(WAIT)
        .map_err(|error| failed(&error))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
        )
        .map_err(|error| failed(&error))?;
    Ok(connection)
}

/// Makes the file, and takes it and its log from others. (SQLite gives a log that it makes the
/// mode of its database.)
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        private::folder(parent)?;
    }
    private::file(path)?;
    for end in ["-wal", "-shm"] {
        let mut log = path.as_os_str().to_owned();
        log.push(end);
        match private::tighten(Path::new(&log)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

type Pools = BTreeMap<String, Arc<Pool>>;

/// All databases that versions of the application have used.
pub(crate) struct Databases {
    pools: Mutex<Pools>,
    metrics: Arc<Metrics>,
}

impl Databases {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            pools: Mutex::default(),
            metrics: Arc::clone(metrics),
        }
    }

    /// One of `labels` whose database is open, at another path than `config` has.
    pub(crate) fn changed(
        &self,
        config: &RuntimeConfig,
        labels: &BTreeSet<String>,
    ) -> Option<String> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let is_changed = |label: &&String| {
            let open = pools.get(*label).map(|pool| &pool.path);
            open.is_some() && open != config.sqlite_databases.get(*label)
        };
        let label = labels.iter().find(is_changed)?;
        Some(format!("[sqlite_database.{label}]"))
    }

    /// Opens the database behind every label of `labels`, if it is not open.
    pub(crate) fn open(
        &self,
        config: &RuntimeConfig,
        labels: &BTreeSet<String>,
    ) -> Result<(), String> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        for label in labels {
            if pools.contains_key(label) {
                continue;
            }
            let path = config.sqlite_databases.get(label).ok_or_else(|| {
                format!(
                    "SQLite database {label:?} has no provider: add [sqlite_database.{label}] \
                     to the runtime config"
                )
            })?;
            let pool = Pool::open(label, path, &self.metrics)
                .map_err(|error| format!("SQLite database {label:?}: {error}"))?;
            pools.insert(label.clone(), Arc::new(pool));
        }
        Ok(())
    }

    /// The databases that a component with these labels may open.
    pub(crate) fn granted(&self, labels: &BTreeSet<String>) -> Arc<dyn SqliteDatabases> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = labels
            .iter()
            .filter_map(|label| Some((label.clone(), Arc::clone(pools.get(label)?))));
        Arc::new(Granted(granted.collect()))
    }
}

struct Granted(Pools);

#[async_trait]
impl SqliteDatabases for Granted {
    async fn open(&self, label: &str) -> Result<Arc<dyn SqliteConnection>, SqliteError> {
        let pool = self.0.get(label).ok_or(SqliteError::AccessDenied)?;
        Ok(Arc::new(Handle {
            pool: Arc::clone(pool),
            held: Arc::default(),
        }))
    }
}

struct Pool {
    label: String,
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// Writes that wait for their commit, each with one of the permits.
    writes: Queue,
    /// Somebody copies the log into the database.
    is_copied: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Pool {
    fn open(label: &str, path: &Path, metrics: &Arc<Metrics>) -> Result<Self, String> {
        // Fails at start, not at the first request.
        let first = Self::connect(path)?;
        Ok(Self {
            label: label.to_owned(),
            path: path.to_owned(),
            idle: Mutex::new(vec![first]),
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            writes: Queue::default(),
            is_copied: AtomicBool::new(false),
            metrics: Arc::clone(metrics),
        })
    }

    fn connect(path: &Path) -> Result<Connection, String> {
        let connection = open_file(path)?;
        statement::guard(&connection);
        checkpoint::watch(&connection);
        Ok(connection)
    }

    fn take(&self) -> Result<Connection, SqliteError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(connection) => Ok(connection),
            None => Self::connect(&self.path).map_err(SqliteError::Io),
        }
    }

    /// Takes back a connection, on the thread that has used it.
    fn put_back(self: &Arc<Self>, connection: Connection) {
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            return;
        }
        if checkpoint::is_due() && !self.is_copied.swap(true, Relaxed) {
            let pool = Arc::clone(self);
            lanes::home().spawn_blocking(move || pool.copy_log());
        }
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }

    /// Copies the log into the database.
    fn copy_log(self: &Arc<Self>) {
        if let Ok(connection) = self.take() {
            if let Err(error) = checkpoint::copy(&connection) {
                tracing::warn!(database = self.label, %error, "checkpoint");
            }
            self.put_back(connection);
        }
        self.is_copied.store(false, Relaxed);
    }

    /// Commits what waits.
    fn commit(self: &Arc<Self>) {
        self.writes.serve(|run| {
            let connection = self.take()?;
            run(&connection);
            self.put_back(connection);
            Ok(())
        });
    }

    fn count(&self, result: &Result<Done, SqliteError>) {
        let outcome = if result.is_ok() { "ok" } else { "error" };
        self.metrics.sqlite(&self.label, outcome);
    }
}

/// A connection within a transaction, and its place among [`CONNECTIONS_MAX`].
struct Taken {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put_back(connection);
        }
    }
}

#[derive(Default)]
struct Held {
    transaction: Option<Taken>,
    last_insert_rowid: i64,
    changes: u64,
}

/// What a component holds after `open`.
struct Handle {
    pool: Arc<Pool>,
    held: Arc<Mutex<Held>>,
}

impl Handle {
    /// The transaction that is open, if any.
    fn transaction(&self) -> Option<Taken> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.transaction.take()
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, SqliteError> {
        let place = Arc::clone(&self.pool.permits).acquire_owned();
        let place = tokio::time::timeout(WAIT, place).await;
        let place = place.map_err(|_| SqliteError::Io("all connections are in use".to_owned()))?;
        place.map_err(|_| SqliteError::InvalidConnection)
    }

    /// Writes together with others.
    async fn join(
        &self,
        statement: String,
        parameters: Vec<SqliteValue>,
    ) -> Result<Done, SqliteError> {
        let (answer, answered) = oneshot::channel();
        let write = Write {
            statement,
            parameters,
            _place: self.place().await?,
            answer,
        };
        if self.pool.writes.put(write) {
            let pool = Arc::clone(&self.pool);
            lanes::home().spawn_blocking(move || pool.commit());
        }
        answered.await.map_err(|_| abandoned())?
    }

    /// Runs a statement in the open transaction, or on a connection of its own.
    async fn run(
        &self,
        transaction: Option<Taken>,
        statement: String,
        parameters: Vec<SqliteValue>,
    ) -> Result<Done, SqliteError> {
        let mut taken = match transaction {
            Some(taken) => taken,
            None => Taken {
                connection: None,
                pool: Arc::clone(&self.pool),
                _permit: self.place().await?,
            },
        };
        let held = Arc::clone(&self.held);
        let done = lanes::home().spawn_blocking(move || {
            let connection = match taken.connection.take() {
                Some(connection) => connection,
                None => taken.pool.take()?,
            };
            let result = statement::run(&connection, &statement, &parameters);
            let done = result.map(|rows| Done::of(&connection, rows));
            let in_transaction = !connection.is_autocommit();
            taken.connection = Some(connection);
            if in_transaction {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                held.transaction = Some(taken);
            }
            done
        });
        done.await.map_err(|_| abandoned())?
    }
}

fn abandoned() -> SqliteError {
    SqliteError::Io("the statement was abandoned".to_owned())
}

#[async_trait]
impl SqliteConnection for Handle {
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<SqliteValue>,
    ) -> Result<SqliteRows, SqliteError> {
        let result = match self.transaction() {
            None if group::is_write(&statement) => self.join(statement, parameters).await,
            transaction => self.run(transaction, statement, parameters).await,
        };
        self.pool.count(&result);
        let done = result?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.last_insert_rowid = done.last_insert_rowid;
        held.changes = done.changes;
        Ok(done.rows)
    }

    async fn last_insert_rowid(&self) -> Result<i64, SqliteError> {
        Ok(self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last_insert_rowid)
    }

    async fn changes(&self) -> Result<u64, SqliteError> {
        Ok(self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .changes)
    }
}

#[cfg(test)]
mod tests;
