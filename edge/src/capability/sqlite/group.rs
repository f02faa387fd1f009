//! Group commit: writes that wait for the disk wait for it together.
//!
//! A write outside of a transaction of its caller's joins those that came while the last group
//! was being synced. Each succeeds or fails by itself, and is answered when the whole group is
//! on disk; a group that cannot be committed runs anew, each write alone. Constraints that are
//! deferred to a commit hold for the group. It does NOT know handles or pools.

use super::statement;
use edge_bindings::port::{SqliteError, SqliteRows, SqliteValue};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A group is committed when its writes have taken so long, whoever else waits.
const GROUP_TIME_MAX: Duration = Duration::from_millis(20);

/// Does the statement change rows and nothing else? What cannot be told is not.
pub(super) fn is_write(sql: &str) -> bool {
    let sql = sql.trim_start();
    let word = sql.split(|c: char| !c.is_ascii_alphabetic()).next();
    let writes = ["INSERT", "UPDATE", "DELETE", "REPLACE"];
    word.is_some_and(|word| writes.iter().any(|write| word.eq_ignore_ascii_case(write)))
}

/// One write, and who waits for it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) statement: String,
    pub(super) parameters: Vec<SqliteValue>,
    /// Among the writes that may wait: its caller may go and ask again.
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) answer: oneshot::Sender<Result<Done, SqliteError>>,
}

/// What a statement did.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) rows: SqliteRows,
    pub(super) last_insert_rowid: i64,
    pub(super) changes: u64,
}

impl Done {
    pub(super) fn of(connection: &Connection, rows: SqliteRows) -> Self {
        Self {
            rows,
            last_insert_rowid: connection.last_insert_rowid(),
            changes: connection.changes(),
        }
    }
}

/// The writes that wait for one database.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    writes: VecDeque<Write>,
    /// Somebody commits group after group, until none waits.
    served: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a write. Says whether the caller has to see to it that [`Self::serve`] runs.
    pub(super) fn put(&self, write: Write) -> bool {
        let mut waiting = self.lock();
        waiting.writes.push_back(write);
        !std::mem::replace(&mut waiting.served, true)
    }

    /// The next group, or the end of who serves.
    fn take(&self) -> Option<VecDeque<Write>> {
        let mut waiting = self.lock();
        waiting.served = !waiting.writes.is_empty();
        waiting.served.then(|| std::mem::take(&mut waiting.writes))
    }

    /// Commits what waits, on connections that `with` lends.
    pub(super) fn serve(
        &self,
        with: impl Fn(&mut dyn FnMut(&Connection)) -> Result<(), SqliteError>,
    ) {
        let left = Left(self);
        while let Some(mut group) = self.take() {
            let lent = with(&mut |connection| commit(connection, &mut group));
            if let Err(error) = lent {
                for write in group {
                    let _ = write.answer.send(Err(error.clone()));
                }
            }
        }
        std::mem::forget(left);
    }
}

/// Who serves ended by a panic: who waits is told, and the next write is served again.
struct Left<'a>(&'a Queue);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        *self.0.lock() = Waiting::default();
    }
}

