//! OpenAI's chat completions, as far as the scripted backend speaks them: it reads
//! the prompt's script and answers with so many words, at once or as a stream.
//!
//! Knows no model, and no more of the API than the gateway uses.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::counters::{Counters, Running};
use crate::script::Script;

/// The only model that is served.
pub const MODEL: &str = "scripted";

#[derive(Debug, Deserialize)]
struct Request {
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    tools: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<String>,
}

/// One answer, before it is said.
#[derive(Debug)]
pub struct Turn {
    pub script: Script,
    pub is_stream: bool,
    include_usage: bool,
    prompt_tokens: usize,
    /// The expression of the call that comes before the answer.
    call: Option<String>,
    /// What a tool answered.
    tool_result: Option<String>,
}

/// A piece of a streamed body, or the point at which it breaks.
#[derive(Debug)]
pub enum Piece {
    Event(Bytes),
    Cut,
}

impl Turn {
    pub fn parse(body: &[u8]) -> anyhow::Result<Turn> {
        let request: Request = serde_json::from_slice(body).context("not a chat request")?;
        let last_user = request.messages.iter().rev().find(|m| m.role == "user");
        let prompt = last_user
            .and_then(|m| m.content.as_deref())
            .unwrap_or_default();
        let script = Script::of_prompt(prompt)?;
        let last = request.messages.last().context("no messages")?;
        let tool_result = (last.role == "tool").then(|| last.content.clone().unwrap_or_default());
        let offers_tools = request.tools.is_some_and(|tools| !tools.is_empty());
        let call = (offers_tools && tool_result.is_none()).then(|| script.calculate.clone());
        Ok(Turn {
            is_stream: request.stream,
            include_usage: request.stream_options.is_some_and(|o| o.include_usage),
            prompt_tokens: request
                .messages
                .iter()
                .filter_map(|m| m.content.as_deref())
                .map(|content| content.split_whitespace().count() + 1)
                .sum(),
            call: call.flatten(),
            tool_result,
            script,
        })
    }

    fn words(&self) -> Vec<String> {
        match &self.tool_result {
            Some(result) => vec!["The result is ".to_owned(), result.clone(), ".".to_owned()],
            None => (0..self.script.chunks)
                .map(|_| "word ".to_owned())
                .collect(),
        }
    }

    fn usage(&self) -> Value {
        let completion = if self.call.is_some() {
            1
        } else {
            self.words().len()
        };
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": { "cached_tokens": 0 },
        })
    }

    fn finish_reason(&self) -> &'static str {
        if self.call.is_some() {
            "tool_calls"
        } else {
            "stop"
        }
    }

    /// The whole answer in one body.
    #[must_use]
    pub fn whole(&self) -> Value {
        let message = match &self.call {
            Some(expression) => json!({
                "role": "assistant", "content": null, "tool_calls": [tool_call(expression)],
            }),
            None => json!({ "role": "assistant", "content": self.words().concat() }),
        };
        json!({
            "id": "chatcmpl-scripted", "object": "chat.completion", "created": 1, "model": MODEL,
            "choices": [{ "index": 0, "message": message, "logprobs": null,
                "finish_reason": self.finish_reason() }],
            "usage": self.usage(),
        })
    }

    /// The answer as server-sent events, each a piece of its own.
    fn events(&self) -> Vec<Piece> {
        let mut pieces = vec![chunk(&json!({ "role": "assistant", "content": "" }), None)];
        match &self.call {
            Some(expression) => {
                let mut call = tool_call(expression);
                call["index"] = json!(0);
                pieces.push(chunk(&json!({ "tool_calls": [call] }), None));
            }
            None => {
                let words = self.words();
                pieces.extend(words.iter().map(|w| chunk(&json!({ "content": w }), None)));
            }
        }
        if let Some(at) = self.script.cut_after {
            pieces.truncate(at as usize + 1);
            pieces.push(Piece::Cut);
            return pieces;
        }
        if let Some(at) = self.script.error_after {
            pieces.truncate(at as usize + 1);
            pieces.push(event(&error("the script ends in an error", "server_error")));
            return pieces;
        }
        pieces.push(chunk(&json!({}), Some(self.finish_reason())));
        if self.include_usage {
            pieces.push(event(&json!({
                "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1,
                "model": MODEL, "choices": [], "usage": self.usage(),
            })));
        }
        pieces.push(Piece::Event(Bytes::from_static(b"data: [DONE]\n\n")));
        pieces
    }

    /// The events in their time. Each is written before the next is made, as an
    /// engine does that computes a token at a time.
    pub fn stream(&self, counters: Arc<Counters>) -> impl Stream<Item = Piece> + use<> {
        let delay = self.script.delay;
        let pieces = self.events();
        let last = pieces.len().saturating_sub(1);
        let mut running = Running::start(counters);
        stream::iter(pieces.into_iter().enumerate()).then(move |(at, piece)| {
            if at == last {
                running.finish();
            }
            async move {
                if delay.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(delay).await;
                }
                piece
            }
        })
    }
}

