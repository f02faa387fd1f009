//! Small talk: an intent, one answer, and many ways to say it. It knows no other group.

use rand::Rng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;

use super::{Dialogue, pick, style};

mod courtesies;

mod itself;

mod feelings;

/// Something that people say without asking for anything in particular.
#[derive(Debug)]
pub struct Intent {
    /// Name for reports.
    pub id: &'static str,
    /// What the model answers.
    pub answer: &'static str,
    /// How it is said, in training.
    pub phrases: &'static [&'static str],
    /// More ways, with a choice in every pair of round brackets.
    pub patterns: &'static [&'static str],
}

/// All intents. Their order is part of the recipe: the generator chooses by place.
pub fn all() -> impl Iterator<Item = &'static Intent> {
    courtesies::COURTESIES
        .iter()
        .chain(itself::ITSELF)
        .chain(feelings::FEELINGS)
}

pub(super) fn add(dialogue: &mut Dialogue, rng: &mut ChaCha8Rng) {
    let Some(intent) = all().choose(rng) else {
        return;
    };
    let phrase = if rng.random_bool(0.55) {
        let pattern = pick(rng, intent.patterns);
        style::choose_in_brackets(rng, pattern)
    } else {
        pick(rng, intent.phrases).to_owned()
    };
    let said = if rng.random_bool(0.6) {
        style::typed(rng, &phrase)
    } else {
        phrase
    };
    dialogue.exchange(said, intent.answer);
}
