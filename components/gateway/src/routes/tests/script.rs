//! A platform whose leaves do what a script says and write down what they were told.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures::executor::block_on;
use safety::policy::Policy;
use serde_json::{Value, json};

use super::guards::{self, FakeGuard, judge};
use crate::bindings::skerry::chat::auth::AuthError;
use crate::bindings::skerry::chat::billing::UsageEvent;
use crate::bindings::skerry::chat::orchestrator::{self as wit, Action, Event, TurnOptions};
use crate::bindings::skerry::chat::rate_limit::{Admission, RateLimitError, State, Window};
use crate::bindings::skerry::chat::router::{
    Dialect, Model, Outcome, RouteError, RouteRequest, Target,
};
use crate::bindings::skerry::chat::safety::{Refusal, Released, Screened};
use crate::bindings::skerry::chat::session::{History, SessionError};
use crate::bindings::skerry::chat::tools::ToolError;
use crate::bindings::skerry::chat::types::{
    FinishReason, Limits, Message, MessageRole, Principal, Role, ToolCall, ToolDefinition,
};
use crate::body::Body;
use crate::output::{Gone, Sink};
use crate::platform::{Answer, CallError, Platform, Turn, Upstream};
use crate::reply::Reply;
use crate::routes::{Handled, Incoming, handle, stream};

/// What one backend does when it is asked.
pub(super) enum Backend {
    Unreachable,
    /// The client leaves while it is asked.
    Left,
    Answers {
        status: u16,
        chunks: VecDeque<Result<Bytes, CallError>>,
    },
}

/// Before a number of bytes: so many heartbeats long nothing comes.
const PAUSE: &[u8] = b"pause";

impl Backend {
    /// An answer in bytes of any kind.
    pub(super) fn says(pieces: impl IntoIterator<Item = String>) -> Self {
        Self::Answers {
            status: 200,
            chunks: pieces
                .into_iter()
                .map(|piece| Ok(Bytes::from(piece)))
                .collect(),
        }
    }

    /// Says nothing for so many heartbeats, then the rest.
    pub(super) fn pausing(
        first: impl IntoIterator<Item = Value>,
        heartbeats: usize,
        rest: Backend,
    ) -> Self {
        let first = first.into_iter().map(|event| format!("data: {event}\n\n"));
        let pause = format!("pause{}", "x".repeat(heartbeats));
        let mut pieces: VecDeque<_> = first
            .chain([pause])
            .map(|piece| Ok(Bytes::from(piece)))
            .collect();
        if let Backend::Answers { chunks, .. } = rest {
            pieces.extend(chunks);
        }
        Self::Answers {
            status: 200,
            chunks: pieces,
        }
    }

    pub(super) fn answers(events: impl IntoIterator<Item = Value>) -> Self {
        let events = events
            .into_iter()
            .map(|event| Ok(Bytes::from(format!("data: {event}\n\n"))));
        let done = [Ok(Bytes::from("data: [DONE]\n\n"))];
        Self::Answers {
            status: 200,
            chunks: events.chain(done).collect(),
        }
    }

    pub(super) fn cut(events: impl IntoIterator<Item = Value>) -> Self {
        let events = events
            .into_iter()
            .map(|event| Ok(Bytes::from(format!("data: {event}\n\n"))));
        Self::Answers {
            status: 200,
            chunks: events
                .chain([Err(CallError::Failed("reset".to_owned()))])
                .collect(),
        }
    }

    /// The client leaves after these events.
    pub(super) fn left(events: impl IntoIterator<Item = Value>) -> Self {
        let events = events
            .into_iter()
            .map(|event| Ok(Bytes::from(format!("data: {event}\n\n"))));
        Self::Answers {
            status: 200,
            chunks: events.chain([Err(CallError::AskerGone)]).collect(),
        }
    }

    pub(super) fn status(status: u16, body: &str) -> Self {
        Self::Answers {
            status,
            chunks: [Ok(Bytes::from(body.to_owned()))].into(),
        }
    }
}

pub(super) fn chunk(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

pub(super) fn text(text: &str) -> Value {
    chunk(json!({"content": text}))
}

pub(super) fn tool_call(name: &str, arguments: &str) -> Value {
    chunk(
        json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
                                 "function": {"name": name, "arguments": arguments}}]}),
    )
}

pub(super) fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

pub(super) fn usage(prompt: u32, completion: u32) -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
                                    "total_tokens": prompt + completion}})
}

