//! Skerry's LLM engine: a Hugging Face model directory in, an OpenAI-compatible API
//! out. Paged KV cache, continuous batching, chunked prefill, on burn.
//!
//! The modules, in the order in which a request meets them:
//!
//! ```text
//! server → chat → handle → engine → { scheduler → kv_cache (integers only) }
//!                                  → { runner → model → layer → backend → kernels }
//!                                  → sampler
//!                                  → speculation
//! ```
//!
//! Invariant: the scheduler and the block allocator import no tensor type; the model
//! knows no request; the engine never sees text; only `backend` names a device.
#![deny(unsafe_code)]

pub mod server;

pub mod chat;
pub mod chat_template;
pub mod tokenizer;
pub mod reasoning;
pub mod tool_parser;

pub mod constraint;

pub mod handle;
mod pace;

pub mod engine;
pub mod kv_cache;
pub mod scheduler;

pub mod speculation;

mod layer;
pub mod model;
pub mod runner;

pub mod backend;
pub mod kernels;

pub mod sampler;

pub mod encoder;

pub mod hub;
pub mod loader;

pub mod bench;
pub mod check;
pub mod quality;
pub mod local;
mod memory;
pub mod metrics;
