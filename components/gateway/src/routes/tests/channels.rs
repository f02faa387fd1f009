//! Every way on which a text leaves, to the client or to a model, under the real guard.

use serde_json::{Value, json};

use super::script::{Backend, Script, chunk, drive, finish, message, text, tool_call};
use super::{ask, hello};
use crate::bindings::skerry::chat::types::{MessageRole, ToolCall};

const CARD: &str = "4111111111111111";
const ALL: &str = "email,phone,card,iban,api-key";

fn script(backends: impl IntoIterator<Item = Backend>) -> Script {
    Script::new(backends).with_policy(ALL, "blue whale")
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "f"}}])
}

/// The answer as one object and as a stream, each as the client gets it.
fn answers(events: &[Value], extra: &Value) -> (Value, String) {
    let backend = || Backend::answers(events.to_vec());
    let whole = drive(&script([backend()]), ask(extra.clone()));
    let mut extra = extra.clone();
    extra["stream"] = json!(true);
    let stream = drive(&script([backend()]), ask(extra));
    assert_eq!((whole.status, stream.status), (200, 200));
    (whole.json(), stream.text())
}

/// No digit of the card's end follows another.
fn assert_hidden(text: &str) {
    assert!(!text.contains("1111"), "{text}");
}

#[test]
fn content_and_reasoning() {
    for delta in ["content", "reasoning_content"] {
        let piece = |text: &str| chunk(json!({delta: text}));
        let events = [
            piece("it is 4111 11"),
            piece("11\u{a0}1111 1111 ok"),
            finish("stop"),
        ];
        let (whole, stream) = answers(&events, &json!({}));
        assert_eq!(whole["choices"][0]["message"][delta], "it is [CARD_1] ok");
        assert_hidden(&stream);
    }
}

#[test]
fn arguments_in_any_spelling_stay_json() {
    for (given, expected) in [
        (json!(CARD).to_string(), json!("[CARD_1]")),
        (
            r#""\u0034111 1111 1111 \u0031111""#.to_owned(),
            json!("[CARD_1]"),
        ),
        (CARD.to_owned(), json!("[CARD_1]")),
        (format!("[true, {CARD} ]"), json!([true, "[CARD_1]"])),
        (format!("{{\"{CARD}\": 1}}"), json!({"[CARD_1]": 1})),
        (
            r#"{"\u0034111111111111111": 1}"#.to_owned(),
            json!({"[CARD_1]": 1}),
        ),
    ] {
        let arguments = format!("{{\"a\": {given}}}");
        let (first, second) = arguments.split_at(arguments.len() / 2);
        let rest = json!({"tool_calls": [{"index": 0, "function": {"arguments": second}}]});
        let events = [tool_call("f", first), chunk(rest), finish("tool_calls")];
        let (whole, stream) = answers(&events, &json!({"tools": tools()}));
        let call = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
        let parsed: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(parsed, json!({"a": expected}), "{arguments}");
        assert_hidden(&stream);
    }
}