#[derive(Default)]
struct Log {
    backends: VecDeque<Backend>,
    platform_tool: bool,
    policy: Option<Rc<Policy>>,
    tool_output: Option<&'static str>,
    tools_forbidden: bool,
    leaves_after: Option<usize>,
    reader: bool,
    ledger_full: bool,
    history: Vec<Message>,
    clock: u64,
    requests: Vec<Value>,
    bodies: Vec<String>,
    dialect: Option<Dialect>,
    /// Times that the body says nothing while the heartbeat's timer goes off.
    pauses: usize,
    settled: Vec<u32>,
    recorded: Vec<(u32, u32)>,
    stored: Vec<String>,
    stored_calls: usize,
    reported: Vec<&'static str>,
    variables: HashMap<&'static str, &'static str>,
    misconfigured: Option<&'static str>,
    chunks_read: usize,
    /// In the outbox.
    waiting: u32,
}

#[derive(Clone)]
pub(super) struct Script(Rc<RefCell<Log>>);

impl Script {
    pub(super) fn new(backends: impl IntoIterator<Item = Backend>) -> Self {
        let backends = backends.into_iter().collect();
        Self(Rc::new(RefCell::new(Log {
            backends,
            ..Log::default()
        })))
    }

    pub(super) fn with_platform_tool(self) -> Self {
        self.0.borrow_mut().platform_tool = true;
        self
    }

    /// The project's policy has no tools of the platform.
    pub(super) fn of_a_project_without_tools(self) -> Self {
        self.0.borrow_mut().tools_forbidden = true;
        self
    }

    /// The key may read usage only.
    pub(super) fn for_a_reader(self) -> Self {
        self.0.borrow_mut().reader = true;
        self
    }

    /// Usage cannot be written down.
    pub(super) fn with_a_full_ledger(self) -> Self {
        self.0.borrow_mut().ledger_full = true;
        self
    }

    /// So much usage waits in the outbox, of which a thousand are delivered in a second.
    pub(super) fn with_waiting(self, waiting: u32) -> Self {
        self.0.borrow_mut().waiting = waiting;
        self
    }

    /// The conversation holds these messages.
    pub(super) fn after(self, history: impl IntoIterator<Item = Message>) -> Self {
        self.0.borrow_mut().history = history.into_iter().collect();
        self
    }

    /// All backends speak it.
    pub(super) fn speaking(self, dialect: Dialect) -> Self {
        self.0.borrow_mut().dialect = Some(dialect);
        self
    }

    pub(super) fn leaving_after(self, writes: usize) -> Self {
        self.0.borrow_mut().leaves_after = Some(writes);
        self
    }

    /// A variable of the gateway's own.
    pub(super) fn with_variable(self, name: &'static str, value: &'static str) -> Self {
        self.0.borrow_mut().variables.insert(name, value);
        self
    }

    /// Texts are judged by `safety` itself.
    pub(super) fn with_policy(self, mask: &str, block_list: &str) -> Self {
        let policy = Policy::parse(mask, block_list).unwrap();
        self.0.borrow_mut().policy = Some(Rc::new(policy));
        self
    }

    /// The platform's tool answers so.
    pub(super) fn whose_tool_says(self, output: &'static str) -> Self {
        self.0.borrow_mut().tool_output = Some(output);
        self
    }

    /// A leaf that complains of its variables.
    pub(super) fn with_misconfigured(self, leaf: &'static str) -> Self {
        self.0.borrow_mut().misconfigured = Some(leaf);
        self
    }

    /// What the router was told of backends.
    pub(super) fn reported(&self) -> Vec<&'static str> {
        self.0.borrow().reported.clone()
    }

    /// The requests as they were written.
    pub(super) fn bodies(&self) -> Vec<String> {
        self.0.borrow().bodies.clone()
    }

    pub(super) fn requests(&self) -> Vec<Value> {
        self.0.borrow().requests.clone()
    }

    pub(super) fn settled(&self) -> Vec<u32> {
        self.0.borrow().settled.clone()
    }

    pub(super) fn recorded(&self) -> Vec<(u32, u32)> {
        self.0.borrow().recorded.clone()
    }

    pub(super) fn stored(&self) -> Vec<String> {
        self.0.borrow().stored.clone()
    }

    /// Tool calls of the stored turn.
    pub(super) fn stored_calls(&self) -> usize {
        self.0.borrow().stored_calls
    }

    pub(super) fn chunks_read(&self) -> usize {
        self.0.borrow().chunks_read
    }
}

