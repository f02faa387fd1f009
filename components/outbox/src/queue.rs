//! The bodies that wait, in SQLite: put, read in order, remove, set aside.
//!
//! It stands between `put` and `drain`, and outlives the process between them. It does not know
//! where bodies go. Every change is one statement, so a crash leaves none half done.

use crate::{BODY_BYTES_MAX, DEAD_MAX, ID_BYTES_MAX, Outbox, OutboxError, WAITING_MAX};
use records::{Database, DatabaseError, Row, Value};

const SCHEMA: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        dead INTEGER NOT NULL DEFAULT 0,
        put_at_ms INTEGER NOT NULL,
        UNIQUE (queue, id)
    ) STRICT",
    "CREATE INDEX IF NOT EXISTS outbox_by_state ON outbox (queue, dead, seq)",
];

/// The span of sequence numbers is never smaller than the count and costs two look-ups; only
/// where it says "perhaps full" are the rows counted.
const PUT: &str = "INSERT INTO outbox (queue, id, body, put_at_ms)
    SELECT ?1, ?2, ?3, ?4
    WHERE coalesce((SELECT max(seq) FROM outbox WHERE queue = ?1 AND dead = 0)
                 - (SELECT min(seq) FROM outbox WHERE queue = ?1 AND dead = 0) + 1, 0) < ?5
       OR (SELECT count(*) FROM outbox WHERE queue = ?1 AND dead = 0) < ?5
    ON CONFLICT (queue, id) DO NOTHING
    RETURNING seq";
const HAS: &str = "SELECT 1 FROM outbox WHERE queue = ?1 AND id = ?2";
const NEXT: &str = "SELECT seq, body FROM outbox
    WHERE queue = ?1 AND dead = 0 ORDER BY seq LIMIT ?2";
const REMOVE: &str = "DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each(?1))";
const SET_ASIDE: &str = "UPDATE outbox SET dead = 1 WHERE seq = ?1";
const DROP_OLDEST_DEAD: &str = "DELETE FROM outbox WHERE seq IN (
        SELECT seq FROM outbox WHERE queue = ?1 AND dead = 1 ORDER BY seq DESC LIMIT -1 OFFSET ?2)
    RETURNING seq";
const COUNT: &str = "SELECT count(*) FROM outbox WHERE queue = ?1 AND dead = ?2";

/// A body that waits, under its place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) seq: i64,
    pub(crate) body: String,
}

impl Outbox {
    /// Puts a body under an id. Durable when it returns; a second call with the same id while
    /// the first waits changes nothing.
    pub async fn put_in(
        &self,
        database: &impl Database,
        id: &str,
        body: &str,
        now_ms: i64,
    ) -> Result<(), OutboxError> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(OutboxError::BadId);
        }
        if body.len() > BODY_BYTES_MAX {
            return Err(OutboxError::TooLong(body.len()));
        }
        if serde_json::from_str::<serde::de::IgnoredAny>(body).is_err() {
            return Err(OutboxError::NotJson);
        }
        self.insert(database, id, body, now_ms, WAITING_MAX).await
    }

    async fn insert(
        &self,
        database: &impl Database,
        id: &str,
        body: &str,
        now_ms: i64,
        waiting_max: u32,
    ) -> Result<(), OutboxError> {
        let parameters = vec![
            Value::from(self.queue),
            Value::from(id),
            Value::from(body),
            Value::from(now_ms),
            Value::from(waiting_max),
        ];
        if !run(database, PUT, parameters).await?.is_empty() {
            return Ok(());
        }
        let known = vec![Value::from(self.queue), Value::from(id)];
        match run(database, HAS, known).await?.is_empty() {
            true => Err(OutboxError::Full),
            false => Ok(()),
        }
    }

    /// How many bodies wait.
    pub async fn waiting_in(&self, database: &impl Database) -> Result<u32, OutboxError> {
        self.count(database, 0).await
    }

    /// How many bodies were refused by the receiver and are kept.
    pub async fn dead_in(&self, database: &impl Database) -> Result<u32, OutboxError> {
        self.count(database, 1).await
    }

    async fn count(&self, database: &impl Database, dead: i64) -> Result<u32, OutboxError> {
        let rows = run(
            database,
            COUNT,
            vec![Value::from(self.queue), Value::from(dead)],
        )
        .await?;
        let count = rows.first().map_or(Ok(0), |row| row.integer(0))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub(crate) async fn next(
        &self,
        database: &impl Database,
        count_max: u32,
    ) -> Result<Vec<Waiting>, OutboxError> {
        let parameters = vec![Value::from(self.queue), Value::from(count_max)];
        let rows = run(database, NEXT, parameters).await?;
        let waiting = |row: &Row| -> Result<Waiting, DatabaseError> {
            Ok(Waiting {
                seq: row.integer(0)?,
                body: row.text(1)?.to_owned(),
            })
        };
        Ok(rows.iter().map(waiting).collect::<Result<_, _>>()?)
    }

    pub(crate) async fn remove(
        &self,
        database: &impl Database,
        delivered: &[Waiting],
    ) -> Result<(), OutboxError> {
        let seqs: Vec<i64> = delivered.iter().map(|waiting| waiting.seq).collect();
        run(
            database,
            REMOVE,
            vec![Value::from(serde_json::json!(seqs).to_string())],
        )
        .await?;
        Ok(())
    }

    /// Keeps a refused body out of the order. The number of older ones that had to go.
    pub(crate) async fn set_aside(
        &self,
        database: &impl Database,
        refused: &Waiting,
    ) -> Result<usize, OutboxError> {
        run(database, SET_ASIDE, vec![Value::from(refused.seq)]).await?;
        let parameters = vec![Value::from(self.queue), Value::from(DEAD_MAX)];
        Ok(run(database, DROP_OLDEST_DEAD, parameters).await?.len())
    }
}

