//! What is taken in and what is refused, field by field.

use serde_json::json;

use super::*;

fn parse_bytes(body: &[u8]) -> Result<ChatRequest, ApiError> {
    ChatRequest::of(body, Share::default())
}

fn parse(body: serde_json::Value) -> Result<ChatRequest, ApiError> {
    parse_bytes(body.to_string().as_bytes())
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
    assert!(request.fields.is_empty() && request.tools.is_none());
    assert!(matches!(request.tool_choice, ToolChoice::Default) && request.choices == 1);
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
        ("stop", json!(vec!["a"; 17]), "stop"),
        ("stop", json!(""), "stop"),
        ("n", json!(0), "n"),
        ("n", json!(129), "n"),
        ("store", json!(true), "store"),
        ("metadata", json!("x"), "metadata"),
        ("modalities", json!(["audio"]), "modalities"),
        ("user", json!(7), "user"),
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
fn every_field_of_the_list_is_taken_or_refused_as_it_says() {
    for field in FIELDS {
        let mut body = with(field.name, serde_json::from_str(field.example).unwrap());
        if field.name == "tool_choice" {
            body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
        }
        let parsed = parse(body);
        match field.used {
            Use::Refused | Use::Private => {
                let error = parsed.unwrap_err();
                assert_eq!(error.param.as_deref(), Some(field.name));
                assert_eq!(error.code.as_deref(), Some("unsupported_parameter"));
            }
            _ => assert!(parsed.is_ok(), "{}: {:?}", field.name, parsed.err()),
        }
    }
}

#[test]
fn every_known_field_may_be_null() {
    let needed = ["model", "messages"];
    for field in FIELDS.iter().filter(|field| !needed.contains(&field.name)) {
        let request = parse(with(field.name, json!(null)));
        let is_absent = request.is_ok_and(|request| request.fields.is_empty());
        assert!(
            is_absent || matches!(field.used, Use::Refused | Use::Private),
            "{}",
            field.name
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
        let error = parse_bytes(body).unwrap_err();
        assert_eq!(
            (error.status, error.code.as_deref()),
            (400, Some("invalid_json"))
        );
    }
    let deep = "[".repeat(100_000);
    assert_eq!(parse_bytes(deep.as_bytes()).unwrap_err().status, 400);
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
    let mut fields: Vec<(&str, &str)> = request
        .fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.get()))
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [("seed", "7"), ("stop", "[\"\\n\"]"), ("temperature", "0.5")]
    );
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
    let error = json!({
        "message": "my prompt", "type": "server_error my", "param": null, "code": 500});
    let logged = crate::error::of_backend(&error);
    assert!(
        logged.contains("server_error") && logged.contains("500"),
        "{logged}"
    );
    assert!(
        !logged.contains("prompt") && logged.contains("9 bytes"),
        "{logged}"
    );
}

/// A request whose second message is this answer, as it came from somewhere.
fn sent_back(answer: serde_json::Value) -> Result<ChatRequest, ApiError> {
    parse(json!({"model": "m", "messages": [
        {"role": "user", "content": "hi"}, answer, {"role": "user", "content": "and?"}]}))
}

#[test]
fn an_answer_of_any_server_is_taken_back() {
    let call = |arguments: serde_json::Value| {
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "index": 0,
            "type": "function", "function": {"name": "f", "arguments": arguments}}]})
    };
    for (answer, content) in [
        (
            json!({"role": "assistant", "content": "a", "reasoning_content": "r"}),
            "a",
        ),
        (
            json!({"role": "assistant", "content": "a", "reasoning": "r", "reasoning_details": [{}]}),
            "a",
        ),
        (
            json!({"role": "assistant", "content": "a", "annotations": [{"type": "url_citation"}]}),
            "a",
        ),
        (
            json!({"role": "assistant", "content": null, "refusal": "no"}),
            "no",
        ),
        (
            json!({"role": "assistant", "content": "", "refusal": "no"}),
            "no",
        ),
        (
            json!({"role": "assistant", "content": "a", "refusal": "no"}),
            "a",
        ),
        (json!({"role": "assistant", "content": null}), ""),
        (json!({"role": "assistant", "content": ""}), ""),
        (json!({"role": "assistant", "content": []}), ""),
        (
            json!({"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]}),
            "a",
        ),
        (
            json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
            "no",
        ),
        (
            json!({"role": "assistant", "content": "a", "function_call": {"name": "f"}, "audio": {"id": "x"}}),
            "a",
        ),
        (
            json!({"role": "assistant", "content": "a", "provider_specific_fields": {"x": 1}, "thinking_blocks": []}),
            "a",
        ),
        (call(json!("{\"a\": \"cut")), ""),
        (call(json!("null")), ""),
        (call(json!({"a": 1})), ""),
        (call(json!(null)), ""),
    ] {
        let request = sent_back(answer.clone());
        assert!(request.is_ok(), "{answer}: {:?}", request.err());
        assert_eq!(request.unwrap().messages[1].content, content, "{answer}");
    }
    // A field that no server answers with is still refused by its name.
    let error = sent_back(json!({"role": "assistant", "content": "a", "contnet": "b"}));
    assert_eq!(
        error.unwrap_err().param.as_deref(),
        Some("messages[1].contnet")
    );
}

#[test]
fn a_number_that_clients_write_otherwise_is_taken() {
    for (field, value) in [
        ("top_p", json!(0)),
        ("temperature", json!(0)),
        ("stop", json!([])),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("n", json!(1)),
    ] {
        assert!(
            parse(with(field, value.clone())).is_ok(),
            "{field} = {value}"
        );
    }
    let mut both = with("max_tokens", json!(5));
    both["max_completion_tokens"] = json!(5);
    assert_eq!(
        parse(both.clone())
            .unwrap()
            .completion_tokens_max
            .unwrap()
            .0,
        5
    );
    both["max_tokens"] = json!(6);
    assert_eq!(parse(both).unwrap_err().status, 400);
}

#[test]
fn of_a_field_that_is_given_twice_the_last_counts() {
    let body = br#"{"model":"a","seed":1,"messages":[{"role":"user","content":"hi"}],"seed":2,"model":"b"}"#;
    let request = parse_bytes(body).unwrap();
    assert_eq!(request.model, "b");
    assert_eq!(request.fields.len(), 1);
    assert_eq!(request.fields[0].1.get(), "2");
}

#[test]
fn a_body_of_nothing_but_names_is_refused_by_one_of_them() {
    use std::fmt::Write;
    let mut names = String::new();
    for name in 0..60_000 {
        write!(names, "\"x{name}\":0,").unwrap();
    }
    let wide = format!("{{{names}\"model\":\"m\"}}");
    let error = parse_bytes(wide.as_bytes()).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("x0"));
    let tool = format!(r#"[{{"type":"function","function":{{{names}"name":"f"}}}}]"#);
    let body =
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"tools":{tool}}}"#);
    let error = parse_bytes(body.as_bytes()).unwrap_err();
    assert!(
        error
            .param
            .as_deref()
            .unwrap()
            .starts_with("tools[0].function.")
    );
}
