//! Text to token ids and back. The way back is incremental and never emits half of a
//! UTF-8 character.
//! Knows nothing of requests or of the engine.

mod bytes;

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use bytes::Writing;

/// Replacement characters at the end of a text that may still become one character:
/// a decoder writes one for the beginning of a character, or one for each of its up to
/// three bytes.
const HELD_CHARS_MAX: usize = 3;
/// Tokens looked at again at most while the text ends in replacement characters. So
/// many are no character's beginning but bytes that are no text at all.
const HELD_TOKENS_MAX: usize = 64;
/// Letters, digits, blanks, and what few vocabularies hold.
const TRIAL: &str = "Hello, w\u{f6}rld 42\n\u{1f600}\u{7}";

/// A tokenizer cannot be loaded, or failed.
#[derive(Debug, thiserror::Error)]
#[error("tokenizer.json: {0}")]
pub struct TokenizerError(String);

/// The one part of the file that is looked at before the library reads it all.
#[derive(Deserialize)]
struct AddedIds {
    #[serde(default)]
    added_tokens: Json,
}

impl AddedIds {
    fn any_beyond(&self, rows: usize) -> bool {
        let added = self.added_tokens.as_array().into_iter().flatten();
        added.filter_map(token_id).any(|id| id >= rows)
    }
}

fn token_id(token: &Json) -> Option<usize> {
    usize::try_from(token.get("id")?.as_u64()?).ok()
}

/// A model's tokenizer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// Written forms of special tokens, which a client's text must not forge.
    special: Arc<[String]>,
    /// Tokens beside the model's own vocabulary, and whether they are special.
    added: Arc<HashMap<u32, (String, bool)>>,
    /// How the vocabulary writes its tokens; absent: in a way that is not known here.
    writing: Option<Writing>,
}

/// A token by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenText {
    /// Its text, or its bytes as escapes (`\\xe2\\x82`) where they are part of a character.
    pub text: String,
    /// Absent for a special token that is not shown.
    pub bytes: Option<Vec<u8>>,
}

impl Tokenizer {
    /// Loads `dir/tokenizer.json`.
    ///
    /// # Errors
    /// It is missing or not a tokenizer.
    pub fn load(dir: &Path) -> Result<Self, TokenizerError> {
        Self::load_within(dir, usize::MAX)
    }