/// What the client got.
pub(super) struct Got {
    pub(super) status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(header, _)| *header == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn events(&self) -> Vec<String> {
        let text = self.text();
        let events = text
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "));
        events.map(str::to_owned).collect()
    }
}

struct Bytewise(Option<Vec<u8>>);

impl Body for Bytewise {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        self.0.take().map(|bytes| Ok(bytes.into()))
    }
}

struct Client {
    written: Rc<RefCell<Vec<u8>>>,
    writes_left: Option<usize>,
}

impl Sink for Client {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        if let Some(left) = &mut self.writes_left {
            *left = left.checked_sub(1).ok_or(Gone)?;
        }
        self.written.borrow_mut().extend(bytes);
        Ok(())
    }
}

/// Posts a chat request with a key.
pub(super) fn drive(script: &Script, body: Value) -> Got {
    let body = body.to_string();
    send(
        script,
        "POST",
        "/v1/chat/completions",
        Some("Bearer key"),
        body.as_bytes(),
    )
}

pub(super) fn send(
    script: &Script,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    body: &[u8],
) -> Got {
    send_encoded(script, method, path, authorization, None, body)
}

/// Likewise, with a Content-Encoding.
pub(super) fn send_encoded(
    script: &Script,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    encoding: Option<&str>,
    body: &[u8],
) -> Got {
    let incoming = Incoming {
        method: method.to_owned(),
        path: path.to_owned(),
        authorization: authorization.map(str::to_owned),
        content_encoding: encoding.map(str::to_owned),
        body: Bytewise(Some(body.to_vec())),
    };
    let got = |reply: Reply, body| Got {
        status: reply.status,
        headers: reply.headers,
        body,
    };
    match block_on(handle(script.clone(), incoming)) {
        Handled::Reply(mut reply) => {
            let body = std::mem::take(&mut reply.body);
            got(reply, body)
        }
        Handled::Stream(head, exchange) => {
            let written = Rc::default();
            let writes_left = script.0.borrow().leaves_after;
            block_on(stream(
                exchange,
                Client {
                    written: Rc::clone(&written),
                    writes_left,
                },
            ));
            let body = written.borrow().clone();
            got(head, body)
        }
    }
}

pub(super) struct RealTurn(RefCell<orchestrator::turn::Turn>);

impl Turn for RealTurn {
    fn next(&self, event: &Event) -> Action {
        use orchestrator::turn as core;
        let event = match event.clone() {
            Event::Start => core::Event::Start,
            Event::Blocked(words) => core::Event::Blocked(words),
            Event::Retrieved(count) => core::Event::Retrieved(count),
            Event::ToolsFinished => core::Event::ToolsFinished,
            Event::Cut => core::Event::Cut,
            Event::ModelFinished(outcome) => core::Event::ModelFinished(core::Outcome {
                reason: match outcome.finish_reason {
                    FinishReason::Stop => core::FinishReason::Stop,
                    FinishReason::Length => core::FinishReason::Length,
                    FinishReason::ToolCalls => core::FinishReason::ToolCalls,
                    FinishReason::ContentFilter => core::FinishReason::ContentFilter,
                },
                tool_calls: outcome
                    .tool_calls
                    .into_iter()
                    .map(|call| core::ToolCall {
                        id: call.id,
                        name: call.name,
                        arguments: call.arguments,
                    })
                    .collect(),
            }),
        };
        match self.0.borrow_mut().next(event) {
            core::Action::CallModel(core::ToolUse::Allowed) => {
                Action::CallModel(wit::ToolUse::Allowed)
            }
            core::Action::CallModel(core::ToolUse::Forbidden) => {
                Action::CallModel(wit::ToolUse::Forbidden)
            }
            core::Action::Retrieve(query) => Action::Retrieve(query),
            core::Action::CallTools(calls) => Action::CallTools(
                calls
                    .into_iter()
                    .map(|call| ToolCall {
                        id: call.id,
                        name: call.name,
                        arguments: call.arguments,
                    })
                    .collect(),
            ),
            core::Action::Refuse(words) => Action::Refuse(words),
            core::Action::Finish(reason) => Action::Finish(match reason {
                core::FinishReason::Stop => FinishReason::Stop,
                core::FinishReason::Length => FinishReason::Length,
                core::FinishReason::ToolCalls => FinishReason::ToolCalls,
                core::FinishReason::ContentFilter => FinishReason::ContentFilter,
            }),
            core::Action::Invalid(detail) => Action::Invalid(detail),
        }
    }
}

