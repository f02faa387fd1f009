//! Who asks, as `auth` established it: the part that a half decides by.
//!
//! It does not know how it was established.

/// What a key may do, as in wit/types.wit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Manages the organisation's projects and keys.
    Owner,
    /// Calls models.
    Member,
    /// Reads usage.
    Reader,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The organisation.
    pub organization_id: String,
    /// The project.
    pub project_id: String,
    /// The person, if the key belongs to one.
    pub user_id: Option<String>,
    /// The key's id, which is no secret.
    pub key_id: String,
    /// What the key may do.
    pub roles: Vec<Role>,
}

impl Principal {
    /// Has the key this role?
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
