//! Every format: the calls that were written are found, whatever the cut; what is no
//! call stays text.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

/// What a parser gave, put together: text, or a call's name and arguments.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    Text(String),
    Call(String, String),
}

fn parse<'a>(format: ToolFormat, parts: impl IntoIterator<Item = &'a str>) -> Vec<Got> {
    let mut parser = format.parser();
    let mut pieces: Vec<Piece> = parts.into_iter().flat_map(|p| parser.push(p)).collect();
    pieces.extend(parser.finish());
    let mut all: Vec<Got> = Vec::new();
    for piece in pieces {
        match (piece, all.last_mut()) {
            (Piece::Text(text), Some(Got::Text(last))) => last.push_str(&text),
            (Piece::Text(text), _) => all.push(Got::Text(text)),
            (Piece::Call { id, name }, _) => {
                assert!(id.len() >= 9);
                all.push(Got::Call(name, String::new()));
            }
            (Piece::Arguments(text), Some(Got::Call(_, last))) => last.push_str(&text),
            (piece, _) => panic!("{piece:?} out of place"),
        }
    }
    all
}

fn text(text: &str) -> Got {
    Got::Text(text.to_owned())
}

fn call(name: &str, arguments: &str) -> Got {
    Got::Call(name.to_owned(), arguments.to_owned())
}

#[track_caller]
fn check(format: ToolFormat, input: &str, expect: &[Got]) {
    assert_eq!(parse(format, [input]), expect, "{format}: {input}");
    for at in (0..=input.len()).filter(|at| input.is_char_boundary(*at)) {
        let cut = parse(format, [&input[..at], &input[at..]]);
        assert_eq!(cut, expect, "{format}: {input} cut at {at}");
    }
    let single: Vec<String> = input.chars().map(String::from).collect();
    assert_eq!(parse(format, single.iter().map(String::as_str)), expect);
}

