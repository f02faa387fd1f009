//! The limits of the front door, each with its default and why, and the count of connections.
//!
//! It knows numbers and addresses; it does NOT know requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Limits of one front door.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections in all: a connection costs some 20 KB.
    pub(crate) connections_max: usize,
    /// Connections of one address: a proxy or an office behind one address fits.
    pub(crate) connections_per_address_max: usize,
    /// Bytes of a request's head. Cookies and a token fit in 8 KB. (hyper takes at most 100
    /// fields on HTTP/1.1.)
    pub(crate) header_bytes_max: usize,
    /// Bytes of a request's body: a chat with a long document.
    pub(crate) body_bytes_max: u64,
    /// The longest pause within a request's body.
    pub(crate) body_pause_max: Duration,
    /// How long a TLS handshake may take.
    pub(crate) handshake_time_max: Duration,
    /// How long a new connection may be silent, or say too little to tell which HTTP it
    /// speaks.
    pub(crate) opening_time_max: Duration,
    /// How long a request's head may take, and how long a connection may rest before it.
    pub(crate) head_time_max: Duration,
    /// How long a client may take nothing of what it is sent. A stream that rests because
    /// its component has nothing to say is not timed.
    pub(crate) stall_time_max: Duration,
    /// Streams of one HTTP/2 connection at once.
    pub(crate) streams_per_connection_max: u32,
    /// Streams that a client may reset before they are looked at (CVE-2023-44487).
    pub(crate) resets_pending_max: usize,
    /// How often a silent HTTP/2 connection is asked whether it lives.
    pub(crate) ping_interval: Duration,
    /// How long it may take to say so.
    pub(crate) ping_time_max: Duration,
    /// Bytes that one HTTP/2 stream may have waiting for its client.
    pub(crate) send_buffer_bytes: usize,
    /// Bytes of a refused body that are read, so that the refusal arrives.
    pub(crate) swallow_bytes_max: usize,
    /// How long that may take.
    pub(crate) swallow_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 2_000,
            header_bytes_max: 64 << 10,
            body_bytes_max: 4 << 20,
            body_pause_max: Duration::from_secs(30),
            handshake_time_max: Duration::from_secs(10),
            opening_time_max: Duration::from_secs(10),
            head_time_max: Duration::from_secs(30),
            stall_time_max: Duration::from_secs(30),
            streams_per_connection_max: 256,
            resets_pending_max: 20,
            ping_interval: Duration::from_secs(30),
            ping_time_max: Duration::from_secs(20),
            send_buffer_bytes: 64 << 10,
            swallow_bytes_max: 32 << 20,
            swallow_time_max: Duration::from_secs(5),
        }
    }
}

/// Counts connections, in all and by address.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Mutex<HashMap<IpAddr, usize>>,
    in_all_max: usize,
    per_address_max: usize,
}

/// One connection's place; given back by `Drop`.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            in_all_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
        })
    }

    /// A place for a connection from `address`, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let in_all: usize = open.values().sum();
        let here = open.get(&address).copied().unwrap_or(0);
        if in_all >= self.in_all_max || here >= self.per_address_max {
            return None;
        }
        open.insert(address, here + 1);
        Some(Place {
            connections: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .connections
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let limits = Limits {
            connections_max: 3,
            connections_per_address_max: 2,
            ..Limits::default()
        };
        let connections = Connections::new(&limits);
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = connections.admit(a);
        let second = connections.admit(a);
        assert!(first.is_some() && second.is_some());
        assert!(connections.admit(a).is_none(), "too many of one address");
        let third = connections.admit(b);
        assert!(third.is_some());
        assert!(connections.admit(b).is_none(), "too many in all");
        drop(first);
        assert!(connections.admit(b).is_some());
        drop((second, third));
        assert!(connections.open.lock().unwrap().is_empty());
    }
}
