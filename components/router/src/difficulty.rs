//! Simple or complex: what `auto` means.
//!
//! A rule and no model: a question is complex if the prompt is long, if the client offers tools of
//! its own, or if its words ask for code, mathematics or reasoning. It knows no backend.

/// A longer prompt is complex: about 1,500 tokens.
pub const SIMPLE_PROMPT_CHARS_MAX: u32 = 6_000;
/// Only the beginning of a question is read.
const QUERY_BYTES_MAX: usize = 16 << 10;

/// Words that ask for more than a small model gives, in lower case.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    // Code
    "algorithm", "bug", "code", "compile", "compiler", "debug", "function", "implement", "java",
    "javascript", "python", "refactor", "regex", "rust", "sql", "typescript", "unittest",
    // Mathematics
    "calculus", "derivative", "differentiate", "equation", "integral", "integrate", "matrix",
    "probability", "proof", "prove", "solve", "theorem",
    // Reasoning
    "analyse", "analyze", "compare", "critique", "derive", "evaluate", "plan", "reason",
    "reasoning", "strategy", "why",
];
const PHRASES: &[&str] = &[
    "step by step",
    "pros and cons",
    "trade-off",
    "```",
    "=>",
    "!=",
    "();",
];

/// Which of the two configured models answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difficulty {
    Simple,
    Complex,
}

pub fn difficulty(prompt_chars: u32, query: &str, tools: bool) -> Difficulty {
    let query = &query[..query.floor_char_boundary(QUERY_BYTES_MAX)];
    let query = query.to_lowercase();
    let is_complex = tools
        || prompt_chars > SIMPLE_PROMPT_CHARS_MAX
        || PHRASES.iter().any(|phrase| query.contains(phrase))
        || query
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| WORDS.contains(&word));
    if is_complex {
        Difficulty::Complex
    } else {
        Difficulty::Simple
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: Difficulty) {
        assert_eq!(difficulty(100, query, false), expected, "{query}");
    }

    #[test]
    fn words_of_the_question() {
        for query in [
            "Hello!",
            "What is Skerry?",
            "My name is Rusty",
            "Whyever not",
            "12 times 7",
            "",
        ] {
            check(query, Difficulty::Simple);
        }
        for query in [
            "Prove that 2 is even",
            "why?",
            "WRITE A PYTHON SCRIPT",
            "Explain it step by step",
            "what does ```x```do",
            "if (a != b) foo();",
        ] {
            check(query, Difficulty::Complex);
        }
    }

    #[test]
    fn long_prompts_and_tools() {
        assert_eq!(
            difficulty(SIMPLE_PROMPT_CHARS_MAX, "hi", false),
            Difficulty::Simple
        );
        assert_eq!(
            difficulty(SIMPLE_PROMPT_CHARS_MAX + 1, "hi", false),
            Difficulty::Complex
        );
        assert_eq!(difficulty(10, "hi", true), Difficulty::Complex);
        let long = format!("{}prove", "é".repeat(QUERY_BYTES_MAX));
        assert_eq!(difficulty(10, &long, false), Difficulty::Simple);
    }
}
