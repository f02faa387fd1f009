//! The checks of a manifest, part by part: from what is written to what is valid.
//!
//! Each error begins with the key that is wrong. It does NOT read files.

use super::allowed_hosts::AllowedHost;
use super::template::{self, Template};
use super::{Build, Component, Dependency, Files, Inherit, Route, Tick, Variable, schema};
use crate::dispatch::route::RoutePattern;
use serde::Deserialize as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest period of a tick.
const TICK_PERIOD_S_MIN: u64 = 1;
/// The longest period of a tick: a day.
const TICK_PERIOD_S_MAX: u64 = 86_400;

/// The capability names that `inherit_configuration` may list.
const CAPABILITY_NAMES: [&str; 7] = [
    "ai_models",
    "allowed_outbound_hosts",
    "environment",
    "files",
    "key_value_stores",
    "sqlite_databases",
    "variables",
];

pub(super) fn check_variables(
    declared: BTreeMap<String, schema::Variable>,
) -> Result<BTreeMap<String, Variable>, String> {
    let mut variables = BTreeMap::new();
    for (name, variable) in declared {
        if !template::is_variable_name(&name) {
            return Err(format!(
                "variables.{name}: expected lower-case letters, digits and single underscores"
            ));
        }
        match (variable.required, &variable.default) {
            (true, Some(_)) => {
                return Err(format!(
                    "variables.{name}: a required variable has no default"
                ));
            }
            (false, None) => {
                return Err(format!(
                    "variables.{name}: expected `required = true` or a default"
                ));
            }
            _ => {}
        }
        let variable = Variable {
            required: variable.required,
            default: variable.default,
        };
        variables.insert(name, variable);
    }
    Ok(variables)
}

/// Spin's rule for ids: kebab-case words, each opened by a letter.
fn is_component_id(id: &str) -> bool {
    !id.is_empty()
        && id.split('-').all(|word| {
            word.starts_with(|c: char| c.is_ascii_alphabetic())
                && word.chars().all(|c| c.is_ascii_alphanumeric())
                && (word.chars().all(|c| !c.is_ascii_uppercase())
                    || word.chars().all(|c| !c.is_ascii_lowercase()))
        })
}

fn local_source(
    source: &schema::TextOr<schema::RemoteSource>,
    folder: &Path,
) -> Result<PathBuf, String> {
    match source {
        schema::TextOr::Text(path) => Ok(folder.join(path)),
        schema::TextOr::Table(remote) => Err(format!(
            "source: {} is not served; expected the path of a wasm file",
            if remote.url.is_some() {
                "a download by `url`"
            } else if remote.package.is_some() {
                "a `package` of a registry"
            } else {
                "a table"
            }
        )),
    }
}

pub(super) fn check_component(
    id: &str,
    written: &schema::Component,
    all: &BTreeMap<String, schema::Component>,
    folder: &Path,
) -> Result<Component, String> {
    if !is_component_id(id) {
        return Err("an id is made of words of letters and digits, joined by `-`".to_owned());
    }
    if !written.ai_models.is_empty() {
        return Err("ai_models: models are not served to components".to_owned());
    }
    let mut variables = BTreeMap::new();
    for (name, value) in &written.variables {
        if !template::is_variable_name(name) {
            return Err(format!("variables.{name} is not a variable name"));
        }
        let value = Template::parse(value).map_err(|e| format!("variables.{name}: {e}"))?;
        variables.insert(name.clone(), value);
    }
    let mut allowed_outbound_hosts = Vec::new();
    for host in &written.allowed_outbound_hosts {
        let template = Template::parse(host).map_err(|e| format!("allowed_outbound_hosts: {e}"))?;
        if template.variables().next().is_none() {
            AllowedHost::parse(host).map_err(|e| format!("allowed_outbound_hosts: {e}"))?;
        }
        allowed_outbound_hosts.push(template);
    }
    let tool = match written.tool.get("edge") {
        Some(value) => schema::EdgeTool::deserialize(value.clone())
            .map_err(|e| format!("tool.edge: {}", e.to_string().trim_end()))?,
        None => schema::EdgeTool::default(),
    };
    let mut dependencies = Vec::new();
    for (name, dependency) in &written.dependencies {
        let checked = check_dependency(name, dependency, written, all, folder)
            .map_err(|message| format!("dependencies.{name:?}: {message}"))?;
        dependencies.push(checked);
    }
    Ok(Component {
        id: id.to_owned(),
        source: local_source(&written.source, folder)?,
        variables,
        environment: written.environment.clone().into_iter().collect(),
        files: check_files(&written.files, folder)?,
        exclude_files: written.exclude_files.clone(),
        allowed_outbound_hosts,
        key_value_stores: written.key_value_stores.iter().cloned().collect(),
        sqlite_databases: written.sqlite_databases.iter().cloned().collect(),
        dependencies,
        build: check_build(written.build.as_ref(), folder)?,
        check: tool
            .check
            .map(|path| check_path("check", path))
            .transpose()?,
        first_run: tool
            .first_run
            .map(|path| check_path("first_run", path))
            .transpose()?,
        ticks: check_ticks(tool.ticks)?,
        optional_build: tool.optional_build,
    })
}

