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

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gpu_backend::chat::ChatRequest;
use gpu_backend::chat::answer::{Finish, Whole};
use gpu_backend::chat::options::{AnswerOptions, AskedForm, Sampling};
use gpu_backend::chat_template::Message;
use gpu_backend::constraint::grammar::Form;
use gpu_backend::local::{LocalModel, Options};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

/// Answers in all; the schemas take turns.
const ANSWERS: usize = 1_000;
/// Answers at the same time.
const AT_ONCE: usize = 16;
/// A value without bounds may grow for ever at this temperature; what is cut is counted.
const TOKENS_MAX: usize = 256;
const TEMPERATURE: f32 = 1.5;
/// Schemas of `suite.json` that the compiler must take, and answers that must end.
const SCHEMAS_MIN: usize = 120;
const ENDED_MIN: usize = ANSWERS / 2;
/// Answers with a number that a double does not hold (`2e1202`, an integer of 200
/// digits): JSON all the same, but the validator reckons in doubles and cannot judge it.
const BEYOND_DOUBLES_MAX: usize = ANSWERS / 20;

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

#[test]
fn no_answer_is_invalid() {
    let model = model();
    let cases = compiled(&model);
    assert!(cases.len() >= SCHEMAS_MIN, "only {} schemas", cases.len());
    let (next, invalid) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (ended, cut) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let beyond_doubles = AtomicUsize::new(0);
    let work = || loop {
        let i = next.fetch_add(1, Ordering::Relaxed);
        if i >= ANSWERS {
            return;
        }
        let case = &cases[i % cases.len()];
        let whole = answer(&model, case, i);
        match whole.finish {
            Finish::Length => _ = cut.fetch_add(1, Ordering::Relaxed),
            Finish::Stop | Finish::ToolCalls => {
                ended.fetch_add(1, Ordering::Relaxed);
                match judge(case, &whole.text) {
                    Verdict::Valid => {}
                    Verdict::BeyondDoubles => _ = beyond_doubles.fetch_add(1, Ordering::Relaxed),
                    Verdict::Invalid(why) => invalid.lock().unwrap().push(why),
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let (ended, cut) = (ended.into_inner(), cut.into_inner());
    let beyond_doubles = beyond_doubles.into_inner();
    let invalid = invalid.into_inner().unwrap();
    println!(
        "{} schemas: {ended} answers ended, {cut} were cut, {beyond_doubles} not judged, {} invalid",
        cases.len(),
        invalid.len()
    );
    assert!(invalid.is_empty(), "{invalid:#?}");
    assert!(beyond_doubles <= BEYOND_DOUBLES_MAX, "{beyond_doubles}");
    assert!(ended >= ENDED_MIN, "only {ended} ended");
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
