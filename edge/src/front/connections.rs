//! How many connections there are, in all and by address (IPv6: by /64).
//!
//! It knows addresses; it does NOT know requests.

use super::network::Network;
use crate::limits::Limits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections, in all and by address.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Mutex<HashMap<Network, usize>>,
    in_all_max: usize,
    per_address_max: usize,
}

/// One connection's place; given back by `Drop`.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    network: Network,
}

impl Connections {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            in_all_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
        })
    }

    /// Are most places taken?
    pub(crate) fn are_rare(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().sum::<usize>() > self.in_all_max / 2
    }

    /// A place for a connection from `address`, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = Network::of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let in_all: usize = open.values().sum();
        let here = open.get(&network).copied().unwrap_or(0);
        if in_all >= self.in_all_max || here >= self.per_address_max {
            return None;
        }
        open.insert(network, here + 1);
        Some(Place {
            connections: Arc::clone(self),
            network,
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
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
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
        assert!(connections.are_rare());
        let third = connections.admit(b);
        assert!(third.is_some());
        assert!(connections.admit(b).is_none(), "too many in all");
        drop(first);
        assert!(connections.admit(b).is_some());
        drop((second, third));
        assert!(connections.open.lock().unwrap().is_empty());
    }
}
