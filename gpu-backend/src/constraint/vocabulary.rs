//! The bytes that each token of a model's vocabulary stands for: byte-level BPE
//! (GPT-2, Llama 3, Qwen) and SentencePiece with byte fallback (Llama 2, Mistral, Gemma).
//! Knows nothing of grammars.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use serde_json::Value as Json;

use crate::tokenizer::Tokenizer;

/// Longest token of the trie; longer ones (runs of blanks in some vocabularies) are never
/// needed, and the trie holds 10 bits of depth.
const TOKEN_BYTES_MAX: usize = 512;
/// Tokens that the trie can number (24 bits, of which the last stands for none).
const VOCAB_MAX: usize = (1 << 24) - 1;

/// The vocabulary cannot be used for constraints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    #[error("the model has no end-of-sequence token")]
    NoEnd,
    #[error("the vocabulary of {0} tokens is too large")]
    TooLarge(usize),
    #[error("the tokenizer's decoder is not one whose bytes are known")]
    UnknownDecoder,
}

/// How a token is written in `tokenizer.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// Each character stands for a byte (GPT-2's table).
    ByteLevel,
    /// Text, with a character for the blank, and `<0xNN>` for single bytes.
    Pieces { blank: char },
}

/// What llguidance knows of a tokenizer. `vocab` is the model's: the logits of a row.
pub(super) fn token_env(
    tokenizer: &Tokenizer,
    vocab: usize,
    ends: &[u32],
) -> Result<TokEnv, VocabularyError> {
    let ends: Vec<u32> = ends
        .iter()
        .copied()
        .filter(|id| (*id as usize) < vocab)
        .collect();
    let end = *ends.first().ok_or(VocabularyError::NoEnd)?;
    let size = u32::try_from(vocab).map_err(|_| VocabularyError::TooLarge(vocab))?;
    if vocab > VOCAB_MAX {
        return Err(VocabularyError::TooLarge(vocab));
    }
    let words = words(tokenizer, vocab)?;
    let trie = TokTrie::from(&TokRxInfo::new(size, end), &words).with_eos_tokens(&ends);
    // The model chooses its own way to cut a forced text into tokens, so none needs to be
    // encoded here.
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// The bytes of every token; none for a token that stands for no text.
fn words(tokenizer: &Tokenizer, vocab: usize) -> Result<Vec<Vec<u8>>, VocabularyError> {
    let inner = tokenizer.inner();
    let writing = writing(inner).ok_or(VocabularyError::UnknownDecoder)?;
    let table = byte_table();
    let mut words: Vec<Vec<u8>> = vec![Vec::new(); vocab];
    for (text, id) in inner.get_vocab(true) {
        if let Some(word) = words.get_mut(id as usize) {
            *word = writing.bytes(&text, &table);
        }
    }
    for (id, token) in inner.get_added_tokens_decoder() {
        let Some(word) = words.get_mut(id as usize) else {
            continue;
        };
        *word = token.content.into_bytes();
        if token.special {
            // No text matches it; a grammar names it by its id.
            word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
        }
    }
    for word in &mut words {
        if word.len() > TOKEN_BYTES_MAX {
            word.clear();
        }
    }
    Ok(words)
}

fn writing(inner: &tokenizers::Tokenizer) -> Option<Writing> {
    let decoder = serde_json::to_value(inner.get_decoder()?).ok()?;
    let mut steps = Vec::new();
    flatten(&decoder, &mut steps);
    let kind = |step: &Json| step.get("type").and_then(Json::as_str).map(str::to_owned);
    let kinds: Vec<String> = steps.iter().filter_map(|step| kind(step)).collect();
    if kinds.iter().any(|kind| kind == "ByteLevel") {
        return Some(Writing::ByteLevel);
    }
    let one = |text: Option<&Json>| {
        let mut chars = text?.as_str()?.chars();
        chars.next().filter(|_| chars.next().is_none())
    };
    let blank = steps.iter().find_map(|step| match kind(step)?.as_str() {
        "Replace" if step.get("content").and_then(Json::as_str) == Some(" ") => {
            one(step.get("pattern")?.get("String"))
        }
        "Metaspace" => one(step.get("replacement")),
        _ => None,
    });
    match blank {
        Some(blank) => Some(Writing::Pieces { blank }),
        None if kinds.iter().any(|kind| kind == "ByteFallback") => {
            Some(Writing::Pieces { blank: ' ' })
        }
        None => None,
    }
}

/// The decoder's steps, sequences taken apart.
fn flatten<'a>(decoder: &'a Json, steps: &mut Vec<&'a Json>) {
    match decoder.get("decoders").and_then(Json::as_array) {
        Some(inner) => inner.iter().for_each(|step| flatten(step, steps)),
        None => steps.push(decoder),
    }
}

