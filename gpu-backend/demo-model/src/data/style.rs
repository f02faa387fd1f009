//! How people type: polite openings and endings, capitals or none, missing punctuation, a
//! mistyped letter. It knows no meaning; words that must survive are protected by the caller.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::pick;

/// What may be put before a sentence.
pub(super) const OPENINGS: &[&str] = &[
    "please, ",
    "hi, ",
    "hey, ",
    "ok, ",
    "so, ",
    "hello, ",
    "well, ",
    "now, ",
    "quick question: ",
    "hey there, ",
    "okay, ",
    "hi! ",
    "hello! ",
    "one more thing: ",
    "and ",
    "sorry, ",
    "um, ",
    "alright, ",
    "good, ",
    "thanks. ",
    "great, ",
    "also, ",
    "please tell me: ",
    "next question: ",
];
/// What may be put behind one.
pub(super) const ENDINGS: &[&str] = &[
    " please", ", please", " thanks", ", thanks", "??", " again", "!", " :)",
];

/// A sentence as somebody may have typed it. A slot such as `{n}` survives: no rule touches a
/// letter that stands before a brace, so frames are filled afterwards.
pub fn typed(rng: &mut ChaCha8Rng, sentence: &str) -> String {
    let mut text = sentence.to_owned();
    if rng.random_bool(0.25) {
        text.truncate(text.trim_end_matches(['?', '.', '!']).len());
    }
    if rng.random_bool(0.06) {
        text.truncate(text.trim_end_matches(['?', '.', '!']).len());
        text.push_str(pick(rng, ENDINGS));
    }
    if rng.random_bool(0.10) {
        text = mistyped(rng, &text);
    }
    if rng.random_bool(0.18) {
        text = format!("{}{text}", pick(rng, OPENINGS));
    }
    if rng.random_bool(0.25) {
        text.to_lowercase()
    } else if rng.random_bool(0.75) {
        capitalised(&text)
    } else {
        text
    }
}

/// The same with a capital first letter.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// One letter dropped, doubled or swapped with its neighbour; digits are never touched.
fn mistyped(rng: &mut ChaCha8Rng, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    if letters.len() < 8 {
        return text.to_owned();
    }
    let at = rng.random_range(1..letters.len() - 1);
    if !letters[at].is_ascii_lowercase() || !letters[at + 1].is_ascii_lowercase() {
        return text.to_owned();
    }
    match rng.random_range(0..3) {
        0 => {
            letters.remove(at);
        }
        1 => letters.insert(at, letters[at]),
        _ => letters.swap(at, at + 1),
    }
    letters.into_iter().collect()
}

/// A pattern with one alternative chosen in every pair of round brackets.
pub(super) fn choose_in_brackets(rng: &mut ChaCha8Rng, pattern: &str) -> String {
    let mut text = String::new();
    for part in pattern.split_inclusive(')') {
        let Some((plain, choice)) = part.split_once('(') else {
            text.push_str(part);
            continue;
        };
        let alternatives: Vec<&str> = choice.trim_end_matches(')').split('|').collect();
        text.push_str(plain);
        text.push_str(pick(rng, &alternatives));
    }
    tidied(&text)
}

/// Every text that a pattern can give.
pub(super) fn all_in_brackets(pattern: &str) -> Vec<String> {
    let mut texts = vec![String::new()];
    for part in pattern.split_inclusive(')') {
        let (plain, choice) = part.split_once('(').unwrap_or((part, ""));
        let alternatives: Vec<&str> = choice.trim_end_matches(')').split('|').collect();
        let longer = |text: &String| {
            let grown = |choice: &&str| format!("{text}{plain}{choice}");
            alternatives.iter().map(grown).collect::<Vec<_>>()
        };
        texts = texts.iter().flat_map(longer).collect();
    }
    texts.iter().map(|text| tidied(text)).collect()
}

/// Without the double blanks that an empty alternative leaves.
fn tidied(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace(" ?", "?")
}
