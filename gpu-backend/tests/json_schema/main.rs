//! Constrained answers against JSON Schema's own test suite: whatever the bundled model
//! says at temperature 1.5 under a schema is valid for a validator that shares nothing
//! with the constraint.
//!
//! `suite.json` holds the schemas (draft 2020-12) of the suite's categories whose
//! keywords the compiler knows; the suite's licence is MIT.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test helpers, and figures for whoever asks with --nocapture"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use gpu_backend::chat::ChatRequest;
use gpu_backend::chat::answer::{Finish, Whole};
use gpu_backend::chat::options::{AnswerOptions, AskedForm, Sampling};
use gpu_backend::chat_template::Message;
use gpu_backend::constraint::grammar::Form;
use gpu_backend::local::{LocalModel, Options};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

/// Answers that are judged; the schemas take turns.
const JUDGED: usize = 1_000;
/// Answers that are asked for at most: some are cut, and a few cannot be judged.
const ASKED_MAX: usize = 1_500;
/// Answers at the same time.
const AT_ONCE: usize = 16;
/// A value without bounds may grow for ever at this temperature; what is cut is counted.
const TOKENS_MAX: usize = 256;
const TEMPERATURE: f32 = 1.5;
/// Schemas of `suite.json` that the compiler must take.
const SCHEMAS_MIN: usize = 120;
/// Answers with a number that a double does not hold (`2e1202`, an integer of 200
/// digits): JSON all the same, but the validator reckons in doubles and cannot judge it.
const BEYOND_DOUBLES_MAX: usize = JUDGED / 20;

#[derive(Debug, Deserialize)]
struct Case {
    category: String,
    description: String,
    schema: Json,
}

fn request(case: &Case, seed: usize) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::new("user", "Answer in JSON.")],
        options: AnswerOptions {
            tokens_max: Some(TOKENS_MAX),
            sampling: Sampling {
                temperature: Some(TEMPERATURE),
                seed: Some(seed as u64),
                ..Sampling::default()
            },
            form: Some(AskedForm {
                field: case.description.clone(),
                form: Form::JsonSchema(case.schema.clone()),
            }),
            ..AnswerOptions::default()
        },
        ..ChatRequest::default()
    }
}

fn model() -> LocalModel {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/skerry-demo");
    let options = Options {
        sequences_max: AT_ONCE,
        ..Options::default()
    };
    LocalModel::load_with(&dir, &options).unwrap()
}

/// The suite's cases that the compiler takes; the others say why.
fn compiled(model: &LocalModel) -> Vec<Case> {
    let suite: Vec<Case> = serde_json::from_str(include_str!("suite.json")).unwrap();
    let takes = |case: &Case| match model.chat().constrain_blocking(&mut request(case, 0)) {
        Ok(()) => true,
        Err(error) => {
            println!(
                "not compiled: {}: {}: {error}",
                case.category, case.description
            );
            false
        }
    };
    suite.into_iter().filter(takes).collect()
}

fn answer(model: &LocalModel, case: &Case, seed: usize) -> Whole {
    let mut request = request(case, seed);
    model.chat().constrain_blocking(&mut request).unwrap();
    model
        .chat()
        .answer(request)
        .unwrap()
        .whole_blocking()
        .unwrap()
}

/// What came of all answers, and which schemas had one that was judged.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    cut: usize,
    beyond_doubles: usize,
    valid: usize,
    invalid: Vec<String>,
    schemas: BTreeSet<usize>,
}

impl Tally {
    fn judged(&self) -> usize {
        self.valid + self.invalid.len()
    }

    /// The number of the next answer, until enough were judged.
    fn next(&mut self) -> Option<usize> {
        if self.judged() >= JUDGED || self.asked >= ASKED_MAX {
            return None;
        }
        self.asked += 1;
        Some(self.asked - 1)
    }

