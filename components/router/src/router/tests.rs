//! Whole calls over a cache in memory, scripted backends and a clock of the test's own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use futures::executor::block_on;

use super::*;
use crate::config::Written;
use crate::health::BURST_MS;

#[derive(Default)]
struct World {
    stored: RefCell<HashMap<String, Vec<u8>>>,
    /// How each URL answers now; none is down.
    answers: RefCell<HashMap<String, Answer>>,
    told: RefCell<Vec<String>>,
    questions: Cell<u32>,
    now_ms: Cell<u64>,
}

impl Cache for &World {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.stored.borrow().get(key).cloned()
    }

    async fn set(&self, key: &str, value: Vec<u8>) {
        self.stored.borrow_mut().insert(key.into(), value);
    }
}

impl Backends for &World {
    async fn models(&self, backend: &Backend) -> Answer {
        self.questions.set(self.questions.get() + 1);
        let answer = self.answers.borrow().get(&backend.base_url).cloned();
        answer.unwrap_or(Answer::Absent)
    }

    fn tell(&self, line: &str) {
        self.told.borrow_mut().push(line.to_owned());
    }
}

impl World {
    fn new() -> Self {
        let world = Self::default();
        world.now_ms.set(1_000_000);
        world.serve("http://a", &["m"]);
        world
    }

    fn serve(&self, url: &str, models: &[&'static str]) {
        let model = |id: &&'static str| Model {
            id: (*id).into(),
            created: 1,
            owned_by: "test".into(),
            context_window: Some(2048),
            suggestions: Vec::new(),
        };
        self.answer(url, Answer::Models(models.iter().map(model).collect()));
    }

    fn answer(&self, url: &str, answer: Answer) {
        self.answers
            .borrow_mut()
            .insert(format!("{url}/v1"), answer);
    }

    fn stop(&self, url: &str) {
        self.answer(url, Answer::Absent);
    }

    fn after(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }

    fn router(&self) -> Router<&Self, &Self> {
        let backends =
            r#"[{"name":"a","url":"http://a"},{"name":"b","url":"http://b","priority":1}]"#;
        self.router_of(backends)
    }

    fn router_of(&self, backends: &str) -> Router<&Self, &Self> {
        let values = [("key".to_owned(), "sk-5ecret".to_owned())].into();
        let config = Written::parse(backends).unwrap().resolve(&values, "", "");
        Router {
            config: std::rc::Rc::new(config.unwrap()),
            cache: self,
            backends: self,
            now_ms: self.now_ms.get(),
        }
    }

    fn route(&self) -> Result<Vec<String>, RouteError> {
        let request = Request {
            model: "m".into(),
            prompt_chars: 1,
            query: String::new(),
            tools: false,
        };
        let targets = block_on(self.router().route(&request, 0))?;
        Ok(targets.into_iter().map(|target| target.backend).collect())
    }

    fn fail(&self, backend: &str, times: u32) {
        for _ in 0..times {
            self.after(BURST_MS);
            block_on(self.router().report(backend, Outcome::Failed));
        }
    }
}

#[test]
fn names_stay_known_while_a_backend_is_down() {
    let world = World::new();
    world.serve("http://b", &["n"]);
    let ids = || -> Vec<String> {
        let models = block_on(world.router().models()).unwrap();
        models.into_iter().map(|model| model.id).collect()
    };
    assert_eq!(ids(), ["m", "n"]);
    world.stop("http://b");
    world.after(60_000);
    assert_eq!(ids(), ["m", "n"]);
    // A backend that answers is believed.
    world.serve("http://b", &["o"]);
    world.after(1_000);
    assert_eq!(ids(), ["m", "o"]);
}

#[test]
fn lists_are_asked_for_once_in_ten_seconds() {
    let world = World::new();
    world.serve("http://b", &[]);
    for _ in 0..50 {
        world.route().unwrap();
        world.after(100);
    }
    assert_eq!(world.questions.get(), 2);
    world.after(5_000);
    world.route().unwrap();
    assert_eq!(world.questions.get(), 4);
}

