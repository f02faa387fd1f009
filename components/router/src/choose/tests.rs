//! Targets for models, health and priorities.

use super::*;
use crate::health::{FAILURES_MAX, Outcome};

const NOW_MS: u64 = 100_000;

fn model(id: &str) -> Model {
    Model {
        id: id.into(),
        created: 1,
        owned_by: "test".into(),
        context_window: 2048,
    }
}

fn known(name: &str, models: &[&str]) -> Known {
    let mut served = Served::default();
    served.heard(Some(models.iter().map(|id| model(id)).collect()), NOW_MS);
    let backend = Backend {
        name: name.into(),
        url: format!("http://{name}"),
        models: None,
        priority: 0,
    };
    Known {
        backend,
        served,
        health: Health::default(),
    }
}

fn failed(mut known: Known, times: u32) -> Known {
    (0..times).for_each(|_| known.health.report(Outcome::Failed, NOW_MS));
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
    Config::parse(r#"[{"name":"a","url":"http://a"}]"#, simple, complex).unwrap()
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
    let mut only = known("a", &["m", "secret"]);
    only.backend.models = Some(vec!["m".into()]);
    let all = [only];
    assert_eq!(
        route_at(&all, &request("secret", ""), 0),
        Err(RouteError::UnknownModel)
    );
    assert_eq!(models(&all), Ok(vec![model("m")]));
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
