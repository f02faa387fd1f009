//! The fields of one JSON object, taken one by one; what is left over at the end is
//! refused by its name.
//! Knows nothing of what a field means.

use serde_json::{Map, Value as Json};

use super::super::error::Invalid;

/// An object's fields that nobody has taken yet. A `null` counts as absent, as OpenAI's
/// clients send it.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where the object stands, with a point at the end; empty for the body itself.
    path: String,
    rest: Map<String, Json>,
}

/// A value that is malformed or out of range.
pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Invalid {
    Invalid {
        param: Some(param.into()),
        message: message.into(),
        code: Some("invalid_value"),
    }
}

/// A field without which the request means nothing.
pub(super) fn missing(name: &str) -> Invalid {
    Invalid {
        param: Some(name.to_owned()),
        message: format!("Missing required parameter: '{name}'."),
        code: Some("missing_required_parameter"),
    }
}

/// A field, or a value of it, that this engine does not carry out.
pub(super) fn unsupported(param: &str, message: String) -> Invalid {
    Invalid {
        param: Some(param.to_owned()),
        message,
        code: Some("unsupported_parameter"),
    }
}

/// A value in an error: enough of it to be known again.
fn shown(value: &Json) -> String {
    const CHARS_MAX: usize = 100;
    value.to_string().chars().take(CHARS_MAX).collect()
}

impl Fields {
    pub(super) fn new(rest: Map<String, Json>) -> Self {
        Self {
            path: String::new(),
            rest,
        }
    }

    pub(super) fn inside(path: &str, rest: Map<String, Json>) -> Self {
        Self {
            path: format!("{path}."),
            rest,
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        self.rest.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn skip(&mut self, name: &str) {
        self.rest.remove(name);
    }

    /// Refuses the field if it is there.
    pub(super) fn refuse(&mut self, name: &str) -> Result<(), Invalid> {
        match self.take(name) {
            None => Ok(()),
            Some(_) => Err(self.unknown(name)),
        }
    }

    /// Refuses any value of the field but these, which change nothing.
    pub(super) fn only(&mut self, name: &str, allowed: &[Json]) -> Result<(), Invalid> {
        match self.take(name) {
            Some(value) if !allowed.contains(&value) => {
                let allowed: Vec<String> = allowed.iter().map(Json::to_string).collect();
                let param = format!("{}{name}", self.path);
                let message = format!(
                    "'{param}' = {} is not supported; only {}.",
                    shown(&value),
                    allowed.join(" or ")
                );
                Err(unsupported(&param, message))
            }
            _ => Ok(()),
        }
    }

    /// Refuses whatever nobody took.
    pub(super) fn finish(self) -> Result<(), Invalid> {
        let left = self.rest.iter().find(|(_, value)| !value.is_null());
        left.map_or(Ok(()), |(name, _)| Err(self.unknown(name)))
    }

    fn unknown(&self, name: &str) -> Invalid {
        // A name of any length may come from outside.
        let param: String = format!("{}{name}", self.path).chars().take(100).collect();
        let message = format!("Unsupported parameter: '{param}'.");
        unsupported(&param, message)
    }

    fn wrong(&self, name: &str, must: &str) -> Invalid {
        let param = format!("{}{name}", self.path);
        let message = format!("'{param}' must be {must}.");
        invalid(param, message)
    }

    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, Invalid> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    pub(super) fn bool(&mut self, name: &str) -> Result<Option<bool>, Invalid> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    pub(super) fn integer(
        &mut self,
        name: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, Invalid> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_u64().filter(|n| (least..=most).contains(n)) {
            Some(n) => Ok(Some(n)),
            None if most == u64::MAX => {
                Err(self.wrong(name, &format!("an integer of at least {least}")))
            }
            None => Err(self.wrong(name, &format!("an integer from {least} to {most}"))),
        }
    }

    pub(super) fn signed(&mut self, name: &str) -> Result<Option<i64>, Invalid> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        value
            .as_i64()
            .map(Some)
            .ok_or_else(|| self.wrong(name, "a 64-bit integer"))
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        least: f64,
        most: f64,
    ) -> Result<Option<f32>, Invalid> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        #[expect(clippy::cast_possible_truncation, reason = "small ranges")]
        match value.as_f64().filter(|n| (least..=most).contains(n)) {
            Some(n) => Ok(Some(n as f32)),
            None => Err(self.wrong(name, &format!("a number from {least} to {most}"))),
        }
    }

    /// A list; absent is empty.
    pub(super) fn list(&mut self, name: &str, most: usize) -> Result<Vec<Json>, Invalid> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Json::Array(list)) if list.len() <= most => Ok(list),
            Some(_) => Err(self.wrong(name, &format!("a list of at most {most}"))),
        }
    }
}
