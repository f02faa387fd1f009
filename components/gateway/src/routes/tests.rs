//! Whole requests over a platform made of scripts: what the client gets, and what
//! the leaves were told.

mod backends;
mod channels;
mod echo;
mod guards;
mod hostile;
mod money;
mod script;
mod stored;

use serde_json::{Value, json};

use crate::bindings::skerry::chat::types::{Message, MessageRole, ToolCall};
use crate::request::BODY_BYTES_MAX;
use script::{Backend, Script, chunk, drive, finish, get_as, message, text, tool_call, usage};

fn ask(extra: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    if let (Some(body), Some(extra)) = (body.as_object_mut(), extra.as_object()) {
        body.extend(extra.clone());
    }
    body
}

fn hello() -> Backend {
    Backend::answers([text("Hel"), text("lo"), finish("stop"), usage(7, 2)])
}

#[test]
fn an_answer_is_collected() {
    let script = Script::new([hello()]);
    let reply = drive(&script, ask(json!({})));
    assert_eq!(reply.status, 200);
    let body = reply.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["message"]["content"], "Hello");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["total_tokens"], 9);
    for stage in [
        "auth",
        "gateway",
        "rate-limit",
        "session",
        "safety",
        "orchestrator",
        "router",
    ] {
        assert!(reply.header("server-timing").contains(stage), "{stage}");
    }
    assert!(reply.header("x-request-id").starts_with("req_"));
    assert_eq!(reply.header("x-ratelimit-limit-tokens"), "1000");
    assert_eq!(script.settled(), [9]);
    assert_eq!(script.recorded(), [(7, 2)]);
}

#[test]
fn a_stream_has_one_role_one_finish_and_one_end() {
    let script = Script::new([hello()]);
    let reply = drive(
        &script,
        ask(json!({"stream": true, "stream_options": {"include_usage": true}})),
    );
    let events = reply.events();
    let (last, chunks) = events.split_last().unwrap();
    assert_eq!(last, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(
        chunks[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": "Hel"})
    );
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({"content": "lo"}));
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[3]["choices"], json!([]));
    assert_eq!(chunks[3]["usage"]["completion_tokens"], 2);
    assert!(chunks[..3].iter().all(|chunk| chunk["usage"].is_null()));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
}

#[test]
fn usage_is_only_in_a_stream_that_asked_for_it() {
    let reply = drive(&Script::new([hello()]), ask(json!({"stream": true})));
    assert!(!reply.text().contains("usage"));
}

#[test]
fn the_platform_runs_its_own_tools() {
    let script = Script::new([
        Backend::answers([
            tool_call("calculator", "{\"expression\":\"12*7\"}"),
            finish("tool_calls"),
            usage(5, 4),
        ]),
        Backend::answers([text("It is 84."), finish("stop"), usage(12, 3)]),
    ])
    .with_platform_tool();
    let reply = drive(
        &script,
        ask(json!({"stream": true, "skerry": {"events": true}})),
    );
    let text = reply.text();
    assert!(text.contains("\"type\":\"tool_call\"") && text.contains("\"type\":\"tool_result\""));
    assert!(
        text.contains("It is 84.") && !text.contains("\"tool_calls\""),
        "{text}"
    );
    assert_eq!(script.recorded(), [(17, 7)]);
    let second = &script.requests()[1];
    let messages = second["messages"].as_array().unwrap();
    assert_eq!(
        messages[1]["tool_calls"][0]["function"]["name"],
        "calculator"
    );
    assert_eq!(
        messages[2],
        json!({"role": "tool", "content": "ran calculator", "tool_call_id": "c1"})
    );
}

#[test]
fn the_clients_own_tools_go_to_the_client() {
    let script = Script::new([Backend::answers([
        tool_call("weather", "{\"city\":"),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"Oslo\"}"}}]})),
        finish("tool_calls"),
        usage(5, 4),
    ])]);
    let tools = json!([{"type": "function", "function": {"name": "weather"}}]);
    let body = drive(&script, ask(json!({"tools": tools}))).json();
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], "{\"city\":\"Oslo\"}");
}