#[test]
fn hermes() {
    let check = |input: &str, expect: &[Got]| check(ToolFormat::Hermes, input, expect);
    check("Hello  world \n", &[text("Hello  world \n")]);
    check("", &[]);
    check(
        "<tool_call>\n{\"name\": \"calculator\", \"arguments\": {\"expression\": \"12*7\"}}\n</tool_call>",
        &[call("calculator", r#"{"expression": "12*7"}"#)],
    );
    check(
        "Let me see.\n<tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call>\n\
         <tool_call>{\"name\":\"b\"}</tool_call>\n\nDone é ",
        &[
            text("Let me see."),
            call("a", "{}"),
            call("b", "{}"),
            text("Done é "),
        ],
    );
    check(
        r#"<tool_call>{"name":"a","arguments":"{\"x\": \"\\n\"}"}</tool_call>"#,
        &[call("a", r#"{"x": "\n"}"#)],
    );
    check(
        r#"<tool_call>{"arguments": {"a": "</tool_call>}{"}, "id": 7, "name": "f"}</tool_call>"#,
        &[call("f", r#"{"a": "</tool_call>}{"}"#)],
    );
    check(
        r#"<tool_call>{"name": "f", "parameters": null}</tool_call>"#,
        &[call("f", "{}")],
    );
    check(
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x\ny\"}}</tool_call>",
        &[call("f", r#"{"a": "x\ny"}"#)],
    );
}

#[test]
fn what_is_no_call_is_text() {
    for input in [
        "<tool_call>{oops}</tool_call>",
        "a < b <tool",
        "<tool_call>{\"name\": 3}</tool_call> end",
        "<tool_call>{\"name\": \"\"}</tool_call>",
        "<tool_call>{\"name\": \"a\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"a\", \"arguments\": \"x\"}</tool_call>",
        "<tool_call>{\"name\": \"a\"",
        "</tool_call>",
    ] {
        check(ToolFormat::Hermes, input, &[text(input)]);
    }
    for input in [
        "{\"answer\": 42}",
        " {\"name\"",
        "Hi {\"name\": \"f\"}",
        "{\"name\": \"f\", \"parameters\": 3} x",
        "<|python_tag|>print(1)",
    ] {
        check(ToolFormat::Llama3Json, input, &[text(input)]);
    }
    for input in [
        "[1] is a source",
        "[see(below)]",
        "[f(see below)]",
        "[]",
        "f(a=1)",
        "[f",
        "[f(x",
    ] {
        check(ToolFormat::Pythonic, input, &[text(input)]);
    }
    for input in [
        "[TOOL_CALLS] nothing here",
        "[TOOL_CALLS][1]",
        "[TOOL",
        "[TOOL_CALLS][{\"name\": 1}]",
        "[TOOL_CALLS]",
    ] {
        check(ToolFormat::Mistral, input, &[text(input)]);
    }
    for input in [
        "```json\n{\"a\": 1}\n``` is JSON",
        "```tool_code\nx = 1\n```",
        "```python\nf(a=1)\n```",
        "{\"a\": 1}",
        "```tool_code\n```",
    ] {
        check(ToolFormat::Gemma, input, &[text(input)]);
    }
}

#[test]
fn a_call_that_goes_wrong_keeps_what_was_given_and_the_rest_is_text() {
    let hermes = |input: &str, expect: &[Got]| check(ToolFormat::Hermes, input, expect);
    hermes(
        "<tool_call>{\"name\":\"a\",\"arguments\":{\"b\":[1,2]}}\n",
        &[call("a", r#"{"b":[1,2]}"#)],
    );
    hermes(
        "<tool_call>{\"name\":\"a\",\"arguments\":{\"b\": oops}}</tool_call> x",
        &[call("a", "{\"b\": "), text("oops}} x")],
    );
    hermes(
        "<tool_call>{\"name\":\"a\",\"arguments\":{\"b\": \"cut",
        &[call("a", "{\"b\": \"cut")],
    );
    hermes(
        "<tool_call>{\"name\":\"a\"}<tool_call>{\"name\":\"b\"}",
        &[call("a", "{}"), call("b", "{}")],
    );
    hermes(
        "<tool_call> <tool_call>{\"name\":\"b\"}</tool_call>",
        &[text("<tool_call>"), call("b", "{}")],
    );
    check(
        ToolFormat::Pythonic,
        "[f(a=1, b=nope)] x",
        &[call("f", "{\"a\": 1, \"b\": "), text(")] x")],
    );
}

#[test]
fn llama3_json() {
    let check = |input: &str, expect: &[Got]| check(ToolFormat::Llama3Json, input, expect);
    check(
        r#"{"name": "f", "parameters": {"a": 1}}"#,
        &[call("f", r#"{"a": 1}"#)],
    );
    check(
        r#"<|python_tag|>{"type": "function", "name": "f", "parameters": {}}; {"name": "g"}"#,
        &[call("f", "{}"), call("g", "{}")],
    );
    check(
        "Sure.\n<|python_tag|>{\"name\": \"f\"} done",
        &[text("Sure."), call("f", "{}"), text("done")],
    );
}

#[test]
fn pythonic() {
    let check = |input: &str, expect: &[Got]| check(ToolFormat::Pythonic, input, expect);
    check("[f()]", &[call("f", "{}")]);
    check(
        " [get.weather(city='Zürich', days = 3,), g(x=[1, -2.5, None, {'k': True}], y=\"a'\\\"\\n\\x41\")]",
        &[
            call("get.weather", r#"{"city": "Zürich", "days": 3}"#),
            call(
                "g",
                r#"{"x": [1, -2.5, null, {"k": true}], "y": "a'\"\nA"}"#,
            ),
        ],
    );
    check("[f(a={})] end", &[call("f", r#"{"a": {}}"#), text("end")]);
    check("[f(a=\"\\d\\\\\")]", &[call("f", r#"{"a": "\\d\\"}"#)]);
}

#[test]
fn mistral() {
    let check = |input: &str, expect: &[Got]| check(ToolFormat::Mistral, input, expect);
    check(
        r#"Well. [TOOL_CALLS] [{"name": "f", "arguments": {"a": "]"}}, {"name": "g"}] end"#,
        &[
            text("Well."),
            call("f", r#"{"a": "]"}"#),
            call("g", "{}"),
            text("end"),
        ],
    );
    check(
        r#"[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g-2[CALL_ID]ab12[ARGS]{}[TOOL_CALLS]h{"b": []}"#,
        &[
            call("f", r#"{"a": 1}"#),
            call("g-2", "{}"),
            call("h", r#"{"b": []}"#),
        ],
    );
    let Some(Piece::Call { id, .. }) = ToolFormat::Mistral
        .parser()
        .push("[TOOL_CALLS]f[ARGS]{}")
        .into_iter()
        .next()
    else {
        panic!("no call");
    };
    assert!(id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()));
}

#[test]
fn gemma() {
    let check = |input: &str, expect: &[Got]| check(ToolFormat::Gemma, input, expect);
    check(
        "I look.\n```tool_code\nprint(f(a=1))\ng(b='x')\n```\nDone",
        &[
            text("I look."),
            call("f", r#"{"a": 1}"#),
            call("g", r#"{"b": "x"}"#),
            text("Done"),
        ],
    );
    check(
        "```tool_code\n[f(a=1), pr()]\n```",
        &[call("f", r#"{"a": 1}"#), call("pr", "{}")],
    );
    check(
        "```json\n{\"name\": \"f\", \"parameters\": {\"a\": 1}}\n```",
        &[call("f", r#"{"a": 1}"#)],
    );
    check("[f(a=1)] Done.", &[call("f", r#"{"a": 1}"#), text("Done.")]);
    check(
        "{\"name\": \"f\", \"parameters\": {}}\nDone.",
        &[call("f", "{}"), text("Done.")],
    );
}

#[test]
fn a_template_tells_its_format_and_names_are_vllms() {
    for (template, format) in [
        ("{{ '<tool_call>' }}", ToolFormat::Hermes),
        ("[TOOL_CALLS]", ToolFormat::Mistral),
        ("<|start_header_id|> <|python_tag|>", ToolFormat::Llama3Json),
        ("<start_of_turn>", ToolFormat::Gemma),
        ("[func_name1(params_name1=", ToolFormat::Pythonic),
        ("", ToolFormat::Hermes),
    ] {
        assert_eq!(ToolFormat::of_template(template), format);
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("xml".parse::<ToolFormat>().is_err());
}

/// A call's name and arguments.
type Written = (String, Map<String, Json>);

/// A JSON value with awkward texts.
fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        "[a-z{}\\[\\]()\"'\\\\,:=é😀\n\t<> ]{0,10}".prop_map(Json::from),
        Just(json!("</tool_call><tool_call>[TOOL_CALLS]```")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::vec(("[a-zé\"]{1,4}", inner), 0..3)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

fn arguments() -> impl Strategy<Value = Map<String, Json>> {
    prop::collection::vec(("[a-z_]{1,5}", value()), 0..3)
        .prop_map(|fields| fields.into_iter().collect())
}

fn python(value: &Json) -> String {
    match value {
        Json::Null => "None".into(),
        Json::Bool(true) => "True".into(),
        Json::Bool(false) => "False".into(),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(fields) => {
            let field =
                |(k, v): (&String, &Json)| format!("{}: {}", Json::from(k.clone()), python(v));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn python_call((name, arguments): &Written) -> String {
    let keywords: Vec<String> = arguments
        .iter()
        .map(|(k, v)| format!("{k}={}", python(v)))
        .collect();
    format!("{name}({})", keywords.join(", "))
}

/// The calls as a model of this format writes them.
fn write(format: ToolFormat, calls: &[Written]) -> String {
    let object =
        |key: &str, (name, arguments): &Written| json!({"name": name, key: arguments}).to_string();
    let each = |one: &dyn Fn(&Written) -> String, join: &str| {
        let all: Vec<String> = calls.iter().map(one).collect();
        all.join(join)
    };
    match format {
        ToolFormat::Hermes => each(
            &|c| format!("<tool_call>\n{}\n</tool_call>", object("arguments", c)),
            "\n",
        ),
        ToolFormat::Llama3Json => each(&|c| object("parameters", c), "; "),
        ToolFormat::Pythonic => format!("[{}]", each(&python_call, ", ")),
        ToolFormat::Mistral if calls.len().is_multiple_of(2) => {
            format!("[TOOL_CALLS] [{}]", each(&|c| object("arguments", c), ", "))
        }
        ToolFormat::Mistral => each(
            &|(name, arguments)| {
                format!(
                    "[TOOL_CALLS]{name}[ARGS]{}",
                    Json::Object(arguments.clone())
                )
            },
            "",
        ),
        ToolFormat::Gemma => format!("```tool_code\n{}\n```", each(&python_call, "\n")),
    }
}

/// The text in pieces that end at these characters.
fn cut<'a>(text: &'a str, cuts: &[usize]) -> Vec<&'a str> {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (text.len() + 1)).collect();
    cuts.extend([0, text.len()]);
    cuts.retain(|c| text.is_char_boundary(*c));
    cuts.sort_unstable();
    cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn calls_come_back_as_they_were_written(
        format in prop::sample::select(ToolFormat::ALL.to_vec()),
        calls in prop::collection::vec(("[a-z_]{1,8}", arguments()), 1..4),
        before in prop_oneof![Just(""), Just("Let me sée.")],
        after in prop_oneof![Just(""), Just("Done é.")],
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        // These two hold no text before a call.
        let bare = matches!(format, ToolFormat::Llama3Json | ToolFormat::Pythonic);
        let before = if bare { "" } else { before };
        let whole = format!("{before}{}{after}", write(format, &calls));
        let got = parse(format, [whole.as_str()]);
        let mut want: Vec<Got> = Vec::new();
        want.extend((!before.is_empty()).then(|| text(before)));
        let named = calls.iter().map(|(name, arguments)| (name.clone(), Json::Object(arguments.clone())));
        let (texts, found): (Vec<Got>, Vec<Got>) =
            got.iter().cloned().partition(|g| matches!(g, Got::Text(_)));
        want.extend((!after.is_empty()).then(|| text(after)));
        prop_assert_eq!(texts, want, "{}", whole);
        let found: Vec<(String, Json)> = found
            .into_iter()
            .map(|g| match g {
                Got::Call(name, arguments) => (name, serde_json::from_str(&arguments).unwrap()),
                Got::Text(_) => unreachable!(),
            })
            .collect();
        prop_assert_eq!(found, named.collect::<Vec<_>>(), "{}", whole);
        prop_assert_eq!(parse(format, cut(&whole, &cuts)), got);
    }

    #[test]
    fn any_cut_of_any_text_gives_the_same_result(
        format in prop::sample::select(ToolFormat::ALL.to_vec()),
        parts in prop::collection::vec(prop::sample::select(vec![
            "<tool_call>", "</tool_call>", "{\"name\":\"f\",\"arguments\":{\"é\":1}}", " ", "\n",
            "word", "<tool", "_call>", "é", "{", "}", "<", "[TOOL_CALLS]", "[ARGS]", "[", "]",
            "f(a=1)", "f(", "a=", "'x'", ")", ",", ";", "\"", "\\", "```tool_code\n", "```json\n",
            "```", "{\"name\":\"f\",", "\"parameters\":{", "\"arguments\":\"{}\"", "<|python_tag|>",
            "print(", "None", "1.5", ":",
        ]), 0..14),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let whole: String = parts.concat();
        let got = parse(format, [whole.as_str()]);
        prop_assert_eq!(&parse(format, cut(&whole, &cuts)), &got);
        prop_assert_eq!(&parse(format, parts.iter().copied()), &got);
        if !got.iter().any(|g| matches!(g, Got::Call(..))) {
            prop_assert_eq!(got, if whole.is_empty() { vec![] } else { vec![text(&whole)] });
        }
    }
}
