//! Credentials on trial: who tries many that are refused is told to wait, before a component
//! is asked.
//!
//! A credential is a value of `Authorization` at the first part of a path. It is proven while
//! components answer to it with anything but 401, and then it is nobody's business here; until
//! then it counts for its client's address, once, however often it comes. So a client with a
//! wrong key is no trouble to others behind the same address, and one with many wrong keys is
//! none to those whose keys are right. Only hashes are kept, with a secret of the process. It
//! does NOT know which credentials are right.

use super::network::Network;
use crate::limits::Limits;
use http::{HeaderMap, StatusCode, header};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, Hasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a proven credential is known at least.
const PROVEN_TIME: Duration = Duration::from_secs(600);
/// Proven credentials that are known at most, in two halves.
const PROVEN_MAX: usize = 1 << 16;
/// Addresses with credentials on trial that are known at most, in two halves.
const ADDRESSES_MAX: usize = 1 << 14;
/// How often one refused credential may come again within [`REFUSED_TIME`]: a client that does
/// not look at its answers.
const REFUSED_AGAIN_MAX: u32 = 100;
const REFUSED_TIME: Duration = Duration::from_secs(60);

/// A credential's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Credential(u64);

/// A table that forgets the older half of what it has when it is full or old.
#[derive(Debug)]
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
    turned: Instant,
    life: Duration,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    fn new(entries_max: usize, life: Duration) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: entries_max / 2,
            turned: Instant::now(),
            life,
        }
    }

    /// The entry, which is young from now on.
    fn entry(&mut self, key: K, now: Instant, make: impl FnOnce() -> V) -> &mut V {
        if self.young.len() >= self.half || now.saturating_duration_since(self.turned) > self.life {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        let before = self.old.remove(&key);
        self.young
            .entry(key)
            .or_insert_with(|| before.unwrap_or_else(make))
    }

    fn has(&self, key: &K) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    fn remove(&mut self, key: &K) -> bool {
        let (young, old) = (self.young.remove(key), self.old.remove(key));
        young.is_some() || old.is_some()
    }

    fn get(&mut self, key: &K) -> Option<&mut V> {
        match self.young.get_mut(key) {
            Some(value) => Some(value),
            None => self.old.get_mut(key),
        }
    }
}

/// One credential on trial.
#[derive(Debug)]
struct Trial {
    credential: Credential,
    began: Instant,
    /// Times that it was refused since.
    refused: u32,
}

/// What an address has on trial.
#[derive(Debug)]
struct Trials {
    left: f64,
    seen: Instant,
    trials: Vec<Trial>,
}

#[derive(Debug)]
struct Known {
    proven: Recent<Credential, ()>,
    addresses: Recent<Network, Trials>,
}

/// All credentials that came lately.
#[derive(Debug)]
pub(super) struct Strangers {
    known: Mutex<Known>,
    secret: RandomState,
    trials_max: f64,
    per_second: f64,
}

impl Strangers {
    pub(super) fn new(limits: &Limits) -> Self {
        let per_second = f64::from(limits.unproven_credentials_per_minute) / 60.0;
        let trials_max = f64::from(limits.unproven_credentials_max);
        // An address that is forgotten has as many anew as it would have got by then.
        let life = Duration::from_secs_f64(trials_max / per_second);
        Self {
            known: Mutex::new(Known {
                proven: Recent::new(PROVEN_MAX, PROVEN_TIME),
                addresses: Recent::new(ADDRESSES_MAX, life.max(REFUSED_TIME)),
            }),
            secret: RandomState::new(),
            trials_max,
            per_second,
        }
    }

