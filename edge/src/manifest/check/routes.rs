//! The checks of the HTTP triggers: who answers where, and what stands before it.
//!
//! A component whose triggers have different middleware becomes several components. It does
//! NOT know how a path finds its route.

use super::super::mistake::Mistake;
use super::super::{Component, Middleware, Route, RouteAnswer, StaticResponse, schema};
use super::dependencies::check_middleware;
use crate::dispatch::route::RoutePattern;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::collections::BTreeMap;
use std::path::Path;

/// Checks all triggers; adds to `components` what middleware makes of them.
pub(in super::super) fn check(
    triggers: Vec<schema::HttpTrigger>,
    components: &mut BTreeMap<String, Component>,
    written: &BTreeMap<String, schema::Component>,
    folder: &Path,
) -> Result<Vec<Route>, Mistake> {
    if triggers.is_empty() {
        return Err(Mistake::at(
            "http",
            "expected at least one [[trigger.http]]",
        ));
    }
    let uses = |id: &str| triggers.iter().filter(|t| named(t) == Some(id)).count();
    let mut routes: Vec<Route> = Vec::new();
    for (position, trigger) in triggers.iter().enumerate() {
        let here = |mistake: Mistake| mistake.below(position).below("http");
        let pattern = check_pattern(&trigger.route, &routes).map_err(here)?;
        let mut answer = check_answer(trigger, components).map_err(here)?;
        let middleware = &trigger.dependencies.middleware;
        let middleware: Result<Vec<Middleware>, Mistake> = middleware
            .iter()
            .enumerate()
            .map(|(at, one)| {
                check_middleware(one, written, folder)
                    .map_err(|mistake| mistake.below(at).below("middleware").below("dependencies"))
            })
            .collect();
        let middleware = middleware.map_err(here)?;
        if !middleware.is_empty() {
            let RouteAnswer::Component(id) = &answer else {
                let message = "stands before a component, not before a static response";
                return Err(here(Mistake::at("dependencies", message)));
            };
            let shared = uses(id) > 1;
            answer = RouteAnswer::Component(wrap(
                id,
                shared.then_some(position),
                middleware,
                components,
            ));
        }
        routes.push(Route { pattern, answer });
    }
    Ok(routes)
}

fn named(trigger: &schema::HttpTrigger) -> Option<&str> {
    match &trigger.component {
        Some(schema::TextOr::Text(id)) => Some(id),
        _ => None,
    }
}

/// Puts `middleware` before component `id`: before the only one, or, where other triggers
/// name it too, before a copy that is this trigger's. The id of which.
fn wrap(
    id: &str,
    copy_for: Option<usize>,
    middleware: Vec<Middleware>,
    components: &mut BTreeMap<String, Component>,
) -> String {
    let Some(position) = copy_for else {
        if let Some(component) = components.get_mut(id) {
            component.middleware = middleware;
        }
        return id.to_owned();
    };
    // No component's id has this form, so none is taken.
    let copied = format!("{id}-{position}");
    if let Some(component) = components.get(id) {
        let copy = Component {
            id: copied.clone(),
            copy_of: Some(id.to_owned()),
            middleware,
            // What is done once is done for the original.
            build: None,
            check: None,
            first_run: None,
            ticks: Vec::new(),
            ..component.clone()
        };
        components.insert(copied.clone(), copy);
    }
    copied
}

fn check_pattern(
    written: &schema::TextOr<schema::PrivateRoute>,
    before: &[Route],
) -> Result<Option<RoutePattern>, Mistake> {
    let pattern = match written {
        schema::TextOr::Text(text) => {
            RoutePattern::parse(text).map_err(|message| Mistake::at("route", message))?
        }
        schema::TextOr::Table(schema::PrivateRoute { private: true }) => return Ok(None),
        schema::TextOr::Table(schema::PrivateRoute { private: false }) => {
            let message = "expected a path or { private = true }";
            return Err(Mistake::at("route", message));
        }
    };
    let same = |other: &&Route| {
        let taken = other.pattern.as_ref();
        taken.is_some_and(|taken| taken.same_paths(&pattern))
    };
    match before.iter().find(same) {
        None => Ok(Some(pattern)),
        Some(other) => {
            let whose = match &other.answer {
                RouteAnswer::Component(id) => format!("component {id:?}"),
                RouteAnswer::Static(_) => "a static response".to_owned(),
            };
            let message = format!(
                "{:?} matches the same paths as a route of {whose}",
                pattern.raw()
            );
            Err(Mistake::at("route", message))
        }
    }
}

fn check_answer(
    trigger: &schema::HttpTrigger,
    components: &BTreeMap<String, Component>,
) -> Result<RouteAnswer, Mistake> {
    // The one executor that is served needs no further setting.
    let _ = trigger.executor.as_ref().map(|executor| &executor.kind);
    match (named(trigger), &trigger.static_response) {
        (Some(id), None) if components.contains_key(id) => {
            Ok(RouteAnswer::Component(id.to_owned()))
        }
        (Some(id), None) => {
            let message = format!("there is no component {id:?}");
            Err(Mistake::at("component", message))
        }
        (None, Some(written)) => check_static(written)
            .map(RouteAnswer::Static)
            .map_err(|mistake| mistake.below("static_response")),
        (Some(_), Some(_)) => Err(Mistake::at(
            "static_response",
            "expected `component` or `static_response`, not both",
        )),
        (None, None) => Err(Mistake::here("expected `component` or `static_response`")),
    }
}

fn check_static(written: &schema::StaticResponse) -> Result<StaticResponse, Mistake> {
    let code = written.status_code.unwrap_or(200);
    let status = StatusCode::from_u16(code)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or_else(|| Mistake::at("status_code", format!("is {code}, expected 200 to 999")))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &written.headers {
        let wrong = |what: &str| Mistake::at(name, what).below("headers");
        let header: HeaderName = name.parse().map_err(|_| wrong("is no header's name"))?;
        let value: HeaderValue = value.parse().map_err(|_| wrong("has no header's value"))?;
        headers.insert(header, value);
    }
    Ok(StaticResponse {
        status,
        headers,
        body: Bytes::from(written.body.clone().unwrap_or_default()),
    })
}