#[test]
fn a_tool_loop_ends() {
    let call = || Backend::answers([tool_call("calculator", "{}"), finish("tool_calls")]);
    let script = Script::new((0..20).map(|_| call())).with_platform_tool();
    let reply = drive(&script, ask(json!({})));
    assert_eq!(reply.status, 200);
    let requests = script.requests();
    assert_eq!(requests.len(), 5);
    assert_eq!(requests[4]["tool_choice"], "none");
}

#[test]
fn the_next_backend_answers_when_one_fails_before_its_first_token() {
    for broken in [
        Backend::Unreachable,
        Backend::status(500, "oops"),
        Backend::status(503, ""),
        Backend::cut([]),
    ] {
        let script = Script::new([broken, hello()]);
        let body = drive(&script, ask(json!({}))).json();
        assert_eq!(body["choices"][0]["message"]["content"], "Hello");
        assert_eq!(script.requests().len(), 2);
    }
}

#[test]
fn a_stream_that_breaks_after_its_first_token_ends_with_an_error_event() {
    let script = Script::new([Backend::cut([text("Hel")]), hello()]);
    let events = drive(&script, ask(json!({"stream": true}))).events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "backend_error");
    assert_eq!(last["error"].as_object().unwrap().len(), 4);
    assert!(!events.contains(&"[DONE]".to_owned()));
    assert_eq!(script.settled().len(), 1, "what was admitted is settled");
}

#[test]
fn a_backends_refusal_reaches_the_client_in_its_words() {
    let error = json!({"error": {"message": "too long", "type": "invalid_request_error",
                                 "param": "messages", "code": "context_length_exceeded"}});
    let script = Script::new([Backend::status(400, &error.to_string()), hello()]);
    let reply = drive(&script, ask(json!({})));
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json(), error);
    assert_eq!(script.requests().len(), 1, "no other backend is asked");
    assert_eq!(script.settled(), [0]);
    assert!(script.recorded().is_empty());
}

#[test]
fn a_refusal_in_mid_answer_is_the_requests_fault() {
    let ours = json!({"message": "no", "type": "invalid_request_error", "param": "response_format",
                      "code": "invalid_value"});
    let vllm = json!({"message": "no", "type": "BadRequestError", "param": null, "code": 400});
    for error in [ours, vllm] {
        let event = json!({ "error": error });
        for before in [vec![], vec![text("He")]] {
            let events = || before.iter().cloned().chain([event.clone()]);
            let script = Script::new([Backend::cut(events()), hello()]);
            let reply = drive(&script, ask(json!({})));
            assert_eq!(reply.status, 400, "{error}");
            assert_eq!(reply.json()["error"]["param"], error["param"]);
            assert_eq!(script.requests().len(), 1, "no other backend is asked");
            assert!(!script.reported().contains(&"failed"));
            let script = Script::new([Backend::cut(events()), hello()]);
            let got = drive(&script, ask(json!({"stream": true}))).events();
            let last: Value = serde_json::from_str(got.last().unwrap()).unwrap();
            assert_eq!(last["error"]["type"], "invalid_request_error");
        }
    }
}

#[test]
fn every_backend_busy_is_503_with_a_time() {
    let script = Script::new([Backend::status(429, ""), Backend::status(503, "")]);
    let reply = drive(&script, ask(json!({})));
    assert_eq!(
        (reply.status, reply.header("retry-after").as_str()),
        (503, "1")
    );
}

