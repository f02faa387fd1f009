//! The host from outside: real components in the real program, over real sockets.
//!
//! Each test starts its own `edge` on ports of its own. The components are those of
//! `tests/fixtures`, built once.

mod harness;
mod neighbour;

#[expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]
mod acme;
mod capabilities;
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a harness that fails is a failed test"
)]
mod compression;
#[expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]
mod docker_registry;
mod fairness;
mod faults;
mod figures;
mod forged;
mod front;
mod hostile;
mod http2_attacks;
mod http3;
mod lifecycle;
#[expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]
mod models;
#[expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]
mod ports;
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness that fails is a failed test"
)]
mod postgres;
mod pressure;
#[expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]
mod redis;
#[expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]
mod registry;
#[expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]
mod reload;
mod secrecy;
mod slow_clients;
mod spin_apps;
mod streams;
mod traces;
#[expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]
mod watch;