    /// The credential of a request, if it has one.
    pub(super) fn credential(&self, path: &str, headers: &HeaderMap) -> Option<Credential> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter().peekable();
        values.peek()?;
        let part = path.trim_start_matches('/').split('/').next();
        let mut hasher = self.secret.build_hasher();
        part.unwrap_or_default().hash(&mut hasher);
        for value in values {
            value.as_bytes().hash(&mut hasher);
        }
        Some(Credential(hasher.finish()))
    }

    /// May a component be asked with this credential? Otherwise, in how many seconds again.
    pub(super) fn admit(
        &self,
        network: Network,
        credential: Credential,
        now: Instant,
    ) -> Result<(), u32> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.proven.has(&credential) {
            return Ok(());
        }
        let trials = self.trials(&mut known, network, now);
        trials
            .admit(credential, self.trials_max, now)
            .map_err(|wait| {
                let seconds = wait.unwrap_or((1.0 - trials.left) / self.per_second);
                // A bucket fills within hours; the cast saturates.
                seconds.ceil().max(1.0) as u32
            })
    }

    /// What an address has on trial now.
    fn trials<'a>(&self, known: &'a mut Known, network: Network, now: Instant) -> &'a mut Trials {
        let most = self.trials_max;
        let trials = known.addresses.entry(network, now, || Trials {
            left: most,
            seen: now,
            trials: Vec::new(),
        });
        let passed = now.saturating_duration_since(trials.seen).as_secs_f64();
        trials.left = (trials.left + passed * self.per_second).min(most);
        trials.seen = now;
        trials
    }

    /// A component has answered to it.
    pub(super) fn answered(
        &self,
        network: Network,
        credential: Credential,
        status: StatusCode,
        now: Instant,
    ) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.trials_max;
        if status.is_success() {
            known.proven.entry(credential, now, || ());
        } else if status == StatusCode::UNAUTHORIZED && known.proven.remove(&credential) {
            // It was not proven by what refuses it now. With none left it is no less refused.
            let trials = self.trials(&mut known, network, now);
            let _ = trials.admit(credential, most, now);
        }
        if let Some(trials) = known.addresses.get(&network) {
            trials.answered(credential, status, most);
        }
    }
}

impl Trials {
    /// An error says for how many seconds this credential has to wait, or that there is none
    /// left for a new one.
    fn admit(
        &mut self,
        credential: Credential,
        most: f64,
        now: Instant,
    ) -> Result<(), Option<f64>> {
        self.trials.retain(|trial| {
            // One without an answer is left by its client, or its answer takes long to begin.
            let life = if trial.refused > 0 {
                REFUSED_TIME
            } else {
                PROVEN_TIME
            };
            now.saturating_duration_since(trial.began) < life
        });
        let known = self
            .trials
            .iter()
            .find(|trial| trial.credential == credential);
        if let Some(trial) = known {
            let over = (trial.began + REFUSED_TIME).saturating_duration_since(now);
            return match trial.refused < REFUSED_AGAIN_MAX {
                true => Ok(()),
                false => Err(Some(over.as_secs_f64())),
            };
        }
        if self.left < 1.0 {
            return Err(None);
        }
        self.left -= 1.0;
        // No more are looked through than may be on trial.
        if self.trials.len() as f64 >= most {
            self.trials.remove(0);
        }
        self.trials.push(Trial {
            credential,
            began: now,
            refused: 0,
        });
        Ok(())
    }

