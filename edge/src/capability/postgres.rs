//! Outbound PostgreSQL: which servers a component may speak to, and pools of connections to
//! them.
//!
//! A server is checked like every outbound host: by name, and again by address. It does NOT
//! know SQL, and never logs an address, which may hold a password.

mod address;
mod numeric;
mod session;
mod statement;
mod value;

use crate::lanes;
use crate::manifest::allowed_hosts::{AllowedHost, Reach};
use crate::metrics::Metrics;
use address::Address;
use async_trait::async_trait;
use deadpool::managed::{Hook, Pool, PoolError, TimeoutType, Timeouts};
use edge_bindings::port::{PostgresConnection, PostgresError, PostgresServers};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use session::{CONNECT_TIME_MAX, Server};
use sha2::{Digest as _, Sha256};
use statement::Open;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Connections that components hold at once.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections of one pool; the figure is Spin's.
const CONNECTIONS_OF_POOL_MAX: usize = 64;
/// Pools that are kept; the figure is Spin's.
const POOLS_MAX: usize = 16;
/// How long a connection is kept that nobody uses.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// The connections of all components.
pub(crate) struct Pools {
    /// The one that was used last is at the end.
    kept: Mutex<VecDeque<(PoolKey, Pool<Server>)>>,
    places: Arc<Semaphore>,
    roots: rustls::RootCertStore,
}

/// Pools are apart by address, trusted certificate and reach of the grant. An address may
/// hold a password, so only a digest is kept.
type PoolKey = [u8; 32];

impl Pools {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            roots: super::outbound::system_roots(),
        }
    }

    fn pool(
        &self,
        text: &str,
        address: &Address,
        reach: Reach,
        ca_root: Option<&str>,
    ) -> Result<Pool<Server>, PostgresError> {
        let mut digest = Sha256::new();
        for part in [text, ca_root.unwrap_or_default()] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.update([u8::from(reach == Reach::Literal)]);
        let key: PoolKey = digest.finalize().into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, pool) in kept.iter() {
            pool.retain(|_, metrics| metrics.last_used() < IDLE_TIME_MAX);
        }
        let found = kept.iter().position(|(of, _)| *of == key);
        let entry = match found.and_then(|position| kept.remove(position)) {
            Some(entry) => entry,
            None => (key, self.make(address, reach, ca_root)?),
        };
        let pool = entry.1.clone();
        kept.push_back(entry);
        if kept.len() > POOLS_MAX {
            kept.pop_front();
        }
        Ok(pool)
    }

    fn make(
        &self,
        address: &Address,
        reach: Reach,
        ca_root: Option<&str>,
    ) -> Result<Pool<Server>, PostgresError> {
        let mut roots = self.roots.clone();
        for certificate in ca_root.map(certificates).transpose()?.unwrap_or_default() {
            roots
                .add(certificate)
                .map_err(|error| PostgresError::Other(not_a_root(&error)))?;
        }
        let tls = super::outbound::tls_config_with(roots).map_err(PostgresError::Other)?;
        let server = Server::new(address.clone(), reach, MakeRustlsConnect::new(tls));
        let timeouts = Timeouts {
            wait: Some(CONNECT_TIME_MAX),
            create: Some(CONNECT_TIME_MAX),
            recycle: Some(CONNECT_TIME_MAX),
        };
        Pool::builder(server)
            .max_size(CONNECTIONS_OF_POOL_MAX)
            .timeouts(timeouts)
            .runtime(deadpool::Runtime::Tokio1)
            .pre_recycle(Hook::sync_fn(
                |session: &mut session::Session, _| match session.is_clean() {
                    true => Ok(()),
                    false => Err(deadpool::managed::HookError::message("not clean")),
                },
            ))
            .build()
            .map_err(|error| PostgresError::Other(error.to_string()))
    }
}

