//! The form of a completion, whole and streamed, with OpenAI's older lists of
//! log-probabilities.
//! Knows nothing of how an answer is made.

use http::{Response, StatusCode};
use serde_json::{Map, Value as Json, json};

use super::super::error::ApiError;
use super::super::request::StreamOptions;
use super::sse::{self, Form};
use super::{Body, Meta, finish_word, json_response, stop_reason_json, usage_json};
use crate::chat::answer::{End, Part, PromptToken, TokenLogprob, Usage, Whole};
use crate::chat::answers::Answers;
use crate::tokenizer::TokenText;
use crate::tool_parser::Piece;

/// What stands before each answer: the prompts' texts where they are echoed. Those of
/// all answers, in order.
pub(in crate::server) type Echoes = Vec<Option<String>>;

/// Whole answers, `n` to each prompt, as one object.
pub(in crate::server) fn whole(
    answers: Vec<Whole>,
    n: usize,
    echoes: Echoes,
    meta: &Meta,
) -> Result<Response<Body>, ApiError> {
    let usage = Usage::total(answers.iter().map(|a| a.usage), n);
    let choices = answers.into_iter().zip(echoes).enumerate();
    let choices = choices.map(|(index, (answer, echo))| choice(index, answer, echo));
    let mut object = meta.object("text_completion", choices.collect());
    object["usage"] = usage_json(usage);
    json_response(StatusCode::OK, &object)
}

/// Answers as server-sent events. Dropping the body cancels the generations.
pub(in crate::server) fn stream(
    answers: Answers,
    echoes: Echoes,
    scored: bool,
    meta: Meta,
    options: StreamOptions,
) -> Response<Body> {
    let lists = echoes.iter().map(|_| Lists::default()).collect();
    let form = Texts {
        echoes,
        scored,
        lists,
    };
    sse::respond(answers, form, meta, options)
}

fn choice(index: usize, answer: Whole, echo: Option<String>) -> Json {
    let mut lists = Lists::default();
    lists.prompt(&answer.prompt);
    lists.tokens(&answer.logprobs);
    json!({
        "index": index,
        "text": echo.unwrap_or_default() + &answer.text,
        "logprobs": lists.take(),
        "finish_reason": finish_word(answer.finish),
        "stop_reason": stop_reason_json(answer.stop_reason),
    })
}

/// Log-probabilities as four lists, one entry a token.
#[derive(Debug, Default)]
struct Lists {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Json>,
    text_offset: Vec<usize>,
    /// Characters of all tokens so far that are complete: where the next token begins, or
    /// the character that it goes on with.
    offset: usize,
    /// Bytes of a character that is not complete.
    begun: Vec<u8>,
}

impl Lists {
    fn prompt(&mut self, prompt: &[PromptToken]) {
        for token in prompt {
            match &token.logprob {
                Some(logprob) => self.token(logprob),
                None => self.push(&token.token, None, Json::Null),
            }
        }
    }

    fn tokens(&mut self, logprobs: &[TokenLogprob]) {
        for logprob in logprobs {
            self.token(logprob);
        }
    }

    fn token(&mut self, logprob: &TokenLogprob) {
        // The chosen token is always among them (OpenAI's form). Of several tokens that
        // are written alike the likeliest stays.
        let mut top = Map::new();
        let chosen = (&logprob.token, logprob.logprob);
        for (token, p) in logprob.top.iter().map(|(t, p)| (t, *p)).chain([chosen]) {
            top.entry(token.text.as_str()).or_insert_with(|| p.into());
        }
        self.push(&logprob.token, Some(logprob.logprob), top.into());
    }

    fn push(&mut self, token: &TokenText, logprob: Option<f32>, top: Json) {
        self.tokens.push(token.text.clone());
        self.token_logprobs.push(logprob);
        self.top_logprobs.push(top);
        let first = token.bytes.as_ref().and_then(|bytes| bytes.first());
        // Another character begins: what was begun is shown as one that is broken.
        let breaks = !self.begun.is_empty() && first.is_some_and(|byte| byte & 0xc0 != 0x80);
        self.text_offset.push(self.offset + usize::from(breaks));
        self.begun.extend(token.bytes.iter().flatten());
        self.count_characters();
    }

    /// Counts the characters that are complete; bytes that are no text are shown as one
    /// each time.
    fn count_characters(&mut self) {
        let bytes = std::mem::take(&mut self.begun);
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.offset += chunk.valid().chars().count();
            let invalid = chunk.invalid();
            let goes_on = std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if goes_on && chunks.peek().is_none() {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.offset += 1;
            }
        }
    }

    /// The lists so far, which begin anew; null if they are empty.
    fn take(&mut self) -> Json {
        if self.tokens.is_empty() {
            return Json::Null;
        }
        json!({
            "tokens": std::mem::take(&mut self.tokens),
            "token_logprobs": std::mem::take(&mut self.token_logprobs),
            "top_logprobs": std::mem::take(&mut self.top_logprobs),
            "text_offset": std::mem::take(&mut self.text_offset),
        })
    }
}

