//! New ids and keys, from the host's randomness.
//!
//! It stands under bootstrap and the routes that create. It does not know any table.

use api_key::key::{Key, random_word};
use regional::ApiError;

/// 24 characters of base 62 are 142 bits: no two ids are the same.
const ID_CHARS: usize = 24;

/// Where random bytes come from.
pub type Random = fn(&mut [u8]) -> Result<(), ApiError>;

/// A new id such as `key_…`.
pub fn id(prefix: &str, random: Random) -> Result<String, ApiError> {
    Ok(format!("{prefix}_{}", random_word(ID_CHARS, random)?))
}

/// A new key.
pub fn key(random: Random) -> Result<Key, ApiError> {
    Key::make(random)
}