fn not_a_root(error: &dyn std::fmt::Display) -> String {
    format!("invalid root certificate: {error}")
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let wrong = |error: &dyn std::fmt::Display| PostgresError::Other(not_a_root(error));
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err(wrong(&"there is none in the text")),
        Ok(all) => Ok(all),
        Err(error) => Err(wrong(&error)),
    }
}

/// The PostgreSQL servers of one component.
pub(crate) struct ComponentPostgres {
    pub(crate) component: String,
    pub(crate) hosts: Vec<AllowedHost>,
    pub(crate) pools: Arc<Pools>,
    pub(crate) metrics: Arc<Metrics>,
}

#[async_trait]
impl PostgresServers for ComponentPostgres {
    async fn open(
        &self,
        text: &str,
        ca_root: Option<&str>,
    ) -> Result<Arc<dyn PostgresConnection>, PostgresError> {
        let address = Address::parse(text).map_err(PostgresError::ConnectionFailed)?;
        let reach = address.check(&self.hosts).map_err(|target| {
            self.metrics.outbound("denied", "denied");
            let (component, host) = (&self.component, &target);
            tracing::warn!(
                component,
                host,
                "postgres refused: not in allowed_outbound_hosts"
            );
            PostgresError::ConnectionFailed(format!("address postgres://{target} is not permitted"))
        })?;
        let place = Arc::clone(&self.pools.places)
            .try_acquire_owned()
            .map_err(|_| PostgresError::ConnectionFailed("too many connections".to_owned()))?;
        let pool = self.pools.pool(text, &address, reach, ca_root)?;
        let made = lanes::at_home(pool.get()).await;
        let outcome = if made.is_ok() { "ok" } else { "error" };
        self.metrics.outbound(address.first_host(), outcome);
        match made {
            Ok(session) => Ok(Arc::new(Open::new(session, place))),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(PostgresError::ConnectionFailed(
                "too many connections to this server".to_owned(),
            )),
            Err(error) => Err(PostgresError::ConnectionFailed(error.to_string())),
        }
    }

    fn check_ca_root(&self, certificate: &str) -> Result<(), PostgresError> {
        certificates(certificate).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_granted_servers_are_spoken_to() {
        let servers = |host: &str| ComponentPostgres {
            component: "one".to_owned(),
            hosts: vec![AllowedHost::parse(host).unwrap()],
            pools: Arc::new(Pools::new()),
            metrics: Arc::default(),
        };
        let open = async |granted: &str, address: &str| {
            let opened = servers(granted).open(address, None).await;
            opened.err().unwrap().to_string()
        };
        let check = async |granted: &str, address: &str, expect: &str| {
            let error = open(granted, address).await;
            assert!(error.contains(expect), "{granted} {address}: {error}");
        };
        let granted = "postgres://127.0.0.1:1";
        check(
            granted,
            "postgres://127.0.0.1:2/db",
            "postgres://127.0.0.1:2 is not permitted",
        )
        .await;
        check(
            "http://127.0.0.1:1",
            "postgres://127.0.0.1:1",
            "not permitted",
        )
        .await;
        check(
            granted,
            "postgres://127.0.0.1:1,127.0.0.1:2/db",
            "not permitted",
        )
        .await;
        check(
            granted,
            "host=127.0.0.1 port=1 hostaddr=10.0.0.1",
            "hostaddr",
        )
        .await;
        check("postgres://*:*", "postgres:///db?host=/run", "Unix sockets").await;
        check(
            "postgres://*:*",
            "postgres://u:p@127.0.0.1:1",
            "private addresses",
        )
        .await;
        check(granted, "postgres://u:p@127.0.0.1:1", "refused").await;
        check(granted, "no address", "invalid").await;
    }

    #[test]
    fn a_root_certificate_is_pem() {
        let none = certificates("nothing").unwrap_err().to_string();
        assert!(none.contains("invalid root certificate"), "{none}");
        let made = rcgen::generate_simple_self_signed(vec!["db".to_owned()]).unwrap();
        assert_eq!(certificates(&made.cert.pem()).unwrap().len(), 1);
    }
}
