//! Numbered changes of a schema, each applied once.
//!
//! It runs before a component's first statement of a request. It does not know what the steps
//! contain. (`PRAGMA user_version` would do the same, but not every host lets a component set it.)

use crate::{Database, DatabaseError, Value};

/// One step of a schema: statements that are applied in order.
pub type Step = &'static [&'static str];

const MADE: &str = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY) STRICT";
const READ: &str = "SELECT coalesce(max(version), 0) FROM schema_version";
const WRITE: &str = "INSERT INTO schema_version (version) VALUES (?1) ON CONFLICT DO NOTHING";

/// Brings the schema to the last step. Costs one small read where that is done already.
///
/// Two callers may run the same step at once, and one may end before its version is written: what
/// is there already is passed over.
pub async fn migrate(database: &impl Database, steps: &[Step]) -> Result<(), DatabaseError> {
    let mut done = match version(database).await {
        Ok(version) => version,
        Err(error) if error.is_missing_table() => {
            database.execute(MADE, vec![]).await?;
            version(database).await?
        }
        Err(error) => return Err(error),
    };
    while let Some(step) = steps.get(done) {
        apply(database, step, done + 1).await?;
        done += 1;
    }
    Ok(())
}

async fn apply(database: &impl Database, step: Step, version: usize) -> Result<(), DatabaseError> {
    for statement in step {
        match database.execute(statement, vec![]).await {
            Err(error) if error.is_applied_already() => {}
            done => drop(done?),
        }
    }
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    database
        .execute(WRITE, vec![Value::Integer(version)])
        .await
        .map(drop)
}

async fn version(database: &impl Database) -> Result<usize, DatabaseError> {
    let rows = database.execute(READ, vec![]).await?;
    let version = rows.first().map_or(Ok(0), |row| row.integer(0))?;
    usize::try_from(version).map_err(|_| DatabaseError::Shape {
        column: 0,
        expected: "a version",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::FileDatabase;
    use futures::executor::block_on;

    const FIRST: Step = &["CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY) STRICT"];
    const SECOND: Step = &["ALTER TABLE things ADD COLUMN name TEXT NOT NULL DEFAULT ''"];

    #[test]
    fn steps_are_applied_once_and_added_to() {
        let database = FileDatabase::in_memory().unwrap();
        block_on(migrate(&database, &[FIRST])).unwrap();
        block_on(database.execute("INSERT INTO things (id) VALUES (1)", vec![])).unwrap();
        for _ in 0..2 {
            block_on(migrate(&database, &[FIRST, SECOND])).unwrap();
        }
        let rows = block_on(database.execute("SELECT id, name FROM things", vec![])).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].text(1), Ok(""));
    }

    #[test]
    fn a_step_whose_version_was_not_written_is_finished() {
        let database = FileDatabase::in_memory().unwrap();
        block_on(migrate(&database, &[FIRST])).unwrap();
        block_on(database.execute(SECOND[0], vec![])).unwrap();
        block_on(migrate(&database, &[FIRST, SECOND])).unwrap();
        assert_eq!(block_on(version(&database)).unwrap(), 2);
    }

    #[test]
    fn a_wrong_step_is_an_error_each_time() {
        let database = FileDatabase::in_memory().unwrap();
        for _ in 0..2 {
            let error = block_on(migrate(&database, &[FIRST, &["CREATE TABLE"]])).unwrap_err();
            assert!(matches!(error, DatabaseError::Statement(_)), "{error}");
        }
    }

    #[test]
    fn many_at_once_make_one_schema() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let database = FileDatabase::open(&path).unwrap();
                    block_on(migrate(&database, &[FIRST, SECOND])).unwrap();
                });
            }
        });
        let database = FileDatabase::open(&path).unwrap();
        let rows = block_on(database.execute("SELECT name FROM things", vec![])).unwrap();
        assert!(rows.is_empty());
    }
}