#[test]
fn the_next_backend_is_chosen_after_failures_and_the_first_comes_back() {
    let world = World::new();
    world.serve("http://b", &["m"]);
    assert_eq!(world.route().unwrap(), ["a", "b"]);
    world.stop("http://a");
    world.fail("a", 3);
    assert_eq!(world.route().unwrap(), ["b"]);
    world.after(600);
    // Half open: last, and tried by whoever gets there.
    assert_eq!(world.route().unwrap(), ["b", "a"]);
    world.serve("http://a", &["m"]);
    block_on(world.router().report("a", Outcome::Answered(30)));
    assert_eq!(world.route().unwrap(), ["a", "b"]);
}

#[test]
fn the_only_backend_comes_back_as_soon_as_it_answers() {
    let world = World::new();
    world.serve("http://b", &[]);
    assert_eq!(world.route().unwrap(), ["a"]);
    world.stop("http://a");
    world.fail("a", 8);
    world.after(1_000);
    assert_eq!(world.route(), Err(RouteError::NoBackend(9_000)));
    world.serve("http://a", &["m"]);
    world.after(1_000);
    assert_eq!(
        world.route().unwrap(),
        ["a"],
        "a list of models is a sign of life"
    );
    // One call tries; the others wait for what comes of it.
    assert!(matches!(world.route(), Err(RouteError::NoBackend(_))));
    block_on(world.router().report("a", Outcome::Answered(30)));
    assert_eq!(world.route().unwrap(), ["a"]);
}

#[test]
fn reports_of_unknown_backends_are_not_kept() {
    let world = World::new();
    world.fail("zzz", 3);
    assert!(world.stored.borrow().is_empty());
}

#[test]
fn a_broken_cache_entry_is_an_empty_one() {
    let world = World::new();
    world.serve("http://b", &["m"]);
    let a = world.router().config.backends[0].clone();
    for key in [models_key(&a), health_key("a")] {
        world.stored.borrow_mut().insert(key, b"{]".to_vec());
    }
    assert_eq!(world.route().unwrap(), ["a", "b"]);
}

#[test]
fn a_backend_that_refuses_its_list_is_told_once_and_serves_what_is_configured() {
    let wrong_key = "its key is wrong";
    let no_key = "it has no key";
    let cases = [
        (
            Answer::Status(401),
            r#","api_key_variable":"key""#,
            wrong_key,
        ),
        (
            Answer::Status(403),
            r#","api_key_variable":"key""#,
            wrong_key,
        ),
        (Answer::Status(401), "", no_key),
        (
            Answer::Status(404),
            "",
            "answers 404 to GET http://a/v1/models",
        ),
        (Answer::Unreadable, "", "with no list of models"),
    ];
    for (answer, keys, words) in cases {
        let world = World::new();
        world.answer("http://a", answer);
        let backends = |models: &str| format!(r#"[{{"name":"a","url":"http://a"{keys}{models}}}]"#);
        for _ in 0..5 {
            let models = block_on(world.router_of(&backends("")).models());
            assert!(matches!(models, Err(RouteError::NoBackend(_))), "{words}");
            let configured = world.router_of(&backends(r#","models":["m"]"#));
            assert_eq!(block_on(configured.models()).unwrap()[0].id, "m", "{words}");
            world.after(20_000);
        }
        let told = world.told.borrow();
        let [line] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(
            line.contains("backend `a`") && line.contains(words),
            "{line}"
        );
        assert!(!line.contains("5ecret"), "{line}");
    }
}

#[test]
fn a_backend_that_cannot_be_reached_is_not_told_of() {
    let world = World::new();
    world.stop("http://a");
    assert!(world.route().is_err());
    assert!(world.told.borrow().is_empty());
}

#[test]
fn calls_that_fail_together_do_not_open_the_breaker() {
    let world = World::new();
    world.serve("http://b", &["m"]);
    for _ in 0..20 {
        block_on(world.router().report("a", Outcome::Failed));
    }
    assert_eq!(world.route().unwrap(), ["b", "a"]);
}
