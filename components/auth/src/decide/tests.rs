//! The decision over a cache that forgets or fails and a directory that revokes.

use super::*;
use api_key::wire::{Limits, Role};
use futures::executor::block_on;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::Poll;

#[derive(Default)]
struct World {
    now_ms: Cell<u64>,
    cache: RefCell<BTreeMap<String, Vec<u8>>>,
    cache_fails: Cell<bool>,
    keys: RefCell<BTreeMap<String, VerifiedKey>>,
    away: Cell<bool>,
    /// How long it takes to answer, in looks at the clock by those who wait.
    slow: Cell<u32>,
    asked: Cell<u32>,
    asking: Asking,
}

/// Lets others go first.
async fn pass() {
    let mut is_passed = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_passed, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    async fn sleep_ms(&self, _: u64) {
        // Many sleep at once: the test moves the clock.
        pass().await;
    }
}

impl Cache for World {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match self.cache_fails.get() {
            true => Err("broken".to_owned()),
            false => Ok(self.cache.borrow().get(name).cloned()),
        }
    }

    async fn set(&self, name: &str, value: &[u8]) -> Result<(), String> {
        if self.cache_fails.get() {
            return Err("broken".to_owned());
        }
        self.cache
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        self.cache.borrow_mut().remove(name);
        Ok(())
    }
}

impl Directory for World {
    async fn verify(&self, key_sha256: &str) -> Result<Verdict, String> {
        self.asked.set(self.asked.get() + 1);
        for _ in 0..self.slow.get() {
            pass().await;
            self.later(1);
        }
        if self.away.get() {
            return Err("connection refused".to_owned());
        }
        Ok(match self.keys.borrow().get(key_sha256) {
            None => Verdict::Unknown,
            Some(known)
                if known
                    .expires_at_ms
                    .is_some_and(|end| end <= self.now_ms.get()) =>
            {
                Verdict::Expired
            }
            Some(known) => Verdict::Known(known.clone()),
        })
    }
}

impl World {
    fn ask(&self, header: Option<&str>) -> Result<String, AuthError> {
        let principal = authenticate(header, self, self, &self.asking, self);
        block_on(principal).map(|principal| principal.key_id)
    }

    fn ask_key(&self, key: &Key) -> Result<String, AuthError> {
        self.ask(Some(&format!("Bearer {}", key.reveal())))
    }

    fn add(&self, n: u8, expires_at_ms: Option<u64>) -> Key {
        let key = key(n);
        let principal = Principal {
            organization_id: "org_1".into(),
            project_id: "proj_1".into(),
            user_id: None,
            key_id: format!("key_{n}"),
            roles: vec![Role::Member],
            key_limits: Limits::default(),
            project_limits: Limits::default(),
            platform_tools: true,
        };
        self.keys.borrow_mut().insert(
            key.sha256(),
            VerifiedKey {
                principal,
                expires_at_ms,
            },
        );
        key
    }

    fn later(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }
}

fn key(n: u8) -> Key {
    let mut counter = 0_u8;
    let fill = |bytes: &mut [u8]| {
        for byte in bytes {
            counter = counter.wrapping_mul(5).wrapping_add(n).wrapping_add(1);
            *byte = counter;
        }
        Ok::<_, std::convert::Infallible>(())
    };
    Key::make(fill).unwrap()
}

#[test]
fn headers_that_hold_no_key() {
    let world = World::default();
    assert_eq!(world.ask(None), Err(AuthError::Missing));
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Basic sk-abc",
        "sk-abc",
        "Bearersk-abc",
        "Bearer sk-a b",
    ] {
        let error = world.ask(Some(header)).unwrap_err();
        assert!(
            matches!(error, AuthError::Malformed(_)),
            "{header:?} {error:?}"
        );
    }
    assert_eq!(world.asked.get(), 0);
}

#[test]
fn white_space_around_a_key_is_not_the_keys() {
    let world = World::default();
    let key = world.add(1, None);
    for written in ["Bearer  KEY", "bearer KEY ", " BEARER   KEY"] {
        let header = written.replace("KEY", key.reveal());
        assert!(world.ask(Some(&header)).is_ok(), "{written}");
    }
}

#[test]
fn a_mistyped_or_foreign_key_is_unknown_without_a_lookup() {
    let world = World::default();
    let text = world.add(1, None).reveal().to_owned();
    for wrong in ["sk-wrong", "sk-proj-abcdef", &text[..text.len() - 1]] {
        assert_eq!(
            world.ask(Some(&format!("Bearer {wrong}"))),
            Err(AuthError::Unknown)
        );
    }
    assert_eq!(world.asked.get(), 0);
}

