//! Traces through components to the backend, and what a collector that fails costs.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Body, Edge, HEAD, client, command, one, probe, until, write};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use rustls::pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What a collector does with spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Deed {
    #[default]
    Keeps,
    /// It does not answer while it is to do this.
    Waits,
    Fails,
}

/// A collector, which is also a backend: it keeps the spans that it is sent, and the
/// `traceparent` of everything else.
#[derive(Default)]
pub(crate) struct Receiver {
    spans: Mutex<Vec<Span>>,
    services: Mutex<Vec<String>>,
    seen: Mutex<Vec<String>>,
    keys: Mutex<Vec<String>>,
    deed: watch::Sender<Deed>,
}

impl Receiver {
    /// Starts one: it and its URL.
    pub(crate) async fn start() -> (Arc<Self>, String) {
        let (receiver, address) = Self::listen(None).await;
        (receiver, format!("http://{address}"))
    }

    /// Starts one behind TLS: it, its URL and its certificate in PEM.
    async fn start_tls() -> (Arc<Self>, String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let (receiver, address) = Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await;
        (receiver, format!("https://{address}"), made.cert.pem())
    }

    async fn listen(tls: Option<TlsAcceptor>) -> (Arc<Self>, SocketAddr) {
        let receiver = Arc::<Self>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&receiver);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serving.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serving.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        (receiver, address)
    }

    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(move |request| {
            let serving = Arc::clone(&self);
            async move { Ok::<_, Infallible>(serving.answer(request).await) }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(
        &self,
        request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<Full<Bytes>> {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        let mut answer = http::Response::new(Full::default());
        if request.uri().path() != "/v1/traces" {
            self.seen.lock().unwrap().push(header("traceparent"));
            return answer;
        }
        self.keys.lock().unwrap().push(header("x-key"));
        assert_eq!(header("content-type"), "application/x-protobuf");
        let mut deed = self.deed.subscribe();
        let deed = *deed.wait_for(|deed| *deed != Deed::Waits).await.unwrap();
        if deed == Deed::Fails {
            *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            return answer;
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let sent = ExportTraceServiceRequest::decode(body).unwrap();
        for of_resource in sent.resource_spans {
            let attributes = of_resource.resource.unwrap().attributes;
            let name = attributes.iter().find(|each| each.key == "service.name");
            let name = name.unwrap().value.clone().unwrap().value.unwrap();
            if let Value::StringValue(name) = name {
                self.services.lock().unwrap().push(name);
            }
            for of_scope in of_resource.scope_spans {
                self.spans.lock().unwrap().extend(of_scope.spans);
            }
        }
        answer
    }

    /// Waits for so many spans, and returns all.
    async fn spans(&self, count: usize) -> Vec<Span> {
        until("spans", || async {
            self.spans.lock().unwrap().len() >= count
        })
        .await;
        self.spans.lock().unwrap().clone()
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text.
fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|each| each.key == key);
    let value = found.and_then(|each| each.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// `front`, which may call `back`; `back` may call this machine.
pub(crate) fn two() -> String {
    format!(
        "{HEAD}{}{}",
        probe(
            "front",
            "/...",
            "allowed_outbound_hosts = [\"http://back.spin.internal\"]"
        ),
        probe(
            "back",
            "",
            "allowed_outbound_hosts = [\"http://127.0.0.1:*\"]"
        )
    )
}

pub(crate) async fn send(edge: &Edge, path: &str, traceparent: &str) -> http::Response<Body> {
    let request = http::Request::get(format!("{}{path}", edge.http))
        .header("traceparent", traceparent)
        .header("authorization", "Bearer hush")
        .body(Full::default().boxed())
        .unwrap();
    let response = client().request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    http::Response::from_parts(head, Full::new(body).boxed())
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// The environment of an `edge` whose spans are sent at once.
fn environment(url: &str) -> [(&str, &str); 4] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=for-the-collector"),
        ("OTEL_SERVICE_NAME", "pop-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ]
}

#[tokio::test]
async fn a_trace_goes_through_components_to_the_backend() {
    let (receiver, url) = Receiver::start().await;
    let edge = Edge::start_in(&environment(&url), &two(), &[]);
    let path = format!("/fetch?http://back.spin.internal/fetch?{url}/v1/chat?prompt=hush");
    let answer = send(&edge, &path, &format!("00-{TRACE}-{PARENT}-01")).await;
    assert_eq!(answer.status(), 200);
    let spans = receiver.spans(5).await;
    assert_eq!(spans.len(), 5, "{spans:#?}");
    let named = |name: &str, kind: SpanKind| {
        let of = |span: &&Span| span.name == name && span.kind == kind as i32;
        spans.iter().find(of).unwrap().clone()
    };
    let server = named("GET /...", SpanKind::Server);
    let front = named("component front", SpanKind::Internal);
    let back = named("component back", SpanKind::Internal);
    let calls: Vec<_> = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Client as i32)
        .collect();
    let to = |host: &str| {
        let found = calls
            .iter()
            .find(|span| attribute(span, "server.address") == host);
        (*found.unwrap()).clone()
    };
    let (chained, outbound) = (to("back.spin.internal"), to("127.0.0.1"));
    assert_eq!(hex(&server.parent_span_id), PARENT);
    for (span, parent) in [
        (&front, &server),
        (&chained, &front),
        (&back, &chained),
        (&outbound, &back),
    ] {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(span.parent_span_id, parent.span_id, "{span:#?}");
        assert!(span.start_time_unix_nano >= parent.start_time_unix_nano);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    // The backend's part of the trace begins below the last call.
    let expect = format!("00-{TRACE}-{}-01", hex(&outbound.span_id));
    assert_eq!(*receiver.seen.lock().unwrap(), [expect]);
    attributes_are_those_of_the_conventions(&server, &outbound, &url);
    assert_eq!(attribute(&front, "edge.component"), "front");
    let all = format!("{spans:?}");
    assert!(!all.contains("hush") && !all.contains("prompt"), "{all}");
    assert!(
        receiver
            .services
            .lock()
            .unwrap()
            .iter()
            .all(|name| name == "pop-1")
    );
    assert_eq!(receiver.keys.lock().unwrap()[0], "for-the-collector");
    until("they are counted", || async {
        edge.figure("edge_trace_spans_total{outcome=\"sent\"}")
            .await
            > 4.9
    })
    .await;
}

fn attributes_are_those_of_the_conventions(server: &Span, outbound: &Span, url: &str) {
    for (span, key, expect) in [
        (server, "http.request.method", "GET"),
        (server, "url.path", "/fetch"),
        (server, "http.route", "/..."),
        (server, "http.response.status_code", "200"),
        (server, "server.address", "127.0.0.1"),
        (server, "network.protocol.version", "1.1"),
        (server, "client.address", "127.0.0.1"),
        (outbound, "http.response.status_code", "200"),
        (outbound, "url.full", &format!("{url}/v1/chat")),
    ] {
        assert_eq!(attribute(span, key), expect, "{key}");
    }
}

#[tokio::test]
async fn a_span_has_the_stages_that_its_component_names() {
    let (receiver, url) = Receiver::start().await;
    let edge = Edge::start_in(&environment(&url), &one(""), &[]);
    assert_eq!(edge.get("/stages?auth;dur=0.25,+llm;dur=30").await.0, 200);
    let spans = receiver.spans(2).await;
    let component = spans
        .iter()
        .find(|span| span.kind == SpanKind::Internal as i32)
        .unwrap();
    let head = &component.events[0];
    assert_eq!(head.name, "response head");
    let stages: Vec<_> = head
        .attributes
        .iter()
        .map(|each| {
            (
                each.key.as_str(),
                each.value.clone().unwrap().value.unwrap(),
            )
        })
        .collect();
    let expect = [
        ("server_timing.auth", Value::DoubleValue(0.25)),
        ("server_timing.llm", Value::DoubleValue(30.0)),
    ];
    assert_eq!(stages, expect);
}

#[tokio::test]
async fn what_the_parent_does_not_record_is_not_recorded() {
    let (receiver, url) = Receiver::start().await;
    let edge = Edge::start_in(&environment(&url), &two(), &[]);
    let path = format!("/fetch?http://back.spin.internal/fetch?{url}/v1/chat");
    send(&edge, &path, &format!("00-{TRACE}-{PARENT}-00")).await;
    assert_eq!(
        *receiver.seen.lock().unwrap(),
        [format!("00-{TRACE}-{PARENT}-00")]
    );
    // One that is recorded comes later, and alone; a trace that failed says so.
    let other = TRACE.replace('0', "1");
    send(&edge, "/trap", &format!("00-{other}-{PARENT}-01")).await;
    let spans = receiver.spans(2).await;
    assert!(
        spans.iter().all(|span| hex(&span.trace_id) == other),
        "{spans:#?}"
    );
    for span in &spans {
        assert_eq!(span.status.as_ref().unwrap().code, 2, "{span:#?}");
    }
    // Off: the backend gets what the client said.
    drop(edge);
    let disabled = [
        environment(&url).as_slice(),
        &[("OTEL_SDK_DISABLED", "true")],
    ]
    .concat();
    let edge = Edge::start_in(&disabled, &two(), &[]);
    send(&edge, &path, &format!("00-{TRACE}-{PARENT}-01")).await;
    let last = receiver.seen.lock().unwrap().last().cloned();
    assert_eq!(last, Some(format!("00-{TRACE}-{PARENT}-01")));
    assert!(edge.figure("edge_trace_spans_total").await < 0.1);
}

// The collector answers while the test waits for the end of `edge`.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_fails_delays_nobody_and_what_it_misses_is_counted() {
    let (receiver, url) = Receiver::start().await;
    receiver.deed.send_replace(Deed::Waits);
    let small = [
        environment(&url).as_slice(),
        &[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ],
    ]
    .concat();
    let mut edge = Edge::start_in(&small, &one(""), &[]);
    for _ in 0..100 {
        assert_eq!(edge.get("/served").await.0, 200);
    }
    let outcome = |outcome: &str| format!("edge_trace_spans_total{{outcome=\"{outcome}\"}}");
    assert!(edge.figure(&outcome("queue-full")).await > 50.0);
    receiver.deed.send_replace(Deed::Fails);
    until("those that it got are counted too", || async {
        edge.figure(&outcome("collector")).await > 3.9
    })
    .await;
    assert!(edge.figure(&outcome("sent")).await < 0.1);
    // A collector that never answers does not keep the process from its end.
    receiver.deed.send_replace(Deed::Waits);
    assert_eq!(edge.get("/served").await.0, 200);
    edge.signal("-TERM");
    assert!(edge.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_before_the_end() {
    let (receiver, url) = Receiver::start().await;
    let patient = [
        environment(&url).as_slice(),
        &[("OTEL_BSP_SCHEDULE_DELAY", "600000")],
    ]
    .concat();
    let mut edge = Edge::start_in(&patient, &one(""), &[]);
    assert_eq!(edge.get("/served").await.0, 200);
    assert!(receiver.spans.lock().unwrap().is_empty());
    edge.signal("-TERM");
    assert!(edge.wait().success());
    assert_eq!(receiver.spans.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn spans_go_over_tls_to_a_collector_that_the_system_trusts() {
    let (receiver, url, certificate) = Receiver::start_tls().await;
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let trusted = trusted.display().to_string();
    let trusting = [
        environment(&url).as_slice(),
        &[("SSL_CERT_FILE", trusted.as_str())],
    ]
    .concat();
    let edge = Edge::start_in(&trusting, &one(""), &[]);
    assert_eq!(edge.get("/served").await.0, 200);
    assert_eq!(receiver.spans(2).await.len(), 2);
    drop(edge);
    // Nobody else gets any.
    let edge = Edge::start_in(&environment(&url), &one(""), &[]);
    assert_eq!(edge.get("/served").await.0, 200);
    until("they are dropped", || async {
        edge.figure("edge_trace_spans_total{outcome=\"collector\"}")
            .await
            > 1.9
    })
    .await;
    assert_eq!(receiver.spans.lock().unwrap().len(), 2);
}

#[test]
fn a_wrong_variable_of_traces_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(&one(""), folder.path());
    let output = command(folder.path(), &[])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .env("OTEL_TRACES_SAMPLER", "sometimes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("OTEL_TRACES_SAMPLER: \"sometimes\""),
        "{said}"
    );
}
