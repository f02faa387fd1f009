//! From a locked application to a `spin.toml` and the files beside it: what was pulled is
//! served like what was written here.
//!
//! Invariant: nothing of a locked application becomes a path, a command or a key of the
//! manifest before it was looked at. It does NOT touch a file.

use super::RegistryError;
use super::digest::Digest;
use super::limits::Budget;
use super::lock::EDGE;
use super::locked::{
    CHAINING, Content, LockedApp, LockedComponent, LockedDependency, LockedInherit, LockedTrigger,
    MIDDLEWARE, Source,
};
use super::toml::{line, open};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Component as Part, Path, PathBuf};

/// The features of the format that this host knows to look at.
const UNDERSTOOD: [&str; 2] = ["host_requirements", "component_host_requirements"];
/// What a trigger may say besides its component.
const TRIGGER_KEYS: [&str; 3] = ["route", "static_response", "executor"];

/// What lies in the application's folder.
#[derive(Debug)]
pub(super) struct Plan {
    /// The text of `spin.toml`; its sources are blobs of the cache.
    pub(super) manifest: String,
    pub(super) files: Vec<File>,
}

#[derive(Debug)]
pub(super) struct File {
    /// From the application's folder, without a step upwards.
    pub(super) place: PathBuf,
    pub(super) content: FileContent,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileContent {
    Inline(Vec<u8>),
    Blob(Digest),
}

fn refused(what: impl std::fmt::Display) -> RegistryError {
    RegistryError::Refused(format!("the locked application: {what}"))
}

impl Plan {
    /// Reads a locked application (JSON). `blobs` is the folder of the blobs, from the
    /// application's.
    pub(super) fn read(json: &[u8], blobs: &str) -> Result<Self, RegistryError> {
        let locked: LockedApp = serde_json::from_slice(json).map_err(refused)?;
        understand(&locked)?;
        let mut files = Vec::new();
        let mut budget = Budget::new();
        for component in &locked.components {
            if !is_name(&component.id) {
                return Err(refused(format!("{:?} is no component's id", component.id)));
            }
            for file in &component.files {
                // The bytes of a blob are counted where it is copied.
                budget.take(0)?;
                if !is_below(&file.path) {
                    let what = format!("{:?} leaves the component's files", file.path);
                    return Err(refused(what));
                }
                files.push(File {
                    place: Path::new("files").join(&component.id).join(&file.path),
                    content: content(&file.content)?,
                });
            }
        }
        let manifest = Text { blobs }.manifest(&locked)?;
        Ok(Self { manifest, files })
    }
}

/// Refuses what needs more than this host has.
fn understand(locked: &LockedApp) -> Result<(), RegistryError> {
    if locked.spin_lock_version > 1 {
        let version = locked.spin_lock_version;
        return Err(refused(format!("its version is {version}, not 0 or 1")));
    }
    let mut unknown = locked.must_understand.iter();
    if let Some(unknown) = unknown.find(|name| !UNDERSTOOD.contains(&name.as_str())) {
        return Err(refused(format!(
            "it has {unknown:?}, which is not known here"
        )));
    }
    let is_needed = |(key, value): &(&String, &Value)| {
        *value != "optional" && ![CHAINING, MIDDLEWARE].contains(&key.as_str())
    };
    let of_components = locked.components.iter().flat_map(|c| &c.host_requirements);
    let mut all = locked.host_requirements.iter().chain(of_components);
    match all.find(is_needed) {
        Some((key, _)) => Err(refused(format!("it needs {key:?}, which is not served"))),
        None => Ok(()),
    }
}

/// Is it one name, and no path?
fn is_name(id: &str) -> bool {
    is_below(id) && !id.contains('/')
}

/// Is it a relative path that stays where it begins, written as such?
fn is_below(path: &str) -> bool {
    let is_plain = |part| matches!(part, Part::Normal(_));
    !path.is_empty() && !path.contains('\0') && Path::new(path).components().all(is_plain)
}

fn content(content: &Content) -> Result<FileContent, RegistryError> {
    match &content.inline {
        Some(inline) => BASE64_STANDARD
            .decode(inline)
            .map(FileContent::Inline)
            .map_err(|error| refused(format!("a file's base64: {error}"))),
        None => digest(content).map(FileContent::Blob),
    }
}

fn digest(content: &Content) -> Result<Digest, RegistryError> {
    let digest = content.digest.as_deref().and_then(Digest::parse);
    digest.ok_or_else(|| refused("a part of it has no digest"))
}

/// The keys of `value` that are strings, or lists of strings.
fn strings(key: &str, value: &Value) -> Result<Value, RegistryError> {
    let all: Vec<String> = serde_json::from_value(value.clone())
        .map_err(|error| refused(format!("{key}: {error}")))?;
    Ok(json!(all))
}

/// Writes the manifest.
struct Text<'a> {
    blobs: &'a str,
}

