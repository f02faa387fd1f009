//! Key-value stores: the providers by label, and the labels that a component may open.
//!
//! It knows labels and providers; the providers are in `key_value/`. It does NOT know WIT
//! or what a value means.

mod redis_store;
mod sled_store;
mod sqlite_store;

use crate::metrics::Metrics;
use crate::runtime_config::{KeyValueProvider, RuntimeConfig};
use async_trait::async_trait;
use edge_bindings::port::{KeyValue, KeyValueError, KeyValueStores};
use redis_store::RedisStore;
use sled_store::SledStore;
use sqlite_store::SqliteStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The longest key.
pub(crate) const KEY_BYTES_MAX: usize = 1 << 10;
/// The largest value.
pub(crate) const VALUE_BYTES_MAX: usize = 16 << 20;

type Stores = BTreeMap<String, Arc<dyn KeyValue>>;

type Opened = (KeyValueProvider, Arc<dyn KeyValue>);

/// All stores that versions of the application have used, open.
pub(crate) struct Providers {
    stores: Mutex<BTreeMap<String, Opened>>,
    metrics: Arc<Metrics>,
}

impl Providers {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            stores: Mutex::default(),
            metrics: Arc::clone(metrics),
        }
    }

    /// One of `labels` whose store is open, with another provider than `config` has.
    pub(crate) fn changed(
        &self,
        config: &RuntimeConfig,
        labels: &BTreeSet<String>,
    ) -> Option<String> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let is_changed = |label: &&String| {
            let open = stores.get(*label).map(|(provider, _)| provider);
            open.is_some() && open != config.key_value_stores.get(*label)
        };
        let label = labels.iter().find(is_changed)?;
        Some(format!("[key_value_store.{label}]"))
    }

    /// Opens the store behind every label of `labels`, if it is not open.
    pub(crate) fn open(
        &self,
        config: &RuntimeConfig,
        labels: &BTreeSet<String>,
    ) -> Result<(), String> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        for label in labels {
            if stores.contains_key(label) {
                continue;
            }
            let provider = config.key_value_stores.get(label).ok_or_else(|| {
                format!(
                    "key-value store {label:?} has no provider: add [key_value_store.{label}] \
                     to the runtime config"
                )
            })?;
            let opened: Result<Arc<dyn KeyValue>, String> = match provider {
                KeyValueProvider::Redis(url) => RedisStore::open(url).map(|s| Arc::new(s) as _),
                KeyValueProvider::Sled(path) => SledStore::open(path).map(|s| Arc::new(s) as _),
                KeyValueProvider::Sqlite(path) => {
                    SqliteStore::open(path, label).map(|s| Arc::new(s) as _)
                }
            };
            let store = opened.map_err(|error| format!("key-value store {label:?}: {error}"))?;
            let counted = Counted {
                label: label.clone(),
                store,
                metrics: Arc::clone(&self.metrics),
            };
            stores.insert(label.clone(), (provider.clone(), Arc::new(counted)));
        }
        Ok(())
    }

    /// The stores that a component with these labels may open.
    pub(crate) fn granted(&self, labels: &BTreeSet<String>) -> Arc<dyn KeyValueStores> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = labels.iter().filter_map(|label| {
            let (_, store) = stores.get(label)?;
            Some((label.clone(), Arc::clone(store)))
        });
        Arc::new(Granted(granted.collect()))
    }
}

struct Granted(Stores);

#[async_trait]
impl KeyValueStores for Granted {
    async fn open(&self, label: &str) -> Result<Arc<dyn KeyValue>, KeyValueError> {
        let store = self.0.get(label).cloned();
        store.ok_or(KeyValueError::AccessDenied)
    }
}

/// A store whose operations are counted and whose keys and values are bounded.
struct Counted {
    label: String,
    store: Arc<dyn KeyValue>,
    metrics: Arc<Metrics>,
}

impl Counted {
    fn count(&self, operation: &str, key: &str, value: Option<&[u8]>) -> Result<(), KeyValueError> {
        self.metrics.key_value(&self.label, operation);
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(KeyValueError::Other(format!(
                "a key has 1 to {KEY_BYTES_MAX} bytes, not {}",
                key.len()
            )));
        }
        match value.map(<[u8]>::len) {
            Some(length) if length > VALUE_BYTES_MAX => Err(KeyValueError::Other(format!(
                "a value has at most {VALUE_BYTES_MAX} bytes, not {length}"
            ))),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl KeyValue for Counted {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        self.count("get", key, None)?;
        self.store.get(key).await
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        self.count("set", key, Some(&value))?;
        self.store.set(key, value).await
    }

    async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        self.count("delete", key, None)?;
        self.store.delete(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        self.count("exists", key, None)?;
        self.store.exists(key).await
    }

    async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        self.metrics.key_value(&self.label, "keys");
        self.store.keys().await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        self.count("increment", key, None)?;
        self.store.increment(key, delta).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        self.count("compare_and_swap", key, Some(&value))?;
        self.store.compare_and_swap(key, expected, value).await
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        for (key, value) in &pairs {
            self.count("set", key, Some(value))?;
        }
        self.store.set_many(pairs).await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        for key in &keys {
            self.count("delete", key, None)?;
        }
        self.store.delete_many(keys).await
    }
}

/// Adds `delta` to a number as it is stored: decimal text, or nothing for zero.
fn add(stored: Option<&[u8]>, delta: i64) -> Result<i64, KeyValueError> {
    let number = match stored {
        None => 0,
        Some(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok())
            .ok_or_else(|| KeyValueError::Other("the value is not a number".to_owned()))?,
    };
    number
        .checked_add(delta)
        .ok_or_else(|| KeyValueError::Other("the sum is out of range".to_owned()))
}

#[cfg(test)]
mod tests;
