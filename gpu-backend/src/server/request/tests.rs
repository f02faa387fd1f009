//! Each field of OpenAI's chat completions: honoured as written, or refused by name.

use serde_json::json;

use super::*;

const VOCAB: usize = 100;

/// A body with these fields added to the two that are required.
fn with(extra: Json) -> Result<ValidRequest, Invalid> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    parse(body.to_string().as_bytes(), VOCAB)
}

#[track_caller]
fn refused(extra: Json, param: &str, code: &str) {
    let invalid = with(extra).unwrap_err();
    assert_eq!(
        (invalid.param.as_deref(), invalid.code),
        (Some(param), Some(code)),
        "{invalid:?}"
    );
    assert!(
        invalid
            .message
            .contains(param.split(['[', '.']).next().unwrap()),
        "{invalid:?}"
    );
}

#[test]
fn honoured_fields_arrive() {
    let request = with(json!({
        "stream": true, "stream_options": {"include_usage": true},
        "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
        "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.5,
        "logit_bias": {"5": -100}, "seed": -3, "stop": ["a", "b"], "stop_token_ids": [9],
        "ignore_eos": true, "logprobs": true, "top_logprobs": 4, "user": "u", "n": 1,
        "metadata": {"a": "b"}, "store": false, "service_tier": "auto", "modalities": ["text"],
        "parallel_tool_calls": true, "response_format": {"type": "text"}, "tool_choice": "auto",
    }))
    .unwrap();
    assert_eq!(
        request.stream,
        Some(StreamOptions {
            include_usage: true
        })
    );
    let (chat, s) = (&request.chat, &request.chat.sampling);
    assert_eq!((chat.tokens_max, chat.ignore_eos), (Some(7), true));
    assert_eq!(
        (&chat.stop[..], &chat.stop_token_ids[..]),
        (&["a".into(), "b".into()][..], &[9][..])
    );
    assert_eq!(
        (s.temperature, s.top_p, s.min_p),
        (Some(0.5), Some(0.9), Some(0.1))
    );
    assert_eq!(
        (s.top_k, s.logprobs, s.seed),
        (Some(Some(40)), Some(4), Some(u64::MAX - 2))
    );
    assert_eq!((s.presence_penalty, s.frequency_penalty), (1.0, -1.0));
    assert_eq!(
        (s.repetition_penalty, &s.logit_bias[..]),
        (Some(1.5), &[(5, -100.0)][..])
    );
}

#[test]
fn nulls_count_as_absent() {
    let nulls = json!({"temperature": null, "stop": null, "tools": null, "audio": null,
        "unheard_of": null, "stream": null, "max_tokens": null});
    let request = with(nulls).unwrap();
    assert!(request.stream.is_none() && request.chat.tokens_max.is_none());
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for name in UNSUPPORTED {
        refused(json!({name: {"a": 1}}), name, "unsupported_parameter");
    }
    refused(json!({"n": 2}), "n", "unsupported_parameter");
    refused(json!({"store": true}), "store", "unsupported_parameter");
    refused(
        json!({"parallel_tool_calls": false}),
        "parallel_tool_calls",
        "unsupported_parameter",
    );
    refused(
        json!({"service_tier": "flex"}),
        "service_tier",
        "unsupported_parameter",
    );
    refused(
        json!({"modalities": ["audio"]}),
        "modalities",
        "unsupported_parameter",
    );
    refused(
        json!({"tool_choice": "required"}),
        "tool_choice",
        "unsupported_parameter",
    );
    refused(
        json!({"unheard_of": 1}),
        "unheard_of",
        "unsupported_parameter",
    );
    refused(
        json!({"stream": true, "stream_options": {"x": 1}}),
        "stream_options.x",
        "unsupported_parameter",
    );
    refused(
        json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        "messages[0].content[0]",
        "unsupported_parameter",
    );
    refused(
        json!({"messages": [{"role": "user", "content": "a", "audio": {}}]}),
        "messages[0].audio",
        "unsupported_parameter",
    );
}

