//! The fields that the edge sets and no client: whose a request is, how urgent, and
//! until when. `cache_salt` and `priority` are vLLM's names.
//! Knows nothing of what they lead to.

use std::time::Duration;

use super::super::error::Invalid;
use super::fields::{Fields, invalid};
use crate::chat::scheduling::Scheduling;

/// Bytes of a salt.
const SALT_BYTES_MAX: usize = 256;
/// A day: a longer deadline is none.
const DEADLINE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Takes the fields.
///
/// # Errors
/// Names the one that is malformed or out of range.
pub(super) fn parse(fields: &mut Fields) -> Result<Scheduling, Invalid> {
    let cache_salt = fields.string("cache_salt")?;
    if cache_salt
        .as_ref()
        .is_some_and(|salt| salt.is_empty() || salt.len() > SALT_BYTES_MAX)
    {
        let message = format!("'cache_salt' must be a string of 1 to {SALT_BYTES_MAX} bytes.");
        return Err(invalid("cache_salt", message));
    }
    let shared = fields.integer("cache_shared_messages", 0, u64::from(u32::MAX))?;
    let priority = fields.signed("priority")?.map(i32::try_from);
    let priority = priority
        .transpose()
        .map_err(|_| invalid("priority", "'priority' must be a 32-bit integer."))?;
    Ok(Scheduling {
        cache_salt,
        shared_messages: shared.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        priority: priority.unwrap_or(0),
        deadline: fields
            .integer("deadline_ms", 1, DEADLINE_MS_MAX)?
            .map(Duration::from_millis),
    })
}
