//! `/v1/chat/completions` and `/v1/completions`: parse, start the answers, give them
//! their form.
//! Knows neither fields nor the answer's form.

use bytes::Bytes;
use http::Response;

use super::super::Service;
use super::super::error::ApiError;
use super::super::reply::{self, Body, Meta};
use super::super::request::{self, ValidRequest, completion};
use crate::chat::{Chat, CompletionRequest, Prompt};

pub(super) async fn chat(
    service: &Service,
    chat: &Chat,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let ValidRequest {
        model,
        chat: mut asked,
        stream,
    } = request::parse(body, chat.vocab()).map_err(ApiError::Invalid)?;
    service.is_named(&model)?;
    let of_prompt = |error| ApiError::of_prompt(error, "messages");
    chat.constrain(&mut asked).await.map_err(of_prompt)?;
    let answers = chat.answers(asked).map_err(of_prompt)?;
    let meta = Meta::new("chatcmpl-", model);
    match stream {
        Some(options) => Ok(reply::chat::stream(answers, meta, options)),
        None => reply::chat::whole(answers.whole().await?, &meta),
    }
}

pub(super) async fn completion(
    service: &Service,
    chat: &Chat,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let mut asked = completion::parse(body, chat.vocab()).map_err(ApiError::Invalid)?;
    service.is_named(&asked.model)?;
    let of_prompt = |error| ApiError::of_prompt(error, "prompt");
    chat.constrain_text(&mut asked.completion.options)
        .await
        .map_err(of_prompt)?;
    let answers = chat.complete(&asked.completion).map_err(of_prompt)?;
    let echoes = echoes(chat, &asked.completion, asked.echo);
    let meta = Meta::new("cmpl-", asked.model);
    let options = &asked.completion.options;
    match asked.stream {
        Some(stream) => {
            let scored = options.prompt_logprobs.is_some();
            Ok(reply::completion::stream(
                answers, echoes, scored, meta, stream,
            ))
        }
        None => reply::completion::whole(answers.whole().await?, options.n, echoes, &meta),
    }
}

/// The prompts' texts, once for each answer, where they are to be given back.
fn echoes(chat: &Chat, asked: &CompletionRequest, echo: bool) -> reply::completion::Echoes {
    let text = |prompt: &Prompt| match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Tokens(tokens) => chat.tokenizer().decode(tokens, true),
    };
    let n = asked.options.n;
    asked
        .prompts
        .iter()
        .flat_map(|prompt| std::iter::repeat_n(echo.then(|| text(prompt)), n))
        .collect()
}
