//! HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3), to the origins that are known to
//! speak it: many streams on few connections.
//!
//! The first connection is filled before the next is opened, so that their number follows
//! the load. It does NOT know grants: who calls has been allowed to.

use super::resolver::Resolver;
use super::{CONNECT_TIME_MAX, IDLE_TIME_MAX};
use crate::manifest::allowed_hosts::Target;
use crate::thread_time::HostExecutor;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self};
use hyper_util::rt::TokioTimer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use wasmtime_wasi_http::WasiBody;

/// Connections to one origin.
const CONNECTIONS_MAX: u32 = 64;
/// Streams of one connection at once. A connection that breaks takes as many along.
const STREAMS_MAX: u32 = 128;
/// What one stream may send before it is read: many chunks of an answer.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// Streams that nobody reads must not stop the others of their connection.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX;
/// How often a connection with streams is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PING_TIME_MAX: Duration = Duration::from_secs(20);

const _: () = assert!(
    CONNECTIONS_MAX * STREAMS_MAX >= 2 * crate::limits::REQUESTS_DEFAULT as u32,
    "every request of a client, with another one for it, finds a stream"
);

type Client = legacy::Client<HttpConnector<Resolver>, WasiBody>;

/// The origins that speak HTTP/2 without TLS.
pub(super) struct Multiplexed {
    origins: BTreeMap<(String, u16), Vec<Lane>>,
}

/// A client of one connection, which it makes and makes again as needed.
struct Lane {
    client: Client,
    streams: Arc<AtomicU32>,
}

/// One stream's place on a connection; given back by `Drop`.
#[derive(Debug)]
pub(super) struct Place {
    streams: Arc<AtomicU32>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Relaxed);
    }
}

/// All connections to the origin are full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Multiplexed {
    pub(super) fn new(origins: &[Target], resolver: &Resolver) -> Self {
        let lanes = || (0..CONNECTIONS_MAX).map(|_| Lane::new(resolver)).collect();
        let origins = origins
            .iter()
            .map(|origin| ((origin.host.clone(), origin.port), lanes()))
            .collect();
        Self { origins }
    }

    /// A place and its client, if `target` is one of the origins.
    pub(super) fn place(&self, target: &Target) -> Option<Result<(&Client, Place), Full>> {
        if target.scheme != "http" {
            return None;
        }
        let lanes = self.origins.get(&(target.host.clone(), target.port))?;
        let place = lanes
            .iter()
            .find_map(|lane| Some((&lane.client, lane.place()?)));
        Some(place.ok_or(Full))
    }
}

impl Lane {
    fn new(resolver: &Resolver) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIME_MAX));
        let client = legacy::Client::builder(HostExecutor)
            .http2_only(true)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIME_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(tcp);
        Self {
            client,
            streams: Arc::default(),
        }
    }

    fn place(&self) -> Option<Place> {
        let one_more = |streams: u32| (streams < STREAMS_MAX).then_some(streams + 1);
        self.streams
            .fetch_update(Relaxed, Relaxed, one_more)
            .ok()
            .map(|_| Place {
                streams: Arc::clone(&self.streams),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::allowed_hosts::Reach;

    fn target(scheme: &str, port: u16) -> Target {
        Target {
            scheme: scheme.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    #[test]
    fn connections_are_filled_one_after_the_other() {
        let reach = Reach::Literal;
        let resolver = Resolver { reach };
        let multiplexed = Multiplexed::new(&[target("http", 1)], &resolver);
        assert!(multiplexed.place(&target("http", 2)).is_none());
        assert!(multiplexed.place(&target("https", 1)).is_none());

        let origin = target("http", 1);
        let mut places = Vec::new();
        for _ in 0..CONNECTIONS_MAX * STREAMS_MAX {
            places.push(multiplexed.place(&origin).unwrap().unwrap().1);
        }
        let Some(Err(Full)) = multiplexed.place(&origin) else {
            panic!("there are more places than streams");
        };
        places.swap_remove(300);
        let streams = |lane: usize| {
            let lanes = multiplexed.origins.values().next().unwrap();
            lanes[lane].streams.load(Relaxed)
        };
        assert_eq!(streams(2), STREAMS_MAX - 1);
        assert!(multiplexed.place(&origin).unwrap().is_ok());
        drop(places);
        assert!((0..CONNECTIONS_MAX as usize).all(|lane| streams(lane) == 0));
    }
}