#[test]
fn a_busy_key_is_asked_for_when_its_answer_grows_old() {
    let world = World::default();
    let key = world.add(1, None);
    assert_eq!(
        world.ask(Some(&format!("bEaReR {}", key.reveal()))),
        Ok("key_1".into())
    );
    world.later(REFRESH_MS - 1);
    assert_eq!(world.ask_key(&key), Ok("key_1".into()));
    assert_eq!(world.asked.get(), 1);
    world.later(1);
    assert_eq!(world.ask_key(&key), Ok("key_1".into()));
    assert_eq!(world.asked.get(), 2);
}

#[test]
fn a_revoked_key_stops_within_five_seconds() {
    let world = World::default();
    let key = world.add(1, None);
    assert!(world.ask_key(&key).is_ok());
    world.keys.borrow_mut().clear();
    world.later(4_999);
    assert_eq!(world.ask_key(&key), Err(AuthError::Unknown));
    // And it is no longer in the cache.
    assert!(
        !world
            .cache
            .borrow()
            .contains_key(&known_name(&key.sha256()))
    );
}

#[test]
fn a_key_ends_on_time_even_from_the_cache() {
    let world = World::default();
    let key = world.add(1, Some(1_000));
    assert!(world.ask_key(&key).is_ok());
    world.later(999);
    assert!(world.ask_key(&key).is_ok());
    world.later(1);
    assert_eq!(world.ask_key(&key), Err(AuthError::Expired));
}

#[test]
fn unknown_keys_fill_neither_the_cache_nor_the_directory() {
    let world = World::default();
    for n in 0..20 {
        for _ in 0..3 {
            assert_eq!(world.ask_key(&key(n)), Err(AuthError::Unknown));
        }
    }
    assert!(world.asked.get() <= 25, "{}", world.asked.get());
    let places = (0..=u32::MAX)
        .step_by(9_999)
        .map(|head| unknown_name(&format!("{head:08x}")));
    assert!(places.collect::<std::collections::BTreeSet<_>>().len() <= 4_096);
}

#[test]
fn a_key_made_after_it_was_asked_for_works_soon() {
    let world = World::default();
    assert_eq!(world.ask_key(&key(1)), Err(AuthError::Unknown));
    let key = world.add(1, None);
    world.later(UNKNOWN_TTL_MS);
    assert_eq!(world.ask_key(&key), Ok("key_1".into()));
}

#[test]
fn the_directory_away_is_unavailable_and_not_unknown() {
    let world = World::default();
    let key = world.add(1, None);
    assert!(world.ask_key(&key).is_ok());
    world.away.set(true);
    assert!(world.ask_key(&key).is_ok(), "the cache still answers");
    world.later(KNOWN_TTL_MS);
    assert_eq!(
        world.ask_key(&key),
        Err(AuthError::Unavailable("connection refused".into()))
    );
}

#[test]
fn a_broken_cache_is_slow_and_not_wrong() {
    let world = World::default();
    let key = world.add(1, None);
    world.cache_fails.set(true);
    for _ in 0..2 {
        assert_eq!(world.ask_key(&key), Ok("key_1".into()));
    }
    assert_eq!(world.asked.get(), 2);
    world.cache_fails.set(false);
    world
        .cache
        .borrow_mut()
        .insert(known_name(&key.sha256()), b"{nonsense".to_vec());
    assert_eq!(world.ask_key(&key), Ok("key_1".into()));
}

#[test]
fn a_clock_that_went_back_does_not_lengthen_a_life() {
    let world = World::default();
    world.now_ms.set(1_000_000);
    let key = world.add(1, None);
    assert!(world.ask_key(&key).is_ok());
    world.now_ms.set(0);
    world.keys.borrow_mut().clear();
    assert_eq!(world.ask_key(&key), Err(AuthError::Unknown));
}

#[test]
fn the_cache_never_holds_a_key() {
    let world = World::default();
    let key = world.add(1, None);
    assert!(world.ask_key(&key).is_ok());
    for (name, value) in world.cache.borrow().iter() {
        let value = String::from_utf8_lossy(value);
        assert!(!name.contains(key.reveal()) && !value.contains(key.reveal()));
    }
}

