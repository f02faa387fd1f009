//! The decision: header, then cache, then directory.
//!
//! It stands between the header's text and a principal. It does not know key-value stores or
//! HTTP: they are traits here, so that every path is tested natively.

use api_key::Key;
use api_key::wire::{Principal, VerifiedKey};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// How long an answer of the directory is used, from the moment at which it was asked: under the
/// 5 s after which a revoked key works nowhere.
pub const KNOWN_TTL_MS: u64 = 4_500;
/// From then on one request asks again, while the others use the answer that there is: so a busy
/// key never has all its requests at the directory at once, nor stops where that is slow.
pub const REFRESH_MS: u64 = 2_500;
/// How long "no such key" is used: a key made meanwhile works after that.
pub const UNKNOWN_TTL_MS: u64 = 2_000;
/// Who has asked by then and has no answer does not ask any more: others may.
pub const ASKING_MS: u64 = 1_500;
/// How often a request that waits for another's answer looks for it.
const LOOK_MS: u64 = 10;
/// Places for "no such key" in the cache: guesses overwrite each other, not fill it.
const UNKNOWN_PLACES: u64 = 4_096;

const _: () = assert!(KNOWN_TTL_MS < 5_000 && REFRESH_MS + ASKING_MS < KNOWN_TTL_MS);

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

/// The host's clock.
pub trait Clock {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
    /// Waits.
    fn sleep_ms(&self, ms: u64) -> impl Future<Output = ()>;
}

/// The keys that requests of this instance ask for right now.
#[derive(Debug, Default)]
pub struct Asking(RefCell<BTreeSet<String>>);

/// One that asks for a key, until it is dropped.
struct Flight<'a> {
    asking: &'a Asking,
    digest: &'a str,
}

impl Asking {
    /// None while another request of this instance asks for the same key.
    fn begin<'a>(&'a self, digest: &'a str) -> Option<Flight<'a>> {
        let is_first = self.0.borrow_mut().insert(digest.to_owned());
        is_first.then_some(Flight {
            asking: self,
            digest,
        })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.asking.0.borrow_mut().remove(self.digest);
    }
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    key_sha256: String,
    #[serde(default)]
    asked_ms: u64,
    until_ms: u64,
    /// None is "no such key", or that its time is over.
    principal: Option<Principal>,
    #[serde(default)]
    is_expired: bool,
}

impl Remembered {
    fn is_due(&self, now_ms: u64) -> bool {
        self.principal.is_some() && now_ms.saturating_sub(self.asked_ms) >= REFRESH_MS
    }

    fn into_answer(self) -> Result<Principal, AuthError> {
        match (self.principal, self.is_expired) {
            (Some(principal), _) => Ok(principal),
            (None, true) => Err(AuthError::Expired),
            (None, false) => Err(AuthError::Unknown),
        }
    }
}

/// Says to the other instances that one asks for a key.
#[derive(Serialize, Deserialize)]
struct Claim {
    key_sha256: String,
    until_ms: u64,
}

/// The principal of a header's value. Of all requests with one key one asks the directory; the
/// others use what it answered last, or wait for its answer.
pub async fn authenticate(
    authorization: Option<&str>,
    cache: &impl Cache,
    directory: &impl Directory,
    asking: &Asking,
    clock: &impl Clock,
) -> Result<Principal, AuthError> {
    let key = bearer(authorization.ok_or(AuthError::Missing)?)?.ok_or(AuthError::Unknown)?;
    let digest = key.sha256();
    let end_ms = clock.now_ms().saturating_add(ASKING_MS);
    loop {
        let now_ms = clock.now_ms();
        let remembered = recall(cache, &digest, now_ms).await;
        let remembered = match remembered {
            Some(remembered) if !remembered.is_due(now_ms) => return remembered.into_answer(),
            due => due,
        };
        if let Some(_flight) = asking.begin(&digest)
            && claim(cache, &digest, now_ms).await
        {
            let asked = ask(cache, directory, &digest, clock).await;
            return match (asked, remembered) {
                (Err(AuthError::Unavailable(_)), Some(old)) if old.until_ms > clock.now_ms() => {
                    old.into_answer()
                }
                (asked, _) => asked,
            };
        }
        if let Some(remembered) = remembered {
            return remembered.into_answer();
        }
        if now_ms >= end_ms {
            let words = "the directory did not answer another request in time";
            return Err(AuthError::Unavailable(words.to_owned()));
        }
        clock.sleep_ms(LOOK_MS).await;
    }
}

