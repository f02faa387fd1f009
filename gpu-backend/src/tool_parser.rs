//! Tool calls in the model's text: Hermes' form, one JSON object between
//! `<tool_call>` and `</tool_call>`.
//!
//! Invariant: the result does not depend on where the text was cut.
//! Invariant: nothing is lost: what is no well-formed call is given back as text.
//! Knows nothing of tokens, HTTP, or what the tools do.

use serde_json::Value;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// One call, as the model wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

/// A piece of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Call(ToolCall),
}

/// Splits a streamed answer into text and calls. Blanks next to a call are layout and
/// are dropped; all other text is given out unchanged.
#[derive(Debug, Default)]
pub struct ToolParser {
    /// Text not yet known to be text or call.
    held: String,
    /// Between `<tool_call>` and `</tool_call>`.
    inside: bool,
    /// Blanks at the end of the text so far: text if more text follows, else layout.
    blanks: String,
    /// Nothing but blanks since the last call.
    after_call: bool,
}

impl ToolParser {
    /// Adds text and returns what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        loop {
            let tag = if self.inside { CLOSE } else { OPEN };
            let Some(at) = self.held.find(tag) else { break };
            let before = self.held[..at].to_owned();
            self.held.drain(..at + tag.len());
            if self.inside {
                self.end_call(&before, CLOSE, &mut pieces);
            } else {
                self.say(&before, &mut pieces);
            }
            self.inside = !self.inside;
        }
        if !self.inside {
            let certain = self.held.len() - begun(&self.held, OPEN);
            let text: String = self.held.drain(..certain).collect();
            self.say(&text, &mut pieces);
        }
        pieces
    }

    /// The rest at the end of the answer. A call whose closing tag was left out still
    /// counts if it is whole.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let rest = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.inside) {
            self.end_call(&rest, "", &mut pieces);
        } else {
            self.say(&rest, &mut pieces);
        }
        let blanks = std::mem::take(&mut self.blanks);
        give(blanks, &mut pieces);
        pieces
    }

    fn end_call(&mut self, body: &str, close: &str, pieces: &mut Vec<Piece>) {
        match parse_call(body) {
            Some(call) => {
                self.blanks.clear();
                self.after_call = true;
                pieces.push(Piece::Call(call));
            }
            None => self.say(&format!("{OPEN}{body}{close}"), pieces),
        }
    }

    fn say(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        let text = if self.after_call {
            text.trim_start()
        } else {
            text
        };
        if text.is_empty() {
            return;
        }
        self.after_call = false;
        self.blanks.push_str(text);
        let end = self.blanks.trim_end().len();
        let blanks = self.blanks.split_off(end);
        give(std::mem::replace(&mut self.blanks, blanks), pieces);
    }
}

fn give(text: String, pieces: &mut Vec<Piece>) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(&text),
        _ => pieces.push(Piece::Text(text)),
    }
}

/// Length of the longest end of `text` with which `tag` begins.
pub(crate) fn begun(text: &str, tag: &str) -> usize {
    let most = text.len().min(tag.len().saturating_sub(1));
    (1..=most)
        .rev()
        .find(|n| {
            tag.as_bytes()
                .starts_with(&text.as_bytes()[text.len() - n..])
        })
        .unwrap_or(0)
}

fn parse_call(body: &str) -> Option<ToolCall> {
    let value: Value = serde_json::from_str(body.trim()).ok()?;
    let name = value
        .get("name")?
        .as_str()
        .filter(|name| !name.is_empty())?
        .to_owned();
    let arguments = match value.get("arguments") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(object @ Value::Object(_)) => object.to_string(),
        // Some models write the object as a string once more.
        Some(Value::String(text)) => {
            let inner: Value = serde_json::from_str(text).ok()?;
            inner.is_object().then(|| inner.to_string())?
        }
        Some(_) => return None,
    };
    Some(ToolCall { name, arguments })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything the parser gives for these pieces of text, neighbouring text joined.
    fn parse<'a>(parts: impl IntoIterator<Item = &'a str>) -> Vec<Piece> {
        let mut parser = ToolParser::default();
        let mut all: Vec<Piece> = Vec::new();
        let mut pieces: Vec<Piece> = parts.into_iter().flat_map(|p| parser.push(p)).collect();
        pieces.extend(parser.finish());
        for piece in pieces {
            match (all.last_mut(), piece) {
                (Some(Piece::Text(last)), Piece::Text(text)) => last.push_str(&text),
                (_, piece) => all.push(piece),
            }
        }
        all
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn call(name: &str, arguments: &str) -> Piece {
        Piece::Call(ToolCall {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        })
    }

    #[track_caller]
    fn check(input: &str, expect: &[Piece]) {
        assert_eq!(parse([input]), expect);
        // Cut at every byte that is a character's border.
        for at in (0..=input.len()).filter(|at| input.is_char_boundary(*at)) {
            assert_eq!(parse([&input[..at], &input[at..]]), expect, "cut at {at}");
        }
        let single: Vec<String> = input.chars().map(String::from).collect();
        assert_eq!(parse(single.iter().map(String::as_str)), expect);
    }

    #[test]
    fn text_and_calls_are_told_apart() {
        check("Hello  world \n", &[text("Hello  world \n")]);
        check("", &[]);
        check(
            "<tool_call>\n{\"name\": \"calculator\", \"arguments\": {\"expression\": \"12*7\"}}\n</tool_call>",
            &[call("calculator", r#"{"expression":"12*7"}"#)],
        );
        check(
            "Let me see.\n<tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call>\n\
             <tool_call>{\"name\":\"b\"}</tool_call>\n\nDone é ",
            &[
                text("Let me see."),
                call("a", "{}"),
                call("b", "{}"),
                text("Done é "),
            ],
        );
        check(
            r#"<tool_call>{"name":"a","arguments":"{\"x\":1}"}</tool_call>"#,
            &[call("a", r#"{"x":1}"#)],
        );
    }

    #[test]
    fn what_is_no_call_is_text() {
        for input in [
            "<tool_call>{oops}</tool_call>",
            "a < b <tool",
            "<tool_call>{\"name\": 3}</tool_call> end",
            "<tool_call>{\"name\": \"a\", \"arguments\": [1]}</tool_call>",
            "<tool_call>{\"name\": \"a\"",
            "</tool_call>",
        ] {
            check(input, &[text(input)]);
        }
    }

    #[test]
    fn a_call_without_its_closing_tag_counts_if_whole() {
        check(
            "<tool_call>{\"name\":\"a\",\"arguments\":{\"b\":[1,2]}}\n",
            &[call("a", r#"{"b":[1,2]}"#)],
        );
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_result(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<tool_call>", "</tool_call>", "{\"name\":\"f\",\"arguments\":{\"é\":1}}",
                " ", "\n", "word", "<tool", "_call>", "é", "{", "}", "<",
            ]), 0..14),
            cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let whole: String = parts.concat();
            let mut cuts: Vec<usize> =
                cuts.into_iter().filter(|c| *c < whole.len() && whole.is_char_boundary(*c)).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|w| &whole[w[0]..w[1]]).collect();
            prop_assert_eq!(parse(pieces), parse([whole.as_str()]));
        }
    }
}
