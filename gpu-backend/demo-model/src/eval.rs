//! The judgement: five groups of questions in phrasings held out from training, each asked
//! through the shipped chat template and answered greedily. An answer counts by what stands in
//! it. It knows the files of a model, not how it was trained.

use anyhow::Result;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::data::{
    Turn, arithmetic, clock, facts, held_out, names, off_topic, pick, small_talk, style,
};
use crate::infer::Reader;

/// Seed of the evaluation's names, numbers and choices.
pub const SEED: u64 = 20_260_101;
/// Share of right answers that each group should reach.
pub const TARGET: f64 = 0.85;

/// A group's score.
#[derive(Debug)]
pub struct Score {
    /// Group.
    pub group: &'static str,
    /// Whether it is one of the five that must reach [`TARGET`].
    pub counted: bool,
    /// Right answers.
    pub right: usize,
    /// Questions.
    pub asked: usize,
    /// What went wrong, one line each.
    pub failures: Vec<String>,
}

impl Score {
    fn new(group: &'static str, counted: bool) -> Self {
        Self {
            group,
            counted,
            right: 0,
            asked: 0,
            failures: Vec::new(),
        }
    }

    fn mark(&mut self, right: bool, failure: impl FnOnce() -> String) {
        self.asked += 1;
        if right {
            self.right += 1;
        } else {
            self.failures.push(failure());
        }
    }

    /// Share of right answers.
    pub fn share(&self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }

    /// Whether it is one of the five and misses the target.
    pub fn is_below(&self) -> bool {
        self.counted && self.share() < TARGET
    }
}

/// Asks everything.
pub fn evaluate(reader: &Reader) -> Result<Vec<Score>> {
    let mut judge = Judge {
        reader,
        rng: ChaCha8Rng::seed_from_u64(SEED),
    };
    Ok(vec![
        judge.small_talk()?,
        judge.facts()?,
        judge.names()?,
        judge.arithmetic()?,
        judge.off_topic()?,
        judge.clock()?,
        judge.without_tools()?,
    ])
}

/// The tools that the platform offers when a request brings none of its own.
fn platform_tools() -> Vec<String> {
    ["calculator", "clock"].map(str::to_owned).to_vec()
}

fn holds(answer: &str, keys: &[&str]) -> bool {
    keys.iter().all(|key| answer.contains(key))
}

struct Judge<'a> {
    reader: &'a Reader,
    rng: ChaCha8Rng,
}

