//! What the host lends to components: one file a capability.
//!
//! Each checks the component's grant and then does the work; none knows another component.

pub(crate) mod files;
pub(crate) mod key_value;
pub(crate) mod llm;
pub(crate) mod outbound;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod sqlite;
pub(crate) mod stdio;
pub(crate) mod variables;
