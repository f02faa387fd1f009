//! A model's answer: the first byte chooses the format of its calls, the second how often
//! the text is cut, the rest is the text. Wherever it is cut, the same calls come out.
#![no_main]

use gpu_backend::reasoning::{ReasoningFormat, Thinking};
use gpu_backend::tool_parser::{Piece, ToolFormat};
use libfuzzer_sys::fuzz_target;

const FORMATS: [ToolFormat; 5] = [
    ToolFormat::Hermes,
    ToolFormat::Llama3Json,
    ToolFormat::Pythonic,
    ToolFormat::Mistral,
    ToolFormat::Gemma,
];
const THINKING: [(ReasoningFormat, Thinking); 4] = [
    (ReasoningFormat::Qwen3, Thinking::Possible),
    (ReasoningFormat::DeepSeekR1, Thinking::Open),
    (ReasoningFormat::Mistral, Thinking::Possible),
    (ReasoningFormat::Mistral, Thinking::Open),
];

fuzz_target!(|data: &[u8]| {
    let [format, cuts, text @ ..] = data else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let parts = cut(text, usize::from(*cuts % 16) + 1);

    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    assert_eq!(calls(format, &[text]), calls(format, &parts), "{format}");

    let (format, thinking) = THINKING[usize::from(*cuts) % THINKING.len()];
    assert_eq!(
        reasoning(format, thinking, &[text]),
        reasoning(format, thinking, &parts),
        "{format}"
    );
});

/// Parts of about `len` bytes.
fn cut(mut text: &str, len: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let (part, rest) = text.split_at(text.ceil_char_boundary(len.min(text.len())));
        parts.push(part);
        text = rest;
    }
    parts
}

fn calls(format: ToolFormat, parts: &[&str]) -> Vec<Piece> {
    let mut parser = format.parser();
    let mut pieces: Vec<Piece> = parts.iter().flat_map(|part| parser.push(part)).collect();
    pieces.extend(parser.finish());
    for piece in &mut pieces {
        // It is a new one each time.
        if let Piece::Call { id, .. } = piece {
            id.clear();
        }
    }
    joined(pieces)
}

fn reasoning(format: ReasoningFormat, thinking: Thinking, parts: &[&str]) -> Vec<Piece> {
    let Some(mut parser) = format.parser(thinking) else {
        return Vec::new();
    };
    let mut pieces: Vec<Piece> = parts.iter().flat_map(|part| parser.push(part)).collect();
    pieces.extend(parser.finish());
    joined(pieces)
}

/// Neighbours of one kind as one, and none that is empty.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (piece, all.last_mut()) {
            (Piece::Text(text), Some(Piece::Text(last)))
            | (Piece::Reasoning(text), Some(Piece::Reasoning(last)))
            | (Piece::Arguments(text), Some(Piece::Arguments(last))) => last.push_str(&text),
            (Piece::Text(text) | Piece::Reasoning(text) | Piece::Arguments(text), _)
                if text.is_empty() => {}
            (piece, _) => all.push(piece),
        }
    }
    all
}