fn commit(connection: &Connection, writes: &mut VecDeque<Write>) {
    while let Some(first) = writes.pop_front() {
        if writes.is_empty() {
            alone(connection, first);
            return;
        }
        writes.push_front(first);
        match together(connection, writes) {
            Ok(Some(results)) => {
                for (write, result) in writes.drain(..results.len()).zip(results) {
                    let _ = write.answer.send(result);
                }
            }
            Ok(None) => {
                for write in writes.drain(..) {
                    alone(connection, write);
                }
            }
            Err(error) => {
                for write in writes.drain(..) {
                    let _ = write.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

fn alone(connection: &Connection, write: Write) {
    let result = run(connection, &write);
    // Who waited may have gone.
    let _ = write.answer.send(result);
}

fn run(connection: &Connection, write: &Write) -> Result<Done, SqliteError> {
    let rows = statement::run(connection, &write.statement, &write.parameters)?;
    Ok(Done::of(connection, rows))
}

/// Runs the first of the writes in one transaction, as many as there is time for. None where
/// nothing of it was kept.
///
/// # Errors
/// No transaction begins, as where somebody else has one for long.
fn together(
    connection: &Connection,
    writes: &VecDeque<Write>,
) -> Result<Option<Vec<Result<Done, SqliteError>>>, SqliteError> {
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(statement::explain)?;
    let start = Instant::now();
    let mut results = Vec::with_capacity(writes.len());
    for write in writes {
        if !results.is_empty() && start.elapsed() > GROUP_TIME_MAX {
            break;
        }
        results.push(run(connection, write));
        // An error undoes its own statement, except for those that undo the transaction.
        if connection.is_autocommit() {
            return Ok(None);
        }
    }
    if connection.execute_batch("COMMIT").is_ok() {
        return Ok(Some(results));
    }
    // It fails where the error has ended the transaction.
    let _ = connection.execute_batch("ROLLBACK");
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::hooks::Action;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tokio::sync::Semaphore;

    type Answer = oneshot::Receiver<Result<Done, SqliteError>>;

    fn put(queue: &Queue, sql: &str) -> (Answer, bool) {
        let (answer, answered) = oneshot::channel();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let serves = queue.put(Write {
            statement: sql.to_owned(),
            parameters: Vec::new(),
            _place: place,
            answer,
        });
        (answered, serves)
    }

    /// What became of some writes that came together, and how many commits it took.
    fn committed(connection: &Connection, writes: &[&str]) -> (Vec<Result<u64, String>>, usize) {
        let commits = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&commits);
        connection.commit_hook(Some(move || {
            counter.fetch_add(1, Relaxed);
            false
        }));
        let queue = Queue::default();
        let answers: Vec<_> = writes.iter().map(|sql| put(&queue, sql).0).collect();
        queue.serve(|lend| {
            lend(connection);
            Ok(())
        });
        connection.commit_hook(None::<fn() -> bool>);
        let results = answers.into_iter().map(|answer| {
            let result = answer.blocking_recv().unwrap();
            result.map(|done| done.changes).map_err(|e| e.to_string())
        });
        (results.collect(), commits.load(Relaxed))
    }

    fn database(schema: &str) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema).unwrap();
        connection
    }

    fn count(connection: &Connection) -> i64 {
        let count = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
        count.unwrap()
    }

    #[test]
    fn writes_that_wait_share_a_commit_and_fail_by_themselves() {
        let connection = database("CREATE TABLE t (a UNIQUE)");
        let (results, commits) = committed(
            &connection,
            &[
                "INSERT INTO t VALUES (1), (2)",
                "INSERT INTO t VALUES (3), (2)",
                "INSERT INTO none VALUES (1)",
                "INSERT INTO t VALUES (3)",
                "DELETE FROM t WHERE a = 1",
            ],
        );
        assert_eq!(commits, 1);
        assert_eq!((results[0].clone(), results[3].clone()), (Ok(2), Ok(1)));
        assert!(results[1].as_ref().unwrap_err().contains("UNIQUE"));
        assert!(results[2].as_ref().unwrap_err().contains("none"));
        assert_eq!((results[4].clone(), count(&connection)), (Ok(1), 2));
    }

    #[test]
    fn one_that_undoes_the_transaction_undoes_no_other() {
        let connection = database("CREATE TABLE t (a UNIQUE)");
        let (results, _) = committed(
            &connection,
            &[
                "INSERT INTO t VALUES (1)",
                "INSERT OR ROLLBACK INTO t VALUES (1)",
                "INSERT INTO t VALUES (2)",
            ],
        );
        assert_eq!((results[0].clone(), results[2].clone()), (Ok(1), Ok(1)));
        assert!(results[1].is_err());
        assert_eq!(count(&connection), 2);
    }

    #[test]
    fn one_that_no_commit_takes_leaves_the_others() {
        let connection = database(
            "PRAGMA foreign_keys = ON; CREATE TABLE p (a PRIMARY KEY); \
             CREATE TABLE t (a REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
        );
        let (results, _) = committed(
            &connection,
            &[
                "INSERT INTO p VALUES (1)",
                "INSERT INTO t VALUES (7)",
                "INSERT INTO t VALUES (1)",
            ],
        );
        assert_eq!((results[0].clone(), results[2].clone()), (Ok(1), Ok(1)));
        assert!(results[1].is_err());
        assert_eq!(count(&connection), 1);
    }

    #[test]
    fn a_group_that_takes_long_is_committed_in_parts() {
        let connection = database("CREATE TABLE t (a)");
        let slow = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&slow);
        connection.update_hook(Some(move |_: Action, _: &str, _: &str, _: i64| {
            counted.fetch_add(1, Relaxed);
            std::thread::sleep(GROUP_TIME_MAX);
        }));
        let (results, commits) = committed(&connection, &["INSERT INTO t VALUES (1)"; 4]);
        assert_eq!((results.len(), slow.load(Relaxed)), (4, 4));
        assert!(commits > 1 && results.iter().all(Result::is_ok));
    }

    #[test]
    fn who_waits_is_told_when_no_connection_can_be_had_or_who_served_is_gone() {
        let queue = Queue::default();
        let (answer, serves) = put(&queue, "INSERT INTO t VALUES (1)");
        queue.serve(|_| Err(SqliteError::InvalidConnection));
        assert!(serves && answer.blocking_recv().unwrap().is_err());
        let (answer, serves) = put(&queue, "INSERT INTO t VALUES (1)");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            queue.serve(|_| std::panic::panic_any("a defect"));
        }));
        assert!(serves && panicked.is_err() && answer.blocking_recv().is_err());
        assert!(
            put(&queue, "INSERT INTO t VALUES (1)").1,
            "it is served anew"
        );
    }

    #[test]
    fn what_is_a_write_is_told_by_its_first_word() {
        for sql in [
            "INSERT INTO t",
            " \n update t SET",
            "delete FROM t",
            "REPLACE INTO t",
        ] {
            assert!(is_write(sql), "{sql}");
        }
        for sql in [
            "",
            "SELECT 1",
            "BEGIN",
            "INSERTED",
            "PRAGMA x",
            "-- x\nINSERT",
            "WITH x AS",
        ] {
            assert!(!is_write(sql), "{sql}");
        }
    }
}
