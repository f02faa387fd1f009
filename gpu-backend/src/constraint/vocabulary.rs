//! A model's vocabulary as llguidance wants it: the bytes of each token, special ones
//! marked.
//! Knows nothing of grammars.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

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
    if !tokenizer.has_known_bytes() {
        return Err(VocabularyError::UnknownDecoder);
    }
    let word = |id: usize| {
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        let mut word = tokenizer.token_bytes(id).unwrap_or_default();
        if tokenizer.is_special_id(id) {
            // No text matches it; a grammar names it by its id.
            word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
        }
        match word.len() {
            0..=TOKEN_BYTES_MAX => word,
            _ => Vec::new(),
        }
    };
    Ok((0..vocab).map(word).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

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
