//! From a manifest to the locked application: everything but the files themselves.
//!
//! Only what a trigger names goes along. Middleware stands at its component, as the host's
//! loader has it. It does NOT read files.

use super::locked::{CHAINING, LockedTrigger, LockedVariable, MIDDLEWARE};
use crate::compose::letters;
use crate::manifest::allowed_hosts::SERVICE_DOMAIN;
use crate::manifest::{Component, Manifest, RouteAnswer, StaticResponse};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// This host's own keys; others do not read them.
pub(super) const EDGE: &str = "edge";

/// How each component is called in the artifact: one that this host split off for its
/// middleware gets a name that a manifest may have.
pub(super) fn names(manifest: &Manifest) -> BTreeMap<&str, String> {
    let mut names = BTreeMap::new();
    for (position, id) in manifest.served().into_iter().enumerate() {
        let name = match &manifest.components[id].copy_of {
            None => id.to_owned(),
            Some(original) => {
                let mut name = format!("{original}-copy-{}", letters(position));
                while manifest.components.contains_key(&name) {
                    name.push_str("-copy");
                }
                name
            }
        };
        names.insert(id, name);
    }
    names
}

pub(super) fn metadata(manifest: &Manifest) -> BTreeMap<String, Value> {
    let mut metadata = BTreeMap::from([
        ("name".to_owned(), json!(manifest.name)),
        ("trigger".to_owned(), json!({ "type": "http" })),
    ]);
    for (key, text) in [
        ("version", &manifest.version),
        ("description", &manifest.description),
    ] {
        if !text.is_empty() {
            metadata.insert(key.to_owned(), json!(text));
        }
    }
    if !manifest.authors.is_empty() {
        metadata.insert("authors".to_owned(), json!(manifest.authors));
    }
    metadata
}

pub(super) fn variables(manifest: &Manifest) -> BTreeMap<String, LockedVariable> {
    let locked = |(name, variable): (&String, &crate::manifest::Variable)| {
        let locked = LockedVariable {
            default: variable.default.clone(),
            secret: variable.secret,
        };
        (name.clone(), locked)
    };
    manifest.variables.iter().map(locked).collect()
}

pub(super) fn triggers(manifest: &Manifest, names: &BTreeMap<&str, String>) -> Vec<LockedTrigger> {
    let locked = |(position, route): (usize, &crate::manifest::Route)| {
        let path = match &route.pattern {
            Some(pattern) => json!(pattern.raw()),
            None => json!({ "private": true }),
        };
        let mut config = json!({ "route": path });
        match &route.answer {
            RouteAnswer::Component(id) => config["component"] = json!(names.get(id.as_str())),
            RouteAnswer::Static(answer) => config["static_response"] = static_response(answer),
        }
        LockedTrigger {
            id: format!("trigger-{}", letters(position)),
            trigger_type: "http".to_owned(),
            trigger_config: config,
            trigger_dependencies: BTreeMap::new(),
        }
    };
    manifest.routes.iter().enumerate().map(locked).collect()
}

fn static_response(answer: &StaticResponse) -> Value {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), json!(value))
    };
    let headers: Map<String, Value> = answer.headers.iter().map(header).collect();
    json!({
        "status_code": answer.status.as_u16(),
        "headers": headers,
        "body": String::from_utf8_lossy(&answer.body),
    })
}

/// What a host must be able to do, or refuse the application.
pub(super) fn requirements(component: &Component) -> BTreeMap<String, Value> {
    let mut requirements = BTreeMap::new();
    let mut hosts = component.allowed_outbound_hosts.iter();
    if hosts.any(|host| host.to_string().contains(SERVICE_DOMAIN)) {
        requirements.insert(CHAINING.to_owned(), json!("required"));
    }
    if !component.middleware.is_empty() {
        requirements.insert(MIDDLEWARE.to_owned(), json!("required"));
    }
    requirements
}

/// What a component was granted, and what this host does for it.
pub(super) fn grants(component: &Component) -> BTreeMap<String, Value> {
    let hosts = component.allowed_outbound_hosts.iter();
    let hosts: Vec<String> = hosts.map(ToString::to_string).collect();
    let lists = [
        ("allowed_outbound_hosts", json!(hosts)),
        ("key_value_stores", json!(component.key_value_stores)),
        ("databases", json!(component.sqlite_databases)),
        ("ai_models", json!(component.ai_models)),
    ];
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let mut grants: BTreeMap<String, Value> = lists
        .into_iter()
        .filter(|(_, value)| !is_empty(value))
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let tick = |tick: &crate::manifest::Tick| json!({ "path": tick.path, "every_s": tick.every.as_secs() });
    let ticks: Vec<Value> = component.ticks.iter().map(tick).collect();
    let own: Map<String, Value> = [
        ("check", json!(component.check)),
        ("first_run", json!(component.first_run)),
        ("ticks", json!(ticks)),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_null() && !is_empty(value))
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if !own.is_empty() {
        grants.insert(EDGE.to_owned(), Value::Object(own));
    }
    grants
}
