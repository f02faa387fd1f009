//! `spin:redis` and `fermyon:spin/redis` on the Redis port: each function is a command.
//! It does NOT know a server or a grant.

use crate::generated::fermyon::spin::redis as v2;
use crate::generated::spin::redis::redis as v3;
use crate::port::{RedisArgument, RedisConnection, RedisError, RedisValue};
use crate::state::{Capabilities, OpenRedis, State};
use std::sync::Arc;
use wasmtime::component::{Accessor, Resource};

type Shared = Arc<dyn RedisConnection>;

fn text(text: String) -> RedisArgument {
    RedisArgument::Bytes(text.into_bytes())
}

/// A key and its values, or keys alone.
fn texts(first: Option<String>, rest: Vec<String>) -> Vec<RedisArgument> {
    first.into_iter().chain(rest).map(text).collect()
}

async fn number(
    connection: &Shared,
    name: &str,
    arguments: Vec<RedisArgument>,
) -> Result<i64, RedisError> {
    let answer = connection.command(name, arguments).await?;
    match answer.as_slice() {
        [RedisValue::Integer(number)] => Ok(*number),
        _ => Err(RedisError::TypeError),
    }
}

async fn count(
    connection: &Shared,
    name: &str,
    arguments: Vec<RedisArgument>,
) -> Result<u32, RedisError> {
    let number = number(connection, name, arguments).await?;
    u32::try_from(number).map_err(|_| RedisError::TypeError)
}

async fn get(connection: &Shared, key: String) -> Result<Option<Vec<u8>>, RedisError> {
    let mut answer = connection.command("GET", vec![text(key)]).await?;
    match (answer.pop(), answer.is_empty()) {
        (Some(RedisValue::Nil), true) => Ok(None),
        (Some(RedisValue::Bytes(value)), true) => Ok(Some(value)),
        _ => Err(RedisError::TypeError),
    }
}

async fn put(
    connection: &Shared,
    name: &str,
    key: String,
    value: Vec<u8>,
) -> Result<(), RedisError> {
    let arguments = vec![text(key), RedisArgument::Bytes(value)];
    connection.command(name, arguments).await.map(drop)
}

async fn members(connection: &Shared, key: String) -> Result<Vec<String>, RedisError> {
    let answer = connection.command("SMEMBERS", vec![text(key)]).await?;
    let member = |value| match value {
        RedisValue::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| RedisError::TypeError),
        _ => Err(RedisError::TypeError),
    };
    answer.into_iter().map(member).collect()
}

impl State {
    fn redis(&self, handle: &Resource<OpenRedis>) -> wasmtime::Result<Shared> {
        Ok(Arc::clone(&self.table.get(handle)?.0))
    }

    fn keep_redis(
        &mut self,
        opened: Result<Shared, RedisError>,
    ) -> wasmtime::Result<Result<Resource<OpenRedis>, RedisError>> {
        self.progress.made();
        Ok(match opened {
            Ok(connection) => Ok(self.table.push(OpenRedis(connection))?),
            Err(error) => Err(error),
        })
    }

