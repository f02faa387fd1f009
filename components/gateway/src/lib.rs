//! The gateway: the HTTP component at the centre of the star. It parses a request,
//! asks the leaves in order, calls the model and streams the answer.
//!
//! It does NOT decide: who may ask is `auth`'s, how much is `rate-limit`'s, what is
//! remembered `session`'s, what is safe `safety`'s, what comes next
//! `orchestrator`'s, and where it is asked `router`'s.
#![cfg_attr(
    not(any(test, target_family = "wasm")),
    allow(
        dead_code,
        reason = "what uses it is built for wasm, and tested natively"
    )
)]

#[cfg(target_family = "wasm")]
mod host;
mod routes;
mod body;
mod memory;
mod request;
mod exchange;
mod estimate;
mod prompt;
mod json_text;
mod raw_json;
mod relay;
mod json_guard;
mod calls;
mod backend;
mod output;
mod sse;
mod models;
mod settings;
mod platform;
mod reply;
mod headers;
mod timing;
mod error;
mod log;
mod bindings;
#[cfg(test)]
mod peak;
#[cfg(not(target_family = "wasm"))]
pub mod fuzzing;
