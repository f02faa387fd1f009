//! A key-value store on a Redis server, shared with whoever else uses its database.
//!
//! One connection carries all commands; a broken one is made anew by the next call. It does
//! NOT know labels, and it never logs its URL, which may hold a password.

use crate::lanes;
use async_trait::async_trait;
use edge_bindings::port::{ANSWER_BYTES_MAX, KeyValue, KeyValueError};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, cmd};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long one answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How many keys the server is asked for at once.
const KEYS_AT_ONCE: usize = 1_000;

/// Puts a value if the key still holds what is expected; the server runs it in one step.
const COMPARE_AND_SWAP: &str = "\
local found = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if found ~= ARGV[2] then return 0 end
elseif found then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3])
return 1";

/// One database of a Redis server.
pub(super) struct RedisStore {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisStore {
    /// Checks the URL; the connection is made by the first call.
    pub(super) fn open(url: &str) -> Result<Self, String> {
        let client = Client::open(url)
            .map_err(|_| "`url` is not redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]")?;
        Ok(Self {
            client,
            connection: Mutex::default(),
        })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, KeyValueError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME_MAX))
            .set_response_timeout(Some(ANSWER_TIME_MAX));
        let made = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let made = lanes::at_home(made).await.map_err(|error| failed(&error))?;
        *kept = Some(made.clone());
        Ok(made)
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, KeyValueError> {
        let mut connection = self.connection().await?;
        let answer = command.query_async(&mut connection).await;
        if let Err(error) = &answer
            && (error.is_io_error() || error.is_unrecoverable_error())
        {
            *self.connection.lock().await = None;
        }
        answer.map_err(|error| failed(&error))
    }
}

fn failed(error: &redis::RedisError) -> KeyValueError {
    KeyValueError::Other(format!("redis: {error}"))
}

#[async_trait]
impl KeyValue for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        self.run(cmd("GET").arg(key)).await
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        self.run(cmd("SET").arg(key).arg(value)).await
    }

    async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        self.run(cmd("DEL").arg(key)).await
    }

    async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        self.run(cmd("EXISTS").arg(key)).await
    }

    /// Asks in parts, so that the server is never busy with one long answer.
    async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        let mut keys = BTreeSet::new();
        let (mut cursor, mut bytes) = (0_u64, 0);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(KEYS_AT_ONCE);
            let (next, found): (u64, Vec<String>) = self.run(&scan).await?;
            for key in found {
                let length = key.len() + size_of::<String>();
                if keys.insert(key) {
                    bytes += length;
                }
            }
            if bytes > ANSWER_BYTES_MAX {
                let message = format!("the keys have more than {ANSWER_BYTES_MAX} bytes");
                return Err(KeyValueError::Other(message));
            }
            if next == 0 {
                return Ok(keys.into_iter().collect());
            }
            cursor = next;
        }
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        self.run(cmd("INCRBY").arg(key).arg(delta)).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        let mut eval = cmd("EVAL");
        eval.arg(COMPARE_AND_SWAP).arg(1).arg(key);
        eval.arg(i32::from(expected.is_some()));
        eval.arg(expected.unwrap_or_default()).arg(value);
        self.run(&eval).await
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        if pairs.is_empty() {
            return Ok(());
        }
        self.run(cmd("MSET").arg(&pairs)).await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.run(cmd("DEL").arg(&keys)).await
    }
}
