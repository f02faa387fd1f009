//! `spin.toml` as it is written: the shapes that serde reads, each refusing a key that it
//! does not know.
//!
//! Syntax only. What the values mean, and whether they fit together, is decided in
//! `manifest.rs`; nothing else sees these types.

use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, de};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) spin_manifest_version: i64,
    pub(super) application: Application,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, Variable>,
    #[serde(default)]
    pub(super) trigger: Triggers,
    #[serde(default)]
    pub(super) component: BTreeMap<String, Component>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Application {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) authors: Vec<String>,
    #[serde(default, rename = "targets")]
    pub(super) _targets: Vec<toml::Value>,
    #[serde(default)]
    pub(super) trigger: GlobalTriggers,
    #[serde(default, rename = "tool")]
    pub(super) _tool: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GlobalTriggers {
    pub(super) http: Option<GlobalHttp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GlobalHttp {
    pub(super) base: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    #[serde(default, rename = "description")]
    pub(super) _description: Option<String>,
    #[serde(default)]
    pub(super) required: bool,
    pub(super) default: Option<String>,
    #[serde(default)]
    pub(super) secret: bool,
}

/// Only HTTP is served; any other trigger is an unknown field, and so refused by name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Triggers {
    #[serde(default)]
    pub(super) http: Vec<HttpTrigger>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTrigger {
    pub(super) id: Option<String>,
    pub(super) route: TextOr<PrivateRoute>,
    /// The name of a component, or a component written here.
    pub(super) component: Option<TextOr<Box<Component>>>,
    pub(super) static_response: Option<StaticResponse>,
    pub(super) executor: Option<Executor>,
    #[serde(default)]
    pub(super) dependencies: TriggerDependencies,
}

/// What stands around the component of one trigger.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TriggerDependencies {
    /// The outermost first.
    #[serde(default)]
    pub(super) middleware: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StaticResponse {
    pub(super) status_code: Option<u16>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrivateRoute {
    pub(super) private: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Executor {
    #[serde(rename = "type")]
    pub(super) kind: ExecutorKind,
}

/// The Wagi executor is not served. `spin` is the old name of `http`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExecutorKind {
    #[serde(alias = "spin")]
    Http,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Component {
    #[serde(default, rename = "description")]
    pub(super) _description: String,
    pub(super) source: TextOr<RemoteSource>,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) files: Vec<TextOr<FilesMount>>,
    #[serde(default)]
    pub(super) exclude_files: Vec<String>,
    #[serde(default)]
    pub(super) allowed_outbound_hosts: Vec<String>,
    /// Deprecated; still read, as by Spin.
    #[serde(default)]
    pub(super) allowed_http_hosts: Vec<String>,
    #[serde(default)]
    pub(super) key_value_stores: Vec<String>,
    #[serde(default)]
    pub(super) sqlite_databases: Vec<String>,
    #[serde(default)]
    pub(super) ai_models: Vec<String>,
    #[serde(default, rename = "targets")]
    pub(super) _targets: Vec<toml::Value>,
    pub(super) build: Option<Build>,
    #[serde(default)]
    pub(super) tool: BTreeMap<String, toml::Value>,
    #[serde(default)]
    pub(super) dependencies_inherit_configuration: Option<bool>,
    #[serde(default)]
    pub(super) dependencies: BTreeMap<String, TextOr<Dependency>>,
    #[serde(default)]
    pub(super) profile: BTreeMap<String, Profile>,
}

/// What `--profile NAME` changes in a component.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) source: Option<TextOr<RemoteSource>>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) dependencies: BTreeMap<String, TextOr<Dependency>>,
    pub(super) build: Option<ProfileBuild>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileBuild {
    pub(super) command: OneOrMany,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoteSource {
    pub(super) url: Option<String>,
    #[serde(rename = "digest")]
    pub(super) _digest: Option<String>,
    #[serde(rename = "registry")]
    pub(super) _registry: Option<String>,
    pub(super) package: Option<String>,
    #[serde(rename = "version")]
    pub(super) _version: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilesMount {
    pub(super) source: String,
    pub(super) destination: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    pub(super) command: OneOrMany,
    pub(super) workdir: Option<String>,
    #[serde(default)]
    pub(super) watch: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dependency {
    pub(super) component: Option<String>,
    pub(super) path: Option<String>,
    pub(super) export: Option<String>,
    pub(super) inherit_configuration: Option<Inherit>,
    pub(super) version: Option<String>,
    #[serde(rename = "registry")]
    pub(super) _registry: Option<String>,
    #[serde(rename = "package")]
    pub(super) _package: Option<String>,
    pub(super) url: Option<String>,
    #[serde(rename = "digest")]
    pub(super) _digest: Option<String>,
}

/// This host's own keys, under `[component.ID.tool.edge]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EdgeTool {
    pub(super) check: Option<String>,
    pub(super) first_run: Option<String>,
    #[serde(default)]
    pub(super) ticks: Vec<Tick>,
    #[serde(default)]
    pub(super) optional_build: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tick {
    pub(super) path: String,
    pub(super) every_s: u64,
}

/// A plain string, or a table of the shape `T`.
#[derive(Debug, Clone)]
pub(super) enum TextOr<T> {
    Text(String),
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = TextOr<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a table")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// One string, or a list of strings.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = seq.next_element()? {
                    all.push(text);
                }
                Ok(OneOrMany(all))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// `inherit_configuration`: all, none, or the named capabilities.
#[derive(Debug, Clone)]
pub(super) enum Inherit {
    All(bool),
    Some(Vec<String>),
}

impl<'de> Deserialize<'de> for Inherit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Inherit;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of capability names")
            }
            fn visit_bool<E: Error>(self, all: bool) -> Result<Self::Value, E> {
                Ok(Inherit::All(all))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Inherit::Some(names))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
