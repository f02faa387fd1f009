//! The thread that sends spans to the collector, as OTLP over HTTP.
//!
//! A span that finds the queue full is dropped and counted, as is one that the collector did
//! not take; nobody waits for either. It does NOT know what a span tells.

use super::Settings;
use crate::metrics::Metrics;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// What the service is called if the environment does not say.
const SERVICE_NAME: &str = "edge";

enum Message {
    Span(Box<SpanData>),
    /// Send all that came before, and say when that is done.
    Flush(SyncSender<()>),
}

/// The way to the thread.
pub(super) struct Exporting {
    queue: SyncSender<Message>,
    metrics: Arc<Metrics>,
}

impl Exporting {
    pub(super) fn start(settings: &Settings, metrics: Arc<Metrics>) -> Result<Self, String> {
        // The exporter's TLS takes the process's provider; another part may have set it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .build()
            .map_err(|error| format!("OTEL_EXPORTER_OTLP: {error}"))?;
        exporter.set_resource(&resource(settings));
        let (queue, spans) = sync_channel(settings.queue_max);
        let sender = Sender {
            exporter,
            batch_max: settings.batch_max,
            delay: settings.delay,
            metrics: Arc::clone(&metrics),
            is_failing: false,
        };
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || sender.run(&spans))
            .map_err(|error| error.to_string())?;
        Ok(Self { queue, metrics })
    }

    pub(super) fn send(&self, span: SpanData) {
        match self.queue.try_send(Message::Span(Box::new(span))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.spans("queue-full", 1);
            }
        }
    }

    /// Waits until everything is sent, but not for longer than `time_max`.
    pub(super) fn flush(&self, time_max: Duration) {
        let (done, sent) = sync_channel(1);
        let queue = self.queue.clone();
        // The queue may be full, and then it takes as long as the collector does.
        let asked = std::thread::Builder::new()
            .name("traces-flush".to_owned())
            .spawn(move || queue.send(Message::Flush(done)));
        if asked.is_err() || sent.recv_timeout(time_max).is_err() {
            tracing::warn!("the last traces were not sent in time");
        }
    }
}

fn resource(settings: &Settings) -> Resource {
    let resource = Resource::builder();
    let resource = if settings.is_named {
        resource
    } else {
        resource.with_service_name(SERVICE_NAME)
    };
    let version = env!("CARGO_PKG_VERSION");
    resource
        .with_attribute(opentelemetry::KeyValue::new("service.version", version))
        .build()
}

/// What the thread has.
struct Sender {
    exporter: SpanExporter,
    batch_max: usize,
    delay: Duration,
    metrics: Arc<Metrics>,
    is_failing: bool,
}

impl Sender {
    fn run(mut self, queue: &Receiver<Message>) {
        // An idle process waits here for its next span.
        while let Ok(first) = queue.recv() {
            let mut batch = Vec::new();
            let mut flushed = None;
            let due = Instant::now() + self.delay;
            let mut next = Ok(first);
            loop {
                match next {
                    Ok(Message::Span(span)) => batch.push(*span),
                    Ok(Message::Flush(done)) => flushed = Some(done),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
                if flushed.is_some() || batch.len() >= self.batch_max {
                    break;
                }
                next = queue.recv_timeout(due.saturating_duration_since(Instant::now()));
            }
            self.export(batch);
            if let Some(done) = flushed {
                let _ = done.send(());
            }
        }
    }

    fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len();
        if count == 0 {
            return;
        }
        let sent = futures::executor::block_on(self.exporter.export(batch));
        match sent {
            Ok(()) => {
                self.metrics.spans("sent", count);
                if self.is_failing {
                    tracing::info!("the collector takes traces again");
                }
                self.is_failing = false;
            }
            Err(error) => {
                self.metrics.spans("collector", count);
                // Once, and not with each batch for as long as it is away.
                if !self.is_failing {
                    tracing::warn!(%error, "the collector does not take traces");
                }
                self.is_failing = true;
            }
        }
    }
}