    fn answered(&mut self, credential: Credential, status: StatusCode, most: f64) {
        let mut trials = self.trials.iter();
        let Some(at) = trials.position(|trial| trial.credential == credential) else {
            return;
        };
        if status == StatusCode::UNAUTHORIZED {
            self.trials[at].refused = self.trials[at].refused.saturating_add(1);
        } else if self.trials[at].refused == 0 {
            self.trials.swap_remove(at);
            self.left = (self.left + 1.0).min(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: StatusCode = StatusCode::UNAUTHORIZED;

    fn strangers() -> Strangers {
        Strangers::new(&Limits {
            unproven_credentials_max: 10,
            unproven_credentials_per_minute: 60,
            ..Limits::default()
        })
    }

    fn network(last: u8) -> Network {
        Network::of([192, 0, 2, last].into())
    }

    /// Asks with a credential, and answers if it is asked.
    fn ask(
        strangers: &Strangers,
        from: u8,
        number: u64,
        status: StatusCode,
        now: Instant,
    ) -> Result<(), u32> {
        let credential = Credential(number);
        strangers.admit(network(from), credential, now)?;
        strangers.answered(network(from), credential, status, now);
        Ok(())
    }

    #[test]
    fn guesses_are_limited_and_proven_credentials_are_not() {
        let (strangers, now) = (strangers(), Instant::now());
        assert_eq!(ask(&strangers, 1, 7, StatusCode::OK, now), Ok(()));
        let guessed = (100..200).filter(|key| ask(&strangers, 1, *key, REFUSED, now).is_ok());
        assert_eq!(guessed.count(), 10);
        assert_eq!(ask(&strangers, 1, 200, REFUSED, now), Err(1));
        // The proven one goes on, and one that nobody knows from another address.
        assert!((0..1_000).all(|_| ask(&strangers, 1, 7, StatusCode::OK, now).is_ok()));
        assert_eq!(ask(&strangers, 2, 200, REFUSED, now), Ok(()));
        let later = now + Duration::from_secs(3);
        let guessed = (300..400).filter(|key| ask(&strangers, 1, *key, REFUSED, later).is_ok());
        assert_eq!(guessed.count(), 3);
        // What is proven no longer is a stranger again.
        assert_eq!(ask(&strangers, 1, 7, REFUSED, later), Ok(()));
        assert!(ask(&strangers, 1, 7, REFUSED, later).is_err());
    }

    #[test]
    fn one_wrong_key_again_and_again_is_one() {
        let (strangers, now) = (strangers(), Instant::now());
        let again = (0..1_000).filter(|_| ask(&strangers, 1, 5, REFUSED, now).is_ok());
        assert_eq!(again.count(), 100);
        assert_eq!(ask(&strangers, 1, 5, REFUSED, now), Err(60));
        for key in 10..19 {
            assert_eq!(ask(&strangers, 1, key, StatusCode::OK, now), Ok(()));
        }
        let later = now + REFUSED_TIME;
        assert_eq!(ask(&strangers, 1, 5, StatusCode::OK, later), Ok(()));
        assert_eq!(ask(&strangers, 1, 5, StatusCode::OK, later), Ok(()));
    }

    #[test]
    fn guesses_that_nobody_has_answered_yet_count() {
        let (strangers, now) = (strangers(), Instant::now());
        let asked =
            (0..100).filter(|key| strangers.admit(network(1), Credential(*key), now).is_ok());
        assert_eq!(asked.count(), 10);
        // Many requests at once with one credential are one.
        assert!(strangers.admit(network(1), Credential(3), now).is_ok());
        for key in 0..10 {
            strangers.answered(network(1), Credential(key), StatusCode::OK, now);
        }
        assert!((100..110).all(|key| strangers.admit(network(1), Credential(key), now).is_ok()));
    }

    #[test]
    fn nothing_grows_without_end() {
        let (strangers, now) = (strangers(), Instant::now());
        for address in 0..3 * ADDRESSES_MAX as u32 {
            let network = Network::of(std::net::Ipv4Addr::from_bits(address).into());
            let credential = Credential(u64::from(address));
            assert!(strangers.admit(network, credential, now).is_ok());
            strangers.answered(network, credential, StatusCode::OK, now);
        }
        for key in 0..3 * PROVEN_MAX as u64 {
            strangers.answered(network(1), Credential(key), StatusCode::OK, now);
        }
        let known = strangers.known.lock().unwrap();
        assert!(known.addresses.young.len() + known.addresses.old.len() <= ADDRESSES_MAX);
        assert!(known.proven.young.len() + known.proven.old.len() <= PROVEN_MAX);
    }

    #[test]
    fn a_credential_is_proven_where_it_is_asked_for() {
        let strangers = strangers();
        let mut headers = HeaderMap::new();
        assert_eq!(strangers.credential("/v1/models", &headers), None);
        headers.insert("authorization", "Bearer a".parse().unwrap());
        let of = |path: &str, headers: &HeaderMap| strangers.credential(path, headers).unwrap();
        let one = of("/v1/models", &headers);
        assert_eq!(one, of("/v1/chat/completions", &headers));
        assert_ne!(
            one,
            of("/", &headers),
            "a page that asks nobody proves nothing"
        );
        headers.append("authorization", "Bearer b".parse().unwrap());
        assert_ne!(one, of("/v1/models", &headers));
    }
}