impl Text<'_> {
    fn manifest(&self, locked: &LockedApp) -> Result<String, RegistryError> {
        let mut out = String::new();
        line(&mut out, "spin_manifest_version", &json!(2));
        open(&mut out, &["application"]);
        for key in ["name", "version", "description"] {
            if let Some(text) = locked.metadata.get(key).and_then(Value::as_str) {
                line(&mut out, key, &json!(text));
            }
        }
        open(&mut out, &["variables"]);
        for (name, variable) in &locked.variables {
            let mut table = json!({ "secret": variable.secret });
            match &variable.default {
                Some(default) => table["default"] = json!(default),
                None => table["required"] = json!(true),
            }
            line(&mut out, name, &table);
        }
        for trigger in &locked.triggers {
            let table = self.trigger(trigger, &locked.components)?;
            out.push_str("[[trigger.http]]\n");
            for (key, value) in &table {
                line(&mut out, key, value);
            }
        }
        for component in &locked.components {
            open(&mut out, &["component", &component.id]);
            for (key, value) in &self.component(component)? {
                line(&mut out, key, value);
            }
        }
        Ok(out)
    }

    /// A component here is a name: one that is written in its trigger could bring a build's
    /// commands and any folder of this machine.
    fn trigger(
        &self,
        trigger: &LockedTrigger,
        components: &[LockedComponent],
    ) -> Result<Map<String, Value>, RegistryError> {
        let kind = &trigger.trigger_type;
        let Some(config) = trigger
            .trigger_config
            .as_object()
            .filter(|_| kind == "http")
        else {
            return Err(refused(format!("a trigger of type {kind:?} is not served")));
        };
        let mut table = Map::new();
        for (key, value) in config {
            match (key.as_str(), value) {
                // This one is not written where it has no meaning.
                (_, Value::Null) => {}
                ("component", Value::String(_)) => drop(table.insert(key.clone(), value.clone())),
                (known, _) if TRIGGER_KEYS.contains(&known) => {
                    table.insert(key.clone(), value.clone());
                }
                _ => return Err(refused(format!("a trigger's {key:?} is not served"))),
            }
        }
        let id = config.get("component").and_then(Value::as_str);
        let component = components.iter().find(|c| Some(&*c.id) == id);
        let at_component = component.and_then(|c| c.trigger_dependencies.get(MIDDLEWARE));
        let before = trigger
            .trigger_dependencies
            .get(MIDDLEWARE)
            .or(at_component);
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            let all: Vec<Value> = before
                .iter()
                .map(|one| self.dependency(one))
                .collect::<Result<_, _>>()?;
            table.insert("dependencies".to_owned(), json!({ MIDDLEWARE: all }));
        }
        Ok(table)
    }

    fn component(&self, component: &LockedComponent) -> Result<Map<String, Value>, RegistryError> {
        let mut table = Map::new();
        table.insert("source".to_owned(), self.source(&component.source)?);
        for (key, metadata) in [
            ("allowed_outbound_hosts", "allowed_outbound_hosts"),
            ("allowed_http_hosts", "allowed_http_hosts"),
            ("key_value_stores", "key_value_stores"),
            ("sqlite_databases", "databases"),
            ("ai_models", "ai_models"),
        ] {
            if let Some(value) = component.metadata.get(metadata) {
                table.insert(key.to_owned(), strings(key, value)?);
            }
        }
        table.insert("environment".to_owned(), json!(component.env));
        table.insert("variables".to_owned(), json!(component.config));
        if !component.files.is_empty() {
            let source = format!("files/{}", component.id);
            let files = json!([{ "source": source, "destination": "/" }]);
            table.insert("files".to_owned(), files);
        }
        let mut dependencies = BTreeMap::new();
        for (name, one) in &component.dependencies {
            dependencies.insert(name, self.dependency(one)?);
        }
        table.insert("dependencies".to_owned(), json!(dependencies));
        if let Some(own) = component.metadata.get(EDGE) {
            table.insert("tool".to_owned(), json!({ EDGE: own }));
        }
        Ok(table)
    }

    fn source(&self, source: &Source) -> Result<Value, RegistryError> {
        let name = digest(&source.content)?.name();
        Ok(json!(format!("{}/{name}", self.blobs)))
    }

    fn dependency(&self, one: &LockedDependency) -> Result<Value, RegistryError> {
        let mut table = json!({
            "path": self.source(&one.source)?,
            "inherit_configuration": match &one.inherit {
                LockedInherit::All => json!(true),
                LockedInherit::Some(names) => json!(names),
            },
        });
        if let Some(export) = &one.export {
            table["export"] = json!(export);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests;
