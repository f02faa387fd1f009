//! `/tokenize` and `/detokenize`, in vLLM's form.
//! Knows nothing of answers.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use super::super::Service;
use super::super::error::ApiError;
use super::super::reply::{Body, json_response};
use super::super::request::tokenization::{self, Text};
use crate::chat::Chat;

pub(super) fn tokenize(
    service: &Service,
    chat: &Chat,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let asked = tokenization::tokenize(body).map_err(ApiError::Invalid)?;
    service.is_named_if_at_all(asked.model.as_deref())?;
    let tokens = match &asked.text {
        Text::Prompt {
            prompt,
            add_special,
        } => chat
            .encode(prompt, *add_special)
            .map_err(|error| ApiError::of_prompt(error, "prompt"))?,
        Text::Chat(request) => chat
            .prompt(request)
            .map_err(|error| ApiError::of_prompt(error, "messages"))?,
    };
    let strings = asked.with_strings.then(|| {
        let text = |id: &u32| chat.tokenizer().vocabulary_text(*id);
        tokens.iter().map(text).collect::<Vec<_>>()
    });
    json_response(
        StatusCode::OK,
        &json!({
            "count": tokens.len(),
            "max_model_len": chat.context(),
            "tokens": tokens,
            "token_strs": strings,
        }),
    )
}

pub(super) fn detokenize(
    service: &Service,
    chat: &Chat,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let asked = tokenization::detokenize(body, chat.vocab()).map_err(ApiError::Invalid)?;
    service.is_named_if_at_all(asked.model.as_deref())?;
    let prompt = chat.tokenizer().decode(&asked.tokens, true);
    json_response(StatusCode::OK, &json!({"prompt": prompt}))
}
