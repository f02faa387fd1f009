//! Connections: how one is made, to addresses that the grant reaches, and how one is made
//! clean for its next user.
//!
//! Invariant: the addresses that are checked are the ones that are connected to.

use super::address::Address;
use crate::capability::outbound::resolver;
use crate::manifest::allowed_hosts::Reach;
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use edge_bindings::port::PostgresError;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a connection may take to be made, waited for or made clean.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a statement may take to be cancelled.
const CANCEL_TIME_MAX: Duration = Duration::from_secs(5);

/// Ends what the last user began and undoes what it set: PostgreSQL's DISCARD ALL, which
/// may not stand beside others, in its parts. Types that the client knows by prepared
/// statements are kept.
const CLEAN: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; \
     UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; \
     DISCARD SEQUENCES";

/// One server, and how far the grant for it goes.
pub(super) struct Server {
    address: Address,
    reach: Reach,
    tls: MakeRustlsConnect,
}

/// One connection.
pub(super) struct Session {
    pub(super) client: Client,
    connection: JoinHandle<()>,
    tls: Option<MakeRustlsConnect>,
    /// Statements that run, and those that were given up: their answers may still be under
    /// way.
    unfinished: AtomicUsize,
}

impl Session {
    /// A statement begins.
    pub(super) fn begun(&self) {
        self.unfinished.fetch_add(1, Relaxed);
    }

    /// A statement that had begun has ended.
    pub(super) fn ended(&self) {
        self.unfinished.fetch_sub(1, Relaxed);
    }

    /// May another component have it?
    pub(super) fn is_clean(&self) -> bool {
        self.unfinished.load(Relaxed) == 0 && !self.client.is_closed()
    }

    /// Asks the server to end what it does here. The connection is of no use afterwards.
    pub(super) async fn cancel(&self) {
        let token = self.client.cancel_token();
        let cancelled = async {
            match &self.tls {
                Some(tls) => token.cancel_query(tls.clone()).await,
                None => token.cancel_query(NoTls).await,
            }
        };
        if !matches!(
            tokio::time::timeout(CANCEL_TIME_MAX, cancelled).await,
            Ok(Ok(()))
        ) {
            tracing::debug!("a PostgreSQL statement could not be cancelled");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Server {
    pub(super) fn new(address: Address, reach: Reach, tls: MakeRustlsConnect) -> Self {
        Self {
            address,
            reach,
            tls,
        }
    }

    /// The configuration, with each host once for each of its addresses.
    async fn resolved(&self) -> Result<Config, String> {
        let mut places: Vec<(&str, u16, IpAddr)> = Vec::new();
        let mut last_error = None;
        for (host, port) in &self.address.hosts {
            let bare = host.trim_matches(['[', ']']);
            let found = tokio::net::lookup_host((bare, *port)).await;
            match found.and_then(|found| resolver::keep(found.collect(), self.reach)) {
                Ok(kept) => places.extend(kept.iter().map(|a| (bare, *port, a.ip()))),
                Err(error) => last_error = Some(error),
            }
        }
        if let (true, Some(error)) = (places.is_empty(), last_error) {
            return Err(error.to_string());
        }
        let mut config = without_hosts(&self.address.config);
        for (host, port, address) in places {
            config.host(host).port(port).hostaddr(address);
        }
        Ok(config)
    }

    async fn connect(&self, config: &Config) -> Result<Session, tokio_postgres::Error> {
        let plain = config.get_ssl_mode() == SslMode::Disable;
        let (client, connection) = if plain {
            let (client, connection) = config.connect(NoTls).await?;
            (client, tokio::spawn(run(connection)))
        } else {
            let (client, connection) = config.connect(self.tls.clone()).await?;
            (client, tokio::spawn(run(connection)))
        };
        Ok(Session {
            client,
            connection,
            tls: (!plain).then(|| self.tls.clone()),
            unfinished: AtomicUsize::new(0),
        })
    }
}

/// Moves the bytes of one connection until it ends.
async fn run(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a PostgreSQL connection broke");
    }
}

/// Its hosts and ports can only be added to, so all else is taken over.
fn without_hosts(of: &Config) -> Config {
    let mut config = Config::new();
    config
        .ssl_mode(of.get_ssl_mode())
        .ssl_negotiation(of.get_ssl_negotiation())
        .channel_binding(of.get_channel_binding())
        .target_session_attrs(of.get_target_session_attrs())
        .load_balance_hosts(of.get_load_balance_hosts())
        .keepalives(of.get_keepalives())
        .keepalives_idle(of.get_keepalives_idle())
        .connect_timeout(CONNECT_TIME_MAX);
    if let Some(user) = of.get_user() {
        config.user(user);
    }
    if let Some(password) = of.get_password() {
        config.password(password);
    }
    if let Some(name) = of.get_dbname() {
        config.dbname(name);
    }
    if let Some(options) = of.get_options() {
        config.options(options);
    }
    if let Some(name) = of.get_application_name() {
        config.application_name(name);
    }
    config
}

impl Manager for Server {
    type Type = Session;
    type Error = PostgresError;

    async fn create(&self) -> Result<Session, PostgresError> {
        let failed = PostgresError::ConnectionFailed;
        let config = self.resolved().await.map_err(failed)?;
        self.connect(&config).await.map_err(|error| {
            use std::error::Error as _;
            failed(match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            })
        })
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<PostgresError> {
        match session.client.simple_query(CLEAN).await {
            Ok(_) => Ok(()),
            Err(error) => Err(RecycleError::message(error.to_string())),
        }
    }
}
