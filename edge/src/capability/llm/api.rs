//! The three protocols in which an engine is asked: OpenAI's completions, OpenAI's chats, and
//! Spin's own (`spin-cloud-gpu`).
//!
//! Values in and out; it does NOT send anything.

use edge_bindings::port::{Embedded, Inference, Inferred, LlmError};
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// What our engine is asked by: the prompt is continued as it is.
    Completions,
    /// `api_type = "open_ai"`: the prompt is a user's message.
    Chats,
    /// `api_type = "default"`.
    Spin,
}

impl Api {
    /// Where, below the base of the API, and what to POST.
    pub(super) fn infer(self, asked: &Inference) -> (&'static str, Value) {
        match self {
            Self::Completions => {
                let mut body = json!({
                    "model": asked.model,
                    "prompt": asked.prompt,
                    "max_tokens": asked.tokens_max,
                    "repetition_penalty": decimal(asked.repeat_penalty),
                    "temperature": decimal(asked.temperature),
                    "top_p": decimal(asked.top_p),
                });
                // None at all means that there is no such limit.
                if asked.top_k > 0 {
                    body["top_k"] = asked.top_k.into();
                }
                ("/completions", body)
            }
            Self::Chats => (
                "/chat/completions",
                json!({
                    "model": asked.model,
                    "messages": [{ "role": "user", "content": asked.prompt }],
                    "max_completion_tokens": asked.tokens_max,
                    "frequency_penalty": decimal(asked.repeat_penalty),
                }),
            ),
            Self::Spin => (
                "/infer",
                json!({
                    "model": asked.model,
                    "prompt": asked.prompt,
                    "options": {
                        "maxTokens": asked.tokens_max,
                        "repeatPenalty": decimal(asked.repeat_penalty),
                        "repeatPenaltyLastNTokenCount": asked.repeat_penalty_tokens,
                        "temperature": decimal(asked.temperature),
                        "topK": asked.top_k,
                        "topP": decimal(asked.top_p),
                    },
                }),
            ),
        }
    }

    pub(super) fn embed(self, model: &str, texts: &[String]) -> (&'static str, Value) {
        let path = match self {
            Self::Spin => "/embed",
            Self::Completions | Self::Chats => "/embeddings",
        };
        (path, json!({ "model": model, "input": texts }))
    }

    pub(super) fn inferred(self, answer: &[u8]) -> Result<Inferred, LlmError> {
        if self == Self::Spin {
            let told: SpinInferred = parse(answer)?;
            return Ok(Inferred {
                text: told.text,
                prompt_tokens: told.usage.prompt_token_count,
                generated_tokens: told.usage.generated_token_count,
            });
        }
        let told: OpenAiInferred = parse(answer)?;
        let first = told.choices.into_iter().next();
        let text = first.and_then(|choice| choice.text.or_else(|| choice.message?.content));
        Ok(Inferred {
            text: text.unwrap_or_default(),
            prompt_tokens: told.usage.prompt_tokens,
            generated_tokens: told.usage.completion_tokens,
        })
    }

    /// The vectors of `count` texts.
    pub(super) fn embedded(self, answer: &[u8], count: usize) -> Result<Embedded, LlmError> {
        let embedded = if self == Self::Spin {
            let told: SpinEmbedded = parse(answer)?;
            Embedded {
                embeddings: told.embeddings,
                prompt_tokens: told.usage.prompt_token_count,
            }
        } else {
            let mut told: OpenAiEmbedded = parse(answer)?;
            told.data.sort_by_key(|one| one.index);
            Embedded {
                embeddings: told.data.into_iter().map(|one| one.embedding).collect(),
                prompt_tokens: told.usage.prompt_tokens,
            }
        };
        if embedded.embeddings.len() != count {
            let message = format!(
                "the engine answered {} texts with {} embeddings",
                count,
                embedded.embeddings.len()
            );
            return Err(LlmError::RuntimeError(message));
        }
        Ok(embedded)
    }
}

/// 0.8, where the bits of the float would read as 0.800000011920929.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, LlmError> {
    serde_json::from_slice(answer)
        .map_err(|error| LlmError::RuntimeError(format!("the engine's answer: {error}")))
}

/// What an answer that is none means for the component.
pub(super) fn explain(status: StatusCode, answer: &[u8]) -> LlmError {
    let error = serde_json::from_slice::<OpenAiError>(answer).map(|told| told.error);
    let (message, code) = match error {
        Ok(error) => (error.message, error.code.unwrap_or_default()),
        Err(_) => (format!("the engine answered {status}"), String::new()),
    };
    match status {
        _ if code == "model_not_found" || code == "model_not_supported" => {
            LlmError::ModelNotSupported
        }
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => LlmError::InvalidInput(message),
        _ => LlmError::RuntimeError(message),
    }
}

