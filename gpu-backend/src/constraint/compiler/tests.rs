//! Constraints on the bundled model's vocabulary: whatever is drawn under the mask
//! matches, and what cannot be compiled says why.

use std::path::Path;

use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use super::*;
use crate::constraint::grammar::{Calls, Need};
use crate::reasoning::{ReasoningFormat, Thinking};
use crate::tool_parser::{Piece, ToolFormat};

fn compiler() -> Compiler {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/skerry-demo");
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let (vocab, end) = (tokenizer.vocab(), tokenizer.id("<|end|>").unwrap());
    Compiler::new(tokenizer, vocab, vec![end])
}

fn of_form(form: &Form) -> Target {
    form.clone().into()
}

/// Text drawn at random under the mask, tokens that end something preferred now and
/// then; `None` if it had not ended after so many tokens.
fn draw(compiler: &Compiler, target: &Target, seed: u64) -> Option<String> {
    let mut constraint = compiler.compile_blocking(target.clone()).unwrap();
    let end = compiler.ends[0];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tokens = Vec::new();
    for _ in 0..200 {
        let mut logits = vec![0.0; compiler.vocab];
        constraint.mask(&mut logits).unwrap();
        let allowed = (0..).zip(&logits).filter(|(_, l)| **l == 0.0);
        let allowed: Vec<u32> = allowed.map(|(token, _)| token).collect();
        let closing = allowed.iter().copied().filter(|token| {
            let text = compiler.tokenizer.token_text(*token, true).text;
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
    let target = of_form(form);
    let ended: Vec<String> = (0..40)
        .filter_map(|seed| draw(&compiler, &target, seed))
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
    assert!(compiler().compile_blocking(of_form(&nested)).is_ok());
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
        let refused = compiler.compile_blocking(of_form(&form)).unwrap_err();
        match refused.error {
            CompileError::Invalid(message) => {
                assert!(message.contains(why), "{form:?}: {message}");
                assert!(message.chars().count() <= COMPLAINT_CHARS_MAX);
            }
            other => panic!("{form:?}: {other:?}"),
        }
    }
}

#[test]
fn hostile_forms_end_soon() {
    let compiler = compiler();
    let wide: Vec<Json> = (0..4000)
        .map(|i| json!({"minLength": i, "type": "string"}))
        .collect();
    let mut deep = json!({"type": "string"});
    for _ in 0..60 {
        deep = json!({"anyOf": [deep.clone(), {"type": "array", "items": deep}]});
        if deep.to_string().len() > 200_000 {
            break;
        }
    }
    for form in [
        Form::Regex("((a{1,1000}){1,1000}){1,1000}b".into()),
        Form::Regex("(a|b|ab)*c(?:[^x]{0,500}y){0,500}".into()),
        Form::JsonSchema(json!({"anyOf": wide})),
        Form::JsonSchema(
            json!({"type": "array", "maxItems": 1_000_000, "items": {"type": "string", "maxLength": 1_000_000}}),
        ),
        Form::JsonSchema(deep),
        Form::Lark("start: a a a a a a a\na: b b b b b b b b\nb: (\"x\" | b b | \"\")*".into()),
    ] {
        let began = std::time::Instant::now();
        if let Ok(mut constraint) = compiler.compile_blocking(of_form(&form)) {
            let mut logits = vec![0.0; compiler.vocab];
            let _ = constraint.mask(&mut logits);
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}: {form:?}");
    }
}

#[test]
fn one_compilation_serves_requests_that_go_their_own_ways() {
    let compiler = compiler();
    let form = Form::Choice(vec!["aa".into(), "bb".into()]);
    let token = |text: &str| compiler.tokenizer.encode(text, false).unwrap()[0];
    let mut first = compiler.compile_blocking(of_form(&form)).unwrap();
    let mut second = compiler.compile_blocking(of_form(&form)).unwrap();
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
    let bad = compiler
        .compile(None, of_form(&Form::Regex("(".into())))
        .await;
    assert!(matches!(bad.unwrap_err().error, CompileError::Invalid(_)));
    let good = compiler
        .compile(None, of_form(&Form::Regex("a".into())))
        .await;
    let mut good = good.unwrap();
    let mut logits = vec![0.0; compiler.vocab];
    good.mask(&mut logits).unwrap();
    assert_eq!(logits.iter().filter(|l| **l == 0.0).count(), 1);
}

fn function(name: &str, strict: bool, arguments: Json) -> Function {
    Function {
        field: format!("{name}.parameters"),
        name: name.into(),
        arguments: Some(arguments),
        strict,
    }
}

fn tools(format: ToolFormat, need: Need, many: bool) -> Target {
    let city = json!({"type": "object", "required": ["city"], "additionalProperties": false,
        "properties": {"city": {"enum": ["Oslo", "Bonn"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}});
    let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
    Target {
        form: None,
        calls: Some(Calls {
            format,
            functions: vec![
                function("weather", true, city),
                function("now", true, nothing),
            ],
            need,
            many,
        }),
        reasoning: None,
    }
}

/// Text, and calls as names and arguments, of an answer.
fn calls_of(format: ToolFormat, answer: &str) -> (String, Vec<(String, Json)>) {
    let mut parser = format.parser();
    let mut pieces = parser.push(answer);
    pieces.extend(parser.finish());
    let (mut text, mut calls) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(more) | Piece::Reasoning(more) => text += &more,
            Piece::Call { name, .. } => calls.push((name, String::new())),
            Piece::Arguments(more) => calls.last_mut().unwrap().1 += &more,
        }
    }
    let json = |(name, arguments): (String, String)| {
        let read = serde_json::from_str(&arguments);
        let beyond = |error: serde_json::Error| {
            // JSON all the same: no double holds one of its numbers.
            assert!(error.to_string().contains("out of range"), "{answer}");
            json!({"beyond": arguments.starts_with('{')})
        };
        (name, read.unwrap_or_else(beyond))
    };
    (text, calls.into_iter().map(json).collect())
}

fn valid((name, arguments): &(String, Json)) -> bool {
    let arguments = arguments.as_object().unwrap();
    match name.as_str() {
        "now" => arguments.is_empty(),
        _ => {
            name == "weather"
                && ["Oslo", "Bonn"].contains(&arguments["city"].as_str().unwrap())
                && arguments
                    .keys()
                    .all(|key| ["city", "days"].contains(&key.as_str()))
        }
    }
}

const FORMATS: [ToolFormat; 5] = [
    ToolFormat::Hermes,
    ToolFormat::Llama3Json,
    ToolFormat::Pythonic,
    ToolFormat::Mistral,
    ToolFormat::Gemma,
];

#[test]
fn required_calls_are_calls_and_nothing_else() {
    let compiler = compiler();
    for format in FORMATS {
        for many in [true, false] {
            let target = tools(format, Need::Required, many);
            let answers = (0..30).filter_map(|seed| draw(&compiler, &target, seed));
            let answers: Vec<String> = answers.collect();
            assert!(answers.len() >= 10, "{format}: {answers:?}");
            for answer in answers {
                let (text, calls) = calls_of(format, &answer);
                assert!(text.is_empty(), "{format}: {answer}");
                assert!(
                    !calls.is_empty() && calls.iter().all(valid),
                    "{format}: {answer}"
                );
                assert!(many || calls.len() == 1, "{format}: {answer}");
            }
        }
    }
}

#[test]
fn a_call_that_the_model_begins_itself_is_held_to_its_schema() {
    let compiler = compiler();
    let accepts = |target: &Target, text: &str| {
        let mut constraint = compiler.compile_blocking(target.clone()).unwrap();
        let mut tokens = compiler.tokenizer.encode(text, false).unwrap();
        tokens.push(compiler.ends[0]);
        tokens.into_iter().all(|token| {
            let mut logits = vec![0.0; compiler.vocab];
            constraint.mask(&mut logits).unwrap();
            logits[token as usize] == 0.0 && constraint.advance(token).is_ok()
        })
    };
    let call =
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
    let wrong = call.replace("Oslo", "Rome");
    let two = format!("{call}{call}");
    let many = tools(ToolFormat::Hermes, Need::Allowed, true);
    let one = tools(ToolFormat::Hermes, Need::Allowed, false);
    for (target, text, want) in [
        (&many, "Hello, < you >", true),
        (&many, call, true),
        (&many, &format!("Let me see.\n{two} Done."), true),
        (&many, &wrong, false),
        (&many, &format!("Well {wrong}"), false),
        (&one, call, true),
        (&one, &two, false),
    ] {
        assert_eq!(accepts(target, text), want, "{text}");
    }
    let with_form = Target {
        form: Some(Form::json_object()),
        ..many
    };
    for (text, want) in [("{\"a\": 1}", true), (call, true), ("Hello", false)] {
        assert_eq!(accepts(&with_form, text), want, "{text}");
    }
    let pythonic = tools(ToolFormat::Pythonic, Need::Allowed, true);
    for (text, want) in [
        ("[weather(city=\"Bonn\", days=3), now()]", true),
        ("[weather(days=3)]", false),
        ("It rains [now()]", true),
        ("[1] rains", false),
    ] {
        assert_eq!(accepts(&pythonic, text), want, "{text}");
    }
    let reasoning = |thinking| Target {
        form: Some(Form::Choice(vec!["yes".into()])),
        calls: None,
        reasoning: Some((ReasoningFormat::Qwen3, thinking)),
    };
    for (thinking, text, want) in [
        (Thinking::Open, "I think so.</think>\n\nyes", true),
        (Thinking::Open, "yes", false),
        (Thinking::Possible, "<think>Hm</think>yes", true),
        (Thinking::Possible, "yes", true),
        (Thinking::Possible, "Hm</think>yes", false),
        (Thinking::Closed, "<think>Hm</think>yes", false),
    ] {
        assert_eq!(
            accepts(&reasoning(thinking), text),
            want,
            "{thinking:?} {text}"
        );
    }
}

#[test]
fn a_strict_schema_that_cannot_be_held_to_is_refused_by_its_field() {
    let compiler = compiler();
    let target = |format, strict, schema: &Json| {
        let mut target = tools(format, Need::Required, true);
        let calls = target.calls.as_mut().unwrap();
        calls.functions.push(function("f", strict, schema.clone()));
        target
    };
    let unknown = json!({"type": "object", "if": {}});
    let awkward = json!({"type": "object", "properties": {"a-b": {}}});
    for (format, schema) in [
        (ToolFormat::Hermes, &unknown),
        (ToolFormat::Pythonic, &unknown),
        (ToolFormat::Pythonic, &awkward),
    ] {
        let refused = compiler.compile_blocking(target(format, true, schema));
        let refused = refused.unwrap_err();
        assert_eq!(
            refused.field.as_deref(),
            Some("f.parameters"),
            "{refused:?}"
        );
        assert!(
            compiler
                .compile_blocking(target(format, false, schema))
                .is_ok()
        );
    }
    assert!(
        compiler
            .compile_blocking(target(ToolFormat::Hermes, true, &awkward))
            .is_ok()
    );
}

/// A schema with a chain of references, each inside what `link` makes of it.
fn chain(links: usize, link: impl Fn(Json) -> Json) -> Json {
    let to = |i: usize| json!({"$ref": format!("#/$defs/d{i}")});
    let mut definitions: serde_json::Map<String, Json> = (0..links)
        .map(|i| (format!("d{i}"), link(to(i + 1))))
        .collect();
    definitions.insert(format!("d{links}"), json!({"type": "string"}));
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

const LINKS: [fn(Json) -> Json; 9] = [
    |to| to,
    |to| json!({"allOf": [to]}),
    |to| json!({"allOf": [to], "type": ["string", "null"]}),
    |to| json!({"anyOf": [to, {"type": "null"}]}),
    |to| json!({"type": "array", "items": to}),
    |to| json!({"type": "array", "prefixItems": [to]}),
    |to| json!({"type": "object", "properties": {"a": to}}),
    |to| json!({"type": "object", "patternProperties": {"^a": to}}),
    |to| json!({"type": "object", "additionalProperties": to}),
];

/// A chain as long as is taken is compiled, one that is longer is refused, and neither
/// ends the process: not while it is compiled, and not under its mask on a small stack.
#[test]
fn no_chain_of_references_overflows_a_stack() {
    let compiler = compiler();
    for link in LINKS {
        for links in [100, 400, 480, 6_000] {
            let schema = chain(links, link);
            let alone = [
                Form::JsonSchema(schema.clone()),
                Form::BestEffort(schema.clone()),
            ];
            for target in alone.map(Target::from) {
                let made = compiler.compile_blocking(target);
                match made {
                    Ok(mut made) => {
                        assert!(links < 6_000);
                        let mut row = vec![0.0; compiler.vocab];
                        made.mask(&mut row).unwrap();
                        assert!(row.contains(&0.0));
                    }
                    Err(refused) => {
                        assert!(links > 100, "{refused:?}");
                        assert!(
                            matches!(refused.error, CompileError::Invalid(_)),
                            "{refused:?}"
                        );
                    }
                }
            }
            let mut target = tools(ToolFormat::Hermes, Need::Required, true);
            let arguments = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}},
                "$defs": schema["$defs"]});
            target.calls.as_mut().unwrap().functions = vec![function("f", true, arguments)];
            let made = compiler.compile_blocking(target);
            assert!(made.is_ok() == (links < 6_000) || links == 400 || links == 480);
        }
    }
}

