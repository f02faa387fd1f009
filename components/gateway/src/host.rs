//! The imports behind [`Platform`], and the component's export. Conversion only.
//!
//! It does NOT decide anything: an instance serves many requests at once, and each
//! carries its own state.

use std::cell::RefCell;
use std::collections::BTreeMap;

use spin_sdk::http::body::IncomingBodyExt;
use spin_sdk::http::{FullBody, IntoRequest};
use spin_sdk::wasip3;
use spin_sdk::wasip3::clocks::{monotonic_clock, system_clock};
use spin_sdk::wasip3::exports::http::handler::Guest;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{self, ErrorCode};
use spin_sdk::wasip3::http_compat::BodyWriter;
use spin_sdk::wasip3::http_compat::{IncomingRequestBody, IncomingResponseBody};
use spin_sdk::wasip3::random::random;

use crate::bindings::skerry::chat::types::{Message, Principal, ToolCall, ToolDefinition};
use crate::bindings::skerry::chat::{
    auth, billing, orchestrator, rate_limit, router, safety, session, tools,
};
use crate::body::Body;
use crate::output::{Gone, Sink};
use crate::platform::{Answer, CallError, Guard, Platform, Turn, Upstream};
use crate::reply::Reply;
use crate::routes::{self, Handled, Incoming};

struct Component;
wasip3::http::service::export!(Component);

impl Guest for Component {
    /// What is asked of the request is asked of the host's own: the SDK's attribute would copy
    /// every header, of which one matters here.
    async fn handle(request: types::Request) -> Result<types::Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let method = http::Method::try_from(request.get_method())
            .map_err(|_| ErrorCode::HttpRequestMethodInvalid)?;
        let headers = request.get_headers();
        let authorization = headers.get("authorization");
        let encoding = header(&headers, "content-encoding");
        drop(headers);
        let incoming = Incoming {
            method: method.as_str().to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            // A header that is no text is a malformed one, not a missing one.
            authorization: authorization
                .into_iter()
                .map(|value| String::from_utf8(value).unwrap_or_default())
                .collect(),
            content_encoding: encoding.map(|value| String::from_utf8(value).unwrap_or_default()),
            body: RequestBody(IncomingRequestBody::new(request)?.stream()),
        };
        Ok(answer(incoming).await)
    }
}

/// The first value of a header.
fn header(headers: &types::Headers, name: &str) -> Option<Vec<u8>> {
    headers.get(name).into_iter().next()
}

async fn answer(incoming: Incoming<RequestBody>) -> types::Response {
    match routes::handle(Imports, incoming).await {
        Handled::Reply(mut reply) => {
            let body = std::mem::take(&mut reply.body);
            respond(&reply, async move |mut writer: Writer| {
                // A client that left before its answer needs no more of it.
                let _ = writer.write(body).await;
            })
        }
        Handled::Stream(head, exchange) => respond(&head, async move |writer| {
            routes::stream(exchange, writer).await
        }),
    }
}

/// Sends the head now, and what `write` writes after it.
fn respond<F: Future<Output = ()> + 'static>(
    head: &Reply,
    write: impl FnOnce(Writer) -> F + 'static,
) -> types::Response {
    let (body, stream, result) = BodyWriter::new();
    let fields: Vec<(String, Vec<u8>)> = head
        .headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes()))
        .collect();
    let headers = types::Fields::from_list(&fields).unwrap_or_else(|_| types::Fields::new());
    let (response, _transmitted) = types::Response::new(headers, Some(stream), result);
    if response.set_status_code(head.status).is_err() {
        crate::log::error("status", "the host refused a status code");
    }
    let BodyWriter {
        stream_writer,
        result_writer,
        ..
    } = body;
    spin_sdk::wasip3::spawn(async move {
        write(Writer(stream_writer)).await;
        let _ = result_writer.write(Ok(None)).await;
    });
    response
}

struct Writer(spin_sdk::wasip3::wit_bindgen::StreamWriter<u8>);

impl Sink for Writer {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        if self.0.write_all(bytes).await.is_empty() {
            Ok(())
        } else {
            Err(Gone)
        }
    }
}

struct RequestBody(http_body_util::BodyDataStream<IncomingRequestBody>);

impl Body for RequestBody {
    async fn next(&mut self) -> Option<Result<bytes::Bytes, String>> {
        let chunk = futures::StreamExt::next(&mut self.0).await?;
        Some(chunk.map_err(|error| error.to_string()))
    }
}

struct ResponseBody(http_body_util::BodyDataStream<IncomingResponseBody>);

impl Upstream for ResponseBody {
    async fn next(&mut self) -> Option<Result<bytes::Bytes, CallError>> {
        let chunk = futures::StreamExt::next(&mut self.0).await?;
        Some(chunk.map_err(call_error))
    }
}

/// The text of the `internal-error` by which `edge` ends calls whose client has left: see
/// `edge/README.md`. Another host may have no such error, and then no such case.
const ASKER_GONE: &str = "asker-gone";

fn call_error(error: ErrorCode) -> CallError {
    match error {
        ErrorCode::InternalError(Some(text)) if text == ASKER_GONE => CallError::AskerGone,
        other => CallError::Failed(other.to_string()),
    }
}

impl Turn for orchestrator::Turn {
    fn next(&self, event: &orchestrator::Event) -> orchestrator::Action {
        orchestrator::Turn::next(self, event)
    }
}

impl Guard for safety::StreamGuard {
    fn push(&self, delta: &str) -> safety::Released {
        safety::StreamGuard::push(self, delta)
    }

    fn boundary(&self) -> safety::Released {
        safety::StreamGuard::boundary(self)
    }

    fn finish(&self) -> safety::Released {
        safety::StreamGuard::finish(self)
    }
}

