//! What `auth` and `directory` say to each other on the private route: the JSON of
//! `POST /internal/keys/verify`.
//!
//! It is a border type of both and known to no one else. A field that is not known is ignored, so
//! that the two can be of different versions for the time of an upgrade.

use serde::{Deserialize, Serialize};

/// The private route.
pub const VERIFY_PATH: &str = "/internal/keys/verify";

/// The question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// SHA-256 of the key in lower-case hexadecimal.
    pub key_sha256: String,
}

/// The answer with status 200. Status 404 is "no such key", 410 is "its time is over".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedKey {
    /// Whose key it is.
    pub principal: Principal,
    /// When the key ends, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// As `principal` in wit/types.wit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The organisation.
    pub organization_id: String,
    /// The project.
    pub project_id: String,
    /// The person, if the key belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The key's id, which is no secret.
    pub key_id: String,
    /// What the key may do.
    pub roles: Vec<Role>,
    /// The key's own ceilings.
    #[serde(default)]
    pub key_limits: Limits,
    /// The project's ceilings.
    #[serde(default)]
    pub project_limits: Limits,
    /// The project lets its models call the platform's own tools.
    #[serde(default = "allowed")]
    pub platform_tools: bool,
}

/// A directory of an older version says nothing of tools.
fn allowed() -> bool {
    true
}

/// As `role` in wit/types.wit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Manages projects and keys.
    Owner,
    /// Calls models.
    Member,
    /// Reads usage.
    Reader,
}

/// As `limits` in wit/types.wit: none is the platform's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_committed_json() {
        let golden = include_str!("../golden/verified-key.json");
        let full = VerifiedKey {
            principal: Principal {
                organization_id: "org_1".into(),
                project_id: "proj_1".into(),
                user_id: Some("user_1".into()),
                key_id: "key_1".into(),
                roles: vec![Role::Owner, Role::Member, Role::Reader],
                key_limits: Limits {
                    requests_per_minute: Some(60),
                    tokens_per_minute: None,
                },
                project_limits: Limits::default(),
                platform_tools: true,
            },
            expires_at_ms: Some(1_800_000_000_000),
        };
        assert_eq!(serde_json::from_str::<VerifiedKey>(golden).unwrap(), full);
        assert_eq!(
            serde_json::to_string_pretty(&full).unwrap(),
            golden.trim_end()
        );
    }
}
