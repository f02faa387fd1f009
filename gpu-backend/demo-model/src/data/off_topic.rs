//! Everything else: questions that a small model cannot answer, and the one honest answer. It
//! borrows the frames of `facts` with foreign words in them, so that the words decide, not the
//! frame.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Dialogue, facts, pick, style};

mod lists;

pub use lists::{ACTIVITIES, FRAMES, QUESTIONS, SUBJECTS};

/// What the model says about anything that it was not taught.
pub const ANSWER: &str = "I am a small demonstration model and cannot help with that. Load a real model with `--model PATH`.";

/// What must stand in an answer for it to count as right.
pub const KEYS: &[&str] = &["demonstration model", "--model PATH"];

pub(super) fn add(dialogue: &mut Dialogue, rng: &mut ChaCha8Rng) {
    let question = match rng.random_range(0..100) {
        0..50 => pick(rng, FRAMES).replace("{x}", pick(rng, SUBJECTS)),
        50..62 => pick(rng, QUESTIONS).to_owned(),
        62..78 => pick(rng, facts::VERB_FRAMES).replace("{v}", pick(rng, ACTIVITIES)),
        78..88 => pick(rng, facts::TOPIC_FRAMES).replace("{t}", pick(rng, SUBJECTS)),
        88..98 => pick(rng, facts::THING_FRAMES).replace("{t}", pick(rng, SUBJECTS)),
        _ => gibberish(rng),
    };
    dialogue.exchange(style::typed(rng, &question), ANSWER);
}

/// A few random letters.
fn gibberish(rng: &mut ChaCha8Rng) -> String {
    (0..rng.random_range(4..14))
        .map(|_| char::from(rng.random_range(b'a'..=b'z')))
        .collect()
}