/// OpenAI's error object.
#[must_use]
pub fn error(message: &str, kind: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": null } })
}

fn tool_call(expression: &str) -> Value {
    let arguments = json!({ "expression": expression }).to_string();
    json!({
        "id": "call_scripted", "type": "function",
        "function": { "name": "calculator", "arguments": arguments },
    })
}

fn chunk(delta: &Value, finish_reason: Option<&str>) -> Piece {
    event(&json!({
        "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1,
        "model": MODEL,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
    }))
}

fn event(value: &Value) -> Piece {
    Piece::Event(Bytes::from(format!("data: {value}\n\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(prompt: &str, more: Value) -> Turn {
        let mut request = json!({ "messages": [{ "role": "user", "content": prompt }] });
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        Turn::parse(request.to_string().as_bytes()).unwrap()
    }

    fn texts(turn: &Turn) -> Vec<String> {
        let text = |piece| match piece {
            Piece::Event(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Piece::Cut => "CUT".to_owned(),
        };
        turn.events().into_iter().map(text).collect()
    }

    #[test]
    fn a_stream_has_a_chunk_a_word_and_ends_once() {
        let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
        let events = texts(&turn("hello [script chunks=3]", options));
        assert_eq!(events.iter().filter(|e| e.contains("\"word \"")).count(), 3);
        assert_eq!(
            events
                .iter()
                .filter(|e| e.contains("\"finish_reason\":\"stop\""))
                .count(),
            1
        );
        assert_eq!(
            events
                .iter()
                .filter(|e| e.contains("\"completion_tokens\":3"))
                .count(),
            1
        );
        assert_eq!(events.iter().filter(|e| e.contains("[DONE]")).count(), 1);
    }

    #[test]
    fn a_tool_is_called_once_and_its_result_is_stated() {
        let tools = json!({ "tools": [{ "type": "function" }] });
        let calling = turn("[script calculate=12*7]", tools.clone());
        assert_eq!(calling.whole()["choices"][0]["finish_reason"], "tool_calls");
        let request = json!({ "tools": tools["tools"], "messages": [
            { "role": "user", "content": "[script calculate=12*7]" },
            { "role": "assistant", "content": null },
            { "role": "tool", "content": "84", "tool_call_id": "call_scripted" },
        ]});
        let stating = Turn::parse(request.to_string().as_bytes()).unwrap();
        assert_eq!(
            stating.whole()["choices"][0]["message"]["content"],
            "The result is 84."
        );
        let without = turn("[script calculate=12*7]", json!({}));
        assert_eq!(without.whole()["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn a_stream_may_break_or_end_in_an_error() {
        let cut = texts(&turn("[script chunks=9 cut_after=2]", json!({})));
        assert_eq!((cut.len(), cut.last().unwrap().as_str()), (4, "CUT"));
        let failed = texts(&turn("[script chunks=9 error_after=2]", json!({})));
        assert!(failed.last().unwrap().contains("\"error\""));
        assert!(!failed.concat().contains("[DONE]"));
    }

    #[test]
    fn what_is_no_chat_request_is_an_error() {
        for body in ["", "{}", "{\"messages\": []}", "[1]"] {
            assert!(Turn::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
