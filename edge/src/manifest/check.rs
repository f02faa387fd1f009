//! The checks of a manifest, part by part: from what is written to what is valid.
//!
//! Each mistake says the key that is wrong. It does NOT read files.

pub(super) mod dependencies;
pub(super) mod routes;

use super::allowed_hosts::AllowedHost;
use super::mistake::Mistake;
use super::template::{self, Template};
use super::{Build, Component, Files, Tick, Variable, schema};
use serde::Deserialize as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest period of a tick.
const TICK_PERIOD_S_MIN: u64 = 1;
/// The longest period of a tick: a day.
const TICK_PERIOD_S_MAX: u64 = 86_400;

pub(super) fn check_variables(
    declared: BTreeMap<String, schema::Variable>,
) -> Result<BTreeMap<String, Variable>, Mistake> {
    let mut variables = BTreeMap::new();
    for (name, variable) in declared {
        let wrong = |message: &str| Err(Mistake::at(&name, message).below("variables"));
        if !template::is_variable_name(&name) {
            return wrong("expected lower-case letters, digits and single underscores");
        }
        match (variable.required, &variable.default) {
            (true, Some(_)) => return wrong("a required variable has no default"),
            (false, None) => return wrong("expected `required = true` or a default"),
            _ => {}
        }
        let variable = Variable {
            required: variable.required,
            default: variable.default,
            secret: variable.secret,
        };
        variables.insert(name, variable);
    }
    Ok(variables)
}

/// Spin's rule for ids: words joined by `-`, each opened by a letter.
fn is_component_id(id: &str) -> bool {
    is_words(id, '-')
}

/// Words of letters and digits, each opened by a letter and of one case.
fn is_words(text: &str, joint: char) -> bool {
    !text.is_empty()
        && text.split(joint).all(|word| {
            word.starts_with(|c: char| c.is_ascii_alphabetic())
                && word.chars().all(|c| c.is_ascii_alphanumeric())
                && (word.chars().all(|c| !c.is_ascii_uppercase())
                    || word.chars().all(|c| !c.is_ascii_lowercase()))
        })
}

/// The labels of `key`: stores or databases.
fn check_labels<C: FromIterator<String>>(key: &str, written: &[String]) -> Result<C, Mistake> {
    for (position, label) in written.iter().enumerate() {
        if !is_words(label, '-') && !is_words(label, '_') {
            let message = format!("{label:?} is no label: words joined by `-` or by `_`");
            return Err(Mistake::here(message).below(position).below(key));
        }
    }
    Ok(written.iter().cloned().collect())
}

/// Models are named as their engine names them.
fn check_models<C: FromIterator<String>>(written: &[String]) -> Result<C, Mistake> {
    match written.iter().position(|model| model.trim().is_empty()) {
        None => Ok(written.iter().cloned().collect()),
        Some(position) => {
            let mistake = Mistake::here("expected a model's name, found an empty one");
            Err(mistake.below(position).below("ai_models"))
        }
    }
}

fn local_source(
    source: &schema::TextOr<schema::RemoteSource>,
    folder: &Path,
) -> Result<PathBuf, Mistake> {
    match source {
        schema::TextOr::Text(path) => Ok(folder.join(path)),
        schema::TextOr::Table(remote) => {
            let what = match (&remote.url, &remote.package) {
                (Some(_), _) => "a download by `url`",
                (None, Some(_)) => "a `package` of a registry",
                (None, None) => "a table",
            };
            let message = format!("{what} is not served; expected the path of a wasm file");
            Err(Mistake::at("source", message))
        }
    }
}

pub(super) fn check_component(
    id: &str,
    written: &schema::Component,
    all: &BTreeMap<String, schema::Component>,
    folder: &Path,
) -> Result<Component, Mistake> {
    if !is_component_id(id) {
        return Err(Mistake::here(
            "an id is made of words of letters and digits, joined by `-`",
        ));
    }
    let tool = match written.tool.get("edge") {
        Some(value) => schema::EdgeTool::deserialize(value.clone())
            .map_err(|e| Mistake::at("edge", e.to_string().trim_end()).below("tool"))?,
        None => schema::EdgeTool::default(),
    };
    let hook = |key: &str, path: Option<String>| path.map(|path| check_path(key, path)).transpose();
    Ok(Component {
        id: id.to_owned(),
        copy_of: None,
        source: local_source(&written.source, folder)?,
        variables: check_component_variables(&written.variables)?,
        environment: written.environment.clone().into_iter().collect(),
        files: check_files(&written.files, folder)?,
        exclude_files: check_globs("exclude_files", &written.exclude_files)?,
        allowed_outbound_hosts: check_hosts(written)?,
        key_value_stores: check_labels("key_value_stores", &written.key_value_stores)?,
        sqlite_databases: check_labels("sqlite_databases", &written.sqlite_databases)?,
        ai_models: check_models(&written.ai_models)?,
        dependencies: dependencies::check(written, all, folder)?,
        middleware: Vec::new(),
        build: check_build(written.build.as_ref(), folder)?,
        check: hook("check", tool.check)?,
        first_run: hook("first_run", tool.first_run)?,
        ticks: check_ticks(tool.ticks)?,
        optional_build: tool.optional_build,
    })
}

