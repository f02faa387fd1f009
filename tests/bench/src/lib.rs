//! What the two measuring servers share: `native-hyper`, the floor that a server
//! can reach here, and `scripted-backend`, an engine that thinks of nothing. And what the
//! load generators share.
//!
//! The servers stand where a backend stands, behind `edge`, and know nothing of it.

pub mod asked;
/// OpenAI's chat completions, as the scripted backend speaks them.
pub mod chat;
/// What the scripted backend counted.
pub mod counters;
/// What a prompt asks the scripted backend to do.
pub mod script;
/// Accepts connections and serves them.
pub mod serve;