pub(super) struct ScriptedBody {
    log: Rc<RefCell<Log>>,
    chunks: VecDeque<Result<Bytes, CallError>>,
}

impl Upstream for ScriptedBody {
    async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        self.log.borrow_mut().chunks_read += 1;
        let chunk = self.chunks.pop_front();
        if let Some(Ok(bytes)) = &chunk
            && let Some(pauses) = bytes.strip_prefix(PAUSE)
        {
            self.log.borrow_mut().pauses = pauses.len();
            let log = Rc::clone(&self.log);
            poll_fn(|_| match log.borrow().pauses {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            })
            .await;
            return self.chunks.pop_front();
        }
        chunk
    }
}

fn window() -> Window {
    Window {
        limit: 1_000,
        remaining: 999,
        reset_ms: 60,
    }
}

fn target(index: usize, dialect: Dialect) -> Target {
    Target {
        backend: format!("b{index}"),
        base_url: format!("http://b{index}/v1"),
        headers: vec![("authorization".into(), "Bearer secret".into())],
        dialect,
        tools: dialect == Dialect::Skerry,
        model: "m".into(),
        model_id: "m".into(),
        context_window: Some(4_096),
    }
}

pub(super) fn message(role: MessageRole, content: &str) -> Message {
    Message {
        role,
        content: content.into(),
        name: None,
        tool_calls: Vec::new(),
        tool_call_id: None,
    }
}

impl Script {
    fn complaint(&self, leaf: &str) -> Option<String> {
        let misconfigured = self.0.borrow().misconfigured;
        misconfigured
            .filter(|name| *name == leaf)
            .map(|leaf| format!("a variable of {leaf} is wrong"))
    }
}

impl Platform for Script {
    type Turn = RealTurn;
    type Guard = FakeGuard;
    type Upstream = ScriptedBody;

    async fn authenticate(&self, authorization: Option<String>) -> Result<Principal, AuthError> {
        let none = Limits {
            requests_per_minute: None,
            tokens_per_minute: None,
        };
        authorization
            .map(|_| Principal {
                organization_id: "org_1".into(),
                project_id: "proj_1".into(),
                user_id: None,
                key_id: "key_1".into(),
                roles: vec![if self.0.borrow().reader {
                    Role::Reader
                } else {
                    Role::Member
                }],
                key_limits: none,
                project_limits: none,
                platform_tools: !self.0.borrow().tools_forbidden,
            })
            .ok_or(AuthError::Missing)
    }

    async fn admit(&self, _: &Principal, _: u32) -> Result<Admission, RateLimitError> {
        if let Some(words) = self.complaint("rate-limit") {
            return Err(RateLimitError::Unavailable(words));
        }
        let state = State {
            requests: window(),
            tokens: window(),
        };
        Ok(Admission {
            reservation: "r".into(),
            state,
        })
    }

    async fn release(&self, _: &str, tokens_used: u32) -> Result<(), String> {
        self.0.borrow_mut().settled.push(tokens_used);
        Ok(())
    }

    async fn estimate_tokens(&self, messages: &[Message]) -> u32 {
        messages.len() as u32
    }

    async fn load(&self, _: &Principal, _: &str) -> Result<Vec<Message>, SessionError> {
        Ok(self.0.borrow().history.clone())
    }

    async fn trim(&self, messages: &[Message], _: u32) -> Result<History, SessionError> {
        Ok(History {
            messages: messages.to_vec(),
            dropped: 0,
        })
    }

    async fn append(
        &self,
        _: &Principal,
        _: &str,
        _: &str,
        messages: &[Message],
    ) -> Result<(), SessionError> {
        let texts = messages.iter().map(|message| message.content.clone());
        let mut log = self.0.borrow_mut();
        log.stored.extend(texts);
        log.stored_calls += messages
            .iter()
            .map(|message| message.tool_calls.len())
            .sum::<usize>();
        Ok(())
    }

    async fn screen(&self, texts: &[String]) -> Result<Screened, Refusal> {
        if let Some(message) = self.complaint("safety") {
            let findings = Vec::new();
            return Err(Refusal { message, findings });
        }
        if let Some(policy) = &self.0.borrow().policy {
            return guards::screen(policy, texts);
        }
        let judged: Vec<Released> = texts.iter().map(|text| judge(text)).collect();
        match judged.iter().find_map(|judged| judged.refusal.clone()) {
            Some(refusal) => Err(refusal),
            None => Ok(Screened {
                texts: judged.into_iter().map(|judged| judged.text).collect(),
                findings: Vec::new(),
            }),
        }
    }

