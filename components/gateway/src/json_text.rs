//! The texts of a JSON document, found and replaced where they stand: every other byte
//! stays as its author wrote it.
//!
//! It does NOT parse: its input is valid JSON already.

use std::borrow::Cow;

/// Where a text stands in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A property's name.
    Name,
    /// A string; with the name of the property whose value it is.
    Value(Option<&'a str>),
    /// A number, as it is written.
    Number,
}

/// Shows every text, decoded, in the document's order, and puts a string in the place of
/// those for which `replace` gives one. None where nothing was replaced.
pub(crate) fn rewrite(
    document: &str,
    replace: &mut dyn FnMut(Place<'_>, &str) -> Option<String>,
) -> Option<String> {
    let bytes = document.as_bytes();
    let mut written = String::new();
    let mut copied = 0;
    let mut name: Option<String> = None;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        let replaced = match byte {
            b'"' => {
                at = string_end(bytes, start);
                let text = decode(&document[start..at]);
                if is_name(bytes, at) {
                    let replaced = replace(Place::Name, &text);
                    name = Some(text.into_owned());
                    replaced
                } else {
                    replace(Place::Value(name.take().as_deref()), &text)
                }
            }
            b'-' | b'0'..=b'9' => {
                at = number_end(bytes, start);
                name = None;
                replace(Place::Number, &document[start..at])
            }
            b'{' | b'[' => {
                name = None;
                at += 1;
                None
            }
            _ => {
                at += 1;
                None
            }
        };
        if let Some(text) = replaced
            && let Ok(text) = serde_json::to_string(&text)
        {
            written.push_str(&document[copied..start]);
            written.push_str(&text);
            copied = at;
        }
    }
    if copied == 0 {
        return None;
    }
    written.push_str(&document[copied..]);
    Some(written)
}

/// The offset after the closing quote of the string that starts at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let rest = &bytes[start..];
    start + rest.iter().take_while(|byte| is_part(byte)).count()
}

/// The string that ends at `end` is a property's name: a colon follows.
fn is_name(bytes: &[u8], end: usize) -> bool {
    let rest = bytes.get(end..).unwrap_or_default();
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// A string's text. A lone surrogate has none: its spelling stands for it.
fn decode(quoted: &str) -> Cow<'_, str> {
    match serde_json::from_str::<String>(quoted) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(quoted.trim_matches('"')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(document: &str) -> Option<String> {
        rewrite(document, &mut |place, text| {
            let masked = text.replace("42", "[N]");
            (place != Place::Name && masked != text).then_some(masked)
        })
    }

    #[test]
    fn only_what_is_replaced_changes() {
        for (document, expected) in [
            (r#"{ "b":1.50,"a" : [ 2e3,"x" ] }"#, None),
            (
                r#"{ "b" : "a42", "a":1.0 }"#,
                Some(r#"{ "b" : "a[N]", "a":1.0 }"#),
            ),
            (r#"{"42":"42"}"#, Some(r#"{"42":"[N]"}"#)),
            (
                r#"{"n": 421 ,"m":[42]}"#,
                Some(r#"{"n": "[N]1" ,"m":["[N]"]}"#),
            ),
            (
                "{\"a\\\"42\": \"\\u0034\\u0032\\n\"}",
                Some("{\"a\\\"42\": \"[N]\\n\"}"),
            ),
            (r#""42""#, Some(r#""[N]""#)),
            (r#"["\ud800 42"]"#, Some(r#"["\\ud800 [N]"]"#)),
            ("", None),
        ] {
            assert_eq!(masked(document).as_deref(), expected, "{document}");
        }
    }

    #[test]
    fn a_value_knows_its_name() {
        let mut seen = Vec::new();
        let document =
            r#"{"description": "one", "enum": ["two"], "p": {"title": "three"}, "n": 4}"#;
        rewrite(document, &mut |place, text| {
            if let Place::Value(name) = place {
                seen.push((name.map(str::to_owned), text.to_owned()));
            }
            None
        });
        let expected = [
            (Some("description"), "one"),
            (None, "two"),
            (Some("title"), "three"),
        ];
        let expected = expected.map(|(name, text)| (name.map(str::to_owned), text.to_owned()));
        assert_eq!(seen, expected);
    }
}
