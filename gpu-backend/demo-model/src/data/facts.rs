//! Questions about Skerry: frames, and the facts of `facts/` that fill them. It knows no
//! other group.

use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand_chacha::ChaCha8Rng;

use super::{Dialogue, pick, style};

mod overview;

mod components;

mod properties;

mod first_steps;

mod daily_use;

mod operation;

/// One thing to know about Skerry.
#[derive(Debug)]
pub struct Fact {
    /// Name for reports.
    pub id: &'static str,
    /// What the model answers.
    pub answer: &'static str,
    /// What must stand in an answer for it to count as right.
    pub keys: &'static [&'static str],
    /// Phrases after "how do I".
    pub verbs: &'static [&'static str],
    /// Phrases after "tell me about".
    pub topics: &'static [&'static str],
    /// Phrases after "what does … do" and "what is".
    pub things: &'static [&'static str],
    /// Whole questions.
    pub questions: &'static [&'static str],
}

/// All facts. Their order is part of the recipe: the generator chooses by place.
pub fn all() -> impl Iterator<Item = &'static Fact> {
    overview::OVERVIEW
        .iter()
        .chain(components::COMPONENTS)
        .chain(properties::PROPERTIES)
        .chain(first_steps::FIRST_STEPS)
        .chain(daily_use::DAILY_USE)
        .chain(operation::OPERATION)
}

/// Frames round a verb phrase.
pub const VERB_FRAMES: &[&str] = &[
    "how do I {v}?",
    "how can I {v}?",
    "how to {v}?",
    "how to {v}",
    "how do you {v}?",
    "how does one {v}?",
    "I want to {v}",
    "I want to {v}, how?",
    "I would like to {v}",
    "I need to {v}",
    "I'd like to {v}",
    "show me how to {v}",
    "tell me how to {v}",
    "explain how to {v}",
    "teach me to {v}",
    "help me {v}",
    "help me to {v}",
    "can you tell me how to {v}?",
    "can you show me how to {v}?",
    "can you help me {v}?",
    "what do I do to {v}?",
    "what must I do to {v}?",
    "what should I do to {v}?",
    "what do I need to {v}?",
    "what is the way to {v}?",
    "what's the way to {v}?",
    "what is the best way to {v}?",
    "is there a way to {v}?",
    "is it possible to {v}?",
    "can I {v}?",
    "may I {v}?",
    "could I {v}?",
    "what command do I use to {v}?",
    "which command do I need to {v}?",
    "where can I {v}?",
    "where do I {v}?",
    "I am trying to {v}",
    "I'm trying to {v}",
    "I have to {v}",
    "I don't know how to {v}",
    "do you know how to {v}?",
    "how would I {v}?",
    "how could I {v}?",
    "how should I {v}?",
    "what are the steps to {v}?",
    "steps to {v}",
    "give me the steps to {v}",
    "let me know how to {v}",
    "describe how to {v}",
    "please explain how I can {v}",
    "how exactly do I {v}?",
    "how do we {v}?",
    "how can we {v}?",
    "how might I {v}?",
    "what does it take to {v}?",
    "we want to {v}",
    "my boss wants me to {v}",
    "I wonder how to {v}",
    "trying to {v}",
    "need to {v}",
    "how do people {v}?",
    "how can somebody {v}?",
    "they told me to {v}, how?",
    "somebody asked me to {v}",
    "I was told to {v}",
    "I was asked to {v}, how?",
    "I must {v}, what next?",
    "my task is to {v}",
    "I've been told to {v}, what do I do?",
    "they want me to {v}, what should I do?",
    "my job is to {v}, how do I begin?",
    "I am supposed to {v}, how?",
    "how are we supposed to {v}?",
    "what am I supposed to do to {v}?",
    "no idea how to {v}",
    "any hints on how to {v}?",
    "do you have an idea how to {v}?",
    "please walk me through it: {v}",
    "guide me, I want to {v}",
    "could you guide me to {v}?",
    "could you show me how to {v}?",
    "would you explain how to {v}?",
    "what would I do to {v}?",
    "what do I have to do to {v}?",
    "what would we need to {v}?",
    "show me the way to {v}",
    "what is needed to {v}?",
    "I would love to {v}",
    "today I have to {v}",
    "now I want to {v}",
    "suppose I want to {v}",
    "let's say I want to {v}",
    "if I want to {v}, what do I do?",
    "when I want to {v}, what must I do?",
    "what does one do to {v}?",
    "I plan to {v}, how does that work?",
    "quickly, how do I {v}?",
    "first I want to {v}",
];