#[test]
fn wide_schemas_compile_as_a_strict_tool_does() {
    let compiler = compiler();
    let one = |i: usize| {
        json!({"type": "object", "required": ["k"], "additionalProperties": false,
        "properties": {"k": {"const": format!("v{i}")}, "v": {"type": "integer"}}})
    };
    let options: Vec<Json> = (0..300).map(one).collect();
    let nested = (0..300).fold(json!({"type": "null"}), |inner, i| match i % 60 {
        // Each sixtieth is a definition's place: JSON itself is not nested so deep.
        0 => json!({"anyOf": [{"type": "string", "maxLength": i}]}),
        _ => json!({"anyOf": [inner, {"type": "string", "maxLength": i}]}),
    });
    for arguments in [
        json!({"type": "object", "properties": {"x": {"anyOf": options.clone()}}}),
        json!({"type": "object", "properties": {"x": nested}}),
    ] {
        let mut target = tools(ToolFormat::Hermes, Need::Required, true);
        target.calls.as_mut().unwrap().functions = vec![function("f", true, arguments)];
        assert!(compiler.compile_blocking(target).is_ok());
    }
}

#[test]
fn forms_that_no_answer_can_have_are_refused_before_they_run() {
    let compiler = compiler();
    let refers = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    let mutual = json!({"$ref": "#/$defs/a", "$defs": {"a": refers("b"), "b": refers("a")}});
    let endless = json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}});
    // Its lexer meets the limit of expressions.
    let pattern =
        r"^(((((\w{0,9}){0,9}\w{0,9}){0,9}[a-z]{0,9}){0,9}\w{0,9}){0,9}[a-z]{0,9}){0,99}$";
    let heavy = json!({"type": "string", "pattern": pattern});
    for schema in [json!({"$ref": "#"}), mutual, endless, heavy] {
        for form in [
            Form::JsonSchema(schema.clone()),
            Form::BestEffort(schema.clone()),
        ] {
            let refused = compiler.compile_blocking(of_form(&form)).unwrap_err();
            assert!(
                matches!(refused.error, CompileError::Invalid(_)),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn grammars_that_nest_or_chain_without_end_are_refused() {
    let compiler = compiler();
    let nested = format!("start: {}\"a\"{}", "(".repeat(50_000), ")".repeat(50_000));
    let rules: String = (0..10_000).map(|i| format!("r{i}: r{}\n", i + 1)).collect();
    let chained = format!("start: r0\n{rules}r10000: \"a\"\n");
    let within = format!("start: %json {}", chain(6_000, |to| json!({"allOf": [to]})));
    for grammar in [nested, chained, within] {
        let refused = compiler
            .compile_blocking(of_form(&Form::Lark(grammar)))
            .unwrap_err();
        assert!(
            matches!(refused.error, CompileError::Invalid(_)),
            "{refused:?}"
        );
    }
    let rules: String = (0..3_900).map(|i| format!("r{i}: r{}\n", i + 1)).collect();
    let fine = format!("start: r0\n{rules}r3900: \"a\"\n");
    assert!(
        compiler
            .compile_blocking(of_form(&Form::Lark(fine)))
            .is_ok()
    );
}

/// Schemas of OpenAI's and vLLM's users that no compiler can hold to whole.
fn beyond() -> Vec<(Json, &'static str)> {
    let object = |key: &str, value: Json| {
        json!({"type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": "integer"}}, key: value})
    };
    vec![
        (
            object("propertyNames", json!({"pattern": "^[a-z]+$"})),
            "propertyNames",
        ),
        (object("not", json!({"required": ["b"]})), "not"),
        (object("if", json!({"required": ["a"]})), "if"),
        (
            object("dependentSchemas", json!({"a": {}})),
            "dependentSchemas",
        ),
        (
            object("dependentRequired", json!({"a": []})),
            "dependentRequired",
        ),
        (
            object("unevaluatedProperties", json!(false)),
            "unevaluatedProperties",
        ),
        (
            json!({"type": "array", "uniqueItems": true, "items": {"type": "integer"}}),
            "uniqueItems",
        ),
        (
            json!({"type": "array", "contains": {"const": 1}}),
            "contains",
        ),
        (
            json!({"type": "string", "format": "iri-reference"}),
            "format",
        ),
        (
            json!({"type": "string", "pattern": "^(?=a)[a-z]+$"}),
            "look-around",
        ),
        (
            json!({"type": "string", "pattern": "^(a)\\1$"}),
            "backreferences",
        ),
        (
            json!({"type": "object", "patternProperties": {"a": {"type": "string"}, "b": {"type": "integer"}}}),
            "patternProperty",
        ),
        (
            json!({"oneOf": [{"type": "object"}, {"type": "object", "required": ["a"]}]}),
            "oneOf",
        ),
        (
            json!({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 2}),
            "minProperties",
        ),
        (json!({"$ref": "https://example.com/schema"}), "$ref"),
    ]
}

#[test]
fn a_schema_is_followed_as_far_as_can_be_or_refused_with_the_keyword() {
    let compiler = compiler();
    for (schema, keyword) in beyond() {
        let strict = Form::JsonSchema(schema.clone());
        let refused = compiler.compile_blocking(of_form(&strict)).unwrap_err();
        let said = refused.error.to_string();
        let keyword = keyword.to_lowercase();
        assert!(
            said.to_lowercase().contains(&keyword) || said.contains("min/maxProperties"),
            "{schema}: {said}"
        );
        let loose = of_form(&Form::BestEffort(schema.clone()));
        let kind = schema["type"].as_str().unwrap_or("object").to_owned();
        for text in (0..10).filter_map(|seed| draw(&compiler, &loose, seed)) {
            let value: Json = serde_json::from_str(&text).unwrap();
            let holds = match kind.as_str() {
                "array" => value.is_array(),
                "string" => value.is_string(),
                _ => value.is_object(),
            };
            assert!(holds || schema.get("$ref").is_some(), "{schema}: {text}");
            if schema["properties"]["a"]["type"] == "integer" {
                assert!(
                    value["a"].is_i64() || value["a"].is_f64(),
                    "{schema}: {text}"
                );
            }
        }
    }
}

#[test]
fn arguments_are_an_object_whatever_the_schema_is() {
    let compiler = compiler();
    let schemas = [
        Some(json!({})),
        None,
        Some(json!({"properties": {"a": {"type": "integer"}}})),
        Some(json!({"type": "string"})),
        Some(json!({"type": ["object", "null"]})),
        Some(json!({"anyOf": [{"type": "object"}, {"type": "integer"}]})),
        Some(json!({"type": "object", "uniqueItems": true, "properties": {}})),
    ];
    for format in FORMATS {
        for arguments in &schemas {
            let mut target = tools(format, Need::Required, false);
            let function = Function {
                arguments: arguments.clone(),
                ..function("f", false, Json::Null)
            };
            target.calls.as_mut().unwrap().functions = vec![function];
            let answers: Vec<String> = (0..30)
                .filter_map(|seed| draw(&compiler, &target, seed))
                .collect();
            assert!(!answers.is_empty(), "{format}: {arguments:?}");
            for answer in answers {
                let (text, calls) = calls_of(format, &answer);
                assert!(text.is_empty() && calls.len() == 1, "{format}: {answer}");
                assert!(calls[0].1.is_object(), "{format}: {answer}");
            }
        }
    }
    let mut strict = tools(ToolFormat::Hermes, Need::Required, false);
    strict.calls.as_mut().unwrap().functions = vec![function("f", true, json!({"type": "string"}))];
    let refused = compiler.compile_blocking(strict).unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("f.parameters"));
}

