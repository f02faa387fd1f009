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
                let problem = problem(case, &whole.text);
                invalid.lock().unwrap().extend(problem);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let (ended, cut) = (ended.into_inner(), cut.into_inner());
    let invalid = invalid.into_inner().unwrap();
    println!(
        "{} schemas: {ended} answers ended, {cut} were cut, {} invalid",
        cases.len(),
        invalid.len()
    );
    assert!(invalid.is_empty(), "{invalid:#?}");
    assert!(ended >= ENDED_MIN, "only {ended} ended");
}

fn problem(case: &Case, text: &str) -> Option<String> {
    let Case {
        category,
        description,
        schema,
    } = case;
    let told = |what: &str| {
        Some(format!(
            "{category}: {description}: {schema}: {text:?}: {what}"
        ))
    };
    let value: Json = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return told(&error.to_string()),
    };
    let validator = jsonschema::draft202012::new(schema)
        .unwrap_or_else(|error| panic!("{category}: {description}: {error}"));
    validator
        .validate(&value)
        .err()
        .and_then(|error| told(&error.to_string()))
}

/// The check above can fail.
#[test]
fn an_invalid_answer_would_be_found() {
    let case = Case {
        category: String::new(),
        description: String::new(),
        schema: serde_json::json!({"type": "integer"}),
    };
    assert!(problem(&case, "1.5").is_some() && problem(&case, "{").is_some());
    assert!(problem(&case, "3").is_none());
}
