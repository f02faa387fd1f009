//! The checks of what is composed with a component: its leaves, and the middleware of a
//! trigger. It does NOT read their files.

use super::super::mistake::Mistake;
use super::super::{Dependency, Inherit, Middleware, schema};
use super::local_source;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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

type Components = BTreeMap<String, schema::Component>;

/// The leaves of `component`.
pub(super) fn check(
    component: &schema::Component,
    all: &Components,
    folder: &Path,
) -> Result<Vec<Dependency>, Mistake> {
    let mut dependencies = Vec::new();
    for (name, dependency) in &component.dependencies {
        let checked = check_dependency(name, dependency, component, all, folder)
            .map_err(|mistake| mistake.below(name).below("dependencies"))?;
        dependencies.push(checked);
    }
    Ok(dependencies)
}

fn check_dependency(
    name: &str,
    written: &schema::TextOr<schema::Dependency>,
    component: &schema::Component,
    all: &Components,
    folder: &Path,
) -> Result<Dependency, Mistake> {
    let schema::TextOr::Table(written) = written else {
        return Err(Mistake::here(
            "a registry version is not served; expected `component` or `path`",
        ));
    };
    let source = source(written, all, folder)?;
    let has_interface = name.contains('/') || !name.contains(':');
    if written.export.is_some() && !has_interface {
        return Err(Mistake::at(
            "export",
            "needs a dependency that names one interface",
        ));
    }
    let of_component = component.dependencies_inherit_configuration;
    if written.inherit_configuration.is_some() && of_component.is_some() {
        return Err(Mistake::at(
            "inherit_configuration",
            "conflicts with the component's `dependencies_inherit_configuration`",
        ));
    }
    let inherit = match (&written.inherit_configuration, of_component) {
        (None, Some(true)) => Inherit::All,
        (written, _) => inherit(written.as_ref())?,
    };
    Ok(Dependency {
        name: name.to_owned(),
        source,
        export: written.export.clone(),
        inherit,
    })
}

/// One entry of a trigger's `dependencies.middleware`.
pub(super) fn check_middleware(
    written: &schema::Dependency,
    all: &Components,
    folder: &Path,
) -> Result<Middleware, Mistake> {
    if written.export.is_some() {
        return Err(Mistake::at("export", "a middleware has one export"));
    }
    Ok(Middleware {
        source: source(written, all, folder)?,
        inherit: inherit(written.inherit_configuration.as_ref())?,
    })
}

fn source(
    written: &schema::Dependency,
    all: &Components,
    folder: &Path,
) -> Result<PathBuf, Mistake> {
    let expected = "expected `component` or `path`";
    match (&written.component, &written.path) {
        (Some(id), None) => {
            let leaf = all
                .get(id)
                .ok_or_else(|| Mistake::at("component", format!("there is no component {id:?}")))?;
            check_leaf(leaf).map_err(|what| {
                let message = format!("component {id:?} cannot be a dependency, for it has {what}");
                Mistake::at("component", message)
            })?;
            local_source(&leaf.source, folder).map_err(|mistake| mistake.below("component"))
        }
        (None, Some(path)) => Ok(folder.join(path)),
        (Some(_), Some(_)) => Err(Mistake::here(format!("{expected}, not both"))),
        (None, None) if written.url.is_some() || written.version.is_some() => Err(Mistake::here(
            format!("downloads and registries are not served; {expected}"),
        )),
        (None, None) => Err(Mistake::here(expected)),
    }
}

fn inherit(written: Option<&schema::Inherit>) -> Result<Inherit, Mistake> {
    match written {
        Some(schema::Inherit::All(true)) => Ok(Inherit::All),
        Some(schema::Inherit::All(false)) | None => Ok(Inherit::Some(BTreeSet::new())),
        Some(schema::Inherit::Some(names)) => {
            let unknown = |name: &&String| !CAPABILITY_NAMES.contains(&name.as_str());
            match names.iter().find(unknown) {
                None => Ok(Inherit::Some(names.iter().cloned().collect())),
                Some(name) => Err(Mistake::at(
                    "inherit_configuration",
                    format!(
                        "{name:?} is unknown, expected one of {}",
                        CAPABILITY_NAMES.join(", ")
                    ),
                )),
            }
        }
    }
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
        (leaf.allowed_http_hosts.is_empty(), "allowed_http_hosts"),
        (leaf.key_value_stores.is_empty(), "key_value_stores"),
        (leaf.sqlite_databases.is_empty(), "sqlite_databases"),
        (leaf.ai_models.is_empty(), "ai_models"),
    ];
    match own.into_iter().find(|(absent, _)| !absent) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}