#[test]
fn beside_a_form_the_model_may_call_instead() {
    let compiler = compiler();
    let schema = json!({"type": "object", "required": ["n"], "additionalProperties": false,
        "properties": {"n": {"type": "integer"}}});
    for format in FORMATS {
        let mut target = tools(format, Need::Free, true);
        target.form = Some(Form::JsonSchema(schema.clone()));
        let (mut called, mut formed) = (0, 0);
        for answer in (0..60).filter_map(|seed| draw(&compiler, &target, seed)) {
            match serde_json::from_str::<Json>(&answer) {
                Ok(value) if value["n"].is_number() => formed += 1,
                _ => {
                    let (text, calls) = calls_of(format, &answer);
                    assert!(
                        text.is_empty() && calls.iter().all(valid),
                        "{format}: {answer}"
                    );
                    called += 1;
                }
            }
        }
        assert!(
            called > 0 && formed > 0,
            "{format}: {called} calls, {formed} answers"
        );
    }
}

/// One blank at most where JSON allows blanks, so that none can be looped on.
#[test]
fn blanks_between_the_parts_of_json_are_bounded() {
    let compiler = compiler();
    let schema = json!({"type": "object", "required": ["n", "list"], "additionalProperties": false,
        "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 0},
            "list": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}}});
    for form in [Form::JsonSchema(schema.clone()), Form::BestEffort(schema)] {
        let target = of_form(&form);
        let texts: Vec<String> = (0..40)
            .filter_map(|seed| draw(&compiler, &target, seed))
            .collect();
        assert_eq!(texts.len(), 40, "each ends");
        for text in texts {
            let value: Json = serde_json::from_str(&text).unwrap();
            let compact = value.to_string();
            assert!(text.len() <= compact.len() + 4, "{text:?}");
        }
    }
}