/// The form of a streamed completion.
struct Texts {
    echoes: Echoes,
    /// The prompts' log-probabilities come: the echo waits for them.
    scored: bool,
    lists: Vec<Lists>,
}

impl Form for Texts {
    const KIND: &'static str = "text_completion";

    fn begin(&mut self, index: usize) -> Vec<Json> {
        if self.scored {
            return Vec::new();
        }
        match self.echoes[index].take() {
            Some(echo) => vec![self.text(index, &echo)],
            None => Vec::new(),
        }
    }

    fn part(&mut self, index: usize, part: Part) -> Vec<Json> {
        match part {
            Part::Prompt(prompt) => {
                self.lists[index].prompt(&prompt);
                let echo = self.echoes[index].take().unwrap_or_default();
                vec![self.text(index, &echo)]
            }
            Part::Delta { pieces, logprobs } => {
                let text = text(pieces);
                if text.is_empty() && logprobs.is_empty() {
                    return Vec::new();
                }
                self.lists[index].tokens(&logprobs);
                vec![self.text(index, &text)]
            }
            Part::End(end) => vec![self.end(index, end)],
            Part::Failed(_) => Vec::new(),
        }
    }
}

impl Texts {
    fn text(&mut self, index: usize, text: &str) -> Json {
        json!({
            "index": index,
            "text": text,
            "logprobs": self.lists[index].take(),
            "finish_reason": null,
            "stop_reason": null,
        })
    }

    fn end(&mut self, index: usize, end: End) -> Json {
        self.lists[index].tokens(&end.logprobs);
        let mut last = self.text(index, &text(end.pieces));
        last["finish_reason"] = finish_word(end.finish).into();
        last["stop_reason"] = stop_reason_json(end.stop_reason);
        last
    }
}

/// A completion's pieces are text alone: no tools are offered.
fn text(pieces: Vec<Piece>) -> String {
    pieces
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Text(text) => Some(text),
            Piece::Reasoning(_) | Piece::Call { .. } | Piece::Arguments(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_token_is_among_the_best_and_offsets_count_characters() {
        let token = |text: &str| TokenText {
            text: text.to_owned(),
            bytes: Some(text.into()),
        };
        let scored = |name: &str, logprob, top: &[(&str, f32)]| TokenLogprob {
            token: token(name),
            logprob,
            top: top.iter().map(|(t, p)| (token(t), *p)).collect(),
        };
        let mut lists = Lists::default();
        let first = PromptToken {
            token: token("é€"),
            logprob: None,
        };
        lists.prompt(&[first]);
        lists.tokens(&[scored("b", -2.0, &[("a", -0.5)])]);
        assert_eq!(
            lists.take(),
            json!({"tokens": ["é€", "b"], "token_logprobs": [null, -2.0],
                "top_logprobs": [null, {"a": -0.5, "b": -2.0}], "text_offset": [0, 2]})
        );
        lists.tokens(&[scored("c", -3.0, &[("c", -1.0)])]);
        assert_eq!(
            lists.take(),
            json!({"tokens": ["c"], "token_logprobs": [-3.0], "top_logprobs": [{"c": -1.0}],
                "text_offset": [3]})
        );
        assert_eq!(lists.take(), Json::Null);
    }

    #[test]
    fn offsets_count_the_characters_before_whatever_the_tokens_cut() {
        for (tokens, offsets) in [
            (
                vec![&b"a"[..], b"\xe2", b"\x82", b"\xac", b"b"],
                vec![0, 1, 1, 1, 2],
            ),
            (vec![b"a\xc3", b"\xa9b", b"c"], vec![0, 1, 3]),
            (vec![b"\xc3", b"a", b"b"], vec![0, 1, 2]),
            (vec![b"\xff", b"a"], vec![0, 1]),
            (
                vec![b"\xf0\x9f", b"\x98\x80\xf0\x9f", b"\x98\x80", b"x"],
                vec![0, 0, 1, 2],
            ),
        ] {
            let mut lists = Lists::default();
            for bytes in &tokens {
                let token = TokenText {
                    text: String::new(),
                    bytes: Some(bytes.to_vec()),
                };
                lists.push(&token, None, Json::Null);
            }
            assert_eq!(lists.text_offset, offsets, "{tokens:?}");
        }
    }
}
