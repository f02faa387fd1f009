//! The key that a server may ask for: `Authorization: Bearer KEY`.
//! Knows no route and no tenant: everybody who has the key may ask for everything.

use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key consists of visible ASCII characters")]
pub struct NotAKey;

/// The digest of a key. A comparison of digests takes the same time whatever a wrong key has
/// in common with the right one.
#[derive(Clone, Debug)]
pub struct ApiKey(Vec<u8>);

impl ApiKey {
    /// # Errors
    /// A key that no header field could carry.
    pub fn new(key: &str) -> Result<Self, NotAKey> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotAKey);
        }
        Ok(Self(digest(key.as_bytes())))
    }

    /// Is this key, and no other, in the one `Authorization` field of a request?
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return false;
        };
        let Some((scheme, key)) = split_at_blank(field.as_bytes()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer") && digest(key.trim_ascii()) == self.0
    }
}

fn split_at_blank(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = field.iter().position(|byte| *byte == b' ')?;
    Some(field.split_at(blank))
}

fn digest(key: &[u8]) -> Vec<u8> {
    Sha256::digest(key).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::AUTHORIZATION, field.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_key_alone_is_taken() {
        let key = ApiKey::new("k-123").unwrap();
        for right in ["Bearer k-123", "bearer k-123", "Bearer  k-123 "] {
            assert!(key.is_in(&headers(&[right])), "{right}");
        }
        let wrong: [&[&str]; 9] = [
            &[],
            &[""],
            &["k-123"],
            &["Bearer"],
            &["Bearer "],
            &["Bearer k-12"],
            &["Bearer k-1234"],
            &["Basic k-123"],
            &["Bearer k-123", "Bearer k-123"],
        ];
        for wrong in wrong {
            assert!(!key.is_in(&headers(wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_that_no_field_can_carry_is_none() {
        for wrong in ["", "a b", "a\n", "ä"] {
            assert_eq!(ApiKey::new(wrong).err(), Some(NotAKey), "{wrong:?}");
        }
    }
}
