//! A platform whose leaves do what a script says and write down what they were told.

mod body;
mod client;
mod door;
mod turn;
mod windows;

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
use crate::bindings::skerry::chat::orchestrator::TurnOptions;
use crate::bindings::skerry::chat::rate_limit::{Admission, Drawn, RateLimitError, State, Window};
use crate::bindings::skerry::chat::router::{
    Dialect, Model, Outcome, RouteError, RouteRequest, Target,
};
use crate::bindings::skerry::chat::safety::{Refusal, Released, Screened};
use crate::bindings::skerry::chat::session::{History, SessionError, TurnOutcome};
use crate::bindings::skerry::chat::tools::ToolError;
use crate::bindings::skerry::chat::types::{
    Limits, Message, MessageRole, Principal, Role, ToolCall, ToolDefinition,
};
use crate::body::Body;
use crate::platform::{Answer, CallError, Platform};
use crate::reply::Reply;
use crate::routes::{Handled, Incoming, handle, stream};
use body::ScriptedBody;
use client::Client;
pub(super) use client::Got;
pub(super) use door::get_as;
use turn::RealTurn;
use windows::Windows;

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

/// A timer that waits for less waits for what a body has ready.
const HEARTBEAT_MS_MIN: u64 = 1_000;
/// A timer that waits for less waits for silence.
const BUSY_MS_MIN: u64 = 50;

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

    /// Nothing lies ready behind what is read, and no time goes by.
    pub(super) fn one_by_one(events: impl IntoIterator<Item = Value>) -> Self {
        let events = events.into_iter().map(|event| format!("data: {event}\n\n"));
        let done = ["data: [DONE]\n\n".to_owned()];
        let pieces = events.chain(done);
        Self::says(pieces.flat_map(|event| ["hold".to_owned(), event]))
    }

    /// After so many events the timer of whoever reads them goes off, for more would come.
    pub(super) fn ready_until(events: impl IntoIterator<Item = Value>, count: usize) -> Self {
        let events = events.into_iter().map(|event| format!("data: {event}\n\n"));
        let mut pieces: Vec<String> = events.collect();
        pieces.insert(count, "busy".to_owned());
        Self::says(pieces)
    }

    /// So many heartbeats between one event and the next.
    pub(super) fn slowly(events: impl IntoIterator<Item = Value>, heartbeats: usize) -> Self {
        let events = events.into_iter().map(|event| format!("data: {event}\n\n"));
        let done = ["data: [DONE]\n\n".to_owned()];
        let pause = format!("pause{}", "x".repeat(heartbeats));
        let pieces = events.chain(done).flat_map(|event| [pause.clone(), event]);
        Self::says(pieces)
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
    /// Times that the client is asked to take something and does not.
    reluctance: usize,
    /// It is asked, and no timer has gone off meanwhile.
    is_asked: bool,
    reader: bool,
    ledger_full: bool,
    history: Vec<Message>,
    clock: u64,
    bodies: Vec<String>,
    dialect: Option<Dialect>,
    /// Times that the body says nothing while the heartbeat's timer goes off.
    pauses: usize,
    is_holding: bool,
    /// Of the timers that wait for what is ready, only the longer one goes off.
    is_busy: bool,
    settled: Vec<u32>,
    recorded: Vec<(u32, u32)>,
    /// Of each record, whether it is an estimate.
    estimated: Vec<bool>,
    /// Without any, every request is admitted.
    windows: Option<Windows>,
    stored: Vec<String>,
    stored_as: Vec<TurnOutcome>,
    project_full: bool,
    stored_calls: usize,
    reported: Vec<&'static str>,
    variables: HashMap<&'static str, &'static str>,
    misconfigured: Option<&'static str>,
    chunks_read: usize,
    /// None is no limit.
    requests_left: Option<u32>,
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

    /// The project stores all that it may.
    pub(super) fn of_a_full_project(self) -> Self {
        self.0.borrow_mut().project_full = true;
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

    /// A key and a project of so many tokens a minute, counted as they are in earnest.
    pub(super) fn with_ceiling(self, tokens: u32) -> Self {
        self.0.borrow_mut().windows = Some(Windows::new(tokens));
        self
    }

    /// The counters cannot be read once a request is admitted.
    pub(super) fn with_broken_counters(self) -> Self {
        let mut log = self.0.borrow_mut();
        log.windows.as_mut().unwrap().is_broken = true;
        drop(log);
        self
    }

    /// The next request's backends.
    pub(super) fn then(&self, backends: impl IntoIterator<Item = Backend>) {
        self.0.borrow_mut().backends = backends.into_iter().collect();
    }

    /// Lets time go by.
    pub(super) fn pass_ms(&self, milliseconds: u64) {
        self.0.borrow_mut().clock += milliseconds * 1_000_000;
    }

    /// Tokens that count now, of the key and of the project.
    pub(super) fn counted(&self) -> [u64; 2] {
        let log = self.0.borrow();
        let windows = log.windows.as_ref().unwrap();
        windows.counted(log.clock / 1_000_000)
    }

    /// Calls of the counters' store.
    pub(super) fn store_calls(&self) -> u32 {
        let log = self.0.borrow();
        log.windows.as_ref().unwrap().calls()
    }

    pub(super) fn estimated(&self) -> Vec<bool> {
        self.0.borrow().estimated.clone()
    }

    /// The client takes nothing until it was asked so often.
    pub(super) fn reading_late(self, reluctance: usize) -> Self {
        self.0.borrow_mut().reluctance = reluctance;
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
        let log = self.0.borrow();
        let parsed = |body: &String| serde_json::from_str(body).unwrap_or_default();
        log.bodies.iter().map(parsed).collect()
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

    /// What the stored turns were stored as.
    pub(super) fn stored_as(&self) -> Vec<TurnOutcome> {
        self.0.borrow().stored_as.clone()
    }

    /// Tool calls of the stored turn.
    pub(super) fn stored_calls(&self) -> usize {
        self.0.borrow().stored_calls
    }

    pub(super) fn chunks_read(&self) -> usize {
        self.0.borrow().chunks_read
    }
}

struct Bytewise(Option<Vec<u8>>);

impl Body for Bytewise {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        self.0.take().map(|bytes| Ok(bytes.into()))
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
        authorization: authorization.map(str::to_owned).into_iter().collect(),
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
                    log: Rc::clone(&script.0),
                    written: Rc::clone(&written),
                    writes_left,
                },
            ));
            let body = written.borrow().clone();
            got(head, body)
        }
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
    fn windows(&self) -> Option<(Windows, u64)> {
        let log = self.0.borrow();
        Some((log.windows.clone()?, log.clock / 1_000_000))
    }

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

    async fn admit(&self, _: &Principal, tokens: u32) -> Result<Admission, RateLimitError> {
        if let Some(words) = self.complaint("rate-limit") {
            return Err(RateLimitError::Unavailable(words));
        }
        self.take_request()?;
        if let Some((windows, now_ms)) = self.windows() {
            return windows.admit(tokens, now_ms).await;
        }
        let state = State {
            requests: window(),
            tokens: window(),
        };
        Ok(Admission {
            reservation: "r".into(),
            held: u32::MAX,
            state,
        })
    }

    async fn draw(
        &self,
        reservation: &str,
        used: u32,
        least: u32,
        most: u32,
    ) -> Result<Drawn, String> {
        let (windows, now_ms) = self.windows().ok_or("nothing is to be drawn")?;
        let draw = rate_limit::window::Draw { used, least, most };
        windows.draw(reservation, draw, now_ms).await
    }

    async fn release(&self, reservation: &str, tokens_used: u32) -> Result<(), String> {
        self.0.borrow_mut().settled.push(tokens_used);
        match self.windows() {
            Some((windows, now_ms)) => windows.settle(reservation, tokens_used, now_ms).await,
            None => Ok(()),
        }
    }

    async fn estimate_tokens(&self, messages: &[Message]) -> u32 {
        messages.len() as u32
    }

    async fn load(&self, _: &Principal, _: &str) -> Result<Vec<Message>, SessionError> {
        if self.0.borrow().project_full {
            return Err(SessionError::Full);
        }
        Ok(self.0.borrow().history.clone())
    }

    async fn trim(&self, messages: &[Message], _: usize, _: u32) -> Result<History, SessionError> {
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
        outcome: TurnOutcome,
    ) -> Result<(), SessionError> {
        let texts = messages.iter().map(|message| message.content.clone());
        let mut log = self.0.borrow_mut();
        log.stored_as.push(outcome);
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
        // A phrase may be split over texts that follow each other.
        match judge(&texts.concat()).refusal {
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
        RealTurn::new(options)
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
        self.0.borrow_mut().estimated.push(event.estimated);
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

    async fn sleep_ms(&self, milliseconds: u64) {
        let is_new = std::cell::Cell::new(true);
        poll_fn(|context| {
            let mut log = self.0.borrow_mut();
            if log.is_busy && (BUSY_MS_MIN..HEARTBEAT_MS_MIN).contains(&milliseconds) {
                return Poll::Ready(());
            }
            if milliseconds < HEARTBEAT_MS_MIN && log.is_holding {
                log.is_holding = false;
                return Poll::Ready(());
            }
            if milliseconds >= HEARTBEAT_MS_MIN && log.is_asked {
                log.is_asked = false;
                return Poll::Ready(());
            }
            if log.pauses == 0 || !is_new.get() {
                return Poll::Pending;
            }
            log.pauses -= 1;
            log.clock += milliseconds * 1_000_000;
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
