//! Tokens, estimated: more than ordinary text has, and never far more.
//!
//! The engine counts; this decides what is sent to it, and what is reserved of a rate limit, where
//! no tokenizer is at hand. A byte-level BPE makes about one token of three or four letters of
//! English. Here two letters or spaces are one token, and each digit, each sign and each byte of
//! another script is one, because small vocabularies split these. It knows no model.

use crate::wire::Message;

/// Role, turn marks and line feeds of a chat template.
const MESSAGE_TOKENS: u64 = 8;
/// The beginning of the prompt, and of the answer.
const PROMPT_TOKENS: u64 = 8;
/// Marks and the JSON around a call.
const CALL_TOKENS: u64 = 24;

/// The estimate for a whole prompt.
pub fn of_prompt(messages: &[Message]) -> u32 {
    let tokens = PROMPT_TOKENS + messages.iter().map(of_message).sum::<u64>();
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// What one message adds to a prompt.
pub fn of_message(message: &Message) -> u64 {
    let calls = message.tool_calls.iter();
    let calls: u64 = calls
        .map(|call| CALL_TOKENS + of_text(&call.name) + of_text(&call.arguments))
        .sum();
    let name = message.name.as_deref().map_or(0, of_text);
    MESSAGE_TOKENS + of_text(&message.content) + name + calls
}

fn of_text(text: &str) -> u64 {
    let letters = text
        .bytes()
        .filter(|b| b.is_ascii_alphabetic() || *b == b' ')
        .count() as u64;
    text.len() as u64 - letters + letters.div_ceil(2)
}

/// Room that `of_prompt` takes for no message at all.
pub const EMPTY: u64 = PROMPT_TOKENS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Role, ToolCall};

    #[test]
    fn letters_are_halved_and_the_rest_is_not() {
        for (text, tokens) in [
            ("", 0),
            ("a", 1),
            ("ab", 1),
            ("hello you", 5),
            ("2026", 4),
            ("a=b;", 3),
            ("é", 2),
            ("漢字", 6),
        ] {
            assert_eq!(of_text(text), tokens, "{text}");
        }
    }

    #[test]
    fn a_prompt_is_its_messages_and_a_little() {
        let mut message = Message::text(Role::Assistant, "ab");
        assert_eq!(of_prompt(&[]), 8);
        assert_eq!(of_prompt(&[message.clone(), message.clone()]), 8 + 2 * 9);
        message.tool_calls = vec![ToolCall {
            id: "x".into(),
            name: "ab".into(),
            arguments: "{}".into(),
        }];
        assert_eq!(of_prompt(&[message]), 8 + 9 + 24 + 1 + 2);
    }
}