#[test]
fn the_guard_cuts_an_answer() {
    let script = Script::new([Backend::answers([
        text("fine "),
        text("FORBIDDEN "),
        text("more"),
    ])]);
    let body = drive(&script, ask(json!({}))).json();
    assert_eq!(body["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(body["choices"][0]["message"]["content"], "fine ");
}

#[test]
fn a_forbidden_prompt_never_reaches_a_model() {
    let script = Script::new([]);
    let mut body = ask(json!({}));
    body["messages"][0]["content"] = "FORBIDDEN".into();
    let body = drive(&script, body).json();
    assert_eq!(body["choices"][0]["finish_reason"], "content_filter");
    assert!(script.requests().is_empty());
}

#[test]
fn a_turn_is_stored_with_its_conversation_and_masked() {
    let script = Script::new([hello()]).after([message(MessageRole::User, "before")]);
    let mut body = ask(json!({"conversation": "conv_1"}));
    body["messages"][0]["content"] = "I am SECRET".into();
    assert_eq!(drive(&script, body).status, 200);
    let sent = script.requests();
    assert_eq!(sent[0]["messages"][0]["content"], "before");
    assert_eq!(sent[0]["messages"][1]["content"], "I am [MASK]");
    assert_eq!(script.stored(), ["I am [MASK]", "Hello"]);
}

#[test]
fn a_client_that_leaves_stops_the_model_and_is_settled() {
    let words = |count| (0..count).map(|_| text("word "));
    let rest = Backend::answers(words(1_000).chain([finish("stop"), usage(7, 1_003)]));
    let script = Script::new([Backend::pausing(words(3), 50, rest)]).leaving_after(3);
    drive(
        &script,
        ask(json!({"stream": true, "conversation": "conv_1"})),
    );
    assert!(
        script.chunks_read() <= 5,
        "{} chunks were read",
        script.chunks_read()
    );
    assert_eq!(script.settled().len(), 1);
    assert_eq!(script.recorded().len(), 1);
    assert!(
        script.stored()[1].starts_with("word "),
        "the part that was shown is kept"
    );
}

#[test]
fn a_client_that_leaves_before_its_answer_is_no_backends_fault() {
    for left in [
        Backend::Left,
        Backend::left([]),
        Backend::left([text("Hel"), text("lo")]),
    ] {
        let is_silent = !matches!(&left, Backend::Answers { chunks, .. } if chunks.len() > 1);
        let script = Script::new([left, hello()]);
        let reply = drive(&script, ask(json!({"conversation": "conv_1"})));
        assert_eq!(reply.status, 499);
        assert_eq!(script.requests().len(), 1, "no other backend is asked");
        assert!(!script.reported().contains(&"failed"));
        assert_eq!(script.reported().is_empty(), is_silent);
        assert_eq!(script.settled().len(), 1);
        assert!(script.stored().is_empty(), "nothing was shown");
    }
}

#[test]
fn what_a_client_that_left_had_generated_is_charged() {
    let script = Script::new([Backend::left([text("Hel"), text("lo")])]);
    drive(&script, ask(json!({})));
    // Estimated: a token for two letters, and for each piece.
    assert_eq!(script.recorded(), [(1, 3)]);
}

#[test]
fn variables_are_checked_before_anything_is_served() {
    let check = |script: &Script| script::send(script, "POST", "/internal/check", None, b"");
    assert_eq!(check(&Script::new([])).status, 200);
    for rounds in ["0", "4", " 32 "] {
        let script = Script::new([]).with_variable("tool_rounds_max", rounds);
        assert_eq!(check(&script).status, 200, "{rounds:?}");
    }
    for rounds in ["ten", "-1", "33", "4.0"] {
        let script = Script::new([hello()]).with_variable("tool_rounds_max", rounds);
        let reply = check(&script);
        assert_eq!(reply.status, 500, "{rounds:?}");
        let message = reply.json()["error"]["message"].to_string();
        assert!(message.contains("`tool_rounds_max`"), "{message}");
        // A host that does not ask has its requests fail, and not run by another number.
        assert_eq!(drive(&script, ask(json!({}))).status, 500);
        assert_eq!(script.settled(), [0]);
    }
    for leaf in ["rate-limit", "safety", "router"] {
        let reply = check(&Script::new([]).with_misconfigured(leaf));
        assert_eq!(reply.status, 500);
        let message = reply.json()["error"]["message"].to_string();
        assert!(message.contains(leaf), "{message}");
    }
}

#[test]
fn log_probabilities_do_not_name_what_the_guard_masked() {
    let with = |text: &str| {
        let mut event = chunk(json!({"content": text}));
        event["choices"][0]["logprobs"] = json!({"content": [{"token": text, "logprob": -0.5}]});
        event
    };
    let script = Script::new([Backend::answers([
        with("a "),
        with("SECRET "),
        with("b "),
        finish("stop"),
    ])]);
    let body = drive(&script, ask(json!({"logprobs": true}))).json();
    assert_eq!(body["choices"][0]["message"]["content"], "a [MASK] b ");
    let tokens = body["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(tokens.len(), 1);
}

#[test]
fn a_ceiling_larger_than_the_models_window_is_refused() {
    let reply = drive(
        &Script::new([hello()]),
        ask(json!({"max_tokens": 4_000_000_000u32})),
    );
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["param"], "max_tokens");
}

#[test]
fn routes_and_methods_are_told_apart() {
    let script = Script::new([]);
    let cases = [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/m", 200),
        ("GET", "/v1/models/", 200),
        ("HEAD", "/v1/models", 200),
        ("HEAD", "/v1/models/x", 404),
        ("GET", "/v1/models/x", 404),
        ("GET", "/v1/models/org/m%20%C3%A9", 200),
        ("GET", "/v1/models/org%2Fm%20%c3%a9/", 200),
        ("GET", "/v1/models/org%2Fx", 404),
        ("GET", "/v1/models/%zz", 404),
        ("GET", "/v1/chat/completions/", 405),
        ("HEAD", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models/m", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/internal/tick", 200),
    ];
    for (method, path, status) in cases {
        let reply = script::send(&script, method, path, Some("Bearer key"), b"");
        assert_eq!(reply.status, status, "{method} {path}");
        if status >= 400 {
            assert_eq!(reply.json()["error"].as_object().unwrap().len(), 4);
        }
    }
}

#[test]
fn a_tick_delivers_all_that_waits_and_comes_to_an_end() {
    for (waiting, delivered) in [(0, 0), (2_500, 2_500), (50_000, 10_000)] {
        let script = Script::new([]).with_waiting(waiting);
        let reply = script::send(&script, "POST", "/internal/tick", None, b"");
        assert_eq!(reply.json(), json!({ "delivered": delivered }));
    }
}

#[test]
fn nobody_is_served_without_a_key_and_no_body_is_read() {
    let script = Script::new([hello()]);
    let reply = script::send(
        &script,
        "POST",
        "/v1/chat/completions",
        None,
        b"not even JSON",
    );
    assert_eq!(reply.status, 401);
    assert_eq!(reply.json()["error"]["code"], "invalid_api_key");
    assert_eq!(reply.header("www-authenticate"), "Bearer");
}

#[test]
fn a_body_over_the_maximum_is_413() {
    let script = Script::new([]);
    let body = vec![b' '; BODY_BYTES_MAX + 1];
    let reply = script::send(
        &script,
        "POST",
        "/v1/chat/completions",
        Some("Bearer key"),
        &body,
    );
    assert_eq!(reply.status, 413);
}

#[test]
fn a_readers_key_calls_no_model() {
    let script = Script::new([hello()]).for_a_reader();
    let reply = drive(&script, ask(json!({"conversation": "conv_1"})));
    assert_eq!(reply.status, 403);
    assert_eq!(reply.json()["error"]["code"], "insufficient_permissions");
    assert!(script.requests().is_empty() && script.stored().is_empty());
    let models = script::send(&script, "GET", "/v1/models", Some("Bearer key"), b"");
    assert_eq!(models.status, 200, "what is served is no secret");
}

#[test]
fn stored_history_arguments_and_tools_are_screened_too() {
    let called = Message {
        tool_calls: vec![ToolCall {
            id: "c1".into(),
            name: "pay".into(),
            arguments: "{\"to\":\"SECRET\"}".into(),
        }],
        ..message(MessageRole::Assistant, "")
    };
    let answered = Message {
        tool_call_id: Some("c1".into()),
        ..message(MessageRole::Tool, "paid SECRET")
    };
    let history = [message(MessageRole::User, "my SECRET"), called, answered];
    let script = Script::new([hello()]).after(history);
    let tools = json!([{"type": "function",
        "function": {"name": "pay", "description": "pays SECRET"}}]);
    let reply = drive(
        &script,
        ask(json!({"conversation": "conv_1", "tools": tools})),
    );
    assert_eq!(reply.status, 200);
    let sent = script.requests()[0].to_string();
    assert!(!sent.contains("SECRET"), "{sent}");
    assert_eq!(sent.matches("[MASK]").count(), 4, "{sent}");
    assert_eq!(script.stored(), ["hi", "Hello"], "only this turn is stored");
}

#[test]
fn an_answer_that_is_not_accounted_for_is_no_answer() {
    let script = Script::new([hello()]).with_a_full_ledger();
    let reply = drive(&script, ask(json!({})));
    assert_eq!(reply.status, 503);
    assert_eq!(
        script.settled(),
        [9],
        "what was admitted is settled all the same"
    );

    let script = Script::new([hello()]).with_a_full_ledger();
    let events = drive(&script, ask(json!({"stream": true}))).events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "service_unavailable");
    assert!(!events.contains(&"[DONE]".to_owned()));
}

#[test]
fn a_backend_is_told_whose_prompt_it_is_by_the_key_and_never_by_the_client() {
    let script = Script::new([hello()]);
    drive(&script, ask(json!({})));
    let sent = &script.requests()[0];
    assert_eq!(sent["cache_salt"], "org_1/proj_1");
    assert!(sent.get("cache_shared_messages").is_none());
    for field in [
        "cache_salt",
        "cache_shared_messages",
        "priority",
        "deadline_ms",
    ] {
        let script = Script::new([hello()]);
        let got = drive(&script, ask(json!({field: "org_2/proj_2"})));
        assert_eq!(got.status, 400);
        assert_eq!(got.json()["error"]["param"], field);
        assert!(script.requests().is_empty());
    }
}

#[test]
fn the_platforms_own_tools_are_shared_by_all_and_a_clients_are_not() {
    let script = Script::new([hello()]).with_platform_tool();
    drive(&script, ask(json!({})));
    assert_eq!(script.requests()[0]["cache_shared_messages"], 0);
    let script = Script::new([hello()]).with_platform_tool();
    let tools = json!([{"type": "function", "function": {"name": "pay"}}]);
    drive(&script, ask(json!({"tools": tools})));
    assert!(script.requests()[0].get("cache_shared_messages").is_none());
}

#[test]
fn every_request_of_a_key_counts_towards_its_limit() {
    let broken: [(&str, &[u8], u16); 4] = [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"{\"model\": 7}", 400),
        ("/v1/chat/completions", b"\xff", 400),
        ("/v1/chat/completions", &[b'x'; BODY_BYTES_MAX + 1], 413),
    ];
    for (path, body, status) in broken {
        let script = Script::new([]).with_requests(2);
        let post = || script::send(&script, "POST", path, Some("Bearer key"), body);
        for expected in [status, status, 429, 429] {
            let got = post();
            assert_eq!(got.status, expected, "{}", got.text());
            assert_eq!(got.header("x-ratelimit-limit-requests"), "1000");
        }
        assert_eq!(post().header("retry-after"), "2");
    }
    for path in ["/v1/models", "/v1/models/m", "/v1/models/none"] {
        let script = Script::new([]).with_requests(1);
        assert_ne!(get_as(&script, path, &["Bearer key"]).status, 429);
        let got = get_as(&script, path, &["Bearer key"]);
        assert_eq!((got.status, got.header("retry-after").as_str()), (429, "2"));
    }
}

#[test]
fn two_authorizations_are_none() {
    let script = Script::new([]);
    for (values, status) in [
        (&["Bearer key"][..], 200),
        (&["Bearer key", "Bearer key"], 400),
        (&["Bearer key", "Bearer other"], 400),
        (&[], 401),
    ] {
        assert_eq!(get_as(&script, "/v1/models", values).status, status);
    }
}