    /// Adds one answer's verdict; there is none of one that was cut.
    fn add(&mut self, schema: usize, verdict: Option<Verdict>) {
        match verdict {
            None => self.cut += 1,
            Some(Verdict::BeyondDoubles) => self.beyond_doubles += 1,
            Some(Verdict::Valid) => {
                self.valid += 1;
                self.schemas.insert(schema);
            }
            Some(Verdict::Invalid(why)) => self.invalid.push(why),
        }
    }
}

#[test]
fn a_thousand_answers_are_judged_and_none_is_invalid() {
    let model = model();
    let cases = compiled(&model);
    assert!(cases.len() >= SCHEMAS_MIN, "only {} schemas", cases.len());
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let Some(i) = tally.lock().unwrap().next() else {
                return;
            };
            let schema = i % cases.len();
            let whole = answer(&model, &cases[schema], i);
            let verdict = match whole.finish {
                Finish::Length => None,
                Finish::Stop | Finish::ToolCalls => Some(judge(&cases[schema], &whole.text)),
            };
            tally.lock().unwrap().add(schema, verdict);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let tally = tally.into_inner().unwrap();
    println!(
        "{} schemas, {} of them judged: {} answers, {} judged, {} cut, {} beyond doubles, {} invalid",
        cases.len(),
        tally.schemas.len(),
        tally.asked,
        tally.judged(),
        tally.cut,
        tally.beyond_doubles,
        tally.invalid.len()
    );
    assert!(tally.invalid.is_empty(), "{:#?}", tally.invalid);
    assert!(tally.judged() >= JUDGED, "only {} judged", tally.judged());
    assert!(tally.beyond_doubles <= BEYOND_DOUBLES_MAX);
}

#[derive(Debug)]
enum Verdict {
    Valid,
    /// JSON, with a number that the validator cannot reckon with.
    BeyondDoubles,
    Invalid(String),
}

fn judge(case: &Case, text: &str) -> Verdict {
    let Case {
        category,
        description,
        schema,
    } = case;
    let invalid = |what: &str| {
        Verdict::Invalid(format!(
            "{category}: {description}: {schema}: {text:?}: {what}"
        ))
    };
    // Looks at the syntax alone, and reads no number.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return invalid(&error.to_string());
    }
    let value: Json = match serde_json::from_str(text) {
        Ok(value) if fits_doubles(&value) => value,
        Err(error) if !error.to_string().contains("number out of range") => {
            return invalid(&error.to_string());
        }
        _ => return Verdict::BeyondDoubles,
    };
    let validator = jsonschema::draft202012::new(schema)
        .unwrap_or_else(|error| panic!("{category}: {description}: {error}"));
    match validator.validate(&value) {
        Ok(()) => Verdict::Valid,
        Err(error) => invalid(&error.to_string()),
    }
}

fn fits_doubles(value: &Json) -> bool {
    match value {
        Json::Number(number) => {
            // From 2^53 on a double skips integers.
            !number.is_f64() || number.as_f64().is_some_and(|f| f.abs() < 2_f64.powi(53))
        }
        Json::Array(items) => items.iter().all(fits_doubles),
        Json::Object(fields) => fields.values().all(fits_doubles),
        Json::Null | Json::Bool(_) | Json::String(_) => true,
    }
}

/// The check above can fail.
#[test]
fn an_invalid_answer_would_be_found() {
    let case = Case {
        category: String::new(),
        description: String::new(),
        schema: serde_json::json!({"type": "integer"}),
    };
    let verdict = |text: &str| judge(&case, text);
    for text in ["1.5", "{", "1e", "2e1202x"] {
        assert!(matches!(verdict(text), Verdict::Invalid(_)), "{text}");
    }
    assert!(matches!(verdict("3"), Verdict::Valid));
    let digits = "7".repeat(200);
    for text in ["2e1202", "[[1.5e999]]", &digits] {
        assert!(matches!(verdict(text), Verdict::BeyondDoubles), "{text}");
    }
}
