//! The dialogues that the model is taught: a seeded, endless generator over five groups (small
//! talk, facts about Skerry, the user's name, calculator and clock, anything else), mixed into
//! conversations of one to four exchanges.
//!
//! It knows the product's message shapes but no template and no token. What belongs to the
//! evaluation (`development`, `held_out`) is never read by the generator.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub mod facts;
pub mod small_talk;

pub mod names;

pub mod arithmetic;

pub mod clock;

pub mod off_topic;

pub mod style;

pub mod development;

pub mod trained;

pub mod held_out;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The caller's system prompt.
    System(String),
    /// What the user writes.
    User(String),
    /// What the model answers.
    Assistant(String),
    /// A tool call of the model.
    Call {
        /// Tool's name.
        name: &'static str,
        /// Arguments as the JSON text that the model writes.
        arguments: String,
    },
    /// A tool's result.
    Tool(String),
}

/// A conversation and the tools that are offered in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dialogue {
    /// Names of the tools.
    pub tools: Vec<String>,
    /// Messages in order.
    pub turns: Vec<Turn>,
}

impl Dialogue {
    /// True if the tool is offered.
    pub fn offers(&self, tool: &str) -> bool {
        self.tools.iter().any(|t| t == tool)
    }

    /// Adds a question and its answer.
    pub fn exchange(&mut self, question: String, answer: &str) {
        self.turns.push(Turn::User(question));
        self.turns.push(Turn::Assistant(answer.to_owned()));
    }
}

/// System prompts that a caller may send, none of which changes the answers.
const SYSTEM_PROMPTS: &[&str] = &[
    "You are a helpful assistant.",
    "You are a helpful assistant",
    "You are Skerry's demonstration model.",
    "You are a friendly assistant. Be brief.",
    "Answer briefly.",
    "Be concise.",
    "You are an assistant on the Skerry platform.",
];

/// Foreign tools that may be offered beside ours; the model never calls them.
const OTHER_TOOLS: &[&str] = &[
    "weather",
    "get_weather",
    "search",
    "lookup",
    "send_mail",
    "translate",
    "stock_price",
];

/// What an exchange is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    SmallTalk,
    Fact,
    Name,
    Arithmetic,
    Clock,
    OffTopic,
}

/// Groups with their share of the exchanges in percent.
const MIX: &[(Group, u32)] = &[
    (Group::Name, 30),
    (Group::Fact, 22),
    (Group::Arithmetic, 20),
    (Group::Clock, 4),
    (Group::OffTopic, 10),
    (Group::SmallTalk, 14),
];

/// An endless, seeded source of dialogues.
#[derive(Debug)]
pub struct Generator {
    rng: ChaCha8Rng,
}

impl Generator {
    /// The same seed gives the same dialogues.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The next dialogue.
    pub fn dialogue(&mut self) -> Dialogue {
        let rng = &mut self.rng;
        let mut dialogue = opening(rng);
        let exchanges = [1, 1, 2, 2, 3, 4].choose(rng).copied().unwrap_or(1);
        for _ in 0..exchanges {
            let group = group(rng);
            add(&mut dialogue, group, rng);
        }
        dialogue
    }
}

fn group(rng: &mut ChaCha8Rng) -> Group {
    MIX.choose_weighted(rng, |(_, share)| *share)
        .map_or(Group::Fact, |(group, _)| *group)
}

/// Tools and system prompt, in the proportions in which the platform sends them.
fn opening(rng: &mut ChaCha8Rng) -> Dialogue {
    let mut tools: Vec<&str> = match rng.random_range(0..100) {
        0..72 => vec!["calculator", "clock"],
        72..78 => vec!["clock", "calculator"],
        78..84 => vec!["calculator"],
        84..86 => vec!["clock"],
        _ => vec![],
    };
    if rng.random_bool(0.04) {
        tools.extend(OTHER_TOOLS.choose(rng).copied());
    }
    let mut dialogue = Dialogue {
        tools: tools.into_iter().map(str::to_owned).collect(),
        turns: Vec::new(),
    };
    if rng.random_bool(0.15) {
        let prompt = pick(rng, SYSTEM_PROMPTS);
        dialogue.turns.push(Turn::System(prompt.to_owned()));
    }
    dialogue
}

fn add(dialogue: &mut Dialogue, group: Group, rng: &mut ChaCha8Rng) {
    match group {
        Group::SmallTalk => small_talk::add(dialogue, rng),
        Group::Fact => facts::add(dialogue, rng),
        Group::Name => names::add(dialogue, rng),
        Group::Arithmetic => arithmetic::add(dialogue, rng),
        Group::Clock => clock::add(dialogue, rng),
        Group::OffTopic => off_topic::add(dialogue, rng),
    }
}

/// An exchange that may stand between a name and the question for it.
fn add_filler(dialogue: &mut Dialogue, rng: &mut ChaCha8Rng) {
    match rng.random_range(0..10) {
        0..3 => small_talk::add(dialogue, rng),
        3..6 => facts::add(dialogue, rng),
        6..8 => off_topic::add(dialogue, rng),
        _ => arithmetic::add(dialogue, rng),
    }
}

/// One of a list that is not empty.
pub(crate) fn pick<'a>(rng: &mut ChaCha8Rng, list: &[&'a str]) -> &'a str {
    list.choose(rng).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_dialogues() {
        let (mut a, mut b, mut c) = (Generator::new(3), Generator::new(3), Generator::new(4));
        let take = |g: &mut Generator| (0..200).map(|_| g.dialogue()).collect::<Vec<_>>();
        let first = take(&mut a);
        assert_eq!(first, take(&mut b));
        assert_ne!(first, take(&mut c));
    }

    #[test]
    fn every_dialogue_ends_with_an_answer_and_answers_every_question() {
        let mut generator = Generator::new(5);
        for _ in 0..2000 {
            let dialogue = generator.dialogue();
            assert!(matches!(dialogue.turns.last(), Some(Turn::Assistant(_))));
            for pair in dialogue.turns.windows(2) {
                match &pair[0] {
                    Turn::User(text) => {
                        assert!(!text.contains('{'), "unfilled frame: {text}");
                        assert!(matches!(pair[1], Turn::Assistant(_) | Turn::Call { .. }));
                    }
                    Turn::Call { name, .. } => {
                        assert!(dialogue.offers(name));
                        assert!(matches!(pair[1], Turn::Tool(_)));
                    }
                    Turn::Tool(_) => assert!(matches!(pair[1], Turn::Assistant(_))),
                    Turn::System(_) | Turn::Assistant(_) => {
                        assert!(matches!(pair[1], Turn::User(_)));
                    }
                }
            }
        }
    }
}
