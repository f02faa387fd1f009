//! The locked application: what of `spin.toml` goes into an artifact, in Spin's shapes
//! (`spin-locked-app`, version 1).
//!
//! Wire types only; they do NOT decide anything.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A feature that a host must have, or refuse the application.
pub(super) const CHAINING: &str = "local_service_chaining";
pub(super) const MIDDLEWARE: &str = "middleware";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockedApp {
    pub(super) spin_lock_version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) must_understand: Vec<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) host_requirements: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) variables: BTreeMap<String, LockedVariable>,
    pub(super) triggers: Vec<LockedTrigger>,
    pub(super) components: Vec<LockedComponent>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockedVariable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) secret: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockedTrigger {
    pub(super) id: String,
    pub(super) trigger_type: String,
    pub(super) trigger_config: Value,
    /// Where others write middleware; here it stands at the component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) trigger_dependencies: BTreeMap<String, Vec<LockedDependency>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockedComponent {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) source: Source,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<ContentPath>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) config: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) dependencies: BTreeMap<String, LockedDependency>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) trigger_dependencies: BTreeMap<String, Vec<LockedDependency>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) host_requirements: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockedDependency {
    pub(super) source: Source,
    pub(super) export: Option<String>,
    #[serde(default)]
    pub(super) inherit: LockedInherit,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum LockedInherit {
    All,
    Some(Vec<String>),
}

impl Default for LockedInherit {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) content_type: String,
    #[serde(flatten)]
    pub(super) content: Content,
}

/// Bytes: here in base64, or the layer of this digest.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) inline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ContentPath {
    #[serde(flatten)]
    pub(super) content: Content,
    /// Below the component's root.
    pub(super) path: String,
}
