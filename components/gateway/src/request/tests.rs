//! What is taken in and what is refused, field by field.

use serde_json::json;

use super::*;

fn parse(body: serde_json::Value) -> Result<ChatRequest, ApiError> {
    ChatRequest::parse(body.to_string().as_bytes())
}

/// A minimal request with one field more.
fn with(field: &str, value: serde_json::Value) -> serde_json::Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body[field] = value;
    body
}

#[test]
fn the_smallest_request_is_taken() {
    let request = parse(json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}));
    let request = request.unwrap();
    assert_eq!((request.model.as_str(), request.query()), ("m", "hi"));
    assert!(!request.stream && !request.include_usage && !request.events && !request.logprobs);
    assert!(request.sampling.is_empty() && request.tools.is_none());
    assert_eq!(request.tool_choice, ToolChoice::Auto);
}

fn check_refused(cases: &[(&str, serde_json::Value, &str)]) {
    for (field, value, param) in cases {
        let error = parse(with(field, value.clone())).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(*param), "{field} = {value}");
        assert_eq!(error.status, 400, "{field} = {value}");
        assert!(error.code.is_some() && !error.message.is_empty());
    }
}

#[test]
fn a_wrong_model_or_message_is_named() {
    check_refused(&[
        ("model", json!(7), "model"),
        ("model", json!(""), "model"),
        ("messages", json!([]), "messages"),
        ("messages", json!("hi"), "messages"),
        ("messages", json!([7]), "messages[0]"),
        (
            "messages",
            json!([{"role": "robot", "content": "x"}]),
            "messages[0].role",
        ),
        ("messages", json!([{"role": "user"}]), "messages[0].content"),
        (
            "messages",
            json!([{"role": "user", "content": 1}]),
            "messages[0].content",
        ),
        (
            "messages",
            json!([{"role": "user", "content": "x", "nmae": "a"}]),
            "messages[0].nmae",
        ),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "image_url"}]}]),
            "messages[0].content[0].type",
        ),
        (
            "messages",
            json!([{"role": "tool", "content": "x"}]),
            "messages[0].tool_call_id",
        ),
        (
            "messages",
            json!([{"role": "user", "content": "x"},
                   {"role": "tool", "content": "x", "tool_call_id": "a"}]),
            "messages[1].tool_call_id",
        ),
    ]);
}

#[test]
fn a_wrong_sampling_field_is_named() {
    check_refused(&[
        ("stream", json!("yes"), "stream"),
        (
            "stream_options",
            json!({"include_usage": true}),
            "stream_options",
        ),
        ("max_tokens", json!(0), "max_tokens"),
        ("max_tokens", json!(-1), "max_tokens"),
        ("max_tokens", json!(1e30), "max_tokens"),
        (
            "max_completion_tokens",
            json!("10"),
            "max_completion_tokens",
        ),
        ("temperature", json!(2.1), "temperature"),
        ("temperature", json!("hot"), "temperature"),
        ("top_p", json!(-0.1), "top_p"),
        ("top_logprobs", json!(21), "top_logprobs"),
        ("top_logprobs", json!(2), "top_logprobs"),
        ("logit_bias", json!({"a": 1}), "logit_bias"),
        ("logit_bias", json!({"1": 101}), "logit_bias"),
        ("seed", json!(1.5), "seed"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "stop"),
        ("stop", json!(""), "stop"),
        ("n", json!(2), "n"),
        ("store", json!(true), "store"),
        ("metadata", json!({"a": "b"}), "metadata"),
        ("modalities", json!(["audio"]), "modalities"),
        ("user", json!("someone"), "user"),
        ("functions", json!([]), "functions"),
        ("conversation", json!("../x"), "conversation"),
        ("conversation", json!({"id": "a", "b": 1}), "conversation"),
    ]);
}

