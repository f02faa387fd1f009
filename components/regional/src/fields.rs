//! A JSON body's fields, read strictly: each by its name, and none left over.
//!
//! It stands between a body and a half's typed request. It does not know which fields there are.

use crate::ApiError;
use serde_json::{Map, Value};

/// The fields that were not read yet.
#[derive(Debug)]
pub struct Fields {
    /// The path of this object, such as `rate_limits.`; empty for the body.
    path: String,
    fields: Map<String, Value>,
}

impl Fields {
    /// The fields of a body. An empty body has none.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Ok(Self {
                path: String::new(),
                fields: Map::new(),
            });
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self {
                path: String::new(),
                fields,
            }),
            Ok(_) => Err(ApiError::not_json("The body must be a JSON object.")),
            Err(error) => Err(ApiError::not_json(format!(
                "The body is not JSON: {error}."
            ))),
        }
    }

    /// A text of some length, without control characters. Null is as good as absent.
    pub fn text(&mut self, name: &str, chars_max: usize) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text))
                if !text.trim().is_empty()
                    && text.chars().count() <= chars_max
                    && !text.chars().any(char::is_control) =>
            {
                Ok(Some(text))
            }
            Some(_) => Err(self.wrong(
                name,
                &format!("a text of 1 to {chars_max} characters, on one line"),
            )),
        }
    }

    /// Any value, for the caller to check. Null is as good as absent.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.take(name)
    }

    /// A whole number within bounds. Null is as good as absent.
    pub fn number(&mut self, name: &str, min: i64, max: i64) -> Result<Option<i64>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
                _ => Err(self.wrong(name, &format!("a whole number from {min} to {max}"))),
            },
        }
    }

    /// `true` or `false`. Null is as good as absent.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// An object of its own. Null is as good as absent.
    pub fn object(&mut self, name: &str) -> Result<Option<Fields>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self {
                path: format!("{}{name}.", self.path),
                fields,
            })),
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }

    /// Refuses what was not read, by its name.
    pub fn finish(self) -> Result<(), ApiError> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::unknown_parameter(&format!("{}{name}", self.path))),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &str) -> ApiError {
        let name = format!("{}{name}", self.path);
        ApiError::invalid(name.clone(), format!("'{name}' must be {expected}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_name_and_none_is_left_over() {
        let body = br#"{"name":"a b","n":5,"none":null,"deep":{"n":1,"other":2}}"#;
        let mut fields = Fields::parse(body).unwrap();
        assert_eq!(fields.text("name", 3), Ok(Some("a b".into())));
        assert_eq!(fields.number("n", 5, 5), Ok(Some(5)));
        assert_eq!(fields.text("none", 3), Ok(None));
        let mut deep = fields.object("deep").unwrap().unwrap();
        assert_eq!(deep.number("n", 0, 1), Ok(Some(1)));
        assert_eq!(
            deep.finish(),
            Err(ApiError::unknown_parameter("deep.other"))
        );
        assert_eq!(fields.finish(), Ok(()));
        assert_eq!(Fields::parse(b"").unwrap().finish(), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for body in [&b"{"[..], b"[]", b"1", b"\xff", b"{} {}"] {
            assert!(Fields::parse(body).is_err());
        }
        for value in ["1", "\"\"", "\" \"", "\"abcd\"", "[]", "\"a\\nb\""] {
            let body = format!("{{\"name\":{value}}}");
            let error = Fields::parse(body.as_bytes())
                .unwrap()
                .text("name", 3)
                .unwrap_err();
            let expected = "'name' must be a text of 1 to 3 characters, on one line.";
            assert_eq!(error, ApiError::invalid("name", expected), "{value}");
        }
        for value in ["-1", "2", "1.5", "\"1\"", "1e30"] {
            let body = format!("{{\"n\":{value}}}");
            assert!(
                Fields::parse(body.as_bytes())
                    .unwrap()
                    .number("n", 0, 1)
                    .is_err(),
                "{value}"
            );
        }
    }
}
