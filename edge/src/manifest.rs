//! The application, read from `spin.toml` and checked whole.
//!
//! It stands before everything: a [`Manifest`] that exists is valid, and nothing below
//! checks again. The checks are in `manifest/check.rs`. It does NOT read wasm, resolve variables or open a store.

pub(crate) mod allowed_hosts;
mod check;
mod mistake;
mod normal;
mod schema;
pub(crate) mod template;

use crate::dispatch::route::RoutePattern;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mistake::Mistake;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use template::Template;

/// The largest manifest that is read; ours has some 20 KB.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// A valid application.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The folder that relative paths start from.
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) authors: Vec<String>,
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) routes: Vec<Route>,
    pub(crate) components: BTreeMap<String, Component>,
}

/// An application variable.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) required: bool,
    pub(crate) default: Option<String>,
    /// Where the application goes, this goes along; no value is ever printed or logged.
    pub(crate) secret: bool,
}

/// One `[[trigger.http]]`.
#[derive(Debug)]
pub(crate) struct Route {
    /// `None` for a private route, which only service chaining reaches.
    pub(crate) pattern: Option<RoutePattern>,
    pub(crate) answer: RouteAnswer,
}

/// Who answers on a route.
#[derive(Debug, Clone)]
pub(crate) enum RouteAnswer {
    /// The component of this id.
    Component(String),
    /// The host, with the same words each time.
    Static(StaticResponse),
}

/// `static_response` of a trigger.
#[derive(Debug, Clone)]
pub(crate) struct StaticResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// One `[component.ID]`.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) id: String,
    /// Where a trigger's middleware made a component of its own out of this one: which.
    pub(crate) copy_of: Option<String>,
    pub(crate) source: PathBuf,
    pub(crate) variables: BTreeMap<String, Template>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) files: Vec<Files>,
    pub(crate) exclude_files: Vec<String>,
    pub(crate) allowed_outbound_hosts: Vec<Template>,
    pub(crate) key_value_stores: BTreeSet<String>,
    pub(crate) sqlite_databases: BTreeSet<String>,
    pub(crate) ai_models: BTreeSet<String>,
    pub(crate) dependencies: Vec<Dependency>,
    /// What stands before the component, the outermost first.
    pub(crate) middleware: Vec<Middleware>,
    pub(crate) build: Option<Build>,
    pub(crate) check: Option<String>,
    pub(crate) first_run: Option<String>,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) optional_build: bool,
}

/// One entry of `files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Files {
    /// A folder (or a file) shown to the component at `destination`.
    Placed {
        source: PathBuf,
        destination: String,
    },
    /// Files that match, each at its own relative path.
    Glob(String),
}

/// One component that a request passes before the one that its trigger names.
#[derive(Debug, Clone)]
pub(crate) struct Middleware {
    pub(crate) source: PathBuf,
    pub(crate) inherit: Inherit,
}

/// One dependency of a component: a leaf of its star.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    /// `package:name/interface@version`, `package:name[@version]` or a plain name.
    pub(crate) name: String,
    pub(crate) source: PathBuf,
    pub(crate) export: Option<String>,
    pub(crate) inherit: Inherit,
}

/// What a leaf may use of what its root was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inherit {
    All,
    Some(BTreeSet<String>),
}

/// How a component is built.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) commands: Vec<String>,
    pub(crate) workdir: Option<PathBuf>,
    /// Globs of the files that it reads, from `workdir`.
    pub(crate) watch: Vec<String>,
}

/// A request that the host sends to a component every so often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) path: String,
    pub(crate) every: Duration,
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub(crate) struct ManifestError {
    path: PathBuf,
    message: String,
}

impl Manifest {
    /// Reads and checks the manifest at `path` (a file, or a folder with a `spin.toml`), as
    /// `profile` changes it.
    pub(crate) fn load(path: &Path, profile: Option<&str>) -> Result<Self, ManifestError> {
        let path = if path.is_dir() {
            path.join("spin.toml")
        } else {
            path.to_owned()
        };
        let error = |message: String| ManifestError {
            path: path.clone(),
            message,
        };
        let length = std::fs::metadata(&path)
            .map_err(|e| error(e.to_string()))?
            .len();
        if length > MANIFEST_BYTES_MAX {
            return Err(error(format!(
                "has {length} bytes; at most {MANIFEST_BYTES_MAX} are read"
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| error(e.to_string()))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::parse(&text, &folder, profile).map_err(error)
    }

    /// Reads and checks the text of a manifest.
    pub(crate) fn parse(text: &str, folder: &Path, profile: Option<&str>) -> Result<Self, String> {
        let document: schema::Document =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        Self::check(document, folder, profile).map_err(|mistake| mistake.explain(text))
    }

    fn check(
        mut document: schema::Document,
        folder: &Path,
        profile: Option<&str>,
    ) -> Result<Self, Mistake> {
        if document.spin_manifest_version != 2 {
            return Err(Mistake::at(
                "spin_manifest_version",
                format!("is {}, expected 2", document.spin_manifest_version),
            ));
        }
        let base = document.application.trigger.http.and_then(|http| http.base);
        if let Some(base) = base.filter(|base| base != "/") {
            let message = format!("is {base:?}; put it before each [[trigger.http]]'s `route`");
            let mistake = Mistake::at("base", message).below("http").below("trigger");
            return Err(mistake.below("application"));
        }
        if let Some(profile) = profile {
            normal::apply_profile(&mut document.component, profile)?;
        }
        normal::name_inline_components(&mut document.trigger.http, &mut document.component);
        let variables = check::check_variables(document.variables)?;
        let mut components = BTreeMap::new();
        for (id, component) in &document.component {
            let checked = check::check_component(id, component, &document.component, folder)
                .and_then(|checked| {
                    check::check_templates(&checked, &variables)?;
                    Ok(checked)
                })
                .map_err(|mistake| mistake.below(id).below("component"))?;
            components.insert(id.clone(), checked);
        }
        let routes = check::routes::check(
            document.trigger.http,
            &mut components,
            &document.component,
            folder,
        )
        .map_err(|mistake| mistake.below("trigger"))?;
        Ok(Self {
            folder: folder.to_owned(),
            name: document.application.name,
            version: document.application.version,
            description: document.application.description,
            authors: document.application.authors,
            variables,
            routes,
            components,
        })
    }

    /// Does a component ask models through the host?
    pub(crate) fn uses_models(&self) -> bool {
        let mut served = self.served().into_iter();
        served.any(|id| !self.components[id].ai_models.is_empty())
    }

    /// The components that answer requests: those named by a trigger.
    pub(crate) fn served(&self) -> BTreeSet<&str> {
        self.routes
            .iter()
            .filter_map(|route| match &route.answer {
                RouteAnswer::Component(id) => Some(id.as_str()),
                RouteAnswer::Static(_) => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