    fn close_redis(&mut self, handle: Resource<OpenRedis>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl v3::Host for State {}

impl v3::HostConnection for State {
    async fn drop(&mut self, handle: Resource<OpenRedis>) -> wasmtime::Result<()> {
        self.close_redis(handle)
    }
}

/// The connection behind `handle`; each call is progress.
fn shared<T>(
    accessor: &Accessor<T, Capabilities>,
    handle: &Resource<OpenRedis>,
) -> wasmtime::Result<Shared> {
    accessor.with(|mut access| {
        let state = access.get();
        state.progress.made();
        state.redis(handle)
    })
}

impl<T: Send> v3::HostConnectionWithStore<T> for Capabilities {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<OpenRedis>, v3::Error>> {
        let grants = accessor.with(|mut access| Arc::clone(&access.get().grants));
        let opened = grants.redis.open(&address).await;
        accessor.with(|mut access| Ok(access.get().keep_redis(opened)?.map_err(Into::into)))
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        channel: String,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), v3::Error>> {
        let connection = shared(accessor, &handle)?;
        let done = put(&connection, "PUBLISH", channel, payload).await;
        Ok(done.map_err(Into::into))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, v3::Error>> {
        let connection = shared(accessor, &handle)?;
        Ok(get(&connection, key).await.map_err(Into::into))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), v3::Error>> {
        let connection = shared(accessor, &handle)?;
        let done = put(&connection, "SET", key, value).await;
        Ok(done.map_err(Into::into))
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        key: String,
    ) -> wasmtime::Result<Result<i64, v3::Error>> {
        let connection = shared(accessor, &handle)?;
        let sum = number(&connection, "INCR", texts(Some(key), Vec::new())).await;
        Ok(sum.map_err(Into::into))
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<u32, v3::Error>> {
        let connection = shared(accessor, &handle)?;
        let gone = count(&connection, "DEL", texts(None, keys)).await;
        Ok(gone.map_err(Into::into))
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        key: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<u32, v3::Error>> {
        let connection = shared(accessor, &handle)?;
        let added = count(&connection, "SADD", texts(Some(key), values)).await;
        Ok(added.map_err(Into::into))
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        key: String,
    ) -> wasmtime::Result<Result<Vec<String>, v3::Error>> {
        let connection = shared(accessor, &handle)?;
        Ok(members(&connection, key).await.map_err(Into::into))
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        key: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<u32, v3::Error>> {
        let connection = shared(accessor, &handle)?;
        let gone = count(&connection, "SREM", texts(Some(key), values)).await;
        Ok(gone.map_err(Into::into))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        handle: Resource<OpenRedis>,
        command: String,
        arguments: Vec<v3::RedisParameter>,
    ) -> wasmtime::Result<Result<Vec<v3::RedisResult>, v3::Error>> {
        let connection = shared(accessor, &handle)?;
        let arguments = arguments.into_iter().map(Into::into).collect();
        let answer = connection.command(&command, arguments).await;
        Ok(answer.map(results).map_err(Into::into))
    }
}

fn results<R: From<RedisValue>>(values: Vec<RedisValue>) -> Vec<R> {
    values.into_iter().map(R::from).collect()
}

impl v2::Host for State {}

impl v2::HostConnection for State {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<OpenRedis>, v2::Error>> {
        let opened = self.grants.redis.open(&address).await;
        Ok(self.keep_redis(opened)?.map_err(Into::into))
    }

    async fn publish(
        &mut self,
        handle: Resource<OpenRedis>,
        channel: String,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), v2::Error>> {
        let connection = self.redis(&handle)?;
        let done = put(&connection, "PUBLISH", channel, payload).await;
        self.progress.made();
        Ok(done.map_err(Into::into))
    }

    async fn get(
        &mut self,
        handle: Resource<OpenRedis>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, v2::Error>> {
        let connection = self.redis(&handle)?;
        let value = get(&connection, key).await;
        self.progress.made();
        Ok(value.map_err(Into::into))
    }

    async fn set(
        &mut self,
        handle: Resource<OpenRedis>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), v2::Error>> {
        let connection = self.redis(&handle)?;
        let done = put(&connection, "SET", key, value).await;
        self.progress.made();
        Ok(done.map_err(Into::into))
    }

    async fn incr(
        &mut self,
        handle: Resource<OpenRedis>,
        key: String,
    ) -> wasmtime::Result<Result<i64, v2::Error>> {
        let connection = self.redis(&handle)?;
        let sum = number(&connection, "INCR", texts(Some(key), Vec::new())).await;
        self.progress.made();
        Ok(sum.map_err(Into::into))
    }

    async fn del(
        &mut self,
        handle: Resource<OpenRedis>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<u32, v2::Error>> {
        let connection = self.redis(&handle)?;
        let gone = count(&connection, "DEL", texts(None, keys)).await;
        self.progress.made();
        Ok(gone.map_err(Into::into))
    }

    async fn sadd(
        &mut self,
        handle: Resource<OpenRedis>,
        key: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<u32, v2::Error>> {
        let connection = self.redis(&handle)?;
        let added = count(&connection, "SADD", texts(Some(key), values)).await;
        self.progress.made();
        Ok(added.map_err(Into::into))
    }

    async fn smembers(
        &mut self,
        handle: Resource<OpenRedis>,
        key: String,
    ) -> wasmtime::Result<Result<Vec<String>, v2::Error>> {
        let connection = self.redis(&handle)?;
        let found = members(&connection, key).await;
        self.progress.made();
        Ok(found.map_err(Into::into))
    }

    async fn srem(
        &mut self,
        handle: Resource<OpenRedis>,
        key: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<u32, v2::Error>> {
        let connection = self.redis(&handle)?;
        let gone = count(&connection, "SREM", texts(Some(key), values)).await;
        self.progress.made();
        Ok(gone.map_err(Into::into))
    }

    async fn execute(
        &mut self,
        handle: Resource<OpenRedis>,
        command: String,
        arguments: Vec<v2::RedisParameter>,
    ) -> wasmtime::Result<Result<Vec<v2::RedisResult>, v2::Error>> {
        let connection = self.redis(&handle)?;
        let arguments = arguments.into_iter().map(Into::into).collect();
        let answer = connection.command(&command, arguments).await;
        self.progress.made();
        Ok(answer.map(results).map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<OpenRedis>) -> wasmtime::Result<()> {
        self.close_redis(handle)
    }
}

/// The two versions of the interface have types of one shape and two identities.
macro_rules! convert {
    ($version:ident) => {
        impl From<RedisError> for $version::Error {
            fn from(error: RedisError) -> Self {
                match error {
                    RedisError::InvalidAddress => Self::InvalidAddress,
                    RedisError::TooManyConnections => Self::TooManyConnections,
                    RedisError::TypeError => Self::TypeError,
                    RedisError::Other(text) => Self::Other(text),
                }
            }
        }

        impl From<$version::RedisParameter> for RedisArgument {
            fn from(argument: $version::RedisParameter) -> Self {
                match argument {
                    $version::RedisParameter::Int64(number) => Self::Integer(number),
                    $version::RedisParameter::Binary(bytes) => Self::Bytes(bytes),
                }
            }
        }

        impl From<RedisValue> for $version::RedisResult {
            fn from(value: RedisValue) -> Self {
                match value {
                    RedisValue::Nil => Self::Nil,
                    RedisValue::Status(text) => Self::Status(text),
                    RedisValue::Integer(number) => Self::Int64(number),
                    RedisValue::Bytes(bytes) => Self::Binary(bytes),
                }
            }
        }
    };
}

convert!(v3);
convert!(v2);
