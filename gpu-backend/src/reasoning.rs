//! What a model thinks before it answers, parted from the answer: `<think>…</think>` and
//! its like at the answer's beginning.
//!
//! Invariant: the result does not depend on where the text was cut.
//! Knows nothing of tokens or HTTP.

use std::fmt;
use std::str::FromStr;

use crate::tool_parser::Piece;

/// How a family of models marks its reasoning. The names are vLLM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// `<think>…</think>`, which the model may leave out.
    Qwen3,
    /// As Qwen's, but the answer begins inside: the opening tag may be missing.
    DeepSeekR1,
    /// `[THINK]…[/THINK]`.
    Mistral,
}

/// Whether an answer to a certain prompt begins with reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// The prompt has opened it.
    Open,
    /// The model decides.
    Possible,
    /// The prompt has closed it.
    Closed,
}

impl ReasoningFormat {
    const ALL: [Self; 3] = [Self::Qwen3, Self::DeepSeekR1, Self::Mistral];

    /// The format that a chat template speaks of.
    pub fn of_template(template: &str) -> Option<Self> {
        let has = |text: &str| template.contains(text);
        if has("[THINK]") {
            Some(Self::Mistral)
        } else if has("</think>") && has("<｜Assistant｜>") {
            Some(Self::DeepSeekR1)
        } else if has("</think>") {
            Some(Self::Qwen3)
        } else {
            None
        }
    }

    /// The opening and the closing tag.
    pub fn markers(self) -> [&'static str; 2] {
        match self {
            Self::Qwen3 | Self::DeepSeekR1 => ["<think>", "</think>"],
            Self::Mistral => ["[THINK]", "[/THINK]"],
        }
    }

    /// What the end of a rendered prompt says.
    pub fn thinking(self, prompt: &str) -> Thinking {
        let [open, close] = self.markers();
        let end = prompt.trim_end();
        if end.ends_with(close) {
            Thinking::Closed
        } else if end.ends_with(open) || self == Self::DeepSeekR1 {
            Thinking::Open
        } else {
            Thinking::Possible
        }
    }

    /// A parser for one answer; none where it cannot begin with reasoning.
    pub fn parser(self, thinking: Thinking) -> Option<ReasoningParser> {
        let state = match thinking {
            Thinking::Open => State::Inside,
            Thinking::Possible => State::Before,
            Thinking::Closed => return None,
        };
        let [open, close] = self.markers();
        Some(ReasoningParser {
            open,
            close,
            state,
            held: String::new(),
            blanks: String::new(),
            begun: false,
        })
    }
}

impl fmt::Display for ReasoningFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qwen3 => "qwen3",
            Self::DeepSeekR1 => "deepseek_r1",
            Self::Mistral => "mistral",
        })
    }
}

impl FromStr for ReasoningFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|f| f.to_string() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(|f| f.to_string()).join(", ");
            format!("unknown reasoning parser; known are {names}")
        })
    }
}

/// Splits a streamed answer into reasoning and text. Blanks at both ends of the
/// reasoning, and before the text after it, are layout and are dropped.
#[derive(Debug)]
pub struct ReasoningParser {
    open: &'static str,
    close: &'static str,
    state: State,
    /// The beginning of a tag, perhaps.
    held: String,
    /// Blanks at the end of the reasoning so far.
    blanks: String,
    /// The reasoning has begun with something other than a blank or the opening tag.
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Only blanks so far; the opening tag may come.
    Before,
    Inside,
    /// Blanks after the closing tag.
    Gap,
    After,
}

impl ReasoningParser {
    /// What comes now is reasoning.
    pub fn inside(&self) -> bool {
        self.state == State::Inside
    }

    /// Adds text and returns what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let (mut reasoning, mut answer) = (String::new(), String::new());
        for c in text.chars() {
            match self.state {
                State::After => answer.push(c),
                State::Gap if c.is_whitespace() => {}
                State::Gap => {
                    self.state = State::After;
                    answer.push(c);
                }
                State::Before => self.before(c, &mut answer),
                State::Inside => self.step_inside(c, &mut reasoning),
            }
        }
        pieces(reasoning, answer)
    }

    /// The rest at the end of the answer.
    pub fn finish(&mut self) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        let blanks = std::mem::take(&mut self.blanks);
        match self.state {
            State::Inside if !held.is_empty() => pieces(blanks + &held, String::new()),
            State::Before => pieces(String::new(), held),
            State::Inside | State::Gap | State::After => Vec::new(),
        }
    }

    /// The rest of an answer that was cut: the beginning of a tag is dropped.
    pub fn cut(&mut self) -> Vec<Piece> {
        let begun = !self.held.trim().is_empty();
        if begun && matches!(self.state, State::Before | State::Inside) {
            self.held.clear();
        }
        self.finish()
    }

    fn before(&mut self, c: char, answer: &mut String) {
        self.held.push(c);
        let tag = self.held.trim_start();
        if tag == self.open {
            self.held.clear();
            self.state = State::Inside;
        } else if !self.open.starts_with(tag) {
            *answer += &std::mem::take(&mut self.held);
            self.state = State::After;
        }
    }

    fn step_inside(&mut self, c: char, reasoning: &mut String) {
        self.held.push(c);
        loop {
            if self.held == self.close {
                self.held.clear();
                self.blanks.clear();
                self.state = State::Gap;
                return;
            }
            // A model whose prompt has opened the reasoning may open it once more.
            if !self.begun && self.held == self.open {
                self.held.clear();
                return;
            }
            let tag = |tag: &str| tag.starts_with(self.held.as_str());
            if tag(self.close) || (!self.begun && tag(self.open)) {
                return;
            }
            let first = self.held.remove(0);
            if !first.is_whitespace() {
                self.begun = true;
                *reasoning += &std::mem::take(&mut self.blanks);
                reasoning.push(first);
            } else if self.begun {
                self.blanks.push(first);
            }
        }
    }
}

