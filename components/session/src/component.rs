//! The border of the component: generated bindings of `session.wit`, the host's cache, clock and
//! HTTP, the outbox, and the conversion between types. It decides nothing.

use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{Either, select};
use http_body_util::{BodyExt, Limited};
use outbox::{Outbox, OutboxError};
use spin_sdk::http::{EmptyBody, StatusCode, send};
use spin_sdk::key_value::Store;

use crate::history::{Cache, History, HistoryError, Queue, Records};
use crate::wire::{self, Message, Messages, Role};
use crate::{tokens, trim};

mod bindings {
    spin_sdk::wit_bindgen::generate!({
        world: "session-component",
        path: "../../wit",
        runtime_path: "spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

use bindings::exports::skerry::chat::session as wit;
use bindings::skerry::chat::types;

/// The key-value store that the manifest grants.
const STORE: &str = "histories";
/// Where the records are kept.
const CONVERSATIONS: &str = "http://conversations.spin.internal";
/// Turns on their way there.
const OUTBOX: Outbox = Outbox::new("turns", "http://conversations.spin.internal/internal/turns");
/// Records that have not answered by then are away.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of a history, at most.
const HISTORY_BYTES_MAX: usize = 16 << 20;

struct Component;

bindings::export!(Component with_types_in bindings);

impl wit::Guest for Component {
    async fn load(
        who: types::Principal,
        conversation_id: String,
    ) -> Result<Vec<types::Message>, wit::SessionError> {
        let messages = history()
            .await
            .load(&who.project_id, &conversation_id)
            .await;
        messages.map(into_wit).map_err(session_error)
    }

    async fn trim(
        messages: Vec<types::Message>,
        prompt_tokens_max: u32,
    ) -> Result<wit::History, wit::SessionError> {
        match trim::trim(from_wit(messages), prompt_tokens_max) {
            Ok(trimmed) => Ok(wit::History {
                messages: into_wit(trimmed.messages),
                dropped: trimmed.dropped,
            }),
            Err(trim::TooLong) => Err(wit::SessionError::TooLong),
        }
    }

    async fn estimate_tokens(messages: Vec<types::Message>) -> u32 {
        tokens::of_prompt(&from_wit(messages))
    }

    async fn append(
        who: types::Principal,
        conversation_id: String,
        request_id: String,
        messages: Vec<types::Message>,
    ) -> Result<(), wit::SessionError> {
        let history = history().await;
        let messages = from_wit(messages);
        let appended = history
            .append(&who.project_id, &conversation_id, &request_id, messages)
            .await;
        appended.map_err(session_error)
    }

    async fn drain() -> Result<u32, String> {
        OUTBOX.drain().await.map_err(|error| error.to_string())
    }
}

async fn history() -> History<HostCache, HostRecords, HostQueue> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    History {
        cache: HostCache(Store::open(STORE).await.ok()),
        records: HostRecords,
        queue: HostQueue,
        now_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    }
}

/// None where the store could not be opened: an empty cache.
struct HostCache(Option<Store>);

impl Cache for HostCache {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.0.as_ref()?.get(key).await.ok()?
    }

    async fn set(&self, key: &str, value: Vec<u8>) {
        if let Some(store) = &self.0
            && store.set(key, value).await.is_err()
        {
            // An old entry must not look like the new one.
            drop(store.delete(key).await);
        }
    }

    async fn delete(&self, key: &str) {
        if let Some(store) = &self.0 {
            drop(store.delete(key).await);
        }
    }
}

struct HostRecords;

impl Records for HostRecords {
    async fn messages(
        &self,
        project_id: &str,
        conversation_id: &str,
    ) -> Result<Vec<Message>, HistoryError> {
        let path =
            wire::messages_path(project_id, conversation_id).ok_or(HistoryError::NotFound)?;
        let answer = pin!(ask(&path));
        let timeout = pin!(spin_sdk::time::sleep(READ_TIMEOUT));
        match select(answer, timeout).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => Err(unavailable("conversations did not answer in time")),
        }
    }
}

async fn ask(path: &str) -> Result<Vec<Message>, HistoryError> {
    let request = http::Request::get(format!("{CONVERSATIONS}{path}"))
        .body(EmptyBody::new())
        .map_err(unavailable)?;
    let response = send(request).await.map_err(unavailable)?;
    match response.status() {
        StatusCode::OK => {
            let body = Limited::new(response.into_body(), HISTORY_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(unavailable)?.to_bytes();
            let answer: Messages = serde_json::from_slice(&body).map_err(unavailable)?;
            Ok(answer.messages)
        }
        StatusCode::NOT_FOUND => Err(HistoryError::NotFound),
        status => Err(unavailable(format!("conversations answered {status}"))),
    }
}

fn unavailable(error: impl std::fmt::Display) -> HistoryError {
    HistoryError::Unavailable(error.to_string())
}

struct HostQueue;

impl Queue for HostQueue {
    async fn put(&self, id: &str, body: &str) -> Result<(), HistoryError> {
        OUTBOX.put(id, body).await.map_err(|error| match error {
            OutboxError::TooLong(_) => HistoryError::TooLong,
            error => unavailable(error),
        })
    }

    async fn drain(&self) -> Result<u32, String> {
        OUTBOX.drain().await.map_err(|error| error.to_string())
    }
}

fn session_error(error: HistoryError) -> wit::SessionError {
    match error {
        HistoryError::NotFound => wit::SessionError::NotFound,
        HistoryError::TooLong => wit::SessionError::TooLong,
        HistoryError::Unavailable(words) => wit::SessionError::Unavailable(words),
    }
}

fn from_wit(messages: Vec<types::Message>) -> Vec<Message> {
    let role = |role| match role {
        types::MessageRole::System => Role::System,
        types::MessageRole::Developer => Role::Developer,
        types::MessageRole::User => Role::User,
        types::MessageRole::Assistant => Role::Assistant,
        types::MessageRole::Tool => Role::Tool,
    };
    let call = |call: types::ToolCall| wire::ToolCall {
        id: call.id,
        name: call.name,
        arguments: call.arguments,
    };
    messages
        .into_iter()
        .map(|message| Message {
            role: role(message.role),
            content: message.content,
            name: message.name,
            tool_calls: message.tool_calls.into_iter().map(call).collect(),
            tool_call_id: message.tool_call_id,
        })
        .collect()
}

fn into_wit(messages: Vec<Message>) -> Vec<types::Message> {
    let role = |role| match role {
        Role::System => types::MessageRole::System,
        Role::Developer => types::MessageRole::Developer,
        Role::User => types::MessageRole::User,
        Role::Assistant => types::MessageRole::Assistant,
        Role::Tool => types::MessageRole::Tool,
    };
    let call = |call: wire::ToolCall| types::ToolCall {
        id: call.id,
        name: call.name,
        arguments: call.arguments,
    };
    messages
        .into_iter()
        .map(|message| types::Message {
            role: role(message.role),
            content: message.content,
            name: message.name,
            tool_calls: message.tool_calls.into_iter().map(call).collect(),
            tool_call_id: message.tool_call_id,
        })
        .collect()
}
