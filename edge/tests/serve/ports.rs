//! Ports for the servers that a test starts.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below those that the system gives to clients by itself.
const PORTS: Range<u16> = 10_000..32_000;
const BLOCK: u16 = 16;

/// What this process may use. A server listens only some time after it was told where, so
/// that to find a port free is not to have it: a block belongs to who listens at its first.
static OWN: Mutex<(Vec<TcpListener>, Range<u16>)> = Mutex::new((Vec::new(), 0..0));

/// A port that nobody has and that no other test is given.
pub(crate) fn free_port() -> u16 {
    let (blocks, left) = &mut *OWN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(port) = left.find(|port| bound(*port).is_some()) {
            return port;
        }
        let mut firsts = PORTS.step_by(BLOCK.into());
        let block = firsts.find_map(bound).unwrap();
        let first = block.local_addr().unwrap().port();
        blocks.push(block);
        *left = first + 1..first + BLOCK;
    }
}

fn bound(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}

#[test]
fn a_port_is_given_once() {
    let mut given: Vec<_> = (0..100).map(|_| free_port()).collect();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 100);
}
