//! The bytes that a token stands for: byte-level BPE (GPT-2, Llama 3, Qwen) and
//! SentencePiece with byte fallback (Llama 2, Mistral, Gemma).
//! Knows nothing of text that is put together of several tokens.

use serde_json::Value as Json;

/// How a token is written in `tokenizer.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Each character stands for a byte (GPT-2's table).
    ByteLevel,
    /// Text, with a character for the blank, and `<0xNN>` for single bytes.
    Pieces { blank: char },
}

/// How the tokens of this tokenizer are written; none if that is not known.
pub(super) fn writing(inner: &tokenizers::Tokenizer) -> Option<Writing> {
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
    /// Bytes of a token of the model's own vocabulary.
    pub(super) fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => text
                .chars()
                .map(byte_of)
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

/// The byte that a character stands for in GPT-2's table: printable bytes stand for
/// themselves, the others for the characters from 256 on, in order.
fn byte_of(c: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match u8::try_from(u32::from(c)) {
        Ok(byte) => Some(byte).filter(printable),
        Err(_) => {
            let place = u32::from(c).checked_sub(256)?;
            let mut others = (0..=255).filter(|byte| !printable(byte));
            others.nth(usize::try_from(place).ok()?)
        }
    }
}

/// A token as log-probabilities name it: its text, or its bytes as escapes where these
/// are but a part of a character (OpenAI's form).
pub(super) fn written(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect(),
    }
}
