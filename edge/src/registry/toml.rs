//! JSON's values as TOML writes them (TOML 1.0): strings and lists are alike, tables stand
//! in a line.

use serde_json::Value;
use std::fmt::Write as _;

/// Opens a table: `["a"."b"]`.
pub(super) fn open(out: &mut String, path: &[&str]) {
    let keys: Vec<String> = path.iter().map(|key| text(key)).collect();
    // It cannot fail: a string takes all that is written to it.
    let _ = writeln!(out, "[{}]", keys.join("."));
}

/// Writes `key = value`.
pub(super) fn line(out: &mut String, key: &str, value: &Value) {
    let _ = write!(out, "{} = ", text(key));
    write_value(out, value);
    out.push('\n');
}

/// A string as JSON writes it, but for the one character that TOML does not take so.
fn text(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        // TOML has no null; where it matters, what is read refuses this.
        Value::Null => out.push_str("\"\""),
        Value::String(string) => out.push_str(&text(string)),
        Value::Bool(_) | Value::Number(_) => drop(write!(out, "{value}")),
        Value::Array(all) => {
            out.push('[');
            for (position, one) in all.iter().enumerate() {
                out.push_str(if position > 0 { ", " } else { "" });
                write_value(out, one);
            }
            out.push(']');
        }
        Value::Object(all) => {
            out.push('{');
            let present = all.iter().filter(|(_, value)| !value.is_null());
            for (position, (key, one)) in present.enumerate() {
                let _ = write!(
                    out,
                    "{}{} = ",
                    if position > 0 { ", " } else { " " },
                    text(key)
                );
                write_value(out, one);
            }
            out.push_str(" }");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_again() {
        let value = json!({
            "plain": "text", "odd \"key\"\n": "\u{0}\u{7f}\u{1f}\\\"'\u{2028}ü\r\n",
            "list": [1, -2, 1.5, true, "a", [], {}],
            "table": { "deep": { "er": ["x"] }, "": false },
        });
        let mut out = String::new();
        open(&mut out, &["a", "b c"]);
        for (key, value) in value.as_object().unwrap() {
            line(&mut out, key, value);
        }
        let read: Value = toml::from_str(&out).expect(&out);
        assert_eq!(read, json!({ "a": { "b c": value } }));
        let mut out = String::new();
        line(&mut out, "k", &json!({ "a": null, "b": 1 }));
        assert_eq!(out, "\"k\" = { \"b\" = 1 }\n");
    }
}
