//! The time: asked for in many ways, a call of `clock` without arguments, and the result put
//! into a sentence. It does not know the real time.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Dialogue, Turn, pick, style};

/// Ways to ask for the time or the date.
pub const FRAMES: &[&str] = &[
    "what time is it?",
    "what's the time?",
    "what is the time?",
    "tell me the time",
    "do you know what time it is?",
    "can you tell me the time?",
    "the time please",
    "current time?",
    "what is the current time?",
    "time now?",
    "what time is it right now?",
    "what's the date?",
    "what is the date today?",
    "what day is it?",
    "what is today's date?",
    "tell me the date",
    "current date?",
    "which day is it today?",
    "what's today's date?",
    "check the clock",
    "look at the clock",
    "use the clock",
    "what does the clock say?",
    "give me the current time",
    "give me the date",
    "could you check the time?",
    "is it late?",
    "how late is it?",
    "what time do you have?",
    "what year is it?",
    "what month is it?",
    "date and time please",
    "I need the current time",
    "show me the time",
    "got the time?",
    "could you tell me the time?",
    "would you tell me the time?",
    "can you tell me the date?",
    "can you tell me what day it is?",
    "could you tell me today's date?",
    "may I have the time?",
    "please tell me the time",
    "please give me the date",
    "what's the current date?",
    "what is the time now?",
    "what might the time be?",
    "do you have the date?",
    "do you know the time?",
    "what hour is it?",
];

/// What the model says where the clock is not offered.
pub const ABSENT: &str = "I need the clock tool for that, and it is not offered here.";

/// The answer for a result such as `2031-02-03T04:05:06Z`.
pub fn answer(result: &str) -> String {
    let (date, time) = result.split_at(10);
    format!(
        "It is {} on {date} (UTC).",
        time.get(1..6).unwrap_or_default()
    )
}

/// A random result in RFC 3339.
pub fn result(rng: &mut ChaCha8Rng) -> String {
    let (year, month, day) = (
        rng.random_range(2023..2040),
        rng.random_range(1..13),
        rng.random_range(1..29),
    );
    let (hour, minute, second) = (
        rng.random_range(0..24),
        rng.random_range(0..60),
        rng.random_range(0..60),
    );
    let zone = ["Z", "Z", "Z", "+00:00", ".000Z", ".123456789Z"][rng.random_range(0..6)];
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

pub(super) fn add(dialogue: &mut Dialogue, rng: &mut ChaCha8Rng) {
    let frame = pick(rng, FRAMES);
    let question = style::typed(rng, frame);
    if !dialogue.offers("clock") {
        dialogue.exchange(question, ABSENT);
        return;
    }
    let result = result(rng);
    let answer = answer(&result);
    dialogue.turns.extend([
        Turn::User(question),
        Turn::Call {
            name: "clock",
            arguments: "{}".to_owned(),
        },
        Turn::Tool(result),
        Turn::Assistant(answer),
    ]);
}
