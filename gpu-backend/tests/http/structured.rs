//! Answers that are held to a form, and tool calls that are required, over HTTP.

use http::StatusCode;
use serde_json::{Value as Json, json};

use super::check_error;
use super::harness::Server;

/// The first choice's text, and why it ended.
fn content(answer: &Json) -> (String, &str) {
    let choice = &answer["choices"][0];
    (
        choice["message"]["content"].as_str().unwrap().to_owned(),
        choice["finish_reason"].as_str().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_form_that_was_asked_for() {
    let server = Server::start(&[]);
    for seed in 0..8 {
        let choice = json!({"seed": seed, "structured_outputs": {"choice": ["yes", "nö"]}});
        let (status, answer) = server.chat(choice).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let (text, finish) = content(&answer);
        assert!(["yes", "nö"].contains(&text.as_str()), "{text}");
        assert_eq!(finish, "stop");

        let schema = json!({"type": "object", "required": ["n", "ok"], "additionalProperties": false,
            "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 12}, "ok": {"type": "boolean"}}});
        let wrapper = json!({"name": "verdict", "strict": true, "schema": schema});
        let format = json!({"seed": seed, "temperature": 1.5,
            "response_format": {"type": "json_schema", "json_schema": wrapper}});
        let (_, answer) = server.chat(format).await;
        let (text, finish) = content(&answer);
        let value: Json = serde_json::from_str(&text).unwrap();
        assert!((1..=12).contains(&value["n"].as_i64().unwrap()) && value["ok"].is_boolean());
        assert_eq!(finish, "stop");
    }
    let cut = json!({"guided_regex": "a{10}", "max_tokens": 4});
    let (_, answer) = server.chat(cut).await;
    assert_eq!(content(&answer), ("aaaa".to_owned(), "length"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_cannot_be_compiled_is_refused_with_its_field() {
    let server = Server::start(&[]);
    for (fields, param) in [
        (json!({"guided_regex": "(a"}), "guided_regex"),
        (
            json!({"structured_outputs": {"grammar": "start: missing"}}),
            "structured_outputs.grammar",
        ),
        (
            json!({"response_format": {"type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "strang"}}}}),
            "response_format.json_schema.schema",
        ),
        (
            json!({"tool_choice": "required", "tools": [{"type": "function", "function":
                {"name": "f", "strict": true, "parameters": {"type": "object", "if": {}}}}]}),
            "tools[0].function.parameters",
        ),
        (
            json!({"ignore_eos": true, "response_format": {"type": "json_object"}}),
            "ignore_eos",
        ),
    ] {
        check_error(
            server.chat(fields).await,
            400,
            json!(param),
            "invalid_value",
        );
    }
    let fine = server.chat(json!({"guided_regex": "ab"})).await;
    assert_eq!(content(&fine.1).0, "ab", "a refusal hurts nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_call_comes_with_its_name_first_and_its_arguments_in_pieces() {
    let server = Server::start(&[]);
    let parameters = json!({"type": "object", "required": ["city"], "additionalProperties": false,
        "properties": {"city": {"enum": ["Oslo", "Bonn"]}}});
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    let fields = json!({"seed": 3, "tools": [tool("f"), tool("g")],
        "tool_choice": {"type": "function", "function": {"name": "g"}}});
    let valid = |arguments: &str| {
        let arguments: Json = serde_json::from_str(arguments).unwrap();
        ["Oslo", "Bonn"].contains(&arguments["city"].as_str().unwrap())
    };
    let (_, answer) = server.chat(fields.clone()).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Json::Null);
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(
        (calls.len(), &calls[0]["function"]["name"]),
        (1, &json!("g"))
    );
    assert!(valid(calls[0]["function"]["arguments"].as_str().unwrap()));

    let events = server.stream(fields).await;
    let mut deltas = Vec::new();
    for event in &events[..events.len() - 1] {
        let chunk: Json = serde_json::from_str(event).unwrap();
        deltas.extend(
            chunk["choices"][0]["delta"]["tool_calls"]
                .as_array()
                .cloned(),
        );
    }
    let (first, rest) = deltas.split_first().unwrap();
    assert_eq!(first[0]["function"], json!({"name": "g", "arguments": ""}));
    assert!(first[0]["id"].as_str().unwrap().starts_with("call_"));
    assert!(
        rest.len() > 3,
        "the arguments come as they are written: {rest:?}"
    );
    let arguments: String = rest
        .iter()
        .map(|delta| {
            assert_eq!(delta[0]["index"], 0);
            delta[0]["function"]["arguments"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(valid(&arguments), "{arguments}");
}
