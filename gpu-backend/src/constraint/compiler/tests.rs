//! Constraints on the bundled model's vocabulary: whatever is drawn under the mask
//! matches, and what cannot be compiled says why.

use std::path::Path;

use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use super::*;

fn compiler() -> Compiler {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/skerry-demo");
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let (vocab, end) = (tokenizer.vocab(), tokenizer.id("<|end|>").unwrap());
    Compiler::new(tokenizer, vocab, vec![end])
}

/// Text drawn at random under the mask, tokens that end something preferred now and
/// then; `None` if it had not ended after so many tokens.
fn draw(compiler: &Compiler, form: &Form, seed: u64) -> Option<String> {
    let mut constraint = compiler.compile_blocking(form).unwrap();
    let end = compiler.ends[0];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tokens = Vec::new();
    for _ in 0..200 {
        let mut logits = vec![0.0; compiler.vocab];
        constraint.mask(&mut logits).unwrap();
        let allowed = (0..).zip(&logits).filter(|(_, l)| **l == 0.0);
        let allowed: Vec<u32> = allowed.map(|(token, _)| token).collect();
        let closing = allowed.iter().copied().filter(|token| {
            let text = compiler.tokenizer.token_text(*token);
            ["\"", "}", "]", "\"}"].contains(&text.as_str()) || *token == end
        });
        let token = match rng.random_bool(0.5) {
            true => closing.choose(&mut rng),
            false => None,
        };
        let token = token.or_else(|| allowed.iter().copied().choose(&mut rng));
        let token = token.expect("some token is always allowed");
        constraint.advance(token).unwrap();
        if token == end {
            let mut after = vec![0.0; compiler.vocab];
            constraint.mask(&mut after).unwrap();
            let left: Vec<usize> = (0..after.len()).filter(|t| after[*t] == 0.0).collect();
            assert_eq!(left, [end as usize], "after the end only the end is left");
            return Some(compiler.tokenizer.decode(&tokens, false));
        }
        tokens.push(token);
    }
    None
}

#[track_caller]
fn holds(form: &Form, good: impl Fn(&str) -> bool) {
    let compiler = compiler();
    let ended: Vec<String> = (0..40)
        .filter_map(|seed| draw(&compiler, form, seed))
        .collect();
    assert!(ended.len() >= 10, "too few of the texts ended: {ended:?}");
    for text in ended {
        assert!(good(&text), "{text:?}");
    }
}

#[test]
fn what_is_drawn_under_the_mask_matches() {
    let object = |text: &str| serde_json::from_str::<Json>(text).is_ok_and(|v| v.is_object());
    holds(&Form::json_object(), object);
    let schema = json!({"type": "object", "required": ["city", "n"], "additionalProperties": false,
        "properties": {"city": {"enum": ["Oslo", "Zürich"]}, "n": {"type": "integer", "minimum": 0, "maximum": 20}}});
    holds(&Form::JsonSchema(schema), |text| {
        let value: Json = serde_json::from_str(text).unwrap();
        ["Oslo", "Zürich"].contains(&value["city"].as_str().unwrap())
            && value["n"].as_u64().is_some_and(|n| n <= 20)
    });
    holds(&Form::JsonSchema(Json::Bool(true)), |text| {
        serde_json::from_str::<Json>(text).is_ok()
    });
    holds(&Form::Regex("[ab]{2,5}/é[0-9]".into()), |text| {
        let (letters, rest) = text.split_once("/é").unwrap();
        (2..=5).contains(&letters.len())
            && letters.chars().all(|c| "ab".contains(c))
            && rest.len() == 1
    });
    let texts = ["yes", "no", "per\"haps\n", "né"]
        .map(str::to_owned)
        .to_vec();
    holds(&Form::Choice(texts.clone()), |text| {
        texts.contains(&text.to_owned())
    });
    let grammar = "start: sum\nsum: NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]{1,2}/";
    holds(&Form::Lark(grammar.into()), |text| {
        text.split('+').all(|n| n.parse::<u8>().is_ok())
    });
}

/// Repetitions are counted, not written out: a thousand millions cost no more than one.
#[test]
fn a_repetition_of_repetitions_compiles_small() {
    let nested = Form::Regex("((a{1,1000}){1,1000}){1,1000}b".into());
    assert!(compiler().compile_blocking(&nested).is_ok());
}

#[test]
fn what_cannot_be_compiled_says_why() {
    let compiler = compiler();
    let nested = "(".repeat(2000) + &")".repeat(2000);
    for (form, why) in [
        (Form::JsonSchema(json!({"type": "strang"})), "strang"),
        (Form::JsonSchema(json!({"if": {}})), "if"),
        (Form::JsonSchema(Json::Bool(false)), "nsatisfiable"),
        (
            Form::JsonSchema(json!({"$ref": "#/$defs/missing"})),
            "missing",
        ),
        (Form::Regex("(a".into()), "regex"),
        (Form::Regex(nested), "regex"),
        (Form::Lark("start: missing".into()), "missing"),
        (Form::Lark("begin: \"a\"".into()), "start"),
    ] {
        match compiler.compile_blocking(&form) {
            Err(CompileError::Invalid(message)) => {
                assert!(message.contains(why), "{form:?}: {message}");
                assert!(message.chars().count() <= COMPLAINT_CHARS_MAX);
            }
            other => panic!("{form:?}: {other:?}"),
        }
    }
}

#[test]
fn one_compilation_serves_requests_that_go_their_own_ways() {
    let compiler = compiler();
    let form = Form::Choice(vec!["aa".into(), "bb".into()]);
    let token = |text: &str| compiler.tokenizer.encode(text, false).unwrap()[0];
    let mut first = compiler.compile_blocking(&form).unwrap();
    let mut second = compiler.compile_blocking(&form).unwrap();
    first.advance(token("a")).unwrap();
    let mut logits = vec![0.0; compiler.vocab];
    second.mask(&mut logits).unwrap();
    assert_eq!(logits[token("b") as usize], 0.0);
    second.advance(token("b")).unwrap();
    assert!(first.advance(token("b")).is_err(), "not under its mask");
}

#[tokio::test]
async fn compiling_off_the_callers_thread_gives_the_same() {
    let compiler = Arc::new(compiler());
    let bad = compiler.compile(Form::Regex("(".into())).await;
    assert!(matches!(bad, Err(CompileError::Invalid(_))));
    let mut good = compiler.compile(Form::Regex("a".into())).await.unwrap();
    let mut logits = vec![0.0; compiler.vocab];
    good.mask(&mut logits).unwrap();
    assert_eq!(logits.iter().filter(|l| **l == 0.0).count(), 1);
}