fn check_build(written: Option<&schema::Build>, folder: &Path) -> Result<Option<Build>, String> {
    let Some(written) = written else {
        return Ok(None);
    };
    if written
        .command
        .0
        .iter()
        .any(|command| command.trim().is_empty())
    {
        return Err("build.command: expected a command, found an empty one".to_owned());
    }
    // `watch` is for tools that watch; its globs are still checked.
    for pattern in &written.watch {
        glob::Pattern::new(pattern).map_err(|e| format!("build.watch: {pattern:?}: {e}"))?;
    }
    Ok(Some(Build {
        commands: written.command.0.clone(),
        workdir: written.workdir.as_ref().map(|dir| folder.join(dir)),
    }))
}

fn check_path(key: &str, path: String) -> Result<String, String> {
    if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
        return Err(format!(
            "tool.edge.{key}: {path:?} is not a path; it begins with `/`"
        ));
    }
    Ok(path)
}

fn check_ticks(written: Vec<schema::Tick>) -> Result<Vec<Tick>, String> {
    let mut ticks = Vec::new();
    for tick in written {
        if !(TICK_PERIOD_S_MIN..=TICK_PERIOD_S_MAX).contains(&tick.every_s) {
            return Err(format!(
                "tool.edge.ticks: every_s is {}, expected {TICK_PERIOD_S_MIN} to {TICK_PERIOD_S_MAX}",
                tick.every_s
            ));
        }
        ticks.push(Tick {
            path: check_path("ticks", tick.path)?,
            every: Duration::from_secs(tick.every_s),
        });
    }
    Ok(ticks)
}

fn check_files(
    written: &[schema::TextOr<schema::FilesMount>],
    folder: &Path,
) -> Result<Vec<Files>, String> {
    let mut files = Vec::new();
    for mount in written {
        match mount {
            schema::TextOr::Table(mount) => {
                if !mount.destination.starts_with('/') {
                    return Err(format!(
                        "files: destination {:?} must begin with `/`",
                        mount.destination
                    ));
                }
                files.push(Files::Placed {
                    source: folder.join(&mount.source),
                    destination: mount.destination.clone(),
                });
            }
            schema::TextOr::Text(pattern) => {
                let upwards = Path::new(pattern).components().any(|part| {
                    !matches!(
                        part,
                        std::path::Component::Normal(_) | std::path::Component::CurDir
                    )
                });
                if upwards {
                    return Err(format!(
                        "files: {pattern:?} leaves the application's folder"
                    ));
                }
                glob::Pattern::new(pattern).map_err(|e| format!("files: {pattern:?}: {e}"))?;
                files.push(Files::Glob(pattern.clone()));
            }
        }
    }
    Ok(files)
}