thread_local! {
    /// Read once in the life of an instance, before which the host has fixed them.
    static VARIABLES: RefCell<BTreeMap<&'static str, Option<String>>> =
        const { RefCell::new(BTreeMap::new()) };
}

/// The component's imports.
struct Imports;

impl Platform for Imports {
    type Turn = orchestrator::Turn;
    type Guard = safety::StreamGuard;
    type Upstream = ResponseBody;

    async fn authenticate(&self, header: Option<String>) -> Result<Principal, auth::AuthError> {
        auth::authenticate(header).await
    }

    async fn admit(
        &self,
        who: &Principal,
        tokens: u32,
    ) -> Result<rate_limit::Admission, rate_limit::RateLimitError> {
        rate_limit::admit(who.clone(), tokens).await
    }

    async fn draw(
        &self,
        reservation: &str,
        used: u32,
        least: u32,
        most: u32,
    ) -> Result<rate_limit::Drawn, String> {
        rate_limit::draw(reservation.to_owned(), used, least, most).await
    }

    async fn release(&self, reservation: &str, tokens_used: u32) -> Result<(), String> {
        rate_limit::settle(reservation.to_owned(), tokens_used).await
    }

    async fn estimate_tokens(&self, messages: &[Message]) -> u32 {
        session::estimate_tokens(messages.to_vec()).await
    }

    async fn load(
        &self,
        who: &Principal,
        conversation: &str,
    ) -> Result<Vec<Message>, session::SessionError> {
        session::load(who.clone(), conversation.to_owned()).await
    }

    async fn trim(
        &self,
        messages: &[Message],
        own: usize,
        tokens_max: u32,
    ) -> Result<session::History, session::SessionError> {
        let own = u32::try_from(own).unwrap_or(u32::MAX);
        session::trim(messages.to_vec(), own, tokens_max).await
    }

    async fn append(
        &self,
        who: &Principal,
        conversation: &str,
        request_id: &str,
        messages: &[Message],
        outcome: session::TurnOutcome,
    ) -> Result<(), session::SessionError> {
        let (conversation, request_id) = (conversation.to_owned(), request_id.to_owned());
        let messages = messages.to_vec();
        session::append(who.clone(), conversation, request_id, messages, outcome).await
    }

    async fn screen(&self, texts: &[String]) -> Result<safety::Screened, safety::Refusal> {
        safety::screen(texts.to_vec()).await
    }

    async fn guard(&self) -> safety::StreamGuard {
        safety::StreamGuard::create().await
    }

    fn turn(&self, options: &orchestrator::TurnOptions) -> orchestrator::Turn {
        orchestrator::Turn::new(options)
    }

    async fn models(&self) -> Result<Vec<router::Model>, router::RouteError> {
        router::models().await
    }

    async fn route(
        &self,
        request: &router::RouteRequest,
    ) -> Result<Vec<router::Target>, router::RouteError> {
        router::route(request.clone()).await
    }

    async fn report(&self, backend: &str, outcome: router::Outcome) {
        router::report(backend.to_owned(), outcome).await;
    }

    async fn tools(&self, who: &Principal) -> Vec<ToolDefinition> {
        tools::available(who.clone()).await
    }

    async fn call_tool(
        &self,
        who: &Principal,
        call: &ToolCall,
    ) -> Result<String, tools::ToolError> {
        tools::call(who.clone(), call.clone()).await
    }

    async fn record(&self, event: &billing::UsageEvent) -> Result<(), String> {
        billing::settle(event.clone()).await
    }

    async fn drain(&self) -> Result<u32, String> {
        // Where one cannot be delivered, the other is.
        let (turns, usage) = (session::drain().await, billing::drain().await);
        Ok(turns?.saturating_add(usage?))
    }

    async fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        request_id: &str,
    ) -> Result<Answer<ResponseBody>, CallError> {
        let malformed = |words: String| CallError::Failed(words);
        let mut request = http::Request::post(url)
            .header("content-type", "application/json")
            .header("accept", "text/event-stream")
            .header("x-request-id", request_id);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(FullBody::new(bytes::Bytes::from(body)))
            .map_err(|error| malformed(error.to_string()))?
            .into_request()
            .map_err(call_error)?;
        let response = client::send(request).await.map_err(call_error)?;
        let status = response.get_status_code();
        let retry_after = match status {
            200 => None,
            _ => header(&response.get_headers(), "retry-after"),
        };
        let body = IncomingResponseBody::new(response).map_err(call_error)?;
        Ok(Answer {
            status,
            retry_after: retry_after.and_then(|value| String::from_utf8(value).ok()),
            body: ResponseBody(body.stream()),
        })
    }

    async fn variable(&self, name: &'static str) -> Option<String> {
        if let Some(known) = VARIABLES.with_borrow(|known| known.get(name).cloned()) {
            return known;
        }
        // One that could not be read is asked for again.
        let value = spin_sdk::variables::get(name).await.ok()?;
        let value = Some(value).filter(|value| !value.is_empty());
        VARIABLES.with_borrow_mut(|known| known.insert(name, value.clone()));
        value
    }

    async fn sleep_ms(&self, milliseconds: u64) {
        monotonic_clock::wait_for(milliseconds.saturating_mul(1_000_000)).await;
    }

    fn monotonic_ns(&self) -> u64 {
        monotonic_clock::now()
    }

    fn unix_ms(&self) -> u64 {
        let now = system_clock::now();
        let seconds = u64::try_from(now.seconds).unwrap_or_default();
        seconds * 1_000 + u64::from(now.nanoseconds) / 1_000_000
    }

    fn random(&self) -> u128 {
        u128::from(random::get_random_u64()) << 64 | u128::from(random::get_random_u64())
    }
}
