//! Requests that the host itself sends: the hook of the first run, and ticks.
//!
//! They go to private paths of components, in process. It does NOT know what they do.

use crate::app::App;
use crate::dispatch::Origin;
use crate::dispatch::headers::traceparent;
use crate::manifest::Manifest;
use bytes::Bytes;
use edge_bindings::port::CallContext;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long one such request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// POSTs to `path` of `component`; the status and the body.
async fn post(app: &Arc<App>, component: &str, path: &str) -> Result<(StatusCode, Bytes), String> {
    let body = Empty::new().map_err(|never: std::convert::Infallible| match never {});
    let uri = format!("http://{component}.spin.internal{path}");
    let request = Request::post(uri)
        .body(body.boxed_unsync())
        .map_err(|e| e.to_string())?;
    let context = CallContext {
        depth: 0,
        traceparent: Some(traceparent(&mut HeaderMap::new())),
        gone: CancellationToken::new(),
    };
    let answered = async {
        let response = app
            .call_inside(Some(component), request, Origin::inside(), context)
            .await;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    tokio::time::timeout(REQUEST_TIME_MAX, answered)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// Calls every component's `first_run`; the first API key, if one was made.
pub(crate) async fn first_run(
    app: &Arc<App>,
    manifest: &Manifest,
) -> Result<Option<String>, String> {
    let mut key = None;
    for component in manifest.components.values() {
        let Some(path) = &component.first_run else {
            continue;
        };
        let named = |what: String| format!("component {:?}: {path}: {what}", component.id);
        let (status, body) = post(app, &component.id, path).await.map_err(named)?;
        match status {
            StatusCode::OK => {
                let answer: serde_json::Value =
                    serde_json::from_slice(&body).map_err(|error| named(error.to_string()))?;
                key = answer["api_key"].as_str().map(str::to_owned);
            }
            StatusCode::NO_CONTENT => {}
            other => return Err(named(format!("answered {other}"))),
        }
    }
    Ok(key)
}

/// Starts all ticks; they end when the set is dropped.
pub(crate) fn start(app: &Arc<App>, manifest: &Manifest) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for component in manifest.components.values() {
        for tick in &component.ticks {
            let (app, id, tick) = (Arc::clone(app), component.id.clone(), tick.clone());
            tasks.spawn(async move {
                loop {
                    // Slept between two requests, so that there is one at a time.
                    tokio::time::sleep(tick.every).await;
                    match post(&app, &id, &tick.path).await {
                        Ok((status, _)) if status.is_success() => {}
                        Ok((status, _)) => {
                            tracing::warn!(component = id, path = tick.path, %status, "tick");
                        }
                        Err(error) => {
                            tracing::warn!(component = id, path = tick.path, error, "tick")
                        }
                    }
                }
            });
        }
    }
    tasks
}