#[test]
fn a_wrong_tool_or_extension_is_named() {
    check_refused(&[
        ("tools", json!({}), "tools"),
        ("tools", json!([{"type": "web_search"}]), "tools[0].type"),
        (
            "tools",
            json!([{"type": "function", "function": {"name": "a b"}}]),
            "tools[0].function.name",
        ),
        ("tool_choice", json!("always"), "tool_choice"),
        ("tool_choice", json!("required"), "tool_choice"),
        ("response_format", json!({"type": "xml"}), "response_format"),
        ("skerry", json!({"event": true}), "skerry.event"),
        ("tempreature", json!(1), "tempreature"),
    ]);
}

#[test]
fn every_known_field_may_be_null() {
    for field in KNOWN
        .iter()
        .filter(|field| !["model", "messages"].contains(field))
    {
        let request = parse(with(field, json!(null)));
        assert!(
            request.is_ok_and(|request| request.sampling.is_empty()),
            "{field}"
        );
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for body in [
        &b""[..],
        b"{",
        b"[]",
        b"\xff\xfe",
        b"{\"model\": \"\xc3\"}",
        b"null",
    ] {
        let error = ChatRequest::parse(body).unwrap_err();
        assert_eq!(
            (error.status, error.code.as_deref()),
            (400, Some("invalid_json"))
        );
    }
    let deep = "[".repeat(100_000);
    assert_eq!(ChatRequest::parse(deep.as_bytes()).unwrap_err().status, 400);
}

#[test]
fn the_official_clients_echo_of_an_answer_is_taken() {
    let request = parse(json!({"model": "m", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "12"}, {"type": "text", "text": "*7?"}]},
        {"role": "assistant", "content": null, "refusal": null, "annotations": [],
         "function_call": null, "audio": null,
         "tool_calls": [{"id": "c1", "type": "function",
                         "function": {"name": "calculator", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "84"},
    ]}));
    let request = request.unwrap();
    assert_eq!(request.query(), "12*7?");
    assert_eq!(request.messages[1].tool_calls[0].name, "calculator");
}

#[test]
fn sampling_is_handed_on_as_it_came() {
    let mut body = with("temperature", json!(0.5));
    body["seed"] = json!(7);
    body["stop"] = json!(["\n"]);
    body["top_k"] = json!(null);
    let request = parse(body).unwrap();
    let expected = json!({"temperature": 0.5, "seed": 7, "stop": ["\n"]});
    assert_eq!(Value::Object(request.sampling), expected);
}

#[test]
fn what_could_not_be_stored_as_a_turn_is_refused_before_it_is_answered() {
    let many = |count: usize, text: &str| {
        let message = json!({"role": "user", "content": text});
        json!({"model": "m", "messages": vec![message; count]})
    };
    for (mut body, fits) in [
        (many(TURN_MESSAGES_MAX, "hi"), true),
        (many(TURN_MESSAGES_MAX + 1, "hi"), false),
        (many(1, &"x".repeat(TURN_BYTES_MAX)), true),
        (many(1, &"x".repeat(TURN_BYTES_MAX + 1)), false),
    ] {
        assert!(parse(body.clone()).is_ok(), "nothing is stored");
        body["conversation"] = json!("conv_1");
        let parsed = parse(body);
        assert_eq!(parsed.is_ok(), fits);
        if let Err(error) = parsed {
            assert_eq!(
                (error.status, error.param.as_deref()),
                (400, Some("messages"))
            );
        }
    }
}

#[test]
fn of_a_backends_error_no_word_is_logged() {
    let error: crate::error::ErrorObject = serde_json::from_value(json!({
        "message": "my prompt", "type": "server_error my", "param": null, "code": 500}))
    .unwrap();
    let logged = error.of_backend();
    assert!(
        logged.contains("server_error") && logged.contains("500"),
        "{logged}"
    );
    assert!(
        !logged.contains("prompt") && logged.contains("9 bytes"),
        "{logged}"
    );
}