/// Frames round any noun.
pub const TOPIC_FRAMES: &[&str] = &[
    "tell me about {t}",
    "tell me more about {t}",
    "can you tell me about {t}?",
    "I have a question about {t}",
    "what about {t}?",
    "what can you tell me about {t}?",
    "what do you know about {t}?",
    "explain {t}",
    "can you explain {t}?",
    "please explain {t}",
    "I want to know about {t}",
    "I'd like to know about {t}",
    "I need information about {t}",
    "give me information about {t}",
    "info about {t}",
    "info on {t}",
    "I need help with {t}",
    "help me with {t}",
    "help with {t}",
    "how about {t}?",
    "describe {t}",
    "{t}",
    "{t}?",
    "say something about {t}",
    "what should I know about {t}?",
    "teach me about {t}",
    "more about {t}",
    "let's talk about {t}",
    "do you know anything about {t}?",
    "can you help me with {t}?",
    "details on {t}",
    "give me details about {t}",
    "what is there to know about {t}?",
    "could you explain {t} to me?",
    "inform me about {t}",
    "I am curious about {t}",
    "I'm interested in {t}",
    "a word about {t}",
    "what does the documentation say about {t}?",
    "how does it work with {t}?",
    "and {t}?",
    "how is it with {t}?",
    "I would like to hear about {t}",
    "my question is about {t}",
    "any information on {t}?",
    "do you know about {t}?",
    "please tell me about {t}",
    "can you tell me something about {t}?",
    "could you give me information about {t}?",
    "please give me some information about {t}",
    "I want to understand {t}",
    "help me understand {t}",
    "can you help me understand {t}?",
    "is there something to know about {t}?",
    "is there any information about {t}?",
    "what is important about {t}?",
    "what do I have to know about {t}?",
    "what do we need to know about {t}?",
    "what should one know about {t}?",
    "I'd like to learn about {t}",
    "I want to read about {t}",
    "I need to know more about {t}",
    "would you tell me about {t}?",
    "the subject is {t}",
    "something about {t} please",
    "I was asked about {t}",
    "somebody asked me about {t}",
    "people ask me about {t}",
    "could you say something about {t}?",
    "what can you say about {t}?",
];

/// Frames round a thing.
pub const THING_FRAMES: &[&str] = &[
    "what is {t}?",
    "what's {t}?",
    "what does {t} do?",
    "what is {t} for?",
    "what's {t} for?",
    "what is {t} good for?",
    "what is the purpose of {t}?",
    "what is the role of {t}?",
    "what is the job of {t}?",
    "what does {t} mean?",
    "why is there {t}?",
    "why do I need {t}?",
    "how does {t} work?",
    "what is {t} used for?",
    "explain what {t} does",
    "explain what {t} is",
    "tell me what {t} is",
    "tell me what {t} does",
    "can you explain what {t} is?",
    "do you know what {t} is?",
    "what exactly is {t}?",
    "what exactly does {t} do?",
    "who or what is {t}?",
    "I don't know what {t} is",
    "I don't understand what {t} does",
    "what do you mean by {t}?",
    "define {t}",
    "what happens in {t}?",
    "what is meant by {t}?",
    "give me a definition of {t}",
    "could you say what {t} is?",
    "what do we need {t} for?",
    "what can {t} do?",
    "what is the point of {t}?",
    "so what is {t}?",
    "please tell me what {t} is",
    "I want to know what {t} is",
    "I want to know what {t} does",
    "and what is {t}?",
    "could you explain what {t} is?",
    "can you tell me what {t} is?",
    "could you tell me what {t} does?",
    "would you tell me what {t} is?",
    "what's the role of {t}?",
    "what's the point of {t}?",
    "what's the job of {t}?",
    "what do they use {t} for?",
    "what does one use {t} for?",
    "for what do I use {t}?",
    "in a few words, what is {t}?",
    "in one sentence, what is {t}?",
    "briefly, what is {t}?",
    "shortly, what does {t} do?",
    "what is it that {t} is good for?",
    "what would you call {t}?",
    "how would you explain {t}?",
    "what are the tasks of {t}?",
    "which task has {t}?",
    "what sort of thing is {t}?",
    "what kind of thing is {t}?",
    "remind me what {t} is",
    "remind me what {t} does",
];

impl Fact {
    /// A question for this fact out of the frames given; facts without phrases of a kind take
    /// another kind.
    pub fn question(&self, rng: &mut ChaCha8Rng, frames: &Frames) -> String {
        let mut kinds: Vec<u8> = Vec::new();
        kinds.extend([0, 0].iter().filter(|_| !self.verbs.is_empty()));
        kinds.extend(
            [1].iter()
                .filter(|_| !self.topics.is_empty() || !self.things.is_empty()),
        );
        kinds.extend([2, 2].iter().filter(|_| !self.things.is_empty()));
        match kinds.choose(rng) {
            Some(0) => pick(rng, frames.verb).replace("{v}", pick(rng, self.verbs)),
            Some(1) => {
                let topics: Vec<&str> = self.topics.iter().chain(self.things).copied().collect();
                pick(rng, frames.topic).replace("{t}", pick(rng, &topics))
            }
            _ => pick(rng, frames.thing).replace("{t}", pick(rng, self.things)),
        }
    }
}

/// Frames by kind of phrase.
#[derive(Debug)]
pub struct Frames {
    /// With `{v}`.
    pub verb: &'static [&'static str],
    /// With `{t}`, any noun.
    pub topic: &'static [&'static str],
    /// With `{t}`, a thing.
    pub thing: &'static [&'static str],
}

/// The training frames.
pub const TRAINING: Frames = Frames {
    verb: VERB_FRAMES,
    topic: TOPIC_FRAMES,
    thing: THING_FRAMES,
};

pub(super) fn add(dialogue: &mut Dialogue, rng: &mut ChaCha8Rng) {
    let Some(fact) = all().choose(rng) else {
        return;
    };
    let whole = !fact.questions.is_empty() && rng.random_bool(0.3);
    let question = if whole {
        pick(rng, fact.questions).to_owned()
    } else {
        fact.question(rng, &TRAINING)
    };
    let question = style::typed(rng, &question);
    dialogue.exchange(question, fact.answer);
}