#[test]
fn malformed_and_out_of_range_values_are_refused_by_name() {
    for (name, value) in [
        ("temperature", json!(2.5)),
        ("temperature", json!("hot")),
        ("top_p", json!(0)),
        ("top_p", json!(1.1)),
        ("top_k", json!(-2)),
        ("min_p", json!(-0.1)),
        ("presence_penalty", json!(3)),
        ("frequency_penalty", json!(-3)),
        ("repetition_penalty", json!(0)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(1.5)),
        ("max_completion_tokens", json!(-1)),
        ("stop", json!(5)),
        ("stop", json!([""])),
        ("stop", json!(vec!["a"; 17])),
        ("stop_token_ids", json!([100])),
        ("logit_bias", json!({"100": 1})),
        ("logit_bias", json!({"1": 101})),
        ("seed", json!(1.5)),
        ("top_logprobs", json!(3)),
        ("top_logprobs", json!(21)),
        ("logprobs", json!(3)),
        ("stream", json!("yes")),
        ("stream_options", json!({})),
        ("model", json!(3)),
        ("messages", json!([])),
        ("messages", json!("hi")),
        ("tools", json!({})),
    ] {
        refused(json!({name: value}), name, "invalid_value");
    }
    refused(
        json!({"max_tokens": 1, "max_completion_tokens": 2}),
        "max_tokens",
        "invalid_value",
    );
    refused(
        json!({"tools": [{"type": "x"}]}),
        "tools[0].type",
        "invalid_value",
    );
    refused(
        json!({"tools": [{"type": "function", "function": {}}]}),
        "tools[0].function.name",
        "invalid_value",
    );
    refused(
        json!({"model": null}),
        "model",
        "missing_required_parameter",
    );
    refused(
        json!({"messages": null}),
        "messages",
        "missing_required_parameter",
    );
}

#[test]
fn messages_are_checked_one_by_one() {
    let first = |message: Json| with(json!({"messages": [message]}));
    #[track_caller]
    fn bad(result: Result<ValidRequest, Invalid>, param: &str) {
        assert_eq!(result.unwrap_err().param.as_deref(), Some(param));
    }
    bad(first(json!("hi")), "messages[0]");
    bad(
        first(json!({"role": "king", "content": "a"})),
        "messages[0].role",
    );
    bad(first(json!({"role": "user"})), "messages[0].content");
    bad(
        first(json!({"role": "tool", "content": "a"})),
        "messages[0].tool_call_id",
    );
    let call = |arguments: &str| {
        let function = json!({"name": "f", "arguments": arguments});
        json!({"role": "assistant", "content": null, "refusal": null,
            "tool_calls": [{"id": "c", "type": "function", "function": function}]})
    };
    bad(
        first(call("{")),
        "messages[0].tool_calls[0].function.arguments",
    );
    bad(
        first(call("[1]")),
        "messages[0].tool_calls[0].function.arguments",
    );
    let good = first(call("{\"x\": 1}")).unwrap();
    assert_eq!(
        good.chat.messages[0].tool_calls[0].function.arguments,
        json!({"x": 1})
    );
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let joined = first(json!({"role": "developer", "content": parts})).unwrap();
    assert_eq!(
        (
            joined.chat.messages[0].role,
            &*joined.chat.messages[0].content
        ),
        ("system", "ab")
    );
}

#[test]
fn tools_are_shown_unless_the_choice_is_none() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let auto = with(json!({"tools": tools})).unwrap().chat;
    assert!(auto.parse_tools && auto.tools.len() == 1);
    let none = with(json!({"tools": tools, "tool_choice": "none"}))
        .unwrap()
        .chat;
    assert!(!none.parse_tools && none.tools.is_empty());
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    for body in [
        &b"{"[..],
        b"[]",
        b"",
        b"\"a\"",
        b"{\"a\":\xff}",
        &b"[".repeat(10_000),
    ] {
        assert_eq!(parse(body, VOCAB).unwrap_err().code, Some("invalid_json"));
    }
}
