//! Outbound Redis: which servers a component may speak to, and its connections to them.
//!
//! A server is checked like every outbound host: by name, and again by address. Each `open`
//! is a connection of its own, for a Redis connection has a state. It does NOT know what a
//! command means, and never logs an address, which may hold a password.

use super::outbound::resolver;
use crate::lanes;
use crate::manifest::allowed_hosts::{AllowedHost, Reach, Target, allowed};
use crate::metrics::Metrics;
use async_trait::async_trait;
use edge_bindings::port::{
    ANSWER_BYTES_MAX, RedisArgument, RedisConnection, RedisError, RedisServers, RedisValue,
};
use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, Value};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of all components at once.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long one answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// The places for connections, of all components.
pub(crate) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS_MAX))
}

/// The Redis servers of one component.
pub(crate) struct ComponentRedis {
    pub(crate) component: String,
    pub(crate) hosts: Vec<AllowedHost>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
}

#[async_trait]
impl RedisServers for ComponentRedis {
    async fn open(&self, address: &str) -> Result<Arc<dyn RedisConnection>, RedisError> {
        let client = Client::open(address).map_err(|_| RedisError::InvalidAddress)?;
        let target = target(address).ok_or(RedisError::InvalidAddress)?;
        let Some(reach) = allowed(&self.hosts, &target) else {
            self.metrics.outbound("denied", "denied");
            let (component, host) = (&self.component, &target.host);
            tracing::warn!(
                component,
                host,
                "redis refused: not in allowed_outbound_hosts"
            );
            return Err(RedisError::InvalidAddress);
        };
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| RedisError::TooManyConnections)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME_MAX))
            .set_response_timeout(Some(ANSWER_TIME_MAX))
            .set_dns_resolver(CheckedNames(reach));
        let made = client.get_multiplexed_async_connection_with_config(&config);
        let made = lanes::at_home(made).await;
        let outcome = if made.is_ok() { "ok" } else { "error" };
        self.metrics.outbound(&target.host, outcome);
        Ok(Arc::new(Open {
            connection: made.map_err(|error| RedisError::Other(error.to_string()))?,
            _place: place,
        }))
    }
}

/// Where `redis://HOST` leads; `None` for what is no host, such as a socket's path.
fn target(address: &str) -> Option<Target> {
    let info = address.into_connection_info().ok()?;
    let (host, port) = match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host, port),
        _ => return None,
    };
    // TLS or not, the grant is for `redis`, as under Spin.
    Some(Target {
        scheme: "redis".to_owned(),
        host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
        port: *port,
    })
}

/// Resolves names and keeps the addresses that the grant reaches.
struct CheckedNames(Reach);

impl AsyncDNSResolver for CheckedNames {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> redis::RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, port)).await?.collect();
            let kept = resolver::keep(found, self.0)?;
            Ok(Box::new(kept.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

struct Open {
    connection: MultiplexedConnection,
    _place: OwnedSemaphorePermit,
}

#[async_trait]
impl RedisConnection for Open {
    async fn command(
        &self,
        name: &str,
        arguments: Vec<RedisArgument>,
    ) -> Result<Vec<RedisValue>, RedisError> {
        let mut command = redis::cmd(name);
        for argument in arguments {
            match argument {
                RedisArgument::Integer(number) => command.arg(number),
                RedisArgument::Bytes(bytes) => command.arg(bytes),
            };
        }
        let answer: Value = command
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| explain(&error))?;
        let mut values = Vec::new();
        let mut bytes = 0;
        flatten(answer, &mut values, &mut bytes)?;
        Ok(values)
    }
}

fn explain(error: &redis::RedisError) -> RedisError {
    match error.code() {
        Some("WRONGTYPE") => RedisError::TypeError,
        _ => RedisError::Other(error.to_string()),
    }
}

/// Lays nested lists out as one, as Spin does.
fn flatten(
    value: Value,
    values: &mut Vec<RedisValue>,
    bytes: &mut usize,
) -> Result<(), RedisError> {
    let flat = match value {
        Value::Nil => RedisValue::Nil,
        Value::Okay => RedisValue::Status("OK".to_owned()),
        Value::SimpleString(text) => RedisValue::Status(text),
        Value::Int(number) => RedisValue::Integer(number),
        Value::Boolean(truth) => RedisValue::Integer(i64::from(truth)),
        Value::BulkString(text) => RedisValue::Bytes(text),
        Value::Double(number) => RedisValue::Bytes(number.to_string().into_bytes()),
        Value::Array(all) | Value::Set(all) => {
            for one in all {
                flatten(one, values, bytes)?;
            }
            return Ok(());
        }
        Value::ServerError(error) => return Err(RedisError::Other(error.to_string())),
        _ => {
            let message = "the answer has a type that spin:redis does not have";
            return Err(RedisError::Other(message.to_owned()));
        }
    };
    *bytes += size_of::<RedisValue>()
        + match &flat {
            RedisValue::Bytes(text) => text.len(),
            RedisValue::Status(text) => text.len(),
            RedisValue::Nil | RedisValue::Integer(_) => 0,
        };
    if *bytes > ANSWER_BYTES_MAX {
        let message = format!("the answer has more than {ANSWER_BYTES_MAX} bytes");
        return Err(RedisError::Other(message));
    }
    values.push(flat);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_a_host_and_a_port() {
        let check = |address: &str, expect: Option<(&str, u16)>| {
            let target = target(address);
            let found = target.as_ref().map(|t| (t.host.as_str(), t.port));
            assert_eq!(found, expect, "{address}");
        };
        check(
            "redis://Cache.example.com",
            Some(("cache.example.com", 6379)),
        );
        check("redis://user:pa%40ss@h:7000/3", Some(("h", 7000)));
        check("redis://[::1]:7000", Some(("::1", 7000)));
        check("redis+unix:///run/redis.sock", None);
        check("http://h", None);
    }

    #[tokio::test]
    async fn only_granted_servers_are_spoken_to() {
        let servers = |host: &str| ComponentRedis {
            component: "one".to_owned(),
            hosts: vec![AllowedHost::parse(host).unwrap()],
            places: places(),
            metrics: Arc::default(),
        };
        let open = async |granted: &str, address: &str| {
            let opened = servers(granted).open(address).await;
            opened.err().unwrap().to_string()
        };
        let invalid = RedisError::InvalidAddress.to_string();
        assert_eq!(
            open("redis://127.0.0.1:1", "redis://127.0.0.1:2").await,
            invalid
        );
        assert_eq!(
            open("http://127.0.0.1:1", "redis://127.0.0.1:1").await,
            invalid
        );
        let private = open("redis://*:*", "redis://127.0.0.1:1").await;
        assert!(private.contains("private addresses"), "{private}");
        let named = open("redis://127.0.0.1:1", "redis://127.0.0.1:1").await;
        assert!(named.contains("refused"), "{named}");
    }
}
