//! The tool calls of one answer, put together from a backend's pieces. Backends disagree
//! on what makes two pieces one call: an index, an id, both, or neither.
//!
//! It does NOT know what a call does, nor who sees it.

use crate::backend::chunk::ToolCallDelta;

/// A call as far as it has come.
#[derive(Debug, Default)]
struct Begun {
    index: Option<i64>,
    id: Option<String>,
    name: Option<String>,
    arguments: Arguments,
}

/// All calls of one answer, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Calls(Vec<Begun>);

/// One more piece of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The call's place in the answer, from 0.
    pub(crate) call: usize,
    /// Its name became known with this piece.
    pub(crate) name: Option<String>,
    /// Its id, where the backend gave it one until now.
    pub(crate) id: Option<String>,
    pub(crate) arguments: String,
}

impl Calls {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in a piece. A new id is a new call, and so is a second name: Ollama gives all
    /// calls the index 0, older versions no id, and Bedrock's gateways count from 1.
    pub(crate) fn take(&mut self, delta: ToolCallDelta) -> Piece {
        let call = self.find(&delta).unwrap_or_else(|| {
            self.0.push(Begun::default());
            self.0.len() - 1
        });
        let begun = &mut self.0[call];
        begun.index = begun.index.or(delta.index);
        begun.id = begun.id.take().or(delta.id);
        let is_named = begun.name.is_some();
        begun.name = begun.name.take().or(delta.name);
        begun.arguments.push(&delta.arguments);
        Piece {
            call,
            name: begun.name.clone().filter(|_| !is_named),
            id: begun.id.clone(),
            arguments: delta.arguments,
        }
    }

    /// The call that a piece continues.
    fn find(&self, delta: &ToolCallDelta) -> Option<usize> {
        let of_index = match delta.index {
            Some(index) => self.0.iter().rposition(|call| call.index == Some(index)),
            None => self.0.len().checked_sub(1),
        };
        if let Some(id) = &delta.id {
            let same = |call: &Begun| call.id.as_ref() == Some(id);
            if let Some(call) = self.0.iter().rposition(same) {
                return Some(call);
            }
            // The id of a call that began without one; or one that is made anew for each
            // piece, as older versions of vLLM do.
            return of_index.filter(|call| {
                let begun = &self.0[*call];
                delta.name.is_none() && (begun.id.is_none() || begun.name.is_some())
            });
        }
        let call = of_index?;
        let begun = &self.0[call];
        match (&begun.name, &delta.name) {
            (Some(_), None) | (None, _) => Some(call),
            // A name that is told again with each piece, or the next call's.
            (Some(before), Some(name)) => {
                (before == name && !begun.arguments.is_whole).then_some(call)
            }
        }
    }
}

/// Arguments as far as they have come: looked at once, for a backend may repeat the name with
/// every piece of a long call.
#[derive(Debug, Default)]
struct Arguments {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// They are one JSON object, which nothing follows.
    is_whole: bool,
}