fn check_component_variables(
    written: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Template>, Mistake> {
    let mut variables = BTreeMap::new();
    for (name, value) in written {
        let wrong = |message: String| Mistake::at(name, message).below("variables");
        if !template::is_variable_name(name) {
            return Err(wrong("is not a variable name".to_owned()));
        }
        let value = Template::parse(value).map_err(|e| wrong(e.to_string()))?;
        variables.insert(name.clone(), value);
    }
    Ok(variables)
}

fn check_hosts(written: &schema::Component) -> Result<Vec<Template>, Mistake> {
    let mut hosts = Vec::new();
    let mut add = |key: &str, position: usize, host: &str| {
        let wrong = |message: String| Mistake::here(message).below(position).below(key);
        let template = Template::parse(host).map_err(|e| wrong(e.to_string()))?;
        if template.variables().next().is_none() {
            AllowedHost::parse(host).map_err(wrong)?;
        }
        hosts.push(template);
        Ok(())
    };
    for (position, host) in written.allowed_outbound_hosts.iter().enumerate() {
        add("allowed_outbound_hosts", position, host)?;
    }
    for (position, host) in written.allowed_http_hosts.iter().enumerate() {
        for host in of_http_host(host) {
            add("allowed_http_hosts", position, &host)?;
        }
    }
    Ok(hosts)
}

/// The deprecated `allowed_http_hosts`, whose entries have no scheme, in today's form.
fn of_http_host(host: &str) -> Vec<String> {
    match host {
        "insecure:allow-all" => vec!["http://*:*".to_owned(), "https://*:*".to_owned()],
        "self" => vec!["http://self".to_owned()],
        host if host.contains("://") => vec![host.to_owned()],
        host => vec![format!("http://{host}"), format!("https://{host}")],
    }
}

fn check_globs(key: &str, written: &[String]) -> Result<Vec<String>, Mistake> {
    for (position, pattern) in written.iter().enumerate() {
        glob::Pattern::new(pattern).map_err(|error| {
            Mistake::here(format!("{pattern:?}: {error}"))
                .below(position)
                .below(key)
        })?;
    }
    Ok(written.to_vec())
}

fn check_build(written: Option<&schema::Build>, folder: &Path) -> Result<Option<Build>, Mistake> {
    let Some(written) = written else {
        return Ok(None);
    };
    let mut commands = written.command.0.iter();
    if commands.any(|command| command.trim().is_empty()) {
        let message = "expected a command, found an empty one";
        return Err(Mistake::at("command", message).below("build"));
    }
    Ok(Some(Build {
        commands: written.command.0.clone(),
        workdir: written.workdir.as_ref().map(|dir| folder.join(dir)),
        watch: check_globs("watch", &written.watch).map_err(|mistake| mistake.below("build"))?,
    }))
}

fn edge_key(key: &str, message: String) -> Mistake {
    Mistake::at(key, message).below("edge").below("tool")
}

fn check_path(key: &str, path: String) -> Result<String, Mistake> {
    if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
        let message = format!("{path:?} is not a path; it begins with `/`");
        return Err(edge_key(key, message));
    }
    Ok(path)
}

fn check_ticks(written: Vec<schema::Tick>) -> Result<Vec<Tick>, Mistake> {
    let mut ticks = Vec::new();
    for tick in written {
        if !(TICK_PERIOD_S_MIN..=TICK_PERIOD_S_MAX).contains(&tick.every_s) {
            let message = format!(
                "every_s is {}, expected {TICK_PERIOD_S_MIN} to {TICK_PERIOD_S_MAX}",
                tick.every_s
            );
            return Err(edge_key("ticks", message));
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
) -> Result<Vec<Files>, Mistake> {
    let mut files = Vec::new();
    for (position, mount) in written.iter().enumerate() {
        let checked = check_mount(mount, folder)
            .map_err(|message| Mistake::here(message).below(position).below("files"))?;
        files.push(checked);
    }
    Ok(files)
}

fn check_mount(
    written: &schema::TextOr<schema::FilesMount>,
    folder: &Path,
) -> Result<Files, String> {
    match written {
        schema::TextOr::Table(mount) if !mount.destination.starts_with('/') => Err(format!(
            "destination {:?} must begin with `/`",
            mount.destination
        )),
        schema::TextOr::Table(mount)
            if Path::new(&mount.destination).components().any(is_upwards) =>
        {
            Err(format!("destination {:?} leads upwards", mount.destination))
        }
        schema::TextOr::Table(mount) => Ok(Files::Placed {
            source: folder.join(&mount.source),
            destination: mount.destination.clone(),
        }),
        schema::TextOr::Text(pattern) => {
            let path = Path::new(pattern);
            if path.is_absolute() || path.components().any(is_upwards) {
                return Err(format!("{pattern:?} leaves the application's folder"));
            }
            if pattern == "." || pattern.ends_with("/.") {
                return Err(format!(
                    "{pattern:?} is a folder; expected a glob such as `./**/*`"
                ));
            }
            glob::Pattern::new(pattern).map_err(|e| format!("{pattern:?}: {e}"))?;
            Ok(Files::Glob(pattern.clone()))
        }
    }
}

fn is_upwards(part: std::path::Component<'_>) -> bool {
    matches!(part, std::path::Component::ParentDir)
}

pub(super) fn check_templates(
    component: &Component,
    variables: &BTreeMap<String, Variable>,
) -> Result<(), Mistake> {
    let unknown = |template: &Template| -> Option<String> {
        let mut names = template.variables();
        let name = names.find(|name| !variables.contains_key(*name))?;
        Some(format!("there is no application variable {name:?}"))
    };
    for (name, template) in &component.variables {
        if let Some(message) = unknown(template) {
            return Err(Mistake::at(name, message).below("variables"));
        }
    }
    for (position, template) in component.allowed_outbound_hosts.iter().enumerate() {
        if let Some(message) = unknown(template) {
            let mistake = Mistake::here(message).below(position);
            return Err(mistake.below("allowed_outbound_hosts"));
        }
    }
    Ok(())
}
