//! Everything outside this component, as one trait: the leaves, the backend, the
//! clock. `host.rs` implements it over the imports; tests implement it by hand.
//!
//! It does NOT decide anything.

use crate::bindings::skerry::chat::auth::AuthError;
use crate::bindings::skerry::chat::billing::UsageEvent;
use crate::bindings::skerry::chat::orchestrator::{Action, Event, TurnOptions};
use crate::bindings::skerry::chat::rate_limit::{Admission, Drawn, RateLimitError};
use crate::bindings::skerry::chat::router::{Model, Outcome, RouteError, RouteRequest, Target};
use crate::bindings::skerry::chat::safety::{Refusal, Released, Screened};
use crate::bindings::skerry::chat::session::{History, SessionError, TurnOutcome};
use crate::bindings::skerry::chat::tools::ToolError;
use crate::bindings::skerry::chat::types::{Message, Principal, ToolCall, ToolDefinition};

/// The leaves, in the order in which a request meets them, and the world.
pub(crate) trait Platform {
    type Turn: Turn;
    type Guard: Guard;
    type Upstream: Upstream;

    async fn authenticate(&self, authorization: Option<String>) -> Result<Principal, AuthError>;

    async fn admit(&self, who: &Principal, tokens: u32) -> Result<Admission, RateLimitError>;
    async fn draw(
        &self,
        reservation: &str,
        used: u32,
        least: u32,
        most: u32,
    ) -> Result<Drawn, String>;
    async fn release(&self, reservation: &str, tokens_used: u32) -> Result<(), String>;

    async fn estimate_tokens(&self, messages: &[Message]) -> u32;
    async fn load(&self, who: &Principal, conversation: &str)
    -> Result<Vec<Message>, SessionError>;
    /// The last `own` messages stay.
    async fn trim(
        &self,
        messages: &[Message],
        own: usize,
        tokens_max: u32,
    ) -> Result<History, SessionError>;
    async fn append(
        &self,
        who: &Principal,
        conversation: &str,
        request_id: &str,
        messages: &[Message],
        outcome: TurnOutcome,
    ) -> Result<(), SessionError>;

    async fn screen(&self, texts: &[String]) -> Result<Screened, Refusal>;
    async fn guard(&self) -> Self::Guard;

    fn turn(&self, options: &TurnOptions) -> Self::Turn;

    async fn models(&self) -> Result<Vec<Model>, RouteError>;
    async fn route(&self, request: &RouteRequest) -> Result<Vec<Target>, RouteError>;
    async fn report(&self, backend: &str, outcome: Outcome);

    async fn tools(&self, who: &Principal) -> Vec<ToolDefinition>;
    async fn call_tool(&self, who: &Principal, call: &ToolCall) -> Result<String, ToolError>;

    async fn record(&self, event: &UsageEvent) -> Result<(), String>;
    /// Delivers what waits at the edge, for billing and for sessions.
    async fn drain(&self) -> Result<u32, String>;

    /// POSTs JSON; an error means that no response came.
    async fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        request_id: &str,
    ) -> Result<Answer<Self::Upstream>, CallError>;

    /// A setting of this component; None where it has no value.
    async fn variable(&self, name: &'static str) -> Option<String>;
    async fn sleep_ms(&self, milliseconds: u64);
    fn monotonic_ns(&self) -> u64;
    fn unix_ms(&self) -> u64;
    fn random(&self) -> u128;
}

pub(crate) trait Turn {
    fn next(&self, event: &Event) -> Action;
}

pub(crate) trait Guard {
    fn push(&self, delta: &str) -> Released;
    fn boundary(&self) -> Released;
    fn finish(&self) -> Released;
}

/// A response's body. Dropping it tells the backend that nobody listens any more.
pub(crate) trait Upstream {
    /// The next bytes, None at the end, an error where the body was cut.
    async fn next(&mut self) -> Option<Result<bytes::Bytes, CallError>>;
}

/// Why a backend's answer did not come, or broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The client left before its own answer began, so the host cut the call. The backend is
    /// not to blame, and nobody waits for another one.
    AskerGone,
    /// The backend failed. Words for the operator.
    Failed(String),
}

pub(crate) struct Answer<U> {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: U,
}
