//! Targets for models, health and priorities.

use super::*;
use crate::config::Written;
use crate::discovery::Answer;
use crate::health::{BURST_MS, FAILURES_MAX, Outcome};

const NOW_MS: u64 = 100_000;

fn model(id: &str) -> Model {
    Model {
        id: id.into(),
        created: 1,
        owned_by: "test".into(),
        context_window: Some(2048),
        suggestions: Vec::new(),
    }
}

fn known(name: &str, models: &[&str]) -> Known {
    let models = models.iter().map(|id| model(id)).collect();
    configured(name, "", Answer::Models(models))
}

/// A backend with these keys besides, after this answer.
fn configured(name: &str, keys: &str, answer: Answer) -> Known {
    let written = format!(r#"[{{"name":"{name}","url":"http://{name}"{keys}}}]"#);
    let config = Written::parse(&written).unwrap();
    let config = config.resolve(&Default::default(), "", "").unwrap();
    let mut served = Served::default();
    served.heard(answer, NOW_MS);
    Known {
        backend: config.backends[0].clone(),
        served,
        health: Health::default(),
    }
}

fn failed(mut known: Known, times: u32) -> Known {
    // The last one now.
    let instants = (0..u64::from(times))
        .rev()
        .map(|ago| NOW_MS - ago * BURST_MS);
    instants.for_each(|now_ms| known.health.report(Outcome::Failed, now_ms));
    known
}

fn request(model: &str, query: &str) -> Request {
    Request {
        model: model.into(),
        prompt_chars: 10,
        query: query.into(),
        tools: false,
    }
}

fn config(simple: &str, complex: &str) -> Config {
    let written = Written::parse(r#"[{"name":"a","url":"http://a"}]"#).unwrap();
    written
        .resolve(&Default::default(), simple, complex)
        .unwrap()
}

/// `backend/model` of each target, in order.
fn route_at(known: &[Known], request: &Request, turn: u64) -> Result<Vec<String>, RouteError> {
    let targets = route(&config("small", "large"), known, request, NOW_MS, turn)?;
    Ok(targets
        .into_iter()
        .map(|target| format!("{}/{}", target.backend, target.model))
        .collect())
}

fn names(names: &[&str]) -> Result<Vec<String>, RouteError> {
    Ok(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_model_is_found_where_it_is_served() {
    let all = [known("a", &["small"]), known("b", &["large", "small"])];
    assert_eq!(
        route_at(&all, &request("large", ""), 0),
        names(&["b/large"])
    );
    assert_eq!(
        route_at(&all, &request("small", ""), 0),
        names(&["a/small", "b/small"])
    );
    assert_eq!(
        route_at(&all, &request("huge", ""), 0),
        Err(RouteError::UnknownModel)
    );
}

#[test]
fn equals_take_turns_and_others_do_not() {
    let mut all = [known("a", &["m"]), known("b", &["m"]), known("c", &["m"])];
    all[2].backend.priority = 1;
    assert_eq!(
        route_at(&all, &request("m", ""), 1),
        names(&["b/m", "a/m", "c/m"])
    );
    assert_eq!(
        route_at(&all, &request("m", ""), 2),
        names(&["a/m", "b/m", "c/m"])
    );
}

#[test]
fn health_comes_before_priority() {
    let mut all = [
        failed(known("a", &["m"]), 1),
        known("b", &["m"]),
        known("c", &["m"]),
    ];
    all[1].health.report(Outcome::Busy(1_000), NOW_MS);
    all[2].backend.priority = 5;
    assert_eq!(
        route_at(&all, &request("m", ""), 0),
        names(&["c/m", "a/m", "b/m"])
    );
}

#[test]
fn an_open_backend_is_left_out_until_it_is_the_only_one() {
    let down = failed(known("a", &["m"]), FAILURES_MAX);
    let all = [down.clone(), known("b", &["m"])];
    assert_eq!(route_at(&all, &request("m", ""), 0), names(&["b/m"]));
    assert_eq!(
        route_at(&[down], &request("m", ""), 0),
        Err(RouteError::NoBackend(500))
    );
}

#[test]
fn a_model_may_hide_on_a_backend_that_never_answered() {
    let mut silent = known("b", &[]);
    silent.served = Served::default();
    let all = [known("a", &["small"]), silent];
    assert_eq!(
        route_at(&all, &request("large", ""), 0),
        Err(RouteError::NoBackend(RETRY_MS))
    );
    assert_eq!(
        route_at(&all, &request("small", ""), 0),
        names(&["a/small"])
    );
    assert_eq!(models(&all[1..]), Err(RouteError::NoBackend(RETRY_MS)));
}

#[test]
fn only_the_allowed_models_of_a_backend_are_offered() {
    let listed = Answer::Models(vec![model("m"), model("secret")]);
    let all = [configured("a", r#","models":["m","gone"]"#, listed)];
    assert_eq!(
        route_at(&all, &request("secret", ""), 0),
        Err(RouteError::UnknownModel)
    );
    assert_eq!(
        route_at(&all, &request("gone", ""), 0),
        Err(RouteError::UnknownModel)
    );
    assert_eq!(models(&all), Ok(vec![model("m")]));
}

/// What a client may name, and what the backend is then asked for.
fn offers(keys: &str, answer: Answer) -> Vec<String> {
    let all = [configured("a", keys, answer)];
    let named = models(&all).unwrap_or_default();
    let route = |model: Model| {
        let target = &route(&config("", ""), &all, &request(&model.id, ""), NOW_MS, 0).unwrap()[0];
        assert_eq!(target.model_id, model.id);
        format!("{}={}", target.model_id, target.model)
    };
    named.into_iter().map(route).collect()
}

#[test]
fn what_is_configured_is_served_also_without_a_list() {
    let ollama = || {
        let mut latest = model("m:latest");
        latest.owned_by = "library".into();
        Answer::Models(vec![latest])
    };
    let (names, aliases) = (r#","models":["m","n"]"#, r#","models":{"m":"x","n":"y"}"#);
    for (keys, answer, expected) in [
        (names, Answer::Absent, &["m=m", "n=n"][..]),
        (names, Answer::Status(401), &["m=m", "n=n"]),
        (names, Answer::Status(404), &["m=m", "n=n"]),
        (names, Answer::Unreadable, &["m=m", "n=n"]),
        (names, Answer::Models(Vec::new()), &["m=m", "n=n"]),
        (names, Answer::Models(vec![model("n")]), &["n=n"]),
        (names, ollama(), &["m=m"]),
        (aliases, Answer::Status(403), &["m=x", "n=y"]),
        (aliases, Answer::Models(vec![model("x")]), &["m=x", "n=y"]),
        ("", Answer::Status(401), &[]),
        ("", Answer::Models(vec![model("m")]), &["m=m"]),
    ] {
        assert_eq!(offers(keys, answer.clone()), expected, "{keys} {answer:?}");
    }
}

#[test]
fn an_alias_has_what_the_list_says_of_its_model() {
    let mut listed = model("long/name-70b");
    listed.created = 7;
    let all = [configured(
        "a",
        r#","models":{"m":"long/name-70b"}"#,
        Answer::Models(vec![listed]),
    )];
    let mut expected = model("m");
    expected.created = 7;
    assert_eq!(models(&all), Ok(vec![expected]));
    assert_eq!(
        route_at(&all, &request("long/name-70b", ""), 0),
        Err(RouteError::UnknownModel)
    );
}

/// A list of the model `m`, of this owner.
fn listed(owner: &str, window: Option<u32>) -> Answer {
    Answer::Models(vec![Model {
        owned_by: owner.into(),
        context_window: window,
        ..model("m")
    }])
}

#[test]
fn a_target_says_how_to_ask() {
    let names = r#","models":["m"]"#;
    for (keys, answer, expected) in [
        (
            "",
            listed("skerry", Some(512)),
            (Dialect::Skerry, true, Some(512)),
        ),
        (
            "",
            listed("vllm", Some(512)),
            (Dialect::Vllm, false, Some(512)),
        ),
        ("", listed("library", None), (Dialect::Ollama, false, None)),
        ("", listed("acme", None), (Dialect::Other, false, None)),
        (
            r#","tools":true"#,
            listed("acme", None),
            (Dialect::Other, true, None),
        ),
        (
            r#","tools":false"#,
            listed("skerry", None),
            (Dialect::Skerry, false, None),
        ),
        (
            r#","dialect":"mistral""#,
            listed("vllm", None),
            (Dialect::Mistral, false, None),
        ),
        (
            r#","dialect":"skerry""#,
            listed("vllm", None),
            (Dialect::Skerry, true, None),
        ),
        (
            r#","context_window":64"#,
            listed("vllm", Some(512)),
            (Dialect::Vllm, false, Some(64)),
        ),
        (
            r#","context_window":64"#,
            listed("acme", None),
            (Dialect::Other, false, Some(64)),
        ),
        (names, Answer::Status(401), (Dialect::Other, false, None)),
    ] {
        let all = [configured("a", keys, answer)];
        let targets = route(&config("", ""), &all, &request("m", ""), NOW_MS, 0).unwrap();
        let [target] = &targets[..] else {
            panic!("{targets:?}");
        };
        assert_eq!(target.base_url, "http://a/v1");
        assert_eq!(
            (target.dialect, target.tools, target.context_window),
            expected,
            "{keys}"
        );
        assert_eq!(
            models(&all).unwrap()[0].context_window,
            expected.2,
            "{keys}"
        );
    }
}

#[test]
fn auto_is_simple_or_complex() {
    let all = [known("a", &["other", "small"]), known("b", &["large"])];
    assert_eq!(route_at(&all, &request(AUTO, "hi"), 0), names(&["a/small"]));
    assert_eq!(
        route_at(&all, &request(AUTO, "prove it"), 0),
        names(&["b/large"])
    );
    let unset = |query| {
        let targets = route(&config("", ""), &all, &request(AUTO, query), NOW_MS, 0)?;
        Ok::<_, RouteError>(targets[0].model.clone())
    };
    assert_eq!(unset("hi"), Ok("other".into()));
    assert_eq!(unset("prove it"), Ok("other".into()));
    let missing = route(&config("tiny", ""), &all, &request(AUTO, "hi"), NOW_MS, 0);
    assert!(matches!(missing, Err(RouteError::Misconfigured(words)) if words.contains("`tiny`")));
    let empty = route(
        &config("", ""),
        &[known("a", &[])],
        &request(AUTO, "hi"),
        NOW_MS,
        0,
    );
    assert!(matches!(empty, Err(RouteError::Misconfigured(_))));
}

#[test]
fn a_model_is_listed_once() {
    let all = [known("a", &["m", "n"]), known("b", &["n", "o"])];
    assert_eq!(models(&all), Ok(vec![model("m"), model("n"), model("o")]));
}