impl Judge<'_> {
    /// The answer to a single question, as the platform would ask it.
    fn ask(&mut self, question: &str) -> Result<String> {
        self.reader
            .answer(&platform_tools(), &[Turn::User(question.to_owned())])
    }

    fn small_talk(&mut self) -> Result<Score> {
        let mut score = Score::new("small talk", true);
        for (id, phrase) in held_out::SMALL_TALK {
            let expected = small_talk::all().find(|i| i.id == *id).map(|i| i.answer);
            for question in [(*phrase).to_owned(), style::typed(&mut self.rng, phrase)] {
                let answer = self.ask(&question)?;
                score.mark(Some(answer.as_str()) == expected, || {
                    format!("{question} → {answer}")
                });
            }
        }
        Ok(score)
    }

    fn facts(&mut self) -> Result<Score> {
        const FRAMES: facts::Frames = facts::Frames {
            verb: held_out::VERB_FRAMES,
            topic: held_out::TOPIC_FRAMES,
            thing: held_out::THING_FRAMES,
        };
        let mut score = Score::new("facts about Skerry", true);
        for fact in facts::all() {
            for _ in 0..3 {
                let question = fact.question(&mut self.rng, &FRAMES);
                let question = style::typed(&mut self.rng, &question);
                let answer = self.ask(&question)?;
                let right = holds(&answer, fact.keys);
                score.mark(right, || format!("[{}] {question} → {answer}", fact.id));
            }
        }
        Ok(score)
    }

    /// A name is told, something else is asked, then the name: half of the names have letters
    /// that no training name has in that order.
    fn names(&mut self) -> Result<Score> {
        let mut score = Score::new("name recall", true);
        for round in 0..100 {
            let name = if round % 2 == 0 {
                pick(&mut self.rng, names::UNSEEN).to_owned()
            } else {
                pick(&mut self.rng, names::KNOWN).to_owned()
            };
            let tell = pick(&mut self.rng, held_out::TELL_NAME).replace("{n}", &name);
            let between = self.filler();
            let ask = pick(&mut self.rng, held_out::ASK_NAME);
            let ask = style::typed(&mut self.rng, ask);
            let mut turns = Vec::new();
            for question in [tell.clone(), between, ask.clone()] {
                turns.push(Turn::User(question));
                let answer = self.reader.answer(&platform_tools(), &turns)?;
                turns.push(Turn::Assistant(answer));
            }
            let answer = match turns.last() {
                Some(Turn::Assistant(answer)) => answer.clone(),
                _ => String::new(),
            };
            score.mark(answer.contains(&name), || {
                format!("{tell} … {ask} → {answer}")
            });
        }
        Ok(score)
    }

    /// Something to ask between the name and the question for it.
    fn filler(&mut self) -> String {
        match self.rng.random_range(0..3) {
            0 => pick(&mut self.rng, off_topic::QUESTIONS).to_owned(),
            1 => {
                let fact = facts::all().choose(&mut self.rng);
                fact.map_or_else(String::new, |f| f.question(&mut self.rng, &facts::TRAINING))
            }
            _ => {
                let intent = small_talk::all().choose(&mut self.rng);
                intent.map_or_else(String::new, |i| pick(&mut self.rng, i.phrases).to_owned())
            }
        }
    }

    /// Right call and right statement of the result, both.
    fn arithmetic(&mut self) -> Result<Score> {
        let mut score = Score::new("calculator", true);
        for round in 0..120 {
            let operation = arithmetic::OPERATIONS[round % arithmetic::OPERATIONS.len()];
            let (a, b) = arithmetic::numbers(&mut self.rng, operation);
            let term = pick(&mut self.rng, operation.terms());
            let frame = pick(&mut self.rng, held_out::ARITHMETIC).replace("{e}", term);
            let question = style::typed(&mut self.rng, &frame)
                .replace("{a}", &a)
                .replace("{b}", &b);
            let mut turns = vec![Turn::User(question.clone())];
            let call = self.reader.answer(&platform_tools(), &turns)?;
            let mut right = called(&call, "calculator").is_some_and(|arguments| {
                arguments["expression"].as_str() == Some(&operation.expression(&a, &b))
            });
            let value = operation.value(&a, &b);
            let arguments = arithmetic::arguments(&operation.expression(&a, &b));
            turns.push(Turn::Call {
                name: "calculator",
                arguments,
            });
            turns.push(Turn::Tool(value.clone()));
            let answer = self.reader.answer(&platform_tools(), &turns)?;
            right &= answer == arithmetic::answer(&value);
            score.mark(right, || {
                format!("{question} → {call} → [{value}] {answer}")
            });
        }
        Ok(score)
    }

    fn off_topic(&mut self) -> Result<Score> {
        let mut score = Score::new("anything else", true);
        for frame in held_out::OFF_TOPIC {
            for _ in 0..8 {
                let question = frame.replace("{x}", pick(&mut self.rng, off_topic::SUBJECTS));
                let question = style::typed(&mut self.rng, &question);
                let answer = self.ask(&question)?;
                let right = holds(&answer, off_topic::KEYS);
                score.mark(right, || format!("{question} → {answer}"));
            }
        }
        Ok(score)
    }

    fn clock(&mut self) -> Result<Score> {
        let mut score = Score::new("clock (not counted)", false);
        for frame in held_out::CLOCK {
            for _ in 0..4 {
                let question = style::typed(&mut self.rng, frame);
                let mut turns = vec![Turn::User(question.clone())];
                let call = self.reader.answer(&platform_tools(), &turns)?;
                let result = clock::result(&mut self.rng);
                turns.push(Turn::Call {
                    name: "clock",
                    arguments: "{}".to_owned(),
                });
                turns.push(Turn::Tool(result.clone()));
                let answer = self.reader.answer(&platform_tools(), &turns)?;
                let right = called(&call, "clock").is_some() && answer == clock::answer(&result);
                score.mark(right, || {
                    format!("{question} → {call} → [{result}] {answer}")
                });
            }
        }
        Ok(score)
    }

    /// Arithmetic where no tool is offered: the model says what it lacks.
    fn without_tools(&mut self) -> Result<Score> {
        let mut score = Score::new("no tools offered (not counted)", false);
        for frame in held_out::ARITHMETIC {
            let question = frame.replace("{e}", "{a} plus {b}");
            let (a, b) = arithmetic::numbers(&mut self.rng, arithmetic::Operation::Add);
            let question = question.replace("{a}", &a).replace("{b}", &b);
            let answer = self.reader.answer(&[], &[Turn::User(question.clone())])?;
            score.mark(answer == arithmetic::ABSENT, || {
                format!("{question} → {answer}")
            });
        }
        Ok(score)
    }
}

/// The arguments of a single well-formed call of this tool.
fn called(text: &str, tool: &str) -> Option<Value> {
    let inner = text
        .strip_prefix("<tool_call>\n")?
        .strip_suffix("\n</tool_call>")?;
    let call: Value = serde_json::from_str(inner).ok()?;
    (call["name"] == tool).then(|| call["arguments"].clone())
}