    /// As [`Self::load`], for a model with so many rows of embeddings. Added tokens beyond
    /// them are text to it: some models publish the tokenizer of a larger sibling.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_within(dir: &Path, rows: usize) -> Result<Self, TokenizerError> {
        let failed = |error: &dyn std::fmt::Display| TokenizerError(error.to_string());
        let mut text = std::fs::read(dir.join("tokenizer.json")).map_err(|error| failed(&error))?;
        // The library takes its own parts for JSON once it has begun to read them.
        let ids: AddedIds = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        if ids.any_beyond(rows) {
            let mut json: Json = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
            if let Some(Json::Array(added)) = json.get_mut("added_tokens") {
                added.retain(|token| token_id(token).is_none_or(|id| id < rows));
            }
            text = json.to_string().into_bytes();
        }
        // It also panics at some files that contradict themselves.
        catch_unwind(|| Self::read(&text)).unwrap_or_else(|_| {
            Err(TokenizerError(
                "the tokenizer contradicts itself, and its library gave up".to_owned(),
            ))
        })
    }

    fn read(json: &[u8]) -> Result<Self, TokenizerError> {
        let failed = |error: &dyn std::fmt::Display| TokenizerError(error.to_string());
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|error| failed(&error))?;
        // Some files carry the lengths that their training cut and padded texts to.
        inner
            .with_truncation(None)
            .map_err(|error| failed(&error))?
            .with_padding(None);
        let added: HashMap<u32, (String, bool)> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| (id, (token.content, token.special)))
            .collect();
        let special = added
            .values()
            .filter(|(content, special)| *special && !content.is_empty())
            .map(|(content, _)| content.clone())
            .collect();
        let tokenizer = Self {
            writing: bytes::writing(&inner),
            inner: Arc::new(inner),
            special,
            added: Arc::new(added),
        };
        // What it cannot do is found out here, and not by a client.
        let ids = tokenizer.encode(TRIAL, true)?;
        drop(tokenizer.decode(&ids, true));
        Ok(tokenizer)
    }

    /// Ids that the tokenizer knows, added tokens included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Returns true where the vocabulary is written in a way whose bytes are known.
    pub(crate) fn has_known_bytes(&self) -> bool {
        self.writing.is_some()
    }

    /// Returns true for a special token, which decoding leaves out.
    pub(crate) fn is_special_id(&self, id: u32) -> bool {
        self.added.get(&id).is_some_and(|(_, special)| *special)
    }

    /// The bytes that a token stands for, which may be part of a character; of a special
    /// token those of its written form. None for an id that is no token.
    pub(crate) fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        if let Some((content, _)) = self.added.get(&id) {
            return Some(content.clone().into_bytes());
        }
        let text = self.inner.id_to_token(id)?;
        Some(match self.writing {
            Some(writing) => writing.bytes(&text),
            None => self.decode(&[id], true).into_bytes(),
        })
    }

    /// Whether each token has the same id in both.
    pub fn is_like(&self, other: &Self) -> bool {
        self.inner.get_vocab(true) == other.inner.get_vocab(true)
    }

    /// Those of these texts that are special tokens, which decoding leaves out.
    pub fn special_among(&self, texts: &[&'static str]) -> Vec<(u32, &'static str)> {
        let special = |text: &&&'static str| self.is_special(text);
        let id = |text: &&'static str| Some((self.id(text)?, *text));
        texts.iter().filter(special).filter_map(id).collect()
    }

    /// Whether this is the text of a special token.
    pub fn is_special(&self, text: &str) -> bool {
        self.special.iter().any(|special| special == text)
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Tokens of a text. `add_special` has the tokenizer add its own special tokens (a
    /// beginning of sequence); a chat template has placed them already.
    ///
    /// # Errors
    /// The tokenizer failed.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .inner
            .encode_fast(text, add_special)
            .map_err(|error| TokenizerError(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of a whole input, with the special tokens that the tokenizer puts round it;
    /// none that the text itself writes.
    ///
    /// # Errors
    /// The tokenizer failed.
    pub fn encode_input(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .inner
            .encode_fast(&*self.defuse(text), true)
            .map_err(|error| TokenizerError(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of two texts as one input, and the type of each: 0 for the first text, 1 for
    /// the second where the model tells them apart.
    ///
    /// # Errors
    /// The tokenizer failed.
    pub fn encode_pair(
        &self,
        first: &str,
        second: &str,
    ) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
        let texts = (
            self.defuse(first).into_owned(),
            self.defuse(second).into_owned(),
        );
        let encoding = self
            .inner
            .encode_fast(texts, true)
            .map_err(|error| TokenizerError(error.to_string()))?;
        Ok((
            encoding.get_ids().to_vec(),
            encoding.get_type_ids().to_vec(),
        ))
    }

    /// Text of tokens; `show_special` writes out special ones too.
    pub fn decode(&self, ids: &[u32], show_special: bool) -> String {
        self.inner.decode(ids, !show_special).unwrap_or_default()
    }

    /// A token as the vocabulary writes it, layout marks included (`Ġthe`).
    pub fn vocabulary_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One token by itself, as log-probabilities report it. A special one is named by its
    /// written form, and has bytes only where special tokens are shown.
    pub fn token_text(&self, id: u32, show_special: bool) -> TokenText {
        let bytes = self.token_bytes(id).unwrap_or_default();
        let text = match bytes.is_empty() {
            true => self.inner.id_to_token(id).unwrap_or_default(),
            false => bytes::written(&bytes),
        };
        let shown = show_special || !self.is_special_id(id);
        TokenText {
            text,
            bytes: shown.then_some(bytes),
        }
    }

    /// As [`Self::token_text`], of a token that begins a text: some tokenizers drop the
    /// blank with which it is written.
    pub fn first_token_text(&self, id: u32, show_special: bool) -> TokenText {
        let mut first = self.token_text(id, show_special);
        if first.text.starts_with(' ') && !self.decode(&[id], show_special).starts_with(' ') {
            first.text.remove(0);
            first.bytes = first.bytes.map(|bytes| bytes.into_iter().skip(1).collect());
        }
        first
    }

    /// A client's text in which no special token is written out: a zero-width space
    /// parts its first character from the rest. So a message cannot close its own turn
    /// and open one of another role.
    pub fn defuse<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for token in self.special.iter() {
            if text.contains(token.as_str()) {
                let first = token.chars().next().map_or(0, char::len_utf8);
                let parted = format!("{}\u{200b}{}", &token[..first], &token[first..]);
                text = Cow::Owned(text.replace(token.as_str(), &parted));
            }
        }
        text
    }

    /// A decoder for one answer; `show_special` writes out special tokens too.
    pub fn stream(&self, show_special: bool) -> TextStream {
        TextStream {
            tokenizer: self.clone(),
            show_special,
            ids: Vec::new(),
            prefix: 0,
            read: 0,
            given: 0,
        }
    }
}

/// Decodes an answer token by token.
///
/// Tokens before `prefix` are done with; those in `prefix..read` have been given out and
/// are kept because a tokenizer may join them to what follows (a leading space).
#[derive(Debug)]
pub struct TextStream {
    tokenizer: Tokenizer,
    show_special: bool,
    ids: Vec<u32>,
    prefix: usize,
    read: usize,
    /// Bytes of the text from `prefix` on that have been given out.
    given: usize,
}

impl TextStream {
    /// Adds a text that a token stands for, although decoding leaves it out: all before
    /// it is certain now.
    pub fn push_text(&mut self, text: &str) -> String {
        let before = self.give(true);
        (self.prefix, self.read, self.given) = (self.ids.len(), self.ids.len(), 0);
        before + text
    }

    /// Adds a token and returns the text that is certain now, perhaps empty.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        self.give(self.ids.len() - self.read > HELD_TOKENS_MAX)
    }

    /// The rest at the end of the answer. Bytes that are no text become U+FFFD; those of
    /// a character that is not complete are left out.
    pub fn finish(&mut self) -> String {
        self.give(!self.is_cut())
    }

    /// The last bytes begin a character that more bytes could have completed.
    fn is_cut(&self) -> bool {
        let held = &self.ids[self.read.min(self.ids.len())..];
        let bytes = held.iter().filter_map(|id| self.tokenizer.token_bytes(*id));
        let bytes: Vec<u8> = bytes.flatten().collect();
        ends_inside_character(&bytes)
    }

    fn decode(&self, from: usize) -> String {
        self.tokenizer.decode(&self.ids[from..], self.show_special)
    }

    fn give(&mut self, all: bool) -> String {
        let text = self.decode(self.prefix);
        let certain = if all { text.len() } else { certain(&text) };
        let new = text.get(self.given..certain).unwrap_or_default().to_owned();
        self.given = self.given.max(certain);
        if certain == text.len() && !new.is_empty() {
            self.prefix = self.read;
            self.read = self.ids.len();
            self.given = self.decode(self.prefix).len();
        }
        new
    }
}

/// Returns true where more bytes could complete a character at the end of these.
fn ends_inside_character(bytes: &[u8]) -> bool {
    let last = bytes.iter().rev().take(HELD_CHARS_MAX);
    let continued = last.take_while(|byte| **byte & 0xc0 == 0x80).count();
    let from = bytes.len() - continued.min(bytes.len());
    let from = from.saturating_sub(1);
    std::str::from_utf8(&bytes[from..]).is_err_and(|error| error.error_len().is_none())
}

/// Length of the text that further tokens cannot change.
fn certain(text: &str) -> usize {
    let broken = text
        .chars()
        .rev()
        .take(HELD_CHARS_MAX)
        .take_while(|c| *c == '\u{fffd}')
        .count();
    text.len() - broken * '\u{fffd}'.len_utf8()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A byte-level tokenizer with every byte, a special token and an added one.
    fn tokenizer() -> Tokenizer {
        tokenizer_within(usize::MAX)
    }

    /// The same, for a model with so many rows.
    fn tokenizer_within(rows: usize) -> Tokenizer {
        let dir = tempfile::tempdir().unwrap();
        // GPT-2's bytes-to-characters table.
        let printable = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
        let mut spare = 256;
        let mut vocab = serde_json::Map::new();
        for byte in 0..256u32 {
            let code = if printable(byte) {
                byte
            } else {
                spare += 1;
                spare - 1
            };
            let key = char::from_u32(code).unwrap().to_string();
            vocab.insert(key, byte.into());
        }
        let added = |id: u32, content: &str, special: bool| {
            serde_json::json!({"id": id, "content": content, "special": special,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
        };
        let json = serde_json::json!({
            "version": "1.0",
            "added_tokens": [added(256, "<|im_end|>", true), added(257, "<tool_call>", false)],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                "trim_offsets": true, "use_regex": false},
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": false,
                "trim_offsets": true, "use_regex": false},
            "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": null},
        });
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        Tokenizer::load_within(dir.path(), rows).unwrap()
    }

    #[test]
    fn added_tokens_beyond_the_models_rows_are_text() {
        for (rows, known) in [(1000, 258), (258, 258), (257, 257), (256, 256), (100, 256)] {
            let t = tokenizer_within(rows);
            assert_eq!(t.vocab(), known, "{rows}");
            for (id, text) in [(256, "<|im_end|>"), (257, "<tool_call>")] {
                let encoded = t.encode(text, false).unwrap();
                match id < known {
                    true => assert_eq!(encoded, [id as u32], "{rows}"),
                    false => assert_eq!(encoded.len(), text.len(), "{rows}"),
                }
                assert_eq!(t.decode(&encoded, true), text, "{rows}");
            }
        }
    }

    #[test]
    fn a_file_at_which_the_library_panics_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |json: &str| {
            std::fs::write(dir.path().join("tokenizer.json"), json).unwrap();
            Tokenizer::load(dir.path()).unwrap_err().to_string()
        };
        let error = refused(r#"{"model": {"type": "BPE"}, "decoder": {"type": "ByteLevel", 7}}"#);
        assert!(error.contains("line 1 column 61"), "{error}");
        // No vocabulary, so that the unknown token is none.
        let model = r#"{"type": "Unigram", "unk_id": null, "vocab": [], "byte_fallback": false}"#;
        let error = refused(&format!(r#"{{"version": "1.0", "model": {model}}}"#));
        assert!(!error.is_empty());
    }

    #[test]
    fn a_character_of_several_tokens_comes_whole() {
        let mut stream = tokenizer().stream(false);
        let parts: Vec<String> = "é€😀!".bytes().map(|b| stream.push(b.into())).collect();
        assert_eq!(parts, ["", "é", "", "", "€", "", "", "", "😀", "!"]);
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn broken_bytes_are_replaced_and_do_not_stop_the_stream() {
        let mut stream = tokenizer().stream(false);
        assert_eq!(stream.push(0xe2), "");
        assert_eq!(stream.finish(), "", "a character that is not complete");
        let mut stream = tokenizer().stream(false);
        assert_eq!(stream.push(0xff), "");
        assert_eq!(stream.finish(), "\u{fffd}", "no character's beginning");
        let mut stream = tokenizer().stream(false);
        let text: String = (0..40).map(|_| stream.push(0xff)).collect();
        assert!(text.chars().count() > 30 && text.chars().all(|c| c == '\u{fffd}'));
        assert_eq!(
            stream.push(u32::from(b'a')),
            "\u{fffd}\u{fffd}\u{fffd}a",
            "held, not lost"
        );
    }

    #[test]
    fn a_token_has_its_own_bytes_also_where_they_are_part_of_a_character() {
        let t = tokenizer();
        for (id, text) in [
            (0x61, "a"),
            (0x20, " "),
            (0x0a, "\n"),
            (0xe2, "\\xe2"),
            (0x82, "\\x82"),
            (0xff, "\\xff"),
            (0x00, "\0"),
        ] {
            let bytes = Some(vec![u8::try_from(id).unwrap()]);
            let text = text.to_owned();
            assert_eq!(t.token_text(id, false), TokenText { text, bytes });
        }
        assert_eq!(t.token_text(257, false).bytes, Some("<tool_call>".into()));
    }

    #[test]
    fn a_blank_that_the_decoder_drops_is_not_among_the_first_tokens_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "vocab": {"\u{2581}a": 0, "<0xC3>": 1, "<0xA9>": 2},
                "merges": [], "unk_token": null},
        });
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        let t = Tokenizer::load(dir.path()).unwrap();
        let bytes = |token: TokenText| String::from_utf8(token.bytes.unwrap()).unwrap();
        assert_eq!(bytes(t.first_token_text(0, false)), "a");
        assert_eq!(bytes(t.token_text(0, false)), " a");
        let mut stream = t.stream(false);
        let parts = [0, 0, 1, 2, 0, 1].map(|id| stream.push(id));
        assert_eq!(parts.concat() + &stream.finish(), "a a\u{e9} a");
    }

    #[test]
    fn special_tokens_cannot_be_forged_and_are_not_shown() {
        let t = tokenizer();
        let text = "hi<|im_end|>\n";
        assert!(t.encode(text, false).unwrap().contains(&256));
        assert!(!t.encode(&t.defuse(text), false).unwrap().contains(&256));
        assert_eq!(
            t.defuse("<tool_call>"),
            "<tool_call>",
            "not special: it is only text"
        );
        assert_eq!(t.decode(&[104, 256, 105], false), "hi");
        assert_eq!(t.decode(&[104, 256, 105], true), "h<|im_end|>i");
        let text = "<|im_end|>";
        for (shown, bytes) in [(false, None), (true, Some(text.into()))] {
            let text = text.to_owned();
            assert_eq!(t.token_text(256, shown), TokenText { text, bytes });
        }
    }

    proptest! {
        #[test]
        fn an_answer_that_is_cut_anywhere_ends_with_a_whole_character(text in "[aé€😀]{1,8}", cut in 1usize..32) {
            let t = tokenizer();
            let bytes = &text.as_bytes()[..cut.min(text.len())];
            let mut stream = t.stream(false);
            let mut got: String = bytes.iter().map(|byte| stream.push((*byte).into())).collect();
            got += &stream.finish();
            let whole = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
            prop_assert_eq!(got.as_bytes(), &bytes[..whole]);
        }

        #[test]
        fn the_tokens_bytes_are_those_of_the_text(text in "\\PC{0,40}") {
            let t = tokenizer();
            let ids = t.encode(&t.defuse(&text), false).unwrap();
            let bytes: Vec<u8> = ids.iter().flat_map(|id| t.token_text(*id, false).bytes.unwrap()).collect();
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), t.decode(&ids, false));
        }

        #[test]
        fn streamed_text_is_the_whole_text(text in "\\PC{0,40}") {
            let t = tokenizer();
            let ids = t.encode(&t.defuse(&text), false).unwrap();
            let mut stream = t.stream(false);
            let mut got: String = ids.iter().map(|id| stream.push(*id)).collect();
            got += &stream.finish();
            prop_assert_eq!(got, t.decode(&ids, false));
        }
    }
}
