//! A key-value store on SQLite: durable, an acknowledged write survives a crash.
//!
//! The table is Spin's, so that a store moves from one host to the other.

use super::add;
use crate::capability::sqlite::open_file;
use crate::lanes;
use async_trait::async_trait;
use edge_bindings::port::{ANSWER_BYTES_MAX, KeyValue, KeyValueError};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
pub(super) struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
    store: Arc<str>,
}

impl SqliteStore {
    /// Opens the store `label` in the file at `path`.
    pub(super) fn open(path: &Path, label: &str) -> Result<Self, String> {
        let connection = open_file(path)?;
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS spin_key_value (
                     store TEXT NOT NULL,
                     key   TEXT NOT NULL,
                     value BLOB NOT NULL,
                     PRIMARY KEY (store, key)
                 )",
            )
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            store: label.into(),
        })
    }

    /// Runs `work` on the connection, off the asynchronous threads.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &str) -> Result<T, KeyValueError> + Send + 'static,
    ) -> Result<T, KeyValueError> {
        let this = self.clone();
        lanes::home()
            .spawn_blocking(move || {
                let mut connection = this
                    .connection
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                work(&mut connection, &this.store)
            })
            .await
            .map_err(|_| KeyValueError::Other("the store failed".to_owned()))?
    }
}

fn failed(error: rusqlite::Error) -> KeyValueError {
    tracing::error!(%error, "key-value on SQLite");
    KeyValueError::Other("the store failed".to_owned())
}

fn get(connection: &Connection, store: &str, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
    connection
        .prepare_cached("SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2")
        .and_then(|mut s| {
            s.query_row(params![store, key], |row| row.get(0))
                .optional()
        })
        .map_err(failed)
}

fn put(connection: &Connection, store: &str, key: &str, value: &[u8]) -> Result<(), KeyValueError> {
    connection
        .prepare_cached(
            "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (store, key) DO UPDATE SET value = excluded.value",
        )
        .and_then(|mut s| s.execute(params![store, key, value]))
        .map(|_| ())
        .map_err(failed)
}

fn remove(connection: &Connection, store: &str, key: &str) -> Result<(), KeyValueError> {
    connection
        .prepare_cached("DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2")
        .and_then(|mut s| s.execute(params![store, key]))
        .map(|_| ())
        .map_err(failed)
}

fn list(connection: &Connection, store: &str) -> Result<Vec<String>, KeyValueError> {
    let mut statement = connection
        .prepare_cached("SELECT key FROM spin_key_value WHERE store = ?1")
        .map_err(failed)?;
    let found = statement
        .query_map([store], |row| row.get::<_, String>(0))
        .map_err(failed)?;
    let mut keys = Vec::new();
    let mut bytes = 0;
    for key in found {
        let key = key.map_err(failed)?;
        bytes += key.len() + size_of::<String>();
        if bytes > ANSWER_BYTES_MAX {
            return Err(KeyValueError::Other("there are too many keys".to_owned()));
        }
        keys.push(key);
    }
    Ok(keys)
}

#[async_trait]
impl KeyValue for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        let key = key.to_owned();
        self.run(move |c, store| get(c, store, &key)).await
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        let key = key.to_owned();
        self.run(move |c, store| put(c, store, &key, &value)).await
    }

    async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        let key = key.to_owned();
        self.run(move |c, store| remove(c, store, &key)).await
    }

    async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.get(key).await?.is_some())
    }

    async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        self.run(|c, store| list(c, store)).await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        let key = key.to_owned();
        self.run(move |c, store| {
            let t = c
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            let sum = add(get(&t, store, &key)?.as_deref(), delta)?;
            put(&t, store, &key, sum.to_string().as_bytes())?;
            t.commit().map_err(failed)?;
            Ok(sum)
        })
        .await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        let key = key.to_owned();
        self.run(move |c, store| {
            let t = c
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            if get(&t, store, &key)? != expected {
                return Ok(false);
            }
            put(&t, store, &key, &value)?;
            t.commit().map_err(failed)?;
            Ok(true)
        })
        .await
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        self.run(move |c, store| {
            let t = c
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            for (key, value) in &pairs {
                put(&t, store, key, value)?;
            }
            t.commit().map_err(failed)
        })
        .await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        self.run(move |c, store| {
            let t = c
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            for key in &keys {
                remove(&t, store, key)?;
            }
            t.commit().map_err(failed)
        })
        .await
    }
}