/// The reasoning of a text stands before its answer.
fn pieces(reasoning: String, answer: String) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if !reasoning.is_empty() {
        pieces.push(Piece::Reasoning(reasoning));
    }
    if !answer.is_empty() {
        pieces.push(Piece::Text(answer));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reasoning and text of an answer that comes in these parts.
    fn parse<'a>(
        format: ReasoningFormat,
        thinking: Thinking,
        parts: impl IntoIterator<Item = &'a str>,
    ) -> (String, String) {
        let mut parser = format.parser(thinking).unwrap();
        let mut pieces: Vec<Piece> = parts.into_iter().flat_map(|p| parser.push(p)).collect();
        pieces.extend(parser.finish());
        let (mut reasoning, mut text) = (String::new(), String::new());
        for piece in pieces {
            match piece {
                Piece::Reasoning(more) => reasoning += &more,
                Piece::Text(more) => text += &more,
                other => panic!("{other:?}"),
            }
        }
        (reasoning, text)
    }

    #[test]
    fn reasoning_and_answer_are_parted() {
        use ReasoningFormat::{DeepSeekR1, Mistral, Qwen3};
        use Thinking::{Open, Possible};
        for (format, thinking, text, reasoning, answer) in [
            (
                Qwen3,
                Possible,
                "<think>\nOne é.\n</think>\n\nTwo ",
                "One é.",
                "Two ",
            ),
            (
                Qwen3,
                Possible,
                "Two <think>x</think>",
                "",
                "Two <think>x</think>",
            ),
            (Qwen3, Possible, " <thing", "", " <thing"),
            (Qwen3, Possible, "<think></think>a", "", "a"),
            (Qwen3, Open, "a </th b</think>c", "a </th b", "c"),
            (Qwen3, Open, "a < b \n", "a < b", ""),
            (Qwen3, Open, "a</think", "a</think", ""),
            (
                DeepSeekR1,
                Open,
                "<think>\na\n\nb</think>c</think>",
                "a\n\nb",
                "c</think>",
            ),
            (Mistral, Possible, "[THINK]a[/THINK]b", "a", "b"),
        ] {
            let want = (reasoning.to_owned(), answer.to_owned());
            assert_eq!(parse(format, thinking, [text]), want, "{text}");
        }
    }

    #[test]
    fn a_tag_that_was_cut_is_not_shown() {
        for (thinking, text, reasoning, answer) in [
            (Thinking::Possible, " <thin", "", ""),
            (Thinking::Possible, "\n", "", "\n"),
            (Thinking::Possible, "<think>a </thi", "a", ""),
            (Thinking::Open, "a</think>b", "a", "b"),
        ] {
            let mut parser = ReasoningFormat::Qwen3.parser(thinking).unwrap();
            let mut all = parser.push(text);
            all.extend(parser.cut());
            assert_eq!(all, pieces(reasoning.into(), answer.into()), "{text:?}");
        }
    }

    #[test]
    fn the_prompt_says_where_the_answer_begins() {
        let qwen = ReasoningFormat::Qwen3;
        assert_eq!(qwen.thinking("<think>\n"), Thinking::Open);
        assert_eq!(qwen.thinking("<think>\n\n</think>\n\n"), Thinking::Closed);
        assert_eq!(qwen.thinking("assistant\n"), Thinking::Possible);
        assert!(qwen.parser(Thinking::Closed).is_none());
        let r1 = ReasoningFormat::of_template("<｜Assistant｜> </think>").unwrap();
        assert_eq!(
            (r1, r1.thinking("")),
            (ReasoningFormat::DeepSeekR1, Thinking::Open)
        );
        assert_eq!(ReasoningFormat::of_template("{{ messages }}"), None);
        assert_eq!("qwen3".parse(), Ok(qwen));
        assert!("gpt".parse::<ReasoningFormat>().is_err());
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_result(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<think>", "</think>", " ", "\n", "word", "<thi", "nk>", "é", "<", "</",
            ]), 0..12),
            open in any::<bool>(),
        ) {
            let whole: String = parts.concat();
            let thinking = if open { Thinking::Open } else { Thinking::Possible };
            let single: Vec<String> = whole.chars().map(String::from).collect();
            let format = ReasoningFormat::Qwen3;
            let want = parse(format, thinking, [whole.as_str()]);
            prop_assert_eq!(&parse(format, thinking, single.iter().map(String::as_str)), &want);
            prop_assert_eq!(&parse(format, thinking, parts.iter().copied()), &want);
        }
    }
}
