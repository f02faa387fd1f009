//! The score on the development set: frames and phrasings towards which the generator was
//! widened. It shows whether a training took; `super` judges what the model can do.

use anyhow::Result;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Score, called, platform_tools};
use crate::data::trained::Nearness;
use crate::data::{
    Turn, arithmetic, clock, development, facts, names, off_topic, pick, small_talk, style, trained,
};
use crate::infer::Reader;

/// Seed of the names, numbers and choices.
const SEED: u64 = 20_260_101;

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

/// How many of the set's phrasings are near to trained ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// Those that the generator makes.
    pub generable: usize,
    /// Those that are one word away from that.
    pub one_word: usize,
    /// All.
    pub phrasings: usize,
}

/// Compares the set with what is trained; a frame is filled with words of the training.
pub fn near() -> Near {
    let verb = facts::all().find_map(|f| f.verbs.first()).unwrap_or(&"");
    let topic = facts::all().find_map(|f| f.topics.first()).unwrap_or(&"");
    let thing = facts::all().find_map(|f| f.things.first()).unwrap_or(&"");
    let term = arithmetic::Operation::Add.terms()[0];
    let lists: [(&[&str], &str, &str); 8] = [
        (development::VERB_FRAMES, "{v}", verb),
        (development::TOPIC_FRAMES, "{t}", topic),
        (development::THING_FRAMES, "{t}", thing),
        (development::TELL_NAME, "", ""),
        (development::ASK_NAME, "", ""),
        (development::ARITHMETIC, "{e}", term),
        (development::CLOCK, "", ""),
        (development::OFF_TOPIC, "{x}", off_topic::SUBJECTS[0]),
    ];
    let frames = lists.iter().flat_map(|(frames, slot, words)| {
        frames.iter().map(move |frame| frame.replace(slot, words))
    });
    let small_talk = development::SMALL_TALK
        .iter()
        .map(|(_, text)| (*text).to_owned());
    let trained = trained::Trained::new();
    let mut near = Near::default();
    for phrasing in small_talk.chain(frames) {
        near.phrasings += 1;
        match trained.nearness(&phrasing, None) {
            Nearness::Generable => near.generable += 1,
            Nearness::OneWord => near.one_word += 1,
            Nearness::Far => {}
        }
    }
    near
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
        let mut score = Score::new("small talk");
        for (id, phrase) in development::SMALL_TALK {
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
            verb: development::VERB_FRAMES,
            topic: development::TOPIC_FRAMES,
            thing: development::THING_FRAMES,
        };
        let mut score = Score::new("facts about Skerry");
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
        let mut score = Score::new("name recall");
        for round in 0..100 {
            let name = if round % 2 == 0 {
                pick(&mut self.rng, names::UNSEEN).to_owned()
            } else {
                pick(&mut self.rng, names::KNOWN).to_owned()
            };
            let tell = pick(&mut self.rng, development::TELL_NAME).replace("{n}", &name);
            let between = self.filler();
            let ask = pick(&mut self.rng, development::ASK_NAME);
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
        let mut score = Score::new("calculator");
        for round in 0..120 {
            let operation = arithmetic::OPERATIONS[round % arithmetic::OPERATIONS.len()];
            let (a, b) = arithmetic::numbers(&mut self.rng, operation);
            let term = pick(&mut self.rng, operation.terms());
            let frame = pick(&mut self.rng, development::ARITHMETIC).replace("{e}", term);
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
        let mut score = Score::new("anything else");
        for frame in development::OFF_TOPIC {
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
        let mut score = Score::new("clock");
        for frame in development::CLOCK {
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
        let mut score = Score::new("no tools offered");
        for frame in development::ARITHMETIC {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The set was compared with the training letter for letter once, and none was found.
    #[test]
    fn most_of_the_set_is_near_to_the_training() {
        let near = near();
        assert_eq!(near.phrasings, 108);
        assert!(near.generable >= 14, "{near:?}");
        assert!(near.generable + near.one_word >= 60, "{near:?}");
    }
}
