//! Requests that the host itself sends: checks before the start, the hook of the first run,
//! and ticks.
//!
//! They go to private paths of components, in process. It does NOT know what they do.

use crate::app::App;
use crate::dispatch::Origin;
use crate::dispatch::headers::traceparent;
use crate::manifest::{Manifest, Tick};
use bytes::Bytes;
use edge_bindings::port::CallContext;
use futures::future::join_all;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The longest complaint that is shown.
const COMPLAINT_CHARS_MAX: usize = 1_000;
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
        stages: None,
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

/// Asks every component that wants to be asked whether its configuration will do.
///
/// # Errors
/// What is wrong with it, in the component's words.
pub(crate) async fn check(
    app: &Arc<App>,
    manifest: &Manifest,
    missing: &BTreeSet<String>,
) -> Result<(), String> {
    for component in manifest.components.values() {
        let (Some(path), false) = (&component.check, missing.contains(&component.id)) else {
            continue;
        };
        let named = |what: String| format!("component {:?}: {what}", component.id);
        let (status, body) = post(app, &component.id, path).await.map_err(named)?;
        if !status.is_success() {
            return Err(named(complaint(status, &body)));
        }
    }
    Ok(())
}

/// What an answer complains of: an error object's message, or the text as it is.
fn complaint(status: StatusCode, body: &[u8]) -> String {
    let object: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = object
        .as_ref()
        .and_then(|object| object["error"]["message"].as_str());
    let text = String::from_utf8_lossy(body);
    let words = message.unwrap_or(&text).trim();
    match words {
        "" => format!("its check answered {status}"),
        words => words.chars().take(COMPLAINT_CHARS_MAX).collect(),
    }
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

/// The ticks of one version of the application; they end when this is dropped.
pub(crate) struct Ticks {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// Starts all ticks, once those of the version `before` have ended.
pub(crate) fn start(app: &Arc<App>, manifest: &Manifest, before: Option<Ticks>) -> Ticks {
    let stop = CancellationToken::new();
    let components = manifest.components.values();
    let ticks: Vec<_> = components
        .flat_map(|component| {
            let named = |tick: &Tick| (component.id.clone(), tick.clone());
            component.ticks.iter().map(named)
        })
        .collect();
    let (app, stopped) = (Arc::clone(app), stop.clone());
    let task = tokio::spawn(async move {
        if let Some(before) = before {
            before.stop.cancel();
            let _ = before.task.await;
        }
        let ticks = ticks
            .iter()
            .map(|(id, tick)| go_on(&app, id, tick, &stopped));
        join_all(ticks).await;
    });
    Ticks {
        stop,
        task: AbortOnDropHandle::new(task),
    }
}

/// Sends one tick again and again; the one that is on its way at the end is not cut.
async fn go_on(app: &Arc<App>, id: &str, tick: &Tick, stop: &CancellationToken) {
    // Slept between two requests, so that there is one at a time.
    while stop
        .run_until_cancelled(tokio::time::sleep(tick.every))
        .await
        .is_some()
    {
        match post(app, id, &tick.path).await {
            Ok((status, _)) if status.is_success() => {}
            Ok((status, _)) => tracing::warn!(component = id, path = tick.path, %status, "tick"),
            Err(error) => tracing::warn!(component = id, path = tick.path, error, "tick"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_a_message_or_a_text() {
        let check = |body: &str| complaint(StatusCode::BAD_REQUEST, body.as_bytes());
        assert_eq!(check(r#"{"error":{"message":"variable a"}}"#), "variable a");
        assert_eq!(check("variable b\n"), "variable b");
        assert_eq!(check(r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(check(""), "its check answered 400 Bad Request");
        assert_eq!(check(&"x".repeat(2_000)).len(), COMPLAINT_CHARS_MAX);
    }
}