fn check_dependency(
    name: &str,
    written: &schema::TextOr<schema::Dependency>,
    component: &schema::Component,
    all: &BTreeMap<String, schema::Component>,
    folder: &Path,
) -> Result<Dependency, String> {
    let schema::TextOr::Table(written) = written else {
        return Err("a registry version is not served; expected `component` or `path`".to_owned());
    };
    let source = match (&written.component, &written.path) {
        (Some(id), None) => {
            let leaf = all
                .get(id)
                .ok_or_else(|| format!("there is no component {id:?}"))?;
            check_leaf(leaf).map_err(|what| {
                format!("component {id:?} cannot be a dependency, for it has {what}")
            })?;
            local_source(&leaf.source, folder)?
        }
        (None, Some(path)) => folder.join(path),
        (Some(_), Some(_)) => return Err("expected `component` or `path`, not both".to_owned()),
        (None, None) if written.url.is_some() || written.version.is_some() => {
            return Err(
                "downloads and registries are not served; expected `component` or `path`"
                    .to_owned(),
            );
        }
        (None, None) => return Err("expected `component` or `path`".to_owned()),
    };
    let has_interface = name.contains('/') || !name.contains(':');
    if written.export.is_some() && !has_interface {
        return Err("`export` needs a dependency that names one interface".to_owned());
    }
    let inherit = match (
        &written.inherit_configuration,
        component.dependencies_inherit_configuration,
    ) {
        (Some(_), Some(_)) => {
            return Err("`inherit_configuration` conflicts with the component's \
                        `dependencies_inherit_configuration`"
                .to_owned());
        }
        (Some(schema::Inherit::All(true)), _) | (None, Some(true)) => Inherit::All,
        (Some(schema::Inherit::All(false)), _) | (None, _) => Inherit::Some(BTreeSet::new()),
        (Some(schema::Inherit::Some(names)), _) => {
            for name in names {
                if !CAPABILITY_NAMES.contains(&name.as_str()) {
                    return Err(format!(
                        "inherit_configuration: {name:?} is unknown, expected one of {}",
                        CAPABILITY_NAMES.join(", ")
                    ));
                }
            }
            Inherit::Some(names.iter().cloned().collect())
        }
    };
    Ok(Dependency {
        name: name.to_owned(),
        source,
        export: written.export.clone(),
        inherit,
    })
}

/// Grants stand on the root: a leaf has none of its own, as under Spin.
fn check_leaf(leaf: &schema::Component) -> Result<(), &'static str> {
    let own = [
        (leaf.dependencies.is_empty(), "dependencies of its own"),
        (leaf.variables.is_empty(), "variables"),
        (leaf.environment.is_empty(), "an environment"),
        (leaf.files.is_empty(), "files"),
        (
            leaf.allowed_outbound_hosts.is_empty(),
            "allowed_outbound_hosts",
        ),
        (leaf.key_value_stores.is_empty(), "key_value_stores"),
        (leaf.sqlite_databases.is_empty(), "sqlite_databases"),
        (leaf.ai_models.is_empty(), "ai_models"),
    ];
    match own.into_iter().find(|(absent, _)| !absent) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

pub(super) fn check_templates(
    component: &Component,
    variables: &BTreeMap<String, Variable>,
) -> Result<(), String> {
    let named = component
        .variables
        .iter()
        .map(|(name, template)| (name.as_str(), template));
    let hosts = component
        .allowed_outbound_hosts
        .iter()
        .map(|template| ("allowed_outbound_hosts", template));
    for (place, template) in named.chain(hosts) {
        for name in template.variables() {
            if !variables.contains_key(name) {
                return Err(format!(
                    "{place}: there is no application variable {name:?}"
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn check_routes(
    triggers: Vec<schema::HttpTrigger>,
    components: &BTreeMap<String, Component>,
) -> Result<Vec<Route>, String> {
    if triggers.is_empty() {
        return Err("expected at least one [[trigger.http]]".to_owned());
    }
    let mut routes: Vec<Route> = Vec::new();
    for trigger in triggers {
        let id = &trigger.component;
        if !components.contains_key(id) {
            return Err(format!("trigger.http: there is no component {id:?}"));
        }
        // The one executor that is served needs no further setting.
        let _ = trigger.executor.map(|executor| executor.kind);
        let pattern = match trigger.route {
            schema::TextOr::Text(text) => Some(
                RoutePattern::parse(&text)
                    .map_err(|e| format!("trigger.http of component {id:?}: {e}"))?,
            ),
            schema::TextOr::Table(schema::PrivateRoute { private: true }) => None,
            schema::TextOr::Table(schema::PrivateRoute { private: false }) => {
                return Err(format!(
                    "trigger.http of component {id:?}: expected a route or {{ private = true }}"
                ));
            }
        };
        let clash = pattern.as_ref().and_then(|pattern| {
            routes.iter().find(|other| {
                other
                    .pattern
                    .as_ref()
                    .is_some_and(|o| o.same_paths(pattern))
            })
        });
        if let (Some(other), Some(pattern)) = (clash, &pattern) {
            return Err(format!(
                "trigger.http: route {:?} of component {id:?} matches the same paths as a route \
                 of component {:?}",
                pattern.raw(),
                other.component
            ));
        }
        routes.push(Route {
            pattern,
            component: trigger.component,
        });
    }
    Ok(routes)
}