#[test]
fn members_come_in_the_order_of_the_schema() {
    let compiler = compiler();
    let names = ["zulu", "alpha", "mike", "bravo"];
    let properties: serde_json::Map<String, Json> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({"type": "boolean"})))
        .collect();
    let schema = json!({"type": "object", "properties": properties, "required": ["mike", "alpha", "bravo", "zulu"],
        "additionalProperties": false});
    for form in [Form::JsonSchema(schema.clone()), Form::BestEffort(schema)] {
        let text = draw(&compiler, &of_form(&form), 1).unwrap();
        let value: Json = serde_json::from_str(&text).unwrap();
        let got: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(got, names);
    }
}

#[tokio::test]
async fn a_form_that_finds_no_place_to_wait_is_told_to_come_again() {
    let compiler = Arc::new(compiler());
    let known = of_form(&Form::Regex("known".into()));
    compiler.compile_blocking(known.clone()).unwrap();
    let busy = Some(Salt::of("busy"));
    let taken: Vec<_> = (0..=BOUNDS.waiting_of_tenant)
        .map(|_| compiler.turns.enter(busy).unwrap())
        .collect();
    let new = of_form(&Form::Regex("new".into()));
    let refused = compiler.compile(busy, new.clone()).await.unwrap_err();
    assert_eq!(refused.error, CompileError::Busy);
    assert!(
        compiler.compile(busy, known).await.is_ok(),
        "what is known waits for nobody"
    );
    let other = of_form(&Form::Regex("other".into()));
    assert!(
        compiler
            .compile(Some(Salt::of("other")), other)
            .await
            .is_ok(),
        "another tenant has a turn of its own"
    );
    drop(taken);
    assert!(compiler.compile(busy, new).await.is_ok());
}
