//! The exported interface on the outbox.
//!
//! It converts; durability and delivery are the outbox's.

use crate::bindings::exports::skerry::chat::billing::{Guest, UsageEvent};
use crate::event::Event;
use outbox::Outbox;

const USAGE: Outbox = Outbox::new("usage", "http://ledger.spin.internal/internal/usage");

struct Component;
crate::bindings::export!(Component with_types_in crate::bindings);

impl Guest for Component {
    async fn settle(event: UsageEvent) -> Result<(), String> {
        let event = from_wit(event);
        let put = USAGE.put(&event.request_id, &event.to_json()?).await;
        put.map_err(|error| error.to_string())
    }

    async fn drain() -> Result<u32, String> {
        USAGE.drain().await.map_err(|error| error.to_string())
    }
}

fn from_wit(event: UsageEvent) -> Event {
    Event {
        request_id: event.request_id,
        organization_id: event.who.organization_id,
        project_id: event.who.project_id,
        user_id: event.who.user_id,
        key_id: event.who.key_id,
        model: event.model,
        backend: event.backend,
        prompt_tokens: event.usage.prompt_tokens,
        cached_tokens: event.usage.cached_tokens,
        completion_tokens: event.usage.completion_tokens,
        reasoning_tokens: event.usage.reasoning_tokens,
        estimated: event.estimated,
        model_calls: event.model_calls,
        tool_calls: event.tool_calls,
        started_at_ms: event.started_at_ms,
        duration_ms: event.duration_ms,
    }
}