impl World {
    /// So many requests at once, of one instance or of as many as there are `instances`.
    fn ask_at_once(
        &self,
        key: &Key,
        count: usize,
        instances: usize,
    ) -> Vec<Result<String, AuthError>> {
        let header = format!("Bearer {}", key.reveal());
        let asking: Vec<Asking> = (0..instances).map(|_| Asking::default()).collect();
        let requests = (0..count).map(|request| {
            let asking = &asking[request % instances];
            let header = &header;
            async move {
                let principal = authenticate(Some(header), self, self, asking, self).await;
                principal.map(|principal| principal.key_id)
            }
        });
        let answers = block_on(futures::future::join_all(requests));
        assert!(asking.iter().all(|asking| asking.0.borrow().is_empty()));
        answers
    }
}

#[test]
fn of_many_requests_at_once_one_asks_and_the_others_wait() {
    for (age_ms, instances) in [(0, 1), (0, 20), (10_000, 1), (10_000, 20)] {
        let world = World::default();
        world.slow.set(50);
        let key = world.add(1, None);
        if age_ms > 0 {
            assert!(world.ask_key(&key).is_ok());
            world.later(age_ms);
        }
        let before = world.asked.get();
        let answers = world.ask_at_once(&key, 200, instances);
        assert!(answers.iter().all(|answer| *answer == Ok("key_1".into())));
        let asked = world.asked.get() - before;
        assert_eq!(asked, 1, "{age_ms} ms, {instances} instances");
    }
}

#[test]
fn an_answer_that_grows_old_is_renewed_by_one_and_used_by_the_others() {
    let world = World::default();
    let key = world.add(1, None);
    assert!(world.ask_key(&key).is_ok());
    world.later(REFRESH_MS);
    world.slow.set(50);
    let answers = world.ask_at_once(&key, 200, 10);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(world.asked.get(), 2);
    world.slow.set(0);
    world.later(REFRESH_MS - 51);
    assert!(world.ask_key(&key).is_ok());
    assert_eq!(world.asked.get(), 2, "it is a new answer now");
}

#[test]
fn while_the_directory_is_away_an_answer_is_used_up_to_its_end() {
    let world = World::default();
    let key = world.add(1, None);
    assert!(world.ask_key(&key).is_ok());
    world.away.set(true);
    world.later(KNOWN_TTL_MS - 1);
    assert!(world.ask_at_once(&key, 50, 5).iter().all(Result::is_ok));
    world.later(1);
    let answers = world.ask_at_once(&key, 50, 5);
    let is_away = |answer: &Result<_, _>| matches!(answer, Err(AuthError::Unavailable(_)));
    assert!(answers.iter().all(is_away));
}

#[test]
fn an_answer_that_took_too_long_does_not_outlive_its_promise() {
    let world = World::default();
    let key = world.add(1, None);
    assert!(world.ask_key(&key).is_ok());
    world.later(KNOWN_TTL_MS - 10);
    world.away.set(true);
    world.slow.set(20);
    assert!(matches!(
        world.ask_key(&key),
        Err(AuthError::Unavailable(_))
    ));
}

#[test]
fn many_guesses_of_one_key_ask_once_and_many_keys_fill_nothing() {
    let world = World::default();
    world.slow.set(5);
    let answers = world.ask_at_once(&key(9), 100, 10);
    assert!(
        answers
            .iter()
            .all(|answer| *answer == Err(AuthError::Unknown))
    );
    assert_eq!(world.asked.get(), 1);
    let ended = world.add(2, Some(1));
    let answers = world.ask_at_once(&ended, 100, 10);
    assert!(
        answers
            .iter()
            .all(|answer| *answer == Err(AuthError::Expired))
    );
    assert_eq!(world.asked.get(), 2);
}

#[test]
fn a_request_that_leaves_while_it_asks_leaves_nothing_behind() {
    let world = World::default();
    world.slow.set(1_000_000);
    let key = world.add(1, None);
    let header = format!("Bearer {}", key.reveal());
    let mut left = Box::pin(authenticate(
        Some(&header),
        &world,
        &world,
        &world.asking,
        &world,
    ));
    assert!(futures::FutureExt::now_or_never(left.as_mut()).is_none());
    drop(left);
    assert!(world.asking.0.borrow().is_empty());
    // The others ask for themselves once the one that left would have had its answer.
    world.slow.set(0);
    world.later(ASKING_MS);
    assert!(world.ask_key(&key).is_ok());
}
