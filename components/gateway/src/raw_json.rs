//! JSON that others wrote, taken apart without a tree: an object's fields and an array's
//! elements with their values unparsed, and a count of what a text would build.
//!
//! It does NOT know what a field means.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Names of one object that are kept; a longer one is never valid, for some of its names are
/// unknown or given twice. Without a bound, looking for a name in a body of nothing but names
/// takes the square of their number.
const NAMES_MAX: usize = 256;
/// Values of one that is parsed to a tree, which takes some hundred bytes for each: 1,024 biases
/// of tokens have 2,048, with their names 3,072.
const TREE_VALUES_MAX: usize = 4_096;
/// Where serde_json stops; other servers stop deeper.
const TREE_DEPTH_MAX: usize = 127;

/// What a JSON text would build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Values and names, at least.
    pub(crate) values: usize,
    /// Objects and arrays within each other.
    pub(crate) depth: usize,
}

impl Size {
    /// Counts in one pass over the text, which need not be valid, and builds nothing.
    pub(crate) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (mut values, mut depth, mut deepest) = (1, 0_usize, 0);
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => at = string_end(bytes, at),
                b'{' | b'[' => {
                    values += 1;
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                b',' | b':' => values += 1,
                _ => {}
            }
            at += 1;
        }
        Self {
            values,
            depth: deepest,
        }
    }

    fn fits_a_tree(self) -> bool {
        self.values <= TREE_VALUES_MAX && self.depth <= TREE_DEPTH_MAX
    }
}

/// The place of the quote that closes the string which `start` opens.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

/// A value as a tree. None where that would be a large one, or where its text has no value
/// (half a surrogate pair).
pub(crate) fn tree(raw: &RawValue) -> Option<Value> {
    let fits = Size::of(raw.get()).fits_a_tree();
    fits.then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// A string's text. None of any other value.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(raw.get()).ok()?;
    Some(text)
}

/// An object's fields that nobody has taken yet. A null counts as absent, as OpenAI's
/// clients send it; of a field that is given twice the last counts.
#[derive(Debug, Default)]
pub(crate) struct RawFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> RawFields<'a> {
    pub(crate) fn parse(object: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(object)
    }

    /// The fields of a value; none where it is no object.
    pub(crate) fn of(value: Option<&'a RawValue>) -> Self {
        let object = value.and_then(|value| Self::parse(value.get()).ok());
        object.unwrap_or_default()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| *value)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn into_owned(self) -> Vec<(String, Box<RawValue>)> {
        let owned =
            |(name, value): (Cow<'_, str>, &RawValue)| (name.into_owned(), value.to_owned());
        self.0.into_iter().map(owned).collect()
    }
}

/// The first elements of an array, at most `MAX`, and the number of all.
#[derive(Debug)]
pub(crate) struct Elements<'a, const MAX: usize> {
    pub(crate) first: Vec<&'a RawValue>,
    pub(crate) count: usize,
}

impl<'a, const MAX: usize> Elements<'a, MAX> {
    /// None where the value is no array.
    pub(crate) fn of(value: &'a RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }
}

/// A copy only where an escape stands in it.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for RawFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = RawFields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: RawFields<'de> = RawFields::default();
                let mut names = 0;
                while names < NAMES_MAX
                    && let Some((Text(name), value)) = map.next_entry::<Text<'de>, &RawValue>()?
                {
                    names += 1;
                    fields.0.retain(|(field, _)| *field != name);
                    if value.get() != "null" {
                        fields.0.push((name, value));
                    }
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for Elements<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<const MAX: usize>;

        impl<'de, const MAX: usize> Visitor<'de> for All<MAX> {
            type Value = Elements<'de, MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut first = Vec::new();
                while first.len() < MAX
                    && let Some(value) = seq.next_element()?
                {
                    first.push(value);
                }
                let mut count = first.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Elements { first, count })
            }
        }

        deserializer.deserialize_seq(All::<MAX>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_would_build_is_counted() {
        for (text, values, depth) in [
            ("", 1, 0),
            ("7", 1, 0),
            ("[]", 2, 1),
            (r#"{"a": 1, "b": [2, 3]}"#, 7, 2),
            (r#""[[[,,,\"[[\\""#, 1, 0),
            (r#"["a\"]", "{\\", {}]"#, 5, 2),
            ("]]][", 2, 1),
            ("\"", 1, 0),
            ("\"\\", 1, 0),
        ] {
            assert_eq!(Size::of(text), Size { values, depth }, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Size::of(&deep).depth, 100_000);
    }

    #[test]
    fn no_more_is_kept_than_fits() {
        let many = format!("[{}0]", "0,".repeat(9_999));
        let raw: &RawValue = serde_json::from_str(&many).unwrap();
        let elements = Elements::<7>::of(raw).unwrap();
        assert_eq!((elements.first.len(), elements.count), (7, 10_000));
        assert!(tree(raw).is_none());
        let raw: &RawValue = serde_json::from_str("{}").unwrap();
        assert!(Elements::<7>::of(raw).is_none());
        assert_eq!(tree(raw), Some(Value::Object(serde_json::Map::new())));
    }
}
