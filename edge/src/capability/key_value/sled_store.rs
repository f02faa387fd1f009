//! A key-value store on sled, for what can be rebuilt: caches and counters.
//!
//! Invariant: nothing that must survive is kept here. A folder that sled cannot open is set
//! aside and the store starts empty.

use super::add;
use async_trait::async_trait;
use edge_bindings::port::{ANSWER_BYTES_MAX, KeyValue, KeyValueError};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Memory for sled's page cache.
const CACHE_BYTES: u64 = 64 << 20;
/// How often dirty pages go to disk; what is younger may be lost in a crash.
const FLUSH_EVERY_MS: u64 = 1_000;

pub(super) struct SledStore(sled::Db);

impl SledStore {
    /// Opens the store in `path`; a corrupt one is set aside.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        match Self::try_open(path) {
            Ok(store) => Ok(store),
            Err(error) => {
                let aside = aside(path);
                tracing::error!(
                    path = %path.display(),
                    aside = %aside.display(),
                    error,
                    "cache is corrupt: set aside, starting empty"
                );
                std::fs::rename(path, &aside)
                    .map_err(|rename| format!("{}: {error}; {rename}", path.display()))?;
                Self::try_open(path).map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, String> {
        // sled 0.34 reports some corruption by a panic.
        let opened = std::panic::catch_unwind(|| {
            sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .open()
        });
        match opened {
            Ok(Ok(db)) => Ok(Self(db)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("sled panicked while opening".to_owned()),
        }
    }
}

fn aside(path: &Path) -> std::path::PathBuf {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".corrupt-{now}"));
    path.with_file_name(name)
}

fn failed(error: sled::Error) -> KeyValueError {
    tracing::error!(%error, "sled");
    KeyValueError::Other("the store failed".to_owned())
}

#[async_trait]
impl KeyValue for SledStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        Ok(self.0.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        self.0.insert(key, value).map_err(failed)?;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        self.0.remove(key).map_err(failed)?;
        Ok(())
    }

    async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        self.0.contains_key(key).map_err(failed)
    }

    async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        let mut keys = Vec::new();
        let mut bytes = 0;
        for key in self.0.iter().keys() {
            let key = String::from_utf8_lossy(&key.map_err(failed)?).into_owned();
            bytes += key.len() + size_of::<String>();
            if bytes > ANSWER_BYTES_MAX {
                return Err(KeyValueError::Other("there are too many keys".to_owned()));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        loop {
            let stored = self.0.get(key).map_err(failed)?;
            let sum = add(stored.as_deref(), delta)?;
            let next = sum.to_string().into_bytes();
            if self
                .0
                .compare_and_swap(key, stored, Some(next))
                .map_err(failed)?
                .is_ok()
            {
                return Ok(sum);
            }
        }
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        let swapped = self
            .0
            .compare_and_swap(key, expected, Some(value))
            .map_err(failed)?;
        Ok(swapped.is_ok())
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        let mut batch = sled::Batch::default();
        for (key, value) in pairs {
            batch.insert(key.into_bytes(), value);
        }
        self.0.apply_batch(batch).map_err(failed)
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        let mut batch = sled::Batch::default();
        for key in keys {
            batch.remove(key.into_bytes());
        }
        self.0.apply_batch(batch).map_err(failed)
    }
}