impl Writing {
    fn bytes(self, text: &str, table: &[Option<u8>]) -> Vec<u8> {
        match self {
            Self::ByteLevel => text
                .chars()
                .map(|c| table.get(c as usize).copied().flatten())
                .collect::<Option<Vec<u8>>>()
                .unwrap_or_default(),
            Self::Pieces { blank } => match single_byte(text) {
                Some(byte) => vec![byte],
                None => text.replace(blank, " ").into_bytes(),
            },
        }
    }
}

/// `<0xNN>`.
fn single_byte(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2)
        .then(|| u8::from_str_radix(hex, 16).ok())
        .flatten()
}

/// GPT-2's table, by the character that stands for a byte: printable bytes stand for
/// themselves, the others for the characters from 256 on.
fn byte_table() -> Vec<Option<u8>> {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut table = vec![None; 512];
    let mut spare = 256;
    for byte in 0..=255u8 {
        let at = if printable(byte) {
            usize::from(byte)
        } else {
            spare += 1;
            spare - 1
        };
        table[at] = Some(byte);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn load(decoder: Json, vocab: Json, added: Json) -> Tokenizer {
        let dir = tempfile::tempdir().unwrap();
        let json = json!({
            "version": "1.0", "added_tokens": added, "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": decoder,
            "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": null},
        });
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        Tokenizer::load(dir.path()).unwrap()
    }

    fn added(id: u32, content: &str, special: bool) -> Json {
        json!({"id": id, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    }

    #[test]
    fn byte_level_tokens_are_bytes() {
        let decoder = json!({"type": "ByteLevel", "add_prefix_space": false,
            "trim_offsets": true, "use_regex": true});
        // "Ġ" is the blank, "Ċ" the line feed, "Ã©" is é.
        let vocab = json!({"a": 0, "Ġb": 1, "Ċ": 2, "Ã©": 3});
        let tokens = json!([added(4, "<|end|>", true), added(5, "<tool_call>", false)]);
        let words = words(&load(decoder, vocab, tokens), 7).unwrap();
        let want: [&[u8]; 7] = [
            b"a",
            b" b",
            b"\n",
            "é".as_bytes(),
            b"\xff<|end|>",
            b"<tool_call>",
            b"",
        ];
        assert_eq!(words, want);
    }

    #[test]
    fn sentencepiece_tokens_are_text_and_single_bytes() {
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        let vocab = json!({"<0x0A>": 0, "▁a": 1, "▁": 2, "é": 3, "<0xE2>": 4});
        let words = words(&load(decoder, vocab, json!([])), 5).unwrap();
        let want: [&[u8]; 5] = [b"\n", b" a", b" ", "é".as_bytes(), b"\xe2"];
        assert_eq!(words, want);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
        let strange = load(decoder, json!({"a": 0}), json!([]));
        assert_eq!(
            token_env(&strange, 1, &[0]).err(),
            Some(VocabularyError::UnknownDecoder)
        );
        assert_eq!(
            token_env(&strange, 1, &[5]).err(),
            Some(VocabularyError::NoEnd)
        );
    }
}
