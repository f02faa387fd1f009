//! The form of embeddings (OpenAI's) and of ranked documents (Cohere's, Jina's and
//! vLLM's).
//! Knows nothing of how they are made.

use http::{Response, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::super::error::ApiError;
use super::super::request::encoding::Encoding;
use super::{Body, Meta, json_response};

/// All vectors of a request.
#[derive(Serialize)]
struct List<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<Embedding>,
    usage: serde_json::Value,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

/// A vector's values, or their bytes as text.
struct Vector {
    values: Vec<f32>,
    encoding: Encoding,
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.encoding {
            Encoding::Float => self.values.serialize(serializer),
            Encoding::Base64 => {
                let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
                serializer.serialize_str(&base64(&bytes))
            }
        }
    }
}

/// Base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4u32 {
            // A group of n bytes has n + 1 letters.
            let letter = LETTERS[(bits >> (18 - 6 * i)) as usize & 63];
            let padded = i as usize > three.len();
            text.push(if padded { '=' } else { char::from(letter) });
        }
    }
    text
}

fn usage_json(prompt_tokens: usize) -> serde_json::Value {
    json!({"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens})
}

/// Vectors, in the order of their inputs.
pub(in crate::server) fn embeddings(
    vectors: Vec<Vec<f32>>,
    encoding: Encoding,
    prompt_tokens: usize,
    meta: &Meta,
) -> Result<Response<Body>, ApiError> {
    let embedding = |(index, values)| Embedding {
        object: "embedding",
        index,
        embedding: Vector { values, encoding },
    };
    let list = List {
        id: &meta.id,
        object: "list",
        created: meta.created,
        model: &meta.model,
        data: vectors.into_iter().enumerate().map(embedding).collect(),
        usage: usage_json(prompt_tokens),
    };
    json_response(StatusCode::OK, &list)
}

/// A document's place in the request, its score, and its text where that is given back.
pub(in crate::server) struct Ranked {
    pub(in crate::server) index: usize,
    pub(in crate::server) score: f32,
    pub(in crate::server) text: Option<String>,
}

/// Documents, the most relevant first.
pub(in crate::server) fn rerank(
    ranked: &[Ranked],
    prompt_tokens: usize,
    meta: &Meta,
) -> Result<Response<Body>, ApiError> {
    let result = |ranked: &Ranked| {
        let mut object = json!({"index": ranked.index, "relevance_score": ranked.score});
        if let Some(text) = &ranked.text {
            object["document"] = json!({"text": text});
        }
        object
    };
    let results: Vec<_> = ranked.iter().map(result).collect();
    json_response(
        StatusCode::OK,
        &json!({
            "id": meta.id,
            "model": meta.model,
            "results": results,
            "usage": usage_json(prompt_tokens),
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }
}
