//! The form of a chat completion, whole and streamed.
//! Knows nothing of how an answer is made.

use http::{Response, StatusCode};
use serde_json::{Value as Json, json};

use super::super::error::ApiError;
use super::super::request::StreamOptions;
use super::sse::{self, Form};
use super::{Body, Meta, finish_word, json_response, stop_reason_json, usage_json};
use crate::chat::answer::{End, Part, TokenLogprob, Usage, Whole};
use crate::chat::answers::Answers;
use crate::tokenizer::TokenText;
use crate::tool_parser::{Piece, ToolCall};

/// Whole answers as one object.
pub(in crate::server) fn whole(
    answers: Vec<Whole>,
    meta: &Meta,
) -> Result<Response<Body>, ApiError> {
    let usage = Usage::total(answers.iter().map(|a| a.usage), answers.len());
    let choices = answers.into_iter().enumerate();
    let choices: Vec<Json> = choices.map(|(i, answer)| choice(i, answer)).collect();
    let mut object = meta.object("chat.completion", choices.into());
    object["usage"] = usage_json(usage);
    json_response(StatusCode::OK, &object)
}

/// Answers as server-sent events. Dropping the body cancels the generations.
pub(in crate::server) fn stream(
    answers: Answers,
    meta: Meta,
    options: StreamOptions,
) -> Response<Body> {
    let calls = vec![0; answers.count()];
    sse::respond(answers, Deltas { calls }, meta, options)
}

fn choice(index: usize, answer: Whole) -> Json {
    let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null});
    if !answer.reasoning.is_empty() {
        message["reasoning_content"] = answer.reasoning.into();
    }
    if !answer.calls.is_empty() {
        if answer.text.is_empty() {
            message["content"] = Json::Null;
        }
        message["tool_calls"] = answer.calls.iter().map(call_json).collect();
    }
    json!({
        "index": index,
        "message": message,
        "logprobs": logprobs_json(&answer.logprobs),
        "finish_reason": finish_word(answer.finish),
        "stop_reason": stop_reason_json(answer.stop_reason),
    })
}

fn logprobs_json(logprobs: &[TokenLogprob]) -> Json {
    if logprobs.is_empty() {
        return Json::Null;
    }
    let one = |token: &TokenText, logprob: f32| json!({"token": token.text, "logprob": logprob, "bytes": token.bytes});
    let content: Vec<Json> = logprobs
        .iter()
        .map(|l| {
            let mut object = one(&l.token, l.logprob);
            object["top_logprobs"] = l.top.iter().map(|(t, p)| one(t, *p)).collect();
            object
        })
        .collect();
    json!({"content": content, "refusal": null})
}

fn call_json(call: &ToolCall) -> Json {
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    })
}

/// A call's first delta: its name, and arguments that are still empty.
fn call_delta(index: usize, id: String, name: String) -> Json {
    let call = ToolCall {
        id,
        name,
        arguments: String::new(),
    };
    let mut object = call_json(&call);
    object["index"] = index.into();
    json!({"tool_calls": [object]})
}

/// More of a call's arguments.
fn arguments_delta(index: usize, text: &str) -> Json {
    json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
}

/// The form of a streamed chat.
struct Deltas {
    /// Tool calls so far of each answer; the next one has this index.
    calls: Vec<usize>,
}

impl Form for Deltas {
    const KIND: &'static str = "chat.completion.chunk";

    fn begin(&mut self, index: usize) -> Vec<Json> {
        vec![delta(
            index,
            &json!({"role": "assistant", "content": ""}),
            &[],
        )]
    }

    fn part(&mut self, index: usize, part: Part) -> Vec<Json> {
        match part {
            Part::Delta { pieces, logprobs } => self.pieces(index, pieces, &logprobs),
            Part::End(end) => self.end(index, end),
            Part::Prompt(_) | Part::Failed(_) => Vec::new(),
        }
    }
}

impl Deltas {
    fn pieces(&mut self, index: usize, pieces: Vec<Piece>, logprobs: &[TokenLogprob]) -> Vec<Json> {
        let mut logprobs = logprobs;
        let mut choices = Vec::new();
        for piece in pieces {
            let content = match piece {
                Piece::Text(text) => json!({"content": text}),
                Piece::Reasoning(text) => json!({"reasoning_content": text}),
                Piece::Call { id, name } => {
                    self.calls[index] += 1;
                    call_delta(self.calls[index] - 1, id, name)
                }
                Piece::Arguments(text) => {
                    arguments_delta(self.calls[index].saturating_sub(1), &text)
                }
            };
            choices.push(delta(index, &content, std::mem::take(&mut logprobs)));
        }
        if !logprobs.is_empty() {
            // The token's text is still held back; its log-probability need not be.
            choices.push(delta(index, &json!({"content": ""}), logprobs));
        }
        choices
    }

    fn end(&mut self, index: usize, end: End) -> Vec<Json> {
        let mut choices = self.pieces(index, end.pieces, &end.logprobs);
        let mut last = delta(index, &json!({}), &[]);
        last["finish_reason"] = finish_word(end.finish).into();
        last["stop_reason"] = stop_reason_json(end.stop_reason);
        choices.push(last);
        choices
    }
}

fn delta(index: usize, delta: &Json, logprobs: &[TokenLogprob]) -> Json {
    json!({
        "index": index,
        "delta": delta,
        "logprobs": logprobs_json(logprobs),
        "finish_reason": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_numbered_from_zero_and_begin_with_their_id_and_name() {
        let mut deltas = Deltas { calls: vec![0, 0] };
        let call = |name: &str| Piece::Call {
            id: format!("call_{name}"),
            name: name.to_owned(),
        };
        let arguments = |text: &str| Piece::Arguments(text.to_owned());
        let parts = [
            (0, vec![call("f"), arguments("{")]),
            (1, vec![call("h"), arguments("{}")]),
            (0, vec![arguments("}"), call("g")]),
            (0, vec![arguments("{}")]),
        ];
        let mut seen = Vec::new();
        for (answer, pieces) in parts {
            for choice in deltas.pieces(answer, pieces, &[]) {
                assert_eq!(choice["index"], answer);
                seen.push(choice["delta"]["tool_calls"][0].clone());
            }
        }
        let first = |index: usize, name: &str| {
            json!({"index": index, "id": format!("call_{name}"), "type": "function",
                "function": {"name": name, "arguments": ""}})
        };
        let more =
            |index: usize, text: &str| json!({"index": index, "function": {"arguments": text}});
        let want = [
            first(0, "f"),
            more(0, "{"),
            first(0, "h"),
            more(0, "{}"),
            more(0, "}"),
            first(1, "g"),
            more(1, "{}"),
        ];
        assert_eq!(seen, want);
    }

    #[test]
    fn a_part_of_a_character_is_reported_by_its_bytes() {
        let token = |text: &str, bytes: Option<&[u8]>| TokenText {
            text: text.to_owned(),
            bytes: bytes.map(<[u8]>::to_vec),
        };
        let scored = TokenLogprob {
            token: token("\\xc3", Some(&[0xc3])),
            logprob: -0.5,
            top: vec![(token("<|end|>", None), -1.0)],
        };
        let best = json!({"token": "<|end|>", "logprob": -1.0, "bytes": null});
        let want =
            json!([{"token": "\\xc3", "logprob": -0.5, "bytes": [0xc3], "top_logprobs": [best]}]);
        assert_eq!(logprobs_json(&[scored])["content"], want);
    }
}