/// Runs a statement; the first one ever makes the table.
async fn run(
    database: &impl Database,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Vec<Row>, DatabaseError> {
    match database.execute(statement, parameters.clone()).await {
        Err(error) if error.is_missing_table() => {
            for made in SCHEMA {
                database.execute(made, vec![]).await?;
            }
            database.execute(statement, parameters).await
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use records::file::FileDatabase;

    const USAGE: Outbox = Outbox::new("usage", "http://ledger.test/");
    const TURNS: Outbox = Outbox::new("turns", "http://conversations.test/");

    fn bodies(outbox: &Outbox, database: &FileDatabase) -> Vec<String> {
        let waiting = block_on(outbox.next(database, 100)).unwrap();
        waiting.into_iter().map(|waiting| waiting.body).collect()
    }

    #[test]
    fn bodies_wait_in_order_and_an_id_once() {
        let database = FileDatabase::in_memory().unwrap();
        for (id, body) in [("b", "1"), ("a", "2"), ("b", "3")] {
            block_on(USAGE.put_in(&database, id, body, 0)).unwrap();
        }
        block_on(TURNS.put_in(&database, "b", "4", 0)).unwrap();
        assert_eq!(bodies(&USAGE, &database), ["1", "2"]);
        assert_eq!(bodies(&TURNS, &database), ["4"]);
    }

    #[test]
    fn a_full_queue_refuses_new_ids_and_accepts_known_ones() {
        let database = FileDatabase::in_memory().unwrap();
        let insert =
            |outbox: Outbox, id: &'static str| block_on(outbox.insert(&database, id, "{}", 0, 2));
        insert(USAGE, "a").unwrap();
        // The other queue's numbers widen the span; the count still decides.
        for id in ["x", "y"] {
            insert(TURNS, id).unwrap();
        }
        insert(USAGE, "b").unwrap();
        assert_eq!(insert(USAGE, "c"), Err(OutboxError::Full));
        assert_eq!(insert(USAGE, "a"), Ok(()));
        // What was set aside makes room.
        let first = block_on(USAGE.next(&database, 1)).unwrap();
        block_on(USAGE.set_aside(&database, &first[0])).unwrap();
        assert_eq!(insert(USAGE, "c"), Ok(()));
        assert_eq!(block_on(USAGE.waiting_in(&database)), Ok(2));
        assert_eq!(block_on(USAGE.dead_in(&database)), Ok(1));
    }

    #[test]
    fn what_cannot_be_sent_is_not_taken() {
        let database = FileDatabase::in_memory().unwrap();
        let put = |id: &str, body: &str| block_on(USAGE.put_in(&database, id, body, 0));
        let long = format!("\"{}\"", "x".repeat(BODY_BYTES_MAX));
        assert_eq!(
            put("a", &long),
            Err(OutboxError::TooLong(BODY_BYTES_MAX + 2))
        );
        assert_eq!(put("a", "{} {}"), Err(OutboxError::NotJson));
        assert_eq!(put("a", "]}, {"), Err(OutboxError::NotJson));
        assert_eq!(put("", "{}"), Err(OutboxError::BadId));
        assert_eq!(
            put(&"i".repeat(ID_BYTES_MAX + 1), "{}"),
            Err(OutboxError::BadId)
        );
        assert_eq!(block_on(USAGE.waiting_in(&database)), Ok(0));
    }

    #[test]
    fn a_body_is_there_after_the_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let database = FileDatabase::open(&path).unwrap();
        block_on(USAGE.put_in(&database, "a", "{}", 0)).unwrap();
        // No orderly end, as after a kill: the connection is not closed.
        std::mem::forget(database);
        let again = FileDatabase::open(&path).unwrap();
        assert_eq!(bodies(&USAGE, &again), ["{}"]);
    }
}