#[derive(Deserialize)]
struct OpenAiError {
    error: OpenAiErrorFields,
}

#[derive(Deserialize)]
struct OpenAiErrorFields {
    message: String,
    code: Option<String>,
}

#[derive(Deserialize)]
struct OpenAiInferred {
    choices: Vec<Choice>,
    usage: OpenAiUsage,
}

#[derive(Deserialize)]
struct Choice {
    /// Of a completion.
    text: Option<String>,
    /// Of a chat.
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize)]
struct OpenAiUsage {
    prompt_tokens: u32,
    /// Embeddings generate none.
    #[serde(default)]
    completion_tokens: u32,
}

#[derive(Deserialize)]
struct OpenAiEmbedded {
    data: Vec<OpenAiEmbedding>,
    usage: OpenAiUsage,
}

#[derive(Deserialize)]
struct OpenAiEmbedding {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct SpinInferred {
    text: String,
    usage: SpinUsage,
}

#[derive(Deserialize)]
struct SpinEmbedded {
    embeddings: Vec<Vec<f32>>,
    usage: SpinUsage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpinUsage {
    prompt_token_count: u32,
    #[serde(default)]
    generated_token_count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Inference {
        Inference {
            model: "m".to_owned(),
            prompt: "p".to_owned(),
            tokens_max: 5,
            repeat_penalty: 1.5,
            repeat_penalty_tokens: 64,
            temperature: 0.5,
            top_k: 0,
            top_p: 0.25,
        }
    }

    #[test]
    fn each_protocol_says_the_same_in_its_own_words() {
        let (path, body) = Api::Completions.infer(&asked());
        let expect = json!({ "model": "m", "prompt": "p", "max_tokens": 5,
            "repetition_penalty": 1.5, "temperature": 0.5, "top_p": 0.25 });
        assert_eq!((path, body), ("/completions", expect));
        let (path, body) = Api::Chats.infer(&asked());
        assert_eq!(path, "/chat/completions");
        assert_eq!(body["messages"][0]["content"], "p");
        let (path, body) = Api::Spin.infer(&asked());
        assert_eq!((path, &body["options"]["maxTokens"]), ("/infer", &json!(5)));
        let texts = ["a".to_owned()];
        assert_eq!(Api::Spin.embed("m", &texts).0, "/embed");
        assert_eq!(
            Api::Chats.embed("m", &texts).1,
            json!({ "model": "m", "input": ["a"] })
        );
    }

    #[test]
    fn answers_are_read() {
        let check = |api: Api, answer: Value| {
            let expect = Inferred {
                text: "t".to_owned(),
                prompt_tokens: 1,
                generated_tokens: 2,
            };
            assert_eq!(api.inferred(answer.to_string().as_bytes()), Ok(expect));
        };
        let usage = json!({ "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 });
        check(
            Api::Completions,
            json!({ "choices": [{ "text": "t" }], "usage": usage }),
        );
        check(
            Api::Chats,
            json!({ "choices": [{ "message": { "content": "t" } }], "usage": usage }),
        );
        let usage = json!({ "promptTokenCount": 1, "generatedTokenCount": 2 });
        check(Api::Spin, json!({ "text": "t", "usage": usage }));
    }

    #[test]
    fn embeddings_are_in_the_order_of_their_texts() {
        let answer = json!({ "usage": { "prompt_tokens": 4 }, "data": [
            { "index": 1, "embedding": [2.0] }, { "index": 0, "embedding": [1.0] } ] });
        let answer = answer.to_string();
        let told = Api::Completions.embedded(answer.as_bytes(), 2).unwrap();
        assert_eq!(told.embeddings, [[1.0], [2.0]]);
        assert_eq!(told.prompt_tokens, 4);
        assert!(Api::Completions.embedded(answer.as_bytes(), 3).is_err());
    }

    #[test]
    fn a_refusal_is_the_error_that_fits() {
        let check = |status: u16, code: &str, expect: LlmError| {
            let answer = json!({ "error": { "message": "why", "code": code } }).to_string();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                explain(status, answer.as_bytes()),
                expect,
                "{status} {code}"
            );
        };
        let why = || "why".to_owned();
        check(404, "model_not_found", LlmError::ModelNotSupported);
        check(400, "model_not_supported", LlmError::ModelNotSupported);
        check(400, "other", LlmError::InvalidInput(why()));
        check(503, "busy", LlmError::RuntimeError(why()));
        let bare = explain(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(
            bare,
            LlmError::RuntimeError("the engine answered 502 Bad Gateway".to_owned())
        );
    }
}