#[test]
fn arguments_that_are_no_json_are_masked_as_a_text() {
    let events = [
        tool_call("f", r#"{"a": 4111 1111 1111 1111}"#),
        finish("tool_calls"),
    ];
    let (whole, stream) = answers(&events, &json!({"tools": tools()}));
    assert_hidden(&whole.to_string());
    assert_hidden(&stream);
}

#[test]
fn a_calls_name_and_id() {
    let call = json!({"tool_calls": [{"index": 0, "id": format!("call_{CARD}"),
        "function": {"name": format!("pay_{CARD}"), "arguments": "{}"}}]});
    let (whole, stream) = answers(
        &[chunk(call), finish("tool_calls")],
        &json!({"tools": tools()}),
    );
    let call = &whole["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "pay_CARD_1");
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    assert_hidden(&call.to_string());
    assert_hidden(&stream);

    let call = json!({"tool_calls": [{"index": 0, "id": "c",
        "function": {"name": "blue_whale", "arguments": "{}"}}]});
    let (whole, stream) = answers(
        &[chunk(call), finish("tool_calls")],
        &json!({"tools": tools()}),
    );
    assert_eq!(whole["choices"][0]["finish_reason"], "content_filter");
    assert!(!whole.to_string().contains("whale") && !stream.contains("whale"));
}

/// An event with a token and those that were likely in its place.
fn token(text: &str, likely: &[&str]) -> Value {
    let named = |text: &str| json!({"token": text, "logprob": -0.5, "bytes": text.as_bytes()});
    let mut entry = named(text);
    entry["top_logprobs"] = likely.iter().copied().map(named).collect();
    let mut event = chunk(json!({"content": text}));
    event["choices"][0]["logprobs"] = json!({"content": [entry]});
    event
}

fn with_logprobs(mut events: Vec<Value>) -> (Value, String) {
    events.push(finish("stop"));
    let (whole, stream) = answers(&events, &json!({"logprobs": true, "top_logprobs": 2}));
    (whole["choices"][0]["logprobs"]["content"].clone(), stream)
}

#[test]
fn alternatives_of_a_harmless_answer_all_leave() {
    let events = vec![
        token("Rate", &["Rate", "Score"]),
        token(":", &[":", "="]),
        token(" 4", &[" 4", " 5"]),
    ];
    let (entries, stream) = with_logprobs(events);
    let tokens = entries.as_array().unwrap().iter();
    let tokens: Vec<_> = tokens
        .map(|entry| entry["top_logprobs"][1]["token"].clone())
        .collect();
    assert_eq!(tokens, ["Score", "=", " 5"]);
    assert!(stream.contains("Score") && stream.contains("\" 5\""));
}

#[test]
fn alternatives_that_spell_it_do_not_leave() {
    let spelled = |pieces: &[&'static str]| -> Vec<Value> {
        pieces
            .iter()
            .map(|piece| token("so ", &["so ", piece]))
            .collect()
    };
    for pieces in [
        &["4111", " 1111", " 1111", " 1111"][..],
        &["4", "1", "1", "1", "11", "11", "11", "11", "11", "11"],
        &[CARD, " x"],
        &["blue", " wh", "ale"],
        &["bob", "@", "example", ".com"],
    ] {
        let (entries, stream) = with_logprobs(spelled(pieces));
        for told in [entries.to_string(), stream] {
            for piece in pieces {
                let token = json!({"token": piece}).to_string();
                let token = token.trim_matches(['{', '}']);
                assert!(!told.contains(token), "{pieces:?}: {told}");
            }
        }
    }
    // Their bytes may say what their text does not.
    let mut event = token("so ", &["so ", "x"]);
    event["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["bytes"] =
        CARD.as_bytes().into();
    let (entries, _) = with_logprobs(vec![event]);
    assert!(!entries.to_string().contains("52,49,49"), "{entries}");
}

#[test]
fn tokens_of_reasoning_and_of_text_that_lags_behind_do_not_leave() {
    let pieces = ["4111", " 1111", " 1111", " 1111", " end"];
    let reasoning = pieces.map(|piece| {
        let mut event = token(piece, &[piece]);
        event["choices"][0]["delta"] = json!({"reasoning_content": piece});
        event
    });
    // The text of each comes with the next.
    let lags = pieces.map(|piece| {
        let mut event = token(piece, &[piece]);
        event["choices"][0]["delta"] = json!({});
        event
    });
    let late = pieces.map(|piece| chunk(json!({"content": piece})));
    for hidden in [reasoning.to_vec(), lags.into_iter().chain(late).collect()] {
        let events = hidden
            .into_iter()
            .chain([token("So ", &["So "]), token("it is. ", &[])]);
        let (entries, stream) = with_logprobs(events.collect());
        for told in [entries.to_string(), stream] {
            assert!(!told.contains("1111"), "{told}");
        }
    }
}

#[test]
fn a_tools_answer_goes_masked_to_model_and_client() {
    let script = script([
        Backend::answers([tool_call("calculator", "{}"), finish("tool_calls")]),
        Backend::answers([text("done"), finish("stop")]),
    ])
    .with_platform_tool()
    .whose_tool_says("card 4111\u{2009}1111\u{2009}1111\u{2009}1111");
    let reply = drive(&script, ask(json!({"skerry": {"events": true}})));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = &script.bodies()[1];
    assert!(sent.contains("card [CARD_1]"), "{sent}");
    assert!(reply.text().contains("card [CARD_1]"), "{}", reply.text());
    assert_hidden(sent);
    assert_hidden(&reply.text());
}

#[test]
fn what_goes_to_a_model_is_masked_and_stays_valid() {
    let call = ToolCall {
        id: format!("call_{CARD}"),
        name: format!("pay_{CARD}"),
        arguments: format!("{{\"{CARD}\": {CARD}, \"b\": \"\\u0034111111111111111\"}}"),
    };
    let mut asked = message(MessageRole::Assistant, "");
    asked.tool_calls = vec![call];
    let mut answered = message(MessageRole::Tool, CARD);
    answered.tool_call_id = Some(format!("call_{CARD}"));
    let script = script([hello()]).after([asked, answered]);
    let reply = drive(
        &script,
        ask(json!({
            "conversation": "c1", "user": "bob@example.com", "metadata": {"card": CARD},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {
                "type": "object", "title": CARD, "properties": {
                    "a": {"type": "string", "description": format!("like {CARD}")}}}}},
        })),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = &script.bodies()[0];
    assert_hidden(sent);
    assert!(!sent.contains("bob@"), "{sent}");
    let sent: Value = serde_json::from_str(sent).unwrap();
    let call = &sent["messages"][0]["tool_calls"][0];
    assert_eq!(call["id"], sent["messages"][1]["tool_call_id"]);
    assert_eq!(call["function"]["name"], "pay_CARD_1");
    let arguments = call["function"]["arguments"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(arguments).is_ok());
}

#[test]
fn what_cannot_be_masked_is_refused_and_reaches_no_model() {
    let schema = |schema: Value| {
        json!({"response_format": {"type": "json_schema",
               "json_schema": {"name": "n", "schema": schema}}})
    };
    let spaced = "4111\u{a0}1111\u{a0}1111\u{a0}1111";
    let tool = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
    for (extra, param) in [
        (schema(json!({"enum": [spaced]})), "response_format"),
        (schema(json!({"const": CARD})), "response_format"),
        (
            schema(json!({"enum": [4_111_111_111_111_111_u64]})),
            "response_format",
        ),
        (schema(json!({"properties": {CARD: {}}})), "response_format"),
        (json!({"stop": [spaced]}), "stop"),
        (json!({"stop": "bob@example.com"}), "stop"),
        (json!({"guided_choice": ["a", CARD]}), "guided_choice"),
        (tool(json!({"name": format!("f_{CARD}")})), "tools"),
        (
            tool(json!({"name": "f", "parameters": {"properties": {"a": {"enum": [CARD]}}}})),
            "tools",
        ),
    ] {
        let script = script([hello()]);
        let reply = drive(&script, ask(extra.clone()));
        let error = &reply.json()["error"];
        assert_eq!(reply.status, 400, "{extra}: {error}");
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!(param), &json!("content_filter"))
        );
        assert_hidden(&error.to_string());
        assert!(script.bodies().is_empty());
    }
}

#[test]
fn a_phrase_split_over_two_messages_is_refused() {
    let script = script([hello()]);
    let messages = json!([{"role": "user", "content": "a **blue**"},
                          {"role": "user", "content": "wh\u{336}ale"}]);
    let reply = drive(&script, ask(json!({"messages": messages})));
    assert_eq!(
        reply.json()["choices"][0]["finish_reason"],
        "content_filter"
    );
    assert!(script.bodies().is_empty());
}
