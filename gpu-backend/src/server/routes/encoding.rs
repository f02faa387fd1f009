//! `/v1/embeddings` and `/v1/rerank`: parse, encode, give the result its form.
//! Knows neither fields nor the form.

use bytes::Bytes;
use http::Response;

use super::super::Service;
use super::super::error::ApiError;
use super::super::reply::encoding::{self as form, Ranked};
use super::super::reply::{Body, Meta};
use super::super::request::encoding;
use crate::chat::Prompt;
use crate::encoder::{EncodeError, Encoder, Task};
use crate::metrics::Metrics;

pub(super) async fn embeddings(
    service: &Service,
    encoder: &Encoder,
    metrics: &Metrics,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let of_input = |error| ApiError::of_input(error, "input");
    let Task::Embed { dimensions } = encoder.task() else {
        return Err(of_input(EncodeError::WrongTask("makes no embeddings")));
    };
    let asked =
        encoding::embeddings(body, encoder.vocab(), dimensions).map_err(ApiError::Invalid)?;
    service.is_named(&asked.model)?;
    let tokens = |input: Prompt| match input {
        Prompt::Text(text) => encoder.tokens(&text),
        Prompt::Tokens(tokens) => Ok(tokens),
    };
    let inputs: Result<Vec<_>, _> = asked.inputs.into_iter().map(tokens).collect();
    let inputs = inputs.map_err(of_input)?;
    let prompt_tokens: usize = inputs.iter().map(Vec::len).sum();
    let mut vectors = encoder.embed(inputs).await.map_err(of_input)?;
    metrics.prompt_tokens.inc_by(prompt_tokens as u64);
    if let Some(kept) = asked.dimensions {
        vectors.iter_mut().for_each(|vector| shorten(vector, kept));
    }
    let meta = Meta::new("embd-", asked.model);
    form::embeddings(vectors, asked.encoding, prompt_tokens, &meta)
}

/// Keeps the first values and gives the vector length one again, which is how models
/// trained for it are shortened (Kusupati et al., 2022).
fn shorten(vector: &mut Vec<f32>, kept: usize) {
    vector.truncate(kept);
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    }
}

pub(super) async fn rerank(
    service: &Service,
    encoder: &Encoder,
    metrics: &Metrics,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let asked = encoding::rerank(body).map_err(ApiError::Invalid)?;
    service.is_named(&asked.model)?;
    let scores = encoder
        .score(&asked.query, &asked.documents)
        .await
        .map_err(|error| ApiError::of_input(error, "documents"))?;
    metrics.prompt_tokens.inc_by(scores.prompt_tokens as u64);
    let documents = asked.documents.into_iter().zip(scores.values).enumerate();
    let mut ranked: Vec<Ranked> = documents
        .map(|(index, (text, score))| Ranked {
            index,
            score,
            text: asked.return_documents.then_some(text),
        })
        .collect();
    // Equal ones stay in the request's order.
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked.truncate(asked.top_n.unwrap_or(usize::MAX));
    let meta = Meta::new("rerank-", asked.model);
    form::rerank(&ranked, scores.prompt_tokens, &meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_vector_has_length_one() {
        let mut vector = vec![0.3, 0.4, 0.8];
        shorten(&mut vector, 2);
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6);
        assert_eq!(vector.len(), 2);
        let mut zero = vec![0.0, 0.0];
        shorten(&mut zero, 1);
        assert_eq!(zero, [0.0]);
    }
}
