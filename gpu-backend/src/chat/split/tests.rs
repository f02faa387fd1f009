//! Answers that are cut anywhere, in every format of calls.

use super::*;
use crate::tool_parser::ToolFormat;

const FORMATS: [ToolFormat; 5] = [
    ToolFormat::Hermes,
    ToolFormat::Llama3Json,
    ToolFormat::Pythonic,
    ToolFormat::Mistral,
    ToolFormat::Gemma,
];

/// Text, names and arguments of an answer that was cut, and how it ended.
fn cut(format: ToolFormat, answer: &str) -> (String, Vec<(String, String)>, Finish) {
    let mut split = Split::new(None, Some(format.parser()), false);
    let mut pieces = split.push(answer);
    let (rest, finish) = split.cut(Finish::Stop);
    pieces.extend(rest);
    let (mut text, mut calls) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(more) | Piece::Reasoning(more) => text += &more,
            Piece::Call { name, .. } => calls.push((name, String::new())),
            Piece::Arguments(more) => calls.last_mut().unwrap().1 += &more,
        }
    }
    (text, calls, finish)
}

fn written(format: ToolFormat) -> &'static str {
    match format {
        ToolFormat::Hermes => {
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x y\"}}\n</tool_call>"
        }
        ToolFormat::Llama3Json => "{\"name\": \"f\", \"parameters\": {\"a\": \"x y\"}}",
        ToolFormat::Pythonic => "[f(a=\"x y\")]",
        ToolFormat::Mistral => "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": \"x y\"}}]",
        ToolFormat::Gemma => "```tool_code\nf(a=\"x y\")\n```",
    }
}

/// Wherever an answer is cut, what began a call is no text, a call that was given out is
/// one, and its arguments are whole or said to be cut.
#[test]
fn a_call_that_is_cut_anywhere_is_never_text() {
    for format in FORMATS {
        let whole = written(format);
        for at in 1..=whole.len() {
            let (text, calls, finish) = cut(format, &whole[..at]);
            let seen = format!(
                "{format}: {:?}: {text:?} {calls:?} {finish:?}",
                &whole[..at]
            );
            assert_eq!(text, "", "{seen}");
            assert!(
                calls.len() <= 1 && calls.iter().all(|(name, _)| name == "f"),
                "{seen}"
            );
            let complete = calls
                .iter()
                .all(|(_, arguments)| arguments == "{\"a\": \"x y\"}");
            assert_eq!(finish == Finish::Length, !complete, "{seen}");
        }
        assert_eq!(cut(format, whole).1.len(), 1);
    }
}

#[test]
fn text_before_a_call_that_is_cut_stays() {
    for format in [ToolFormat::Hermes, ToolFormat::Mistral, ToolFormat::Gemma] {
        let whole = format!("Let me see. {}", written(format));
        for at in "Let me see. ".len()..whole.len() {
            let (text, _, _) = cut(format, &whole[..at]);
            assert_eq!(text.trim_end(), "Let me see.", "{format}: {}", &whole[..at]);
        }
    }
}

#[test]
fn text_that_is_cut_and_began_no_call_stays() {
    for (format, answer) in [
        (ToolFormat::Hermes, "a < b"),
        (ToolFormat::Llama3Json, "{\"answer\": 4"),
        (ToolFormat::Llama3Json, "Hello {"),
        (ToolFormat::Pythonic, "[1] is a source"),
        (ToolFormat::Pythonic, "Hello ["),
        (ToolFormat::Gemma, "```json\n{\"answer\": 4"),
        (ToolFormat::Gemma, "Hello ["),
        (ToolFormat::Mistral, "a [b"),
    ] {
        assert_eq!(
            cut(format, answer),
            (answer.to_owned(), Vec::new(), Finish::Stop)
        );
    }
}

/// Where an answer is calls or a text of some form, a text that looks like a call is none.
#[test]
fn a_text_of_a_form_is_not_taken_for_a_call() {
    let names = || ["f".to_owned()].into();
    let run = |format: ToolFormat, answer: &str| {
        let mut split = Split::new(None, Some(format.parser_of(names())), true);
        let each = answer.chars().map(|c| split.push(&c.to_string()));
        let mut pieces: Vec<Piece> = each.collect::<Vec<_>>().concat();
        pieces.extend(split.finish());
        let text = pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            _ => None,
        });
        (text.collect::<String>(), split.called())
    };
    for format in FORMATS {
        for answer in [
            "{\"name\": \"Ada\", \"age\": 36}",
            "{\"name\": \"Ada\", \"parameters\": {}}",
            "{\"a\": \"<tool_call>{\\\"name\\\": \\\"f\\\"} [TOOL_CALLS]f[ARGS]{} ```tool_code\"}",
        ] {
            assert_eq!(run(format, answer), (answer.to_owned(), false), "{format}");
        }
        assert_eq!(
            run(format, written(format)),
            (String::new(), true),
            "{format}"
        );
    }
}
