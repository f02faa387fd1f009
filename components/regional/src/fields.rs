//! A JSON body's fields, read strictly: each by its name, and none left over.
//!
//! It stands between a body and a half's typed request. It does not know which fields there are.

use crate::ApiError;
use serde_json::{Map, Value};

/// Values and names of one body, at most. A small value takes a hundred times its bytes in memory.
const NODES_MAX: usize = 8_192;

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
        if !is_small(body) {
            let message = format!("The body has more than {NODES_MAX} values.");
            return Err(ApiError::not_json(message));
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

/// Each value but the first, and each name, follows one of four characters. Those within a text
/// are not counted.
fn is_small(body: &[u8]) -> bool {
    let (mut nodes, mut in_text, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => nodes += 1,
            _ => {}
        }
    }
    nodes <= NODES_MAX
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

    #[test]
    fn a_body_of_many_small_values_is_refused_before_it_is_read() {
        let of = |value: &str, times: usize| {
            let values = vec![value; times].join(",");
            Fields::parse(format!("{{\"x\":[{values}]}}").as_bytes()).is_ok()
        };
        for (value, nodes) in [("0", 1), ("{\"\":0}", 3), ("[0]", 2), ("\"\"", 1)] {
            assert!(of(value, NODES_MAX / nodes - 2), "{value}");
            assert!(!of(value, NODES_MAX / nodes + 1), "{value}");
        }
        // Text is not counted, however it is written.
        let text = format!("\"{}\\\"[{{\"", ",:[{".repeat(NODES_MAX));
        assert!(of(&text, 1));
    }
}