    async fn guard(&self) -> FakeGuard {
        match &self.0.borrow().policy {
            None => FakeGuard::Words,
            Some(policy) => FakeGuard::real(policy),
        }
    }

    fn turn(&self, options: &TurnOptions) -> RealTurn {
        RealTurn(RefCell::new(orchestrator::turn::Turn::new(
            orchestrator::turn::Options {
                platform_tools: options.platform_tools,
                client_tools: options.client_tools,
                retrieval: options.retrieval,
                tool_rounds_max: options.tool_rounds_max,
                query: options.query.clone(),
            },
        )))
    }

    async fn models(&self) -> Result<Vec<Model>, RouteError> {
        if let Some(words) = self.complaint("router") {
            return Err(RouteError::Misconfigured(words));
        }
        let model = |id: &str| Model {
            id: id.into(),
            context_window: Some(4_096),
            created: 1,
            owned_by: "us".into(),
            suggestions: vec!["Hello!".into()],
        };
        Ok(vec![model("m"), model("org/m é")])
    }

    async fn route(&self, _: &RouteRequest) -> Result<Vec<Target>, RouteError> {
        let count = self.0.borrow().backends.len().clamp(1, 2);
        let dialect = self.0.borrow().dialect.unwrap_or(Dialect::Skerry);
        Ok((0..count).map(|index| target(index, dialect)).collect())
    }

    async fn report(&self, _: &str, outcome: Outcome) {
        self.0.borrow_mut().reported.push(match outcome {
            Outcome::Answered(_) => "answered",
            Outcome::Failed => "failed",
            Outcome::Busy(_) => "busy",
        });
    }

    async fn tools(&self, _: &Principal) -> Vec<ToolDefinition> {
        let tool = ToolDefinition {
            name: "calculator".into(),
            description: "calculates".into(),
            parameters: "{}".into(),
        };
        if self.0.borrow().platform_tool {
            vec![tool]
        } else {
            Vec::new()
        }
    }

    async fn call_tool(&self, _: &Principal, call: &ToolCall) -> Result<String, ToolError> {
        let output = self.0.borrow().tool_output;
        Ok(output.map_or_else(|| format!("ran {}", call.name), str::to_owned))
    }

    async fn record(&self, event: &UsageEvent) -> Result<(), String> {
        if self.0.borrow().ledger_full {
            return Err("100000 items wait".into());
        }
        let usage = event.usage;
        self.0
            .borrow_mut()
            .recorded
            .push((usage.prompt_tokens, usage.completion_tokens));
        Ok(())
    }

    async fn drain(&self) -> Result<u32, String> {
        let mut log = self.0.borrow_mut();
        log.clock += 1_000_000_000;
        let delivered = log.waiting.min(1_000);
        log.waiting -= delivered;
        Ok(delivered)
    }

    async fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        _: &str,
    ) -> Result<Answer<ScriptedBody>, CallError> {
        assert!(url.ends_with("/v1/chat/completions"), "{url}");
        assert_eq!(headers[0].1, "Bearer secret");
        let mut log = self.0.borrow_mut();
        log.requests
            .push(serde_json::from_slice(&body).unwrap_or_default());
        log.bodies.push(String::from_utf8(body).unwrap_or_default());
        match log.backends.pop_front() {
            None | Some(Backend::Unreachable) => {
                Err(CallError::Failed("connection refused".into()))
            }
            Some(Backend::Left) => Err(CallError::AskerGone),
            Some(Backend::Answers { status, chunks }) => {
                let body = ScriptedBody {
                    log: Rc::clone(&self.0),
                    chunks,
                };
                Ok(Answer {
                    status,
                    retry_after: None,
                    body,
                })
            }
        }
    }

    async fn variable(&self, name: &'static str) -> Option<String> {
        let log = self.0.borrow();
        log.variables.get(name).map(|value| (*value).to_owned())
    }

    async fn sleep_ms(&self, _: u64) {
        let is_new = std::cell::Cell::new(true);
        poll_fn(|context| {
            let mut log = self.0.borrow_mut();
            if log.pauses == 0 || !is_new.get() {
                return Poll::Pending;
            }
            log.pauses -= 1;
            context.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await
    }

    fn monotonic_ns(&self) -> u64 {
        let mut log = self.0.borrow_mut();
        log.clock += 1_000;
        log.clock
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn random(&self) -> u128 {
        7
    }
}
