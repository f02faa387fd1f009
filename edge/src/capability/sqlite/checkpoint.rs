//! Checkpoints: a write-ahead log that has become long is copied into its database.
//!
//! Left to itself SQLite does that within the commit that makes the log too long, and whoever
//! waits for that commit waits for a thousand pages and two syncs. Here somebody else copies,
//! while others commit. It does NOT know who that is.

use rusqlite::Connection;
use std::cell::Cell;
use std::ffi::c_int;

/// Pages of a log that is copied: SQLite's own figure.
const PAGES: c_int = 1_000;
/// Pages of a log that grows faster than it is copied: then whoever commits does it (64 MB).
const PAGES_MAX: c_int = 16_000;
/// So often one call goes on with what was committed while it copied.
const PASSES_MAX: u32 = 8;

thread_local! {
    /// The log's pages after the last commit of this thread.
    static COMMITTED: Cell<c_int> = const { Cell::new(0) };
}

/// Has commits of `connection` say how long the log is, instead of copying it.
pub(super) fn watch(connection: &Connection) {
    connection.wal_hook(Some(|log, pages| {
        if pages < PAGES_MAX {
            COMMITTED.set(pages);
        } else if let Err(error) = log.checkpoint() {
            // What was committed stands in the log.
            tracing::warn!(%error, "checkpoint");
        }
        Ok(())
    }));
}

/// Did this thread just commit to a log that has become long?
pub(super) fn is_due() -> bool {
    COMMITTED.take() >= PAGES
}

/// Copies the log. Nobody waits for it: readers and writers go on.
pub(super) fn copy(connection: &Connection) -> rusqlite::Result<()> {
    for _ in 0..PASSES_MAX {
        let [pages, copied] =
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok([row.get::<_, i64>(1)?, row.get(2)?])
            })?;
        if pages == copied {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::open_file;
    use super::*;
    use std::path::Path;

    fn pages(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().len() / 4096
    }

    /// A database whose log has so many pages, and a little more.
    fn database(path: &Path, pages: c_int) -> Connection {
        let connection = open_file(path).unwrap();
        watch(&connection);
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        connection
            .execute(
                "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
                     WHERE i < ?1) SELECT zeroblob(4000) FROM n",
                [pages],
            )
            .unwrap();
        connection
    }

    #[test]
    fn a_long_log_is_copied_by_who_is_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let connection = database(&path, PAGES);
        assert!(pages(&path) < 10);
        assert!(is_due() && !is_due());
        copy(&connection).unwrap();
        assert!(pages(&path) >= 1_000);
        connection.execute("INSERT INTO t VALUES (1)", []).unwrap();
        assert!(!is_due(), "the log began anew");
    }

    #[test]
    fn a_log_that_nobody_copies_is_copied_by_who_commits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let _connection = database(&path, PAGES_MAX);
        assert!(pages(&path) >= 16_000);
        assert!(!is_due());
    }
}
