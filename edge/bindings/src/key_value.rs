//! `spin:key-value`, `fermyon:spin/key-value` and `wasi:keyvalue` on the key-value port.
//! It does NOT know a provider.

use crate::generated::fermyon::spin::key_value as v2;
use crate::generated::spin::key_value::key_value as v3;
use crate::generated::wasi::keyvalue::{atomics, batch, store};
use crate::port::{KeyValue, KeyValueError};
use crate::state::{Capabilities, CompareAndSwap, OpenStore, State};
use std::sync::Arc;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// The most keys that one batch call may name.
const BATCH_KEYS_MAX: usize = 10_000;

impl State {
    fn store(&self, handle: &Resource<OpenStore>) -> wasmtime::Result<Arc<dyn KeyValue>> {
        Ok(Arc::clone(&self.table.get(handle)?.0))
    }

    async fn open_store(
        &mut self,
        label: &str,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, KeyValueError>> {
        let opened = self.grants.key_value.open(label).await;
        self.progress.made();
        Ok(match opened {
            Ok(store) => Ok(self.table.push(OpenStore(store))?),
            Err(error) => Err(error),
        })
    }
}

fn opened<T>(
    accessor: &Accessor<T, Capabilities>,
    handle: &Resource<OpenStore>,
) -> wasmtime::Result<Arc<dyn KeyValue>> {
    accessor.with(|mut access| {
        let state = access.get();
        state.progress.made();
        state.store(handle)
    })
}

impl v3::Host for State {}

impl v3::HostStore for State {
    async fn drop(&mut self, handle: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl<T: Send> v3::HostStoreWithStore<T> for Capabilities {
    async fn open(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, v3::Error>> {
        let grants = accessor.with(|mut access| Arc::clone(&access.get().grants));
        match grants.key_value.open(&label).await {
            Ok(store) => accessor.with(|mut access| {
                let state = access.get();
                state.progress.made();
                Ok(Ok(state.table.push(OpenStore(store))?))
            }),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, v3::Error>> {
        let store = opened(accessor, &handle)?;
        Ok(store.get(&key).await.map_err(Into::into))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), v3::Error>> {
        let store = opened(accessor, &handle)?;
        Ok(store.set(&key, value).await.map_err(Into::into))
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), v3::Error>> {
        let store = opened(accessor, &handle)?;
        Ok(store.delete(&key).await.map_err(Into::into))
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, v3::Error>> {
        let store = opened(accessor, &handle)?;
        Ok(store.exists(&key).await.map_err(Into::into))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), v3::Error>>)> {
        let store = opened(accessor, &handle)?;
        let (keys, end) = match store.keys().await {
            Ok(keys) => (keys, Ok(())),
            Err(error) => (Vec::new(), Err(v3::Error::from(error))),
        };
        accessor.with(|mut access| {
            let keys = StreamReader::new(&mut access, keys)?;
            let end = FutureReader::new(&mut access, async move { wasmtime::error::Ok(end) })?;
            Ok((keys, end))
        })
    }
}

impl v2::Host for State {}

impl v2::HostStore for State {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, v2::Error>> {
        Ok(self.open_store(&label).await?.map_err(Into::into))
    }

    async fn get(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, v2::Error>> {
        self.progress.made();
        Ok(self.store(&handle)?.get(&key).await.map_err(Into::into))
    }

    async fn set(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), v2::Error>> {
        self.progress.made();
        Ok(self
            .store(&handle)?
            .set(&key, value)
            .await
            .map_err(Into::into))
    }

    async fn delete(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), v2::Error>> {
        self.progress.made();
        Ok(self.store(&handle)?.delete(&key).await.map_err(Into::into))
    }

    async fn exists(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, v2::Error>> {
        self.progress.made();
        Ok(self.store(&handle)?.exists(&key).await.map_err(Into::into))
    }

    async fn get_keys(
        &mut self,
        handle: Resource<OpenStore>,
    ) -> wasmtime::Result<Result<Vec<String>, v2::Error>> {
        self.progress.made();
        Ok(self.store(&handle)?.keys().await.map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl store::Host for State {
    async fn open(
        &mut self,
        identifier: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, store::Error>> {
        Ok(self.open_store(&identifier).await?.map_err(Into::into))
    }
}

impl store::HostBucket for State {
    async fn get(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        self.progress.made();
        Ok(self.store(&handle)?.get(&key).await.map_err(Into::into))
    }

    async fn set(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        self.progress.made();
        Ok(self
            .store(&handle)?
            .set(&key, value)
            .await
            .map_err(Into::into))
    }

    async fn delete(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        self.progress.made();
        Ok(self.store(&handle)?.delete(&key).await.map_err(Into::into))
    }

    async fn exists(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, store::Error>> {
        self.progress.made();
        Ok(self.store(&handle)?.exists(&key).await.map_err(Into::into))
    }

    async fn list_keys(
        &mut self,
        handle: Resource<OpenStore>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        if cursor.is_some() {
            // All keys come in one answer, so no cursor was ever given out.
            return Ok(Err(store::Error::Other("unknown cursor".to_owned())));
        }
        self.progress.made();
        let keys = self.store(&handle)?.keys().await;
        Ok(keys
            .map(|keys| store::KeyResponse { keys, cursor: None })
            .map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl atomics::Host for State {
    async fn increment(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, store::Error>> {
        self.progress.made();
        Ok(self
            .store(&handle)?
            .increment(&key, delta)
            .await
            .map_err(Into::into))
    }

    async fn swap(
        &mut self,
        handle: Resource<CompareAndSwap>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        self.progress.made();
        let cas = self.table.delete(handle)?;
        let swapped = cas
            .store
            .compare_and_swap(&cas.key, cas.current, value)
            .await;
        match swapped {
            Ok(true) => Ok(Ok(())),
            Ok(false) => match cas.store.get(&cas.key).await {
                Ok(current) => {
                    let newer = CompareAndSwap {
                        current,
                        store: cas.store,
                        key: cas.key,
                    };
                    Ok(Err(atomics::CasError::CasFailed(self.table.push(newer)?)))
                }
                Err(error) => Ok(Err(atomics::CasError::StoreError(error.into()))),
            },
            Err(error) => Ok(Err(atomics::CasError::StoreError(error.into()))),
        }
    }
}

impl atomics::HostCas for State {
    async fn new(
        &mut self,
        handle: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<CompareAndSwap>, store::Error>> {
        self.progress.made();
        let store = self.store(&handle)?;
        match store.get(&key).await {
            Ok(current) => Ok(Ok(self.table.push(CompareAndSwap {
                store,
                key,
                current,
            })?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn current(
        &mut self,
        handle: Resource<CompareAndSwap>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        Ok(Ok(self.table.get(&handle)?.current.clone()))
    }

    async fn drop(&mut self, handle: Resource<CompareAndSwap>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

type Found = Vec<(String, Option<Vec<u8>>)>;

impl batch::Host for State {
    async fn get_many(
        &mut self,
        handle: Resource<OpenStore>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Found, store::Error>> {
        self.progress.made();
        if let Err(error) = check_batch(keys.len()) {
            return Ok(Err(error));
        }
        let store = self.store(&handle)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match store.get(&key).await {
                Ok(value) => found.push((key, value)),
                Err(error) => return Ok(Err(error.into())),
            }
        }
        Ok(Ok(found))
    }

    async fn set_many(
        &mut self,
        handle: Resource<OpenStore>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        self.progress.made();
        if let Err(error) = check_batch(pairs.len()) {
            return Ok(Err(error));
        }
        Ok(self
            .store(&handle)?
            .set_many(pairs)
            .await
            .map_err(Into::into))
    }

    async fn delete_many(
        &mut self,
        handle: Resource<OpenStore>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        self.progress.made();
        if let Err(error) = check_batch(keys.len()) {
            return Ok(Err(error));
        }
        Ok(self
            .store(&handle)?
            .delete_many(keys)
            .await
            .map_err(Into::into))
    }
}

fn check_batch(count: usize) -> Result<(), store::Error> {
    if count > BATCH_KEYS_MAX {
        return Err(store::Error::Other(format!(
            "a batch may name at most {BATCH_KEYS_MAX} keys, not {count}"
        )));
    }
    Ok(())
}

impl From<KeyValueError> for v3::Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::NoSuchStore => Self::NoSuchStore,
            KeyValueError::AccessDenied => Self::AccessDenied,
            KeyValueError::Other(text) => Self::Other(text),
        }
    }
}

impl From<KeyValueError> for v2::Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::NoSuchStore => Self::NoSuchStore,
            KeyValueError::AccessDenied => Self::AccessDenied,
            KeyValueError::Other(text) => Self::Other(text),
        }
    }
}

impl From<KeyValueError> for store::Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::NoSuchStore => Self::NoSuchStore,
            KeyValueError::AccessDenied => Self::AccessDenied,
            KeyValueError::Other(text) => Self::Other(text),
        }
    }
}
