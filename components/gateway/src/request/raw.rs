//! An object's fields with their values unparsed, in their order.
//!
//! It does NOT know what a field means.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::ApiError;

/// Names of one object that are kept; a longer one is never valid, for some of its names are
/// unknown or given twice. Without a bound, looking for a name in a body of nothing but names
/// takes the square of their number.
const NAMES_MAX: usize = 256;

/// An object's fields that nobody has taken yet. A null counts as absent, as OpenAI's
/// clients send it; of a field that is given twice the last counts.
#[derive(Debug, Default)]
pub(super) struct RawFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> RawFields<'a> {
    pub(super) fn parse(object: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(object)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| *value)
    }

    pub(super) fn take_raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.remove(at).1)
    }

    /// The field's value, parsed.
    pub(super) fn take(&mut self, name: &'static str) -> Result<Option<Value>, ApiError> {
        self.take_raw(name).map(|raw| value(name, raw)).transpose()
    }

    pub(super) fn into_owned(self) -> Vec<(String, Box<RawValue>)> {
        let owned =
            |(name, value): (Cow<'_, str>, &RawValue)| (name.into_owned(), value.to_owned());
        self.0.into_iter().map(owned).collect()
    }
}

/// A value, parsed: deeper nesting than the parser takes is an error.
pub(super) fn value(path: &str, raw: &RawValue) -> Result<Value, ApiError> {
    serde_json::from_str(raw.get())
        .map_err(|_| ApiError::invalid(path, format!("'{path}' is nested too deeply.")))
}

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
                    && let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()?
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

        /// A copy only where an escape stands in the name.
        #[derive(serde::Deserialize)]
        #[serde(transparent)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        deserializer.deserialize_map(Fields)
    }
}