impl Arguments {
    fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match (self.in_string, byte) {
                (true, _) if self.is_escaped => self.is_escaped = false,
                (true, b'\\') => self.is_escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (true, _) => {}
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    self.is_whole = self.depth == 0 && byte == b'}';
                    continue;
                }
                (false, b' ' | b'\n' | b'\r' | b'\t') => continue,
                (false, _) => {}
            }
            self.is_whole = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::backend::chunk::Chunk;

    /// The calls of an answer that came in these deltas: id, name, arguments.
    fn calls(deltas: &[Value]) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        let mut arguments: Vec<String> = Vec::new();
        for delta in deltas {
            let event = json!({"choices": [{"delta": {"tool_calls": delta}}]}).to_string();
            let mut chunk = Chunk::parse(event.as_bytes()).unwrap();
            for delta in chunk.choices.remove(0).delta.tool_calls {
                let piece = calls.take(delta);
                arguments.resize(calls.len(), String::new());
                arguments[piece.call].push_str(&piece.arguments);
            }
        }
        let text = |text: Option<String>| text.unwrap_or_default();
        let begun = calls.0.into_iter().zip(arguments);
        let whole =
            |(call, arguments): (Begun, String)| (text(call.id), text(call.name), arguments);
        begun.map(whole).collect()
    }

    fn check(deltas: Value, expected: &[(&str, &str, &str)]) {
        let deltas = deltas.as_array().unwrap();
        let got = calls(deltas);
        let got: Vec<_> = got
            .iter()
            .map(|(id, name, arguments)| (id.as_str(), name.as_str(), arguments.as_str()))
            .collect();
        assert_eq!(got, expected, "{deltas:?}");
    }

    const ONE: (&str, &str, &str) = ("x", "f", r#"{"a":1}"#);
    const TWO: (&str, &str, &str) = ("y", "g", r#"{"a":2}"#);

    #[test]
    fn pieces_of_one_call() {
        let f = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
        for deltas in [
            // OpenAI.
            json!([[{"index": 0, "id": "x", "function": f("f", "")}],
                   [{"index": 0, "function": {"arguments": "{\"a\""}}],
                   [{"index": 0, "function": {"arguments": ":1}"}}]]),
            // From 1; without an index; with a null one.
            json!([[{"index": 1, "id": "x", "function": f("f", "{\"a\"")}],
                   [{"index": 1, "function": {"arguments": ":1}"}}]]),
            json!([[{"id": "x", "function": f("f", "{\"a\"")}],
                   [{"index": null, "id": null, "function": {"name": null, "arguments": ":1}"}}]]),
            // The id with each piece; an empty one; another one each time.
            json!([[{"index": 0, "id": "x", "function": f("f", "{\"a\"")}],
                   [{"index": 0, "id": "x", "function": {"arguments": ":1}"}}]]),
            json!([[{"index": 0, "id": "x", "function": f("f", "{\"a\"")}],
                   [{"index": 0, "id": "", "function": f("", ":1}")}]]),
            json!([[{"index": 0, "id": "x", "function": f("f", "{\"a\"")}],
                   [{"index": 0, "id": "z", "function": {"arguments": ":1}"}}]]),
            // The name, or the id, in a later piece; the name with each.
            json!([[{"index": 0, "id": "x", "function": {"arguments": ""}}],
                   [{"index": 0, "function": f("f", "{\"a\":1}")}]]),
            json!([[{"index": 0, "function": f("f", "{\"a\":")}],
                   [{"index": 0, "id": "x", "function": {"arguments": "1}"}}]]),
            json!([[{"index": 0, "id": "x", "function": f("f", "{\"a\"")}],
                   [{"index": 0, "function": f("f", ":1}")}]]),
            // The arguments as an object.
            json!([[{"index": 0, "id": "x", "function": {"name": "f", "arguments": {"a": 1}}}]]),
        ] {
            check(deltas, &[ONE]);
        }
    }

    #[test]
    fn parallel_calls_stay_apart() {
        let whole = |index: Value, id: Value, (_, name, arguments): (&str, &str, &str)| json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}});
        for (one, two) in [
            (json!(0), json!(1)),
            (json!(0), json!(0)),
            (json!(1), json!(2)),
            (json!(null), json!(null)),
            (json!(3), json!(3)),
        ] {
            let both = [whole(one, json!("x"), ONE), whole(two, json!("y"), TWO)];
            check(json!([both]), &[ONE, TWO]);
            check(json!([[both[0]], [both[1]]]), &[ONE, TWO]);
        }
        // Without ids a second name, or a name again after a whole call, is another call.
        for index in [json!(0), json!(null)] {
            let both = [
                whole(index.clone(), json!(null), ONE),
                whole(index.clone(), json!(null), TWO),
            ];
            check(json!([both]), &[("", ONE.1, ONE.2), ("", TWO.1, TWO.2)]);
            let twice = [
                whole(index.clone(), json!(null), ONE),
                whole(index, json!(null), ONE),
            ];
            check(json!([twice]), &[("", ONE.1, ONE.2), ("", ONE.1, ONE.2)]);
        }
        // Pieces of two calls in turns.
        let piece = |index: u32, arguments: &str| json!({"index": index, "function": {"arguments": arguments}});
        check(
            json!([
                [
                    whole(json!(0), json!("x"), ("", "f", "{\"a\"")),
                    whole(json!(1), json!("y"), ("", "g", ""))
                ],
                [piece(1, "{\"a\""), piece(0, ":1}")],
                [piece(1, ":2}")]
            ]),
            &[ONE, TWO],
        );
    }
}
