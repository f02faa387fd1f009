//! The tools by name: what the model is told of them, and which one a call means.
//!
//! It stands between the border and the tools. It parses a call's arguments once, strictly: a key
//! that the schema does not name is refused by name. It knows no model and no conversation.

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::{calculator, clock};

/// Longer arguments are not parsed; both tools need a fraction of it.
pub const ARGUMENTS_BYTES_MAX: usize = 4096;

/// A function as it is offered to the model. `parameters` is a JSON Schema.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub description: &'static str,
    pub parameters: &'static str,
}

/// Why a call has no answer. The words are for the model, and repeat no more of the arguments than
/// a name or a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No tool of that name.
    Unknown,
    /// The arguments are not what the schema asks for.
    InvalidArguments(String),
    /// The tool ran and failed.
    Failed(String),
}

/// All tools, in the order in which they are offered.
pub fn definitions() -> [Definition; 2] {
    [calculator::DEFINITION, clock::DEFINITION]
}

/// Runs one call. `now` is the instant that the clock tells.
pub fn call(name: &str, arguments: &str, now: Timestamp) -> Result<String, Error> {
    match name {
        calculator::NAME => calculator::answer(&parse(arguments)?),
        clock::NAME => clock::answer(&parse(arguments)?, now),
        _ => Err(Error::Unknown),
    }
}

/// Models write no arguments as `{}`, and some as nothing at all.
fn parse<T: DeserializeOwned>(arguments: &str) -> Result<T, Error> {
    if arguments.len() > ARGUMENTS_BYTES_MAX {
        return Err(Error::InvalidArguments(format!(
            "the arguments are longer than {ARGUMENTS_BYTES_MAX} bytes"
        )));
    }
    let arguments = if arguments.trim().is_empty() {
        "{}"
    } else {
        arguments
    };
    // Serde would take a list for a struct as well.
    if !arguments.trim_start().starts_with('{') {
        return Err(Error::InvalidArguments(
            "the arguments must be a JSON object".into(),
        ));
    }
    serde_json::from_str(arguments)
        .map_err(|error| Error::InvalidArguments(format!("the arguments are not valid: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, arguments: &str, expected: Result<&str, Error>) {
        let now = "2026-03-01T11:00:00Z".parse().unwrap();
        assert_eq!(
            call(name, arguments, now),
            expected.map(str::to_owned),
            "{name} {arguments}"
        );
    }

    fn invalid(words: &str) -> Result<&'static str, Error> {
        Err(Error::InvalidArguments(format!(
            "the arguments are not valid: {words}"
        )))
    }

    #[test]
    fn calls_by_name() {
        check("calculator", r#"{"expression": "12*7"}"#, Ok("84"));
        check("clock", "{}", Ok("2026-03-01T11:00:00Z"));
        check("clock", "", Ok("2026-03-01T11:00:00Z"));
        check("shell", "{}", Err(Error::Unknown));
    }

    #[test]
    fn arguments_are_strict() {
        check(
            "calculator",
            r#"{"expression": "1", "precision": 3}"#,
            invalid("unknown field `precision`, expected `expression` at line 1 column 31"),
        );
        check(
            "calculator",
            "{}",
            invalid("missing field `expression` at line 1 column 2"),
        );
        check(
            "calculator",
            r#"{"expression": 5}"#,
            invalid("invalid type: integer `5`, expected a string at line 1 column 16"),
        );
        check(
            "calculator",
            r#"{"expression": "1", "expression": "2"}"#,
            invalid("duplicate field `expression` at line 1 column 32"),
        );
        for list in ["12*7", r#"["12*7"]"#, "null"] {
            let words = "the arguments must be a JSON object".into();
            check("calculator", list, Err(Error::InvalidArguments(words)));
        }
        let long = format!(r#"{{"expression": "{}"}}"#, " ".repeat(ARGUMENTS_BYTES_MAX));
        assert!(matches!(
            call("calculator", &long, Timestamp::UNIX_EPOCH),
            Err(Error::InvalidArguments(words)) if words.contains("longer than 4096 bytes")
        ));
    }

    #[test]
    fn every_definition_is_a_closed_json_schema() {
        for definition in definitions() {
            let schema: serde_json::Value = serde_json::from_str(definition.parameters).unwrap();
            assert_eq!(schema["type"], "object", "{}", definition.name);
            assert_eq!(schema["additionalProperties"], false, "{}", definition.name);
            assert!(schema["properties"].is_object(), "{}", definition.name);
            assert!(schema["required"].is_array(), "{}", definition.name);
            assert!(!definition.description.is_empty());
        }
    }
}
