//! The decision: header, then cache, then directory.
//!
//! It stands between the header's text and a principal. It does not know key-value stores or
//! HTTP: they are traits here, so that every path is tested natively.

use api_key::Key;
use api_key::wire::{Principal, VerifiedKey};
use serde::{Deserialize, Serialize};

/// How long an answer of the directory is used. With the directory's own time to answer it stays
/// under the 5 s after which a revoked key works nowhere.
pub const KNOWN_TTL_MS: u64 = 3_000;
/// How long "no such key" is used: a key made meanwhile works after that.
pub const UNKNOWN_TTL_MS: u64 = 2_000;
/// Places for "no such key" in the cache: guesses overwrite each other, not fill it.
const UNKNOWN_PLACES: u64 = 4_096;

/// Why nobody was established, as in wit/auth.wit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthError {
    /// No header.
    Missing,
    /// A header without a key. Says what was expected.
    Malformed(&'static str),
    /// No such key.
    Unknown,
    /// The key's time is over.
    Expired,
    /// The keys could not be read.
    Unavailable(String),
}

/// What the directory says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is known.
    Known(VerifiedKey),
    /// Never made, or revoked.
    Unknown,
    /// Its time is over.
    Expired,
}

/// A cache that may forget, and may fail.
pub trait Cache {
    /// The value under a name.
    fn get(&self, name: &str) -> impl Future<Output = Result<Option<Vec<u8>>, String>>;
    /// Puts a value under a name.
    fn set(&self, name: &str, value: &[u8]) -> impl Future<Output = Result<(), String>>;
    /// Removes a name.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), String>>;
}

/// The keeper of the keys.
pub trait Directory {
    /// Whose key has this digest? An error is "could not be asked".
    fn verify(&self, key_sha256: &str) -> impl Future<Output = Result<Verdict, String>>;
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    key_sha256: String,
    until_ms: u64,
    /// None is "no such key".
    principal: Option<Principal>,
}

/// The principal of a header's value.
pub async fn authenticate(
    authorization: Option<&str>,
    cache: &impl Cache,
    directory: &impl Directory,
    now_ms: impl Fn() -> u64,
) -> Result<Principal, AuthError> {
    let key = bearer(authorization.ok_or(AuthError::Missing)?)?.ok_or(AuthError::Unknown)?;
    let digest = key.sha256();
    if let Some(remembered) = recall(cache, &digest, now_ms()).await {
        return remembered.principal.ok_or(AuthError::Unknown);
    }
    let verdict = directory
        .verify(&digest)
        .await
        .map_err(AuthError::Unavailable)?;
    // The answer's life counts from now; the time that the directory took comes on top of it.
    remember(cache, &digest, &verdict, now_ms()).await;
    match verdict {
        Verdict::Known(known) => Ok(known.principal),
        Verdict::Unknown => Err(AuthError::Unknown),
        Verdict::Expired => Err(AuthError::Expired),
    }
}

/// The key in `Bearer sk-…` (RFC 6750 §2.1; the scheme's case does not matter, RFC 9110 §11.1).
/// None is a key of another form than ours, which nobody has.
fn bearer(authorization: &str) -> Result<Option<Key>, AuthError> {
    const EXPECTED: AuthError = AuthError::Malformed(
        "the Authorization header must be 'Bearer ' followed by an API key that begins with 'sk-'",
    );
    // RFC 9110 §11.4 has one space or more between the two.
    let (scheme, key) = authorization.trim().split_once(' ').ok_or(EXPECTED)?;
    let key = key.trim_start();
    if !scheme.eq_ignore_ascii_case("bearer")
        || !key.starts_with("sk-")
        || !key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(EXPECTED);
    }
    Ok(Key::parse(key))
}

/// A cache that fails is a cache that forgot.
async fn recall(cache: &impl Cache, digest: &str, now_ms: u64) -> Option<Remembered> {
    for (name, ttl_ms) in [
        (known_name(digest), KNOWN_TTL_MS),
        (unknown_name(digest), UNKNOWN_TTL_MS),
    ] {
        let Ok(Some(bytes)) = cache.get(&name).await else {
            continue;
        };
        let Ok(remembered) = serde_json::from_slice::<Remembered>(&bytes) else {
            continue;
        };
        // An end too far away was written under another clock.
        let fresh = remembered.until_ms > now_ms && remembered.until_ms - now_ms <= ttl_ms;
        if fresh && remembered.key_sha256 == digest {
            return Some(remembered);
        }
    }
    None
}

async fn remember(cache: &impl Cache, digest: &str, verdict: &Verdict, now_ms: u64) {
    let (name, until_ms, principal) = match verdict {
        Verdict::Known(known) => {
            let end_ms = known.expires_at_ms.unwrap_or(u64::MAX);
            let until_ms = end_ms.min(now_ms.saturating_add(KNOWN_TTL_MS));
            (known_name(digest), until_ms, Some(known.principal.clone()))
        }
        Verdict::Unknown => {
            let _forgotten = cache.delete(&known_name(digest)).await;
            (
                unknown_name(digest),
                now_ms.saturating_add(UNKNOWN_TTL_MS),
                None,
            )
        }
        Verdict::Expired => {
            let _forgotten = cache.delete(&known_name(digest)).await;
            return;
        }
    };
    let remembered = Remembered {
        key_sha256: digest.to_owned(),
        until_ms,
        principal,
    };
    if let Ok(bytes) = serde_json::to_vec(&remembered) {
        let _kept = cache.set(&name, &bytes).await;
    }
}

fn known_name(digest: &str) -> String {
    format!("auth/key/{digest}")
}

fn unknown_name(digest: &str) -> String {
    let head = digest
        .get(..8)
        .and_then(|head| u64::from_str_radix(head, 16).ok());
    format!("auth/none/{}", head.unwrap_or(0) % UNKNOWN_PLACES)
}

#[cfg(test)]
mod tests;
