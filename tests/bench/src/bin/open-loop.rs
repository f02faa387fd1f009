//! The clients that wrk cannot be: requests at their times, whether or not the last one was
//! answered, and streams that stay open.
//!
//! Prints one line of JSON. Does NOT judge: an answer that is not 200 ends it with an error.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bench::asked::Asked;
use bytes::Bytes;
use clap::{Parser, Subcommand};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Streams that are opened at once: no more than one core takes without shedding.
const OPENING_MAX: usize = 32;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    asked: Asked,
    #[command(subcommand)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// So many requests a second, evenly; prints how long whole answers took from the time
    /// at which each was due.
    Rate {
        #[arg(long)]
        per_second: f64,
        #[arg(long)]
        seconds: f64,
    },
    /// Opens streams, prints once all are open, and reads them until its input ends.
    Hold {
        #[arg(long)]
        streams: usize,
    },
}

struct Asker {
    client: Client<HttpConnector, Full<Bytes>>,
    request: Request<Bytes>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let asker = Arc::new(Asker {
        client: Client::builder(TokioExecutor::new()).build(connector),
        request: options.asked.request()?,
    });
    match options.load {
        Load::Rate {
            per_second,
            seconds,
        } => rate(asker, per_second, seconds).await,
        Load::Hold { streams } => hold(asker, streams).await,
    }
}

async fn rate(asker: Arc<Asker>, per_second: f64, seconds: f64) -> anyhow::Result<()> {
    ensure!(per_second > 0.0, "--per-second is not above zero");
    let start = Instant::now() + Duration::from_millis(10);
    let mut asked = Vec::new();
    for number in 0.. {
        let due = start + Duration::from_secs_f64(f64::from(number) / per_second);
        if due.duration_since(start).as_secs_f64() >= seconds {
            break;
        }
        sleep_until(due).await;
        let asker = Arc::clone(&asker);
        asked.push(tokio::spawn(async move {
            asker.ask().await?.collect().await?;
            anyhow::Ok(due.elapsed())
        }));
    }
    let mut took_ms = Vec::new();
    for answer in asked {
        took_ms.push(timeout(ANSWER_MAX, answer).await???.as_secs_f64() * 1e3);
    }
    took_ms.sort_by(f64::total_cmp);
    let at = |share: f64| {
        // The nearest rank.
        let rank = (share * took_ms.len() as f64).ceil() as usize;
        took_ms[rank.clamp(1, took_ms.len()) - 1]
    };
    say(&json!({"answers": took_ms.len(), "p50_ms": at(0.5), "p99_ms": at(0.99)}))
}

async fn hold(asker: Arc<Asker>, streams: usize) -> anyhow::Result<()> {
    let opening = futures::stream::iter(0..streams).map(|_| asker.ask());
    let mut opening = opening.buffer_unordered(OPENING_MAX);
    // Read while others open: what nobody takes would pile up.
    let mut open = FuturesUnordered::new();
    while open.len() < streams {
        tokio::select! {
            opened = opening.next() => match opened {
                Some(body) => open.push(drained(body?)),
                None => bail!("{} of {streams} streams opened", open.len()),
            },
            Some(()) = open.next() => bail!("a stream ended too early"),
        }
    }
    say(&json!({ "open": open.len() }))?;
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || ended.send(std::io::stdin().read(&mut [0; 1])));
    tokio::select! {
        end = end => end?.map(drop).context("the input"),
        Some(()) = open.next() => bail!("a stream ended too early"),
    }
}

fn say(line: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

async fn drained(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

impl Asker {
    /// The body of an answer that is 200.
    async fn ask(&self) -> anyhow::Result<Incoming> {
        let request = self.request.clone().map(Full::new);
        let answer = timeout(ANSWER_MAX, self.client.request(request)).await??;
        let status = answer.status();
        ensure!(status == StatusCode::OK, "an answer was {status}");
        Ok(answer.into_body())
    }
}
