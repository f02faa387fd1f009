//! `/tokenize` and `/detokenize`, in vLLM's form.
//! Knows nothing of answers.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use super::super::Service;
use super::super::error::ApiError;
use super::super::reply::{Body, json_response};
use super::super::request::tokenization::{self, Text};
use crate::chat::{Chat, Prompt};
use crate::encoder::{EncodeError, Encoder};
use crate::tokenizer::Tokenizer;

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
    let tokenizer = chat.tokenizer();
    tokens_response(&tokens, asked.with_strings, tokenizer, chat.context())
}

/// As [`tokenize`], of a model that takes inputs and no chats.
pub(super) fn tokenize_input(
    service: &Service,
    encoder: &Encoder,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let asked = tokenization::tokenize(body).map_err(ApiError::Invalid)?;
    service.is_named_if_at_all(asked.model.as_deref())?;
    let of_prompt = |error| ApiError::of_input(error, "prompt");
    let tokenizer = encoder.tokenizer();
    let tokens = match &asked.text {
        Text::Chat(_) => return Err(ApiError::WrongModel("encodes texts; it takes no chats")),
        Text::Prompt {
            prompt: Prompt::Text(text),
            add_special,
        } if *add_special => encoder.tokens(text),
        Text::Prompt {
            prompt: Prompt::Text(text),
            ..
        } => tokenizer.encode(text, false).map_err(EncodeError::from),
        Text::Prompt {
            prompt: Prompt::Tokens(tokens),
            ..
        } => Ok(tokens.clone()),
    };
    let tokens = tokens.map_err(of_prompt)?;
    tokens_response(&tokens, asked.with_strings, tokenizer, encoder.tokens_max())
}

fn tokens_response(
    tokens: &[u32],
    with_strings: bool,
    tokenizer: &Tokenizer,
    tokens_max: usize,
) -> Result<Response<Body>, ApiError> {
    let text = |id: &u32| tokenizer.vocabulary_text(*id);
    let strings = with_strings.then(|| tokens.iter().map(text).collect::<Vec<_>>());
    json_response(
        StatusCode::OK,
        &json!({
            "count": tokens.len(),
            "max_model_len": tokens_max,
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

/// As [`detokenize`], of a model that takes inputs.
pub(super) fn detokenize_input(
    service: &Service,
    encoder: &Encoder,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let asked = tokenization::detokenize(body, encoder.vocab()).map_err(ApiError::Invalid)?;
    service.is_named_if_at_all(asked.model.as_deref())?;
    let prompt = encoder.tokenizer().decode(&asked.tokens, true);
    json_response(StatusCode::OK, &json!({"prompt": prompt}))
}
