//! The judgement: the held-out set, asked through the shipped chat template and answered
//! greedily. What comes too near to a trained phrasing is left out, by a rule and never by hand.
//! It knows the files of a model, not how it was trained.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::data::held_out::{self, Line};
use crate::data::trained::{Nearness, Trained};
use crate::data::{Turn, arithmetic, clock, facts, names, off_topic, small_talk};
use crate::infer::Reader;

pub mod development;

/// A group's score.
#[derive(Debug)]
pub struct Score {
    /// Group.
    pub group: &'static str,
    /// Phrasings that were not asked, because they are trained or one word away from that.
    pub left_out: usize,
    /// Right answers.
    pub right: usize,
    /// Questions.
    pub asked: usize,
    /// What went wrong, one line each; of the held-out set nothing, so that nobody tunes on it.
    pub failures: Vec<String>,
}

impl Score {
    fn new(group: &'static str) -> Self {
        Self {
            group,
            left_out: 0,
            right: 0,
            asked: 0,
            failures: Vec::new(),
        }
    }

    fn count(&mut self, right: bool) {
        self.asked += 1;
        self.right += usize::from(right);
    }

    fn mark(&mut self, right: bool, failure: impl FnOnce() -> String) {
        self.count(right);
        if !right {
            self.failures.push(failure());
        }
    }

    /// Share of right answers.
    pub fn share(&self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }
}

/// Asks the held-out set.
pub fn evaluate(reader: &Reader) -> Result<Vec<Score>> {
    let judge = Judge {
        reader,
        trained: Trained::new(),
    };
    let small_talk = |id: &str| small_talk::all().find(|i| i.id == id).map(|i| i.answer);
    let fact = |id: &str| facts::all().find(|f| f.id == id).map(|f| f.answer);
    let mut scores = vec![
        judge.known_answers("small talk", "small_talk", small_talk)?,
        judge.known_answers("facts about Skerry", "facts", fact)?,
    ];
    scores.extend(judge.names()?);
    scores.push(judge.calculator()?);
    scores.push(judge.known_answers("anything else", "unknown", |_| Some(off_topic::ANSWER))?);
    scores.push(judge.clock()?);
    scores.push(judge.without_tools()?);
    Ok(scores)
}

/// The tools that the platform offers when a request brings none of its own.
fn platform_tools() -> Vec<String> {
    ["calculator", "clock"].map(str::to_owned).to_vec()
}

struct Judge<'a> {
    reader: &'a Reader,
    trained: Trained,
}