async fn ask(
    cache: &impl Cache,
    directory: &impl Directory,
    digest: &str,
    clock: &impl Clock,
) -> Result<Principal, AuthError> {
    // The answer may be as old as the question.
    let asked_ms = clock.now_ms();
    let verdict = directory.verify(digest).await;
    if let Ok(verdict) = &verdict {
        remember(cache, digest, verdict, asked_ms).await;
    }
    let _forgotten = cache.delete(&place("asking", digest)).await;
    match verdict.map_err(AuthError::Unavailable)? {
        Verdict::Known(known) => Ok(known.principal),
        Verdict::Unknown => Err(AuthError::Unknown),
        Verdict::Expired => Err(AuthError::Expired),
    }
}

/// False while another instance asks for the key. (Two that look at the same instant both ask.)
async fn claim(cache: &impl Cache, digest: &str, now_ms: u64) -> bool {
    let name = place("asking", digest);
    let found = cache.get(&name).await.ok().flatten();
    let found = found.and_then(|bytes| serde_json::from_slice::<Claim>(&bytes).ok());
    let is_other = |claim: Claim| {
        let left_ms = claim.until_ms.saturating_sub(now_ms);
        claim.key_sha256 == digest && (1..=ASKING_MS).contains(&left_ms)
    };
    if found.is_some_and(is_other) {
        return false;
    }
    let claim = Claim {
        key_sha256: digest.to_owned(),
        until_ms: now_ms.saturating_add(ASKING_MS),
    };
    if let Ok(bytes) = serde_json::to_vec(&claim) {
        let _kept = cache.set(&name, &bytes).await;
    }
    true
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

async fn remember(cache: &impl Cache, digest: &str, verdict: &Verdict, asked_ms: u64) {
    let (name, end_ms, ttl_ms) = match verdict {
        Verdict::Known(known) => {
            let end_ms = known.expires_at_ms.unwrap_or(u64::MAX);
            (known_name(digest), end_ms, KNOWN_TTL_MS)
        }
        Verdict::Unknown | Verdict::Expired => {
            let _forgotten = cache.delete(&known_name(digest)).await;
            (unknown_name(digest), u64::MAX, UNKNOWN_TTL_MS)
        }
    };
    let principal = match verdict {
        Verdict::Known(known) => Some(known.principal.clone()),
        Verdict::Unknown | Verdict::Expired => None,
    };
    let remembered = Remembered {
        key_sha256: digest.to_owned(),
        asked_ms,
        until_ms: end_ms.min(asked_ms.saturating_add(ttl_ms)),
        principal,
        is_expired: *verdict == Verdict::Expired,
    };
    if let Ok(bytes) = serde_json::to_vec(&remembered) {
        let _kept = cache.set(&name, &bytes).await;
    }
}

fn known_name(digest: &str) -> String {
    format!("auth/key/{digest}")
}

fn unknown_name(digest: &str) -> String {
    place("none", digest)
}

/// One of a fixed number of places, which others may take.
fn place(kind: &str, digest: &str) -> String {
    let head = digest
        .get(..8)
        .and_then(|head| u64::from_str_radix(head, 16).ok());
    format!("auth/{kind}/{}", head.unwrap_or(0) % UNKNOWN_PLACES)
}

#[cfg(test)]
mod tests;
