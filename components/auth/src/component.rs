//! The exported interface on the host's key-value store, clock and HTTP.
//!
//! It converts and does IO; the decision is in `decide`.

use crate::bindings::exports::skerry::chat::auth::{AuthError, Guest};
use crate::bindings::skerry::chat::types;
use crate::decide::{self, Cache, Directory, Verdict};
use api_key::wire::{Limits, Principal, Role, VERIFY_PATH, VerifiedKey, VerifyRequest};
use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Limited};
use spin_sdk::http::{FullBody, StatusCode, send};
use spin_sdk::key_value::Store;
use std::cell::OnceCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The key-value store that the manifest grants.
const STORE: &str = "principals";
/// Where the keys are kept.
const DIRECTORY: &str = "http://directory.spin.internal";
/// A directory that has not answered by then is away.
const VERIFY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Bytes of the directory's answer, at most.
const ANSWER_BYTES_MAX: usize = 16 << 10;

const _: () = assert!(decide::KNOWN_TTL_MS + 1_500 < 5_000);

struct Component;
crate::bindings::export!(Component with_types_in crate::bindings);

impl Guest for Component {
    async fn authenticate(authorization: Option<String>) -> Result<types::Principal, AuthError> {
        let principal =
            decide::authenticate(authorization.as_deref(), &HostCache, &HostDirectory, now_ms);
        principal.await.map(into_wit).map_err(|error| match error {
            decide::AuthError::Missing => AuthError::Missing,
            decide::AuthError::Malformed(expected) => AuthError::Malformed(expected.to_owned()),
            decide::AuthError::Unknown => AuthError::Unknown,
            decide::AuthError::Expired => AuthError::Expired,
            decide::AuthError::Unavailable(reason) => AuthError::Unavailable(reason),
        })
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

thread_local! {
    /// Opened once in the life of an instance.
    static OPENED: OnceCell<Rc<Store>> = const { OnceCell::new() };
}

async fn store() -> Result<Rc<Store>, String> {
    if let Some(store) = OPENED.with(|opened| opened.get().cloned()) {
        return Ok(store);
    }
    let store = Rc::new(Store::open(STORE).await.map_err(words)?);
    Ok(OPENED.with(|opened| Rc::clone(opened.get_or_init(|| store))))
}

struct HostCache;

impl Cache for HostCache {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        store().await?.get(name).await.map_err(words)
    }

    async fn set(&self, name: &str, value: &[u8]) -> Result<(), String> {
        store().await?.set(name, value).await.map_err(words)
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        store().await?.delete(name).await.map_err(words)
    }
}

struct HostDirectory;

impl Directory for HostDirectory {
    async fn verify(&self, key_sha256: &str) -> Result<Verdict, String> {
        let answer = pin!(ask(key_sha256));
        let timeout = pin!(spin_sdk::time::sleep(VERIFY_TIMEOUT));
        match select(answer, timeout).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => Err("the directory did not answer in time".to_owned()),
        }
    }
}

async fn ask(key_sha256: &str) -> Result<Verdict, String> {
    let question = VerifyRequest {
        key_sha256: key_sha256.to_owned(),
    };
    let question = serde_json::to_vec(&question).map_err(words)?;
    let request = http::Request::post(format!("{DIRECTORY}{VERIFY_PATH}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(FullBody::new(Bytes::from(question)))
        .map_err(words)?;
    let response = send(request).await.map_err(words)?;
    match response.status() {
        StatusCode::OK => {
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(words)?.to_bytes();
            let known: VerifiedKey = serde_json::from_slice(&body).map_err(words)?;
            Ok(Verdict::Known(known))
        }
        StatusCode::NOT_FOUND => Ok(Verdict::Unknown),
        StatusCode::GONE => Ok(Verdict::Expired),
        status => Err(format!("the directory answered {status}")),
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn into_wit(principal: Principal) -> types::Principal {
    let role = |role| match role {
        Role::Owner => types::Role::Owner,
        Role::Member => types::Role::Member,
        Role::Reader => types::Role::Reader,
    };
    let limits = |limits: Limits| types::Limits {
        requests_per_minute: limits.requests_per_minute,
        tokens_per_minute: limits.tokens_per_minute,
    };
    types::Principal {
        organization_id: principal.organization_id,
        project_id: principal.project_id,
        user_id: principal.user_id,
        key_id: principal.key_id,
        roles: principal.roles.into_iter().map(role).collect(),
        key_limits: limits(principal.key_limits),
        project_limits: limits(principal.project_limits),
        platform_tools: principal.platform_tools,
    }
}