impl Judge<'_> {
    /// The lines of a group that are far from what is trained, and how many are not.
    fn far(&self, group: &str) -> (Vec<Line>, usize) {
        let mut lines = held_out::group(group);
        let all = lines.len();
        lines.retain(|line| {
            let name = (group == "name_tell").then_some(line.expect);
            self.trained.nearness(line.text, name) == Nearness::Far
        });
        let left_out = all - lines.len();
        (lines, left_out)
    }

    /// Single questions whose answers are learned by heart: right is one of them word for word.
    fn known_answers(
        &self,
        name: &'static str,
        group: &str,
        answer: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Score> {
        let mut score = Score::new(name);
        let (lines, left_out) = self.far(group);
        score.left_out = left_out;
        for Line { expect, text } in lines {
            let turns = [Turn::User(text.to_owned())];
            let said = self.reader.answer(&platform_tools(), &turns)?;
            let right = expect.split(',').any(|id| answer(id) == Some(&said));
            score.count(right);
        }
        Ok(score)
    }

    /// A name is told, something else is asked, then the name, with the model's own answers
    /// between. Names that the generator's syllables can make are a score of their own.
    fn names(&self) -> Result<[Score; 2]> {
        let mut makeable = Score::new("name recall, syllables trained");
        let mut other = Score::new("name recall, other names");
        let (tells, tells_left_out) = self.far("name_tell");
        let (asks, asks_left_out) = self.far("name_ask");
        makeable.left_out = tells_left_out + asks_left_out;
        let between = self.far("unknown").0;
        ensure!(
            !asks.is_empty() && !between.is_empty(),
            "every phrasing of a kind is trained"
        );
        // Each name is asked for twice; strides without a common factor mix the phrasings.
        for round in 0..2 * tells.len() {
            let Line { expect, text } = tells[round / 2];
            let ask = asks[round * 7 % asks.len()].text;
            let mut turns = Vec::new();
            let mut said = String::new();
            for question in [text, between[round * 5 % between.len()].text, ask] {
                turns.push(Turn::User(question.to_owned()));
                said = self.reader.answer(&platform_tools(), &turns)?;
                turns.push(Turn::Assistant(said.clone()));
            }
            let right = said.to_lowercase().contains(&expect.to_lowercase());
            let score = match names::is_makeable(expect) {
                true => &mut makeable,
                false => &mut other,
            };
            score.count(right);
        }
        Ok([makeable, other])
    }

    /// Right is a call whose expression has the value, and a statement of that.
    fn calculator(&self) -> Result<Score> {
        let mut score = Score::new("calculator, call and result");
        let (lines, left_out) = self.far("calculator");
        score.left_out = left_out;
        for Line { expect, text } in lines {
            let mut turns = vec![Turn::User(text.to_owned())];
            let said = self.reader.answer(&platform_tools(), &turns)?;
            let call = called(&said, "calculator");
            let expression = call.as_ref().and_then(|c| c["expression"].as_str());
            let value = value(expect);
            let called = expression.filter(|e| is_same(self::value(e), value));
            let (Some(expression), Some(value)) = (called, value) else {
                score.count(false);
                continue;
            };
            let result = printed(value);
            turns.push(Turn::Call {
                name: "calculator",
                arguments: arithmetic::arguments(expression),
            });
            turns.push(Turn::Tool(result.clone()));
            let stated = self.reader.answer(&platform_tools(), &turns)?;
            score.count(stated == arithmetic::answer(&result));
        }
        Ok(score)
    }

    fn clock(&self) -> Result<Score> {
        const RESULT: &str = "2029-11-23T07:48:15Z";
        let mut score = Score::new("clock");
        let (lines, left_out) = self.far("clock");
        score.left_out = left_out;
        for Line { text, .. } in lines {
            let mut turns = vec![Turn::User(text.to_owned())];
            let said = self.reader.answer(&platform_tools(), &turns)?;
            turns.push(Turn::Call {
                name: "clock",
                arguments: "{}".to_owned(),
            });
            turns.push(Turn::Tool(RESULT.to_owned()));
            let stated = self.reader.answer(&platform_tools(), &turns)?;
            let right = called(&said, "clock").is_some() && stated == clock::answer(RESULT);
            score.count(right);
        }
        Ok(score)
    }

    /// The calculator's questions where no tool is offered: the model says what it lacks.
    fn without_tools(&self) -> Result<Score> {
        let mut score = Score::new("arithmetic with no tool offered");
        let (lines, left_out) = self.far("calculator");
        score.left_out = left_out;
        for Line { text, .. } in lines {
            let said = self.reader.answer(&[], &[Turn::User(text.to_owned())])?;
            score.count(said == arithmetic::ABSENT);
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

/// The value of numbers joined by `+ - * /`, with `%` behind a number for a hundredth.
fn value(expression: &str) -> Option<f64> {
    let text = expression.trim();
    let is_sign = |byte: u8| b"+-*/".contains(&byte);
    let follows_a_number = |at: usize| {
        let before = text[..at].trim_end().bytes().last();
        before.is_some_and(|byte| !is_sign(byte))
    };
    // The last sign of the weakest kind is done last.
    for signs in [['+', '-'], ['*', '/']] {
        let mut places = text.rmatch_indices(signs);
        let Some((at, sign)) = places.find(|(at, _)| follows_a_number(*at)) else {
            continue;
        };
        let (a, b) = (value(&text[..at])?, value(&text[at + 1..])?);
        return Some(match sign {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            _ => a / b,
        });
    }
    if let Some(number) = text.strip_suffix('%') {
        return value(number).map(|value| value / 100.0);
    }
    let is_number = |byte: u8| byte.is_ascii_digit() || b".-".contains(&byte);
    text.bytes().all(is_number).then(|| text.parse().ok())?
}

fn is_same(a: Option<f64>, b: Option<f64>) -> bool {
    a.zip(b).is_some_and(|(a, b)| (a - b).abs() < 1e-9)
}

/// A result as the calculator prints it: 15 digits, of which three at most stand before the
/// point where the set has a result without an end.
fn printed(value: f64) -> String {
    let text = format!("{value:.12}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_have_their_value() {
        let cases = [
            ("17*23", Some(391.0)),
            ("64-91", Some(-27.0)),
            (" 4.5 * 3 ", Some(13.5)),
            ("20%*350", Some(70.0)),
            ("350*20/100", Some(70.0)),
            ("90/8", Some(11.25)),
            ("10-2-3", Some(5.0)),
            ("2+3*4", Some(14.0)),
            ("-2*3", Some(-6.0)),
            ("2*-3", Some(-6.0)),
            ("2--3", Some(5.0)),
            ("7", Some(7.0)),
            ("", None),
            ("2,500*4", None),
            ("inf", None),
            ("2e3", None),
            ("2**3", None),
            ("2+", None),
            ("(2)", None),
            ("twelve", None),
        ];
        for (expression, expect) in cases {
            assert_eq!(value(expression), expect, "{expression}");
        }
    }

    #[test]
    fn every_held_out_expression_has_a_value() {
        for line in held_out::group("calculator") {
            assert!(
                value(line.expect).is_some_and(f64::is_finite),
                "{}",
                line.text
            );
        }
    }

    #[test]
    fn results_are_printed_as_the_calculator_prints_them() {
        let cases = [
            (391.0, "391"),
            (600.0, "600"),
            (-27.0, "-27"),
            (11.25, "11.25"),
            (1000.0 / 3.0, "333.333333333333"),
        ];
        for (value, expect) in cases {
            assert_eq!(printed(value), expect);
        }
    }

    #[test]
    fn only_a_call_of_the_tool_counts_as_one() {
        let call = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>";
        assert!(called(call, "clock").is_some());
        assert!(called(call, "calculator").is_none());
        assert!(called("It is late.", "clock").is_none());
        assert!(called(&format!("{call} there"), "clock").is_none());
    }
}
