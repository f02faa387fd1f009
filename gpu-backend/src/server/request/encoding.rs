//! The JSON of `/v1/embeddings` and `/v1/rerank`, parsed once.
//! Knows nothing of encoders.

use serde_json::Value as Json;

use super::super::error::Invalid;
use super::completion;
use super::fields::{Fields, invalid, missing};
use super::inert;
use super::options;
use crate::chat::Prompt;

/// Inputs, or documents, of one request (OpenAI's limit).
const INPUTS_MAX: usize = 2048;

/// How a vector is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Encoding {
    Float,
    /// Its values' bytes, little endian.
    Base64,
}

/// Inputs whose vectors are asked for.
#[derive(Debug)]
pub(in crate::server) struct ValidEmbeddings {
    pub(in crate::server) model: String,
    pub(in crate::server) inputs: Vec<Prompt>,
    pub(in crate::server) encoding: Encoding,
    /// Only so many of the first values, of length one again.
    pub(in crate::server) dimensions: Option<usize>,
}

/// Documents that are to be ordered by how well they answer a query.
#[derive(Debug)]
pub(in crate::server) struct ValidRerank {
    pub(in crate::server) model: String,
    pub(in crate::server) query: String,
    pub(in crate::server) documents: Vec<String>,
    /// Only the best.
    pub(in crate::server) top_n: Option<usize>,
    pub(in crate::server) return_documents: bool,
}

/// Parses the body of `/v1/embeddings`. `vocab` bounds token ids and `dimensions` the
/// values of a vector.
///
/// # Errors
/// Names the field that is missing, malformed, out of range or not supported.
pub(in crate::server) fn embeddings(
    body: &[u8],
    vocab: usize,
    dimensions: usize,
) -> Result<ValidEmbeddings, Invalid> {
    let mut fields = super::fields(body)?;
    for name in inert() {
        fields.skip(name);
    }
    let model = fields.string("model")?.ok_or_else(|| missing("model"))?;
    let input = fields.take("input").ok_or_else(|| missing("input"))?;
    let inputs = completion::prompts("input", input, vocab, INPUTS_MAX)?;
    let encoding = match fields.string("encoding_format")?.as_deref() {
        None | Some("float") => Encoding::Float,
        Some("base64") => Encoding::Base64,
        Some(_) => {
            let message = "'encoding_format' must be \"float\" or \"base64\".";
            return Err(invalid("encoding_format", message));
        }
    };
    let dimensions = fields.integer("dimensions", 1, dimensions as u64)?;
    fields.finish()?;
    Ok(ValidEmbeddings {
        model,
        inputs,
        encoding,
        dimensions: options::size(dimensions),
    })
}

/// Parses the body of `/v1/rerank`.
///
/// # Errors
/// Names the field that is missing, malformed, out of range or not supported.
pub(in crate::server) fn rerank(body: &[u8]) -> Result<ValidRerank, Invalid> {
    let mut fields = super::fields(body)?;
    for name in inert() {
        fields.skip(name);
    }
    let model = fields.string("model")?.ok_or_else(|| missing("model"))?;
    let query = fields.string("query")?.ok_or_else(|| missing("query"))?;
    let documents = documents(&mut fields)?;
    let top_n = options::size(fields.integer("top_n", 1, u64::MAX)?);
    let return_documents = fields.bool("return_documents")?.unwrap_or(true);
    fields.finish()?;
    Ok(ValidRerank {
        model,
        query,
        documents,
        top_n,
        return_documents,
    })
}

/// Strings, or objects with a `text` (Cohere's form).
fn documents(fields: &mut Fields) -> Result<Vec<String>, Invalid> {
    if !fields.holds("documents") {
        return Err(missing("documents"));
    }
    let list = fields.list("documents", INPUTS_MAX)?;
    if list.is_empty() {
        return Err(invalid("documents", "'documents' must not be empty."));
    }
    let text = |(i, document): (usize, Json)| match document {
        Json::String(text) => Ok(text),
        Json::Object(object) => {
            let path = format!("documents[{i}]");
            let mut fields = Fields::inside(&path, object);
            let text = fields.string("text")?;
            fields.finish()?;
            let name = format!("{path}.text");
            text.ok_or_else(|| missing(&name))
        }
        _ => {
            let param = format!("documents[{i}]");
            let message = format!("'{param}' must be a string or an object with a text.");
            Err(invalid(param, message))
        }
    };
    list.into_iter().enumerate().map(text).collect()
}
