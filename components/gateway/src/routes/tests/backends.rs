//! Backends of every kind, and what their answers and refusals become.

use serde_json::{Value, json};

use super::script::{self, Backend, Script, chunk, drive, finish, message, text, tool_call, usage};
use super::{ask, hello};
use crate::bindings::skerry::chat::router::Dialect;
use crate::bindings::skerry::chat::types::MessageRole;
use crate::request::BODY_BYTES_MAX;

/// The answer's bytes in an event stream, but for its end.
fn events(pieces: &[Value]) -> Vec<String> {
    pieces
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect()
}

#[test]
fn an_answer_in_an_odd_form_is_an_answer() {
    let whole = json!({"object": "chat.completion", "usage": {"prompt_tokens": 7, "completion_tokens": 2},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]});
    let parts = chunk(json!({"content": [{"type": "text", "text": "Hello"}]}));
    let null = json!({"choices": [{"index": 0, "delta": null}], "usage": {}});
    let nothing = json!({"choices": null, "usage": {"prompt_tokens": 7, "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": null}}});
    for (what, pieces) in [
        ("a whole object", vec![whole.to_string()]),
        (
            "a whole object, spread out",
            vec![
                "\n {".into(),
                serde_json::to_string_pretty(&whole).unwrap()[1..].into(),
            ],
        ),
        (
            "parts, nulls",
            [
                events(&[null.clone(), parts.clone(), finish("stop"), nothing.clone()]),
                vec!["data: [DONE]\n\n".into()],
            ]
            .concat(),
        ),
        (
            "empty events",
            [
                vec!["data:\n\ndata: \n\n: comment\n\nevent: x\n\n".into()],
                events(&[parts.clone(), finish("stop"), nothing.clone()]),
            ]
            .concat(),
        ),
        (
            "a byte order mark",
            vec![
                "\u{feff}".to_owned()
                    + &events(&[parts.clone(), finish("stop"), nothing.clone()]).concat(),
            ],
        ),
        (
            "no reason",
            [events(&[parts, nothing]), vec!["data: [DONE]\n\n".into()]].concat(),
        ),
    ] {
        for stream in [false, true] {
            let script = Script::new([Backend::says(pieces.clone())]);
            let reply = drive(&script, ask(json!({"stream": stream})));
            assert_eq!(reply.status, 200, "{what}");
            assert!(
                reply.text().contains("Hello") && !reply.text().contains("error"),
                "{what}: {}",
                reply.text()
            );
            assert_eq!(script.recorded(), [(7, 2)], "{what}");
            assert_eq!(script.reported(), ["answered"], "{what}");
        }
    }
}

#[test]
fn a_request_that_fails_says_nothing_of_its_backends_health() {
    for (answer, status, reported) in [
        (Backend::says(["data: {\n\n".into()]), 502, vec![]),
        (Backend::says(["<html>".into()]), 502, vec![]),
        (Backend::says([String::new()]), 502, vec![]),
        (
            Backend::says(events(&[json!({"error": {"message": "boom"}})])),
            502,
            vec![],
        ),
        (
            Backend::says(events(&[text("a"), json!({"error": "boom"})])),
            502,
            vec![],
        ),
        (Backend::says(events(&[text("a")])), 502, vec![]),
        (
            Backend::says(events(&[chunk(json!({})), finish("error")])),
            502,
            vec![],
        ),
        (Backend::status(401, "no"), 502, vec![]),
        (Backend::status(403, "no"), 502, vec![]),
        (Backend::status(500, "oops"), 502, vec![]),
        (Backend::status(422, "no"), 422, vec![]),
        (Backend::status(400, "{}"), 400, vec![]),
        (Backend::status(502, ""), 502, vec!["failed"]),
        (Backend::status(504, ""), 502, vec!["failed"]),
        (Backend::cut([text("a")]), 502, vec!["failed"]),
        (Backend::Unreachable, 502, vec!["failed"]),
        (Backend::status(429, ""), 503, vec!["busy"]),
    ] {
        let script = Script::new([answer]);
        let reply = drive(&script, ask(json!({})));
        assert_eq!(reply.status, status, "{}", reply.text());
        assert_eq!(script.reported(), reported, "{}", reply.text());
    }
}

#[test]
fn a_refusal_of_any_form_keeps_its_status_and_message() {
    for (body, message) in [
        (
            json!({"object": "error", "message": "too long", "code": 400}).to_string(),
            "too long",
        ),
        (json!({"error": "too long"}).to_string(), "too long"),
        (
            json!({"error": {"message": "too long"}}).to_string(),
            "too long",
        ),
        (json!({"detail": "too long"}).to_string(), "too long"),
        (
            json!({"detail": [{"loc": ["body", "n"], "msg": "too long"}]}).to_string(),
            "body.n: too long",
        ),
        (
            json!({"object": "error", "message": {"detail": [{"msg": "too long"}]}}).to_string(),
            "too long",
        ),
        (
            json!({"message": "too long", "request_id": "x"}).to_string(),
            "too long",
        ),
        ("too long\n".into(), "too long"),
        (
            "<html>no</html>".into(),
            "The model's backend refused the request (422).",
        ),
        (
            String::new(),
            "The model's backend refused the request (422).",
        ),
    ] {
        let script = Script::new([Backend::status(422, &body), hello()]);
        let reply = drive(&script, ask(json!({})));
        assert_eq!(reply.status, 422, "{body}");
        assert_eq!(reply.json()["error"]["message"], message, "{body}");
        assert_eq!(reply.json()["error"].as_object().unwrap().len(), 4);
        assert_eq!(script.requests().len(), 1, "no other backend is asked");
    }
}

#[test]
fn reasoning_reaches_the_client_through_the_guard() {
    for name in ["reasoning_content", "reasoning"] {
        let answer = || {
            Backend::answers([
                chunk(json!({name: "I see SECRET ", "content": null})),
                text("Hello"),
                finish("stop"),
            ])
        };
        let body = drive(&Script::new([answer()]), ask(json!({}))).json();
        let message = &body["choices"][0]["message"];
        assert_eq!(message["reasoning_content"], "I see [MASK] ");
        assert_eq!(message["content"], "Hello");
        let events = drive(&Script::new([answer()]), ask(json!({"stream": true}))).events();
        let first: Value = serde_json::from_str(&events[0]).unwrap();
        let expected = json!({"role": "assistant", "reasoning_content": "I see [MASK] "});
        assert_eq!(first["choices"][0]["delta"], expected);
        let refused = Backend::answers([chunk(json!({name: "FORBIDDEN "})), text("Hello")]);
        let body = drive(&Script::new([refused]), ask(json!({}))).json();
        assert_eq!(body["choices"][0]["finish_reason"], "content_filter");
    }
}

#[test]
fn a_client_is_asked_whether_it_is_there_whenever_nothing_leaves() {
    let reasoning = chunk(json!({"reasoning_content": "hm "}));
    for first in [vec![], vec![text("Hel")], vec![reasoning]] {
        let script = Script::new([Backend::pausing(first.clone(), 5, hello())]);
        let reply = drive(&script, ask(json!({"stream": true})));
        let comments = reply.text().matches(":\n\n").count();
        // Of five heartbeats the first may follow something that was sent.
        assert!((4..=5).contains(&comments), "{comments} of {first:?}");
        assert!(reply.text().ends_with("data: [DONE]\n\n"));
        // One that leaves meanwhile is noticed, and the rest is not read.
        let writes = first.len() + 1;
        let rest = Backend::answers((0..100).map(|_| text("word ")));
        let script = Script::new([Backend::pausing(first, 50, rest)]).leaving_after(writes);
        drive(&script, ask(json!({"stream": true})));
        assert!(script.chunks_read() <= 2, "{}", script.chunks_read());
        assert_eq!(script.settled().len(), 1);
    }
}

#[test]
fn parallel_calls_with_one_index_stay_apart() {
    let call = |id: &str, arguments: &str| {
        chunk(
            json!({"tool_calls": [{"index": 0, "id": id, "type": "function",
            "function": {"name": "f", "arguments": arguments}}]}),
        )
    };
    let script = Script::new([Backend::answers([
        call("a", r#"{"a":1}"#),
        call("b", r#"{"a":2}"#),
        finish("stop"),
    ])]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let reply = drive(&script, ask(json!({"tools": tools, "stream": true})));
    let starts: Vec<Value> = reply
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|event| {
            event["choices"][0]["delta"]["tool_calls"][0]
                .as_object()
                .cloned()
        })
        .map(Value::Object)
        .collect();
    assert_eq!(starts.len(), 2);
    assert_eq!(
        (&starts[0]["index"], &starts[1]["index"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(starts[1]["function"]["arguments"], r#"{"a":2}"#);
    assert!(reply.text().contains("\"finish_reason\":\"tool_calls\""));
}

#[test]
fn a_call_has_an_id_and_arguments_that_parse() {
    let call = chunk(json!({"tool_calls": [{"function": {"name": "f", "arguments": null}}]}));
    let script = Script::new([Backend::answers([call, finish("stop")])]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let body = drive(&script, ask(json!({"tools": tools}))).json();
    let call = &body["choices"][0]["message"]["tool_calls"][0];
    assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
    assert_eq!(call["function"]["arguments"], "{}");
}

#[test]
fn masks_keep_structure_valid() {
    let document = r#"{"card": 4111111111111111, "SECRET": "my SECRET x", "u": "S\u0045CRET"}"#;
    let expected = r#"{"card": 4111111111111111, "[MASK]": "my [MASK] x", "u": "[MASK]"}"#;
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let format = json!({"type": "json_object"});
    let text_answer = || Backend::answers([text(document), finish("stop")]);
    let body = drive(
        &Script::new([text_answer()]),
        ask(json!({"response_format": format})),
    )
    .json();
    assert_eq!(body["choices"][0]["message"]["content"], expected);
    // What is no JSON stays text, masked as text.
    let plain = drive(&Script::new([text_answer()]), ask(json!({}))).json();
    let plain = plain["choices"][0]["message"]["content"].to_string();
    assert!(!plain.contains("SECRET"), "{plain}");
    let call = Backend::answers([tool_call("f", document), finish("tool_calls")]);
    let body = drive(&Script::new([call]), ask(json!({"tools": tools}))).json();
    let call = &body["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], expected);
}

#[test]
fn the_clients_json_is_handed_on_byte_for_byte() {
    let tools = r#"[ {"type":"function", "function":{"parameters":{"type":"object","properties":{"z":{"maximum":1.0},"a":{}}} , "name":"f"}}]"#;
    let format = r#"{ "type": "json_schema", "json_schema": {"name":"x","schema":{"properties":{"b":{},"a":{"const":1e3}}}}}"#;
    let body = format!(
        r#"{{"temperature":0.50,"messages":[{{"role":"user","content":"hi"}}],"response_format":{format},"tools":{tools},"logit_bias":{{"2":1,"1":2.0}},"model":"m","tool_choice":{{"type":"function","function":{{"name":"f"}}}}}}"#
    );
    let script = Script::new([hello()]);
    let reply = script::send(
        &script,
        "POST",
        "/v1/chat/completions",
        Some("Bearer k"),
        body.as_bytes(),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = &script.bodies()[0];
    for part in [
        tools,
        format,
        r#""temperature":0.50"#,
        r#"{"2":1,"1":2.0}"#,
        r#""tool_choice":{"type":"function","function":{"name":"f"}}"#,
    ] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
}

#[test]
fn a_foreign_backend_gets_what_it_knows_and_no_more() {
    for dialect in [
        Dialect::OpenAi,
        Dialect::Vllm,
        Dialect::Ollama,
        Dialect::LlamaCpp,
        Dialect::Mistral,
        Dialect::Other,
    ] {
        let script = Script::new([hello()])
            .with_platform_tool()
            .speaking(dialect);
        assert_eq!(drive(&script, ask(json!({}))).status, 200);
        let sent = &script.requests()[0];
        for field in ["tools", "tool_choice", "cache_shared_messages"] {
            assert!(sent.get(field).is_none(), "{field} for {dialect:?}");
        }
        assert_eq!(sent.get("cache_salt").is_some(), dialect == Dialect::Vllm);
    }
    // A project may do without them.
    let script = Script::new([hello()])
        .with_platform_tool()
        .of_a_project_without_tools();
    drive(&script, ask(json!({})));
    assert!(script.requests()[0].get("tools").is_none());
    // Our own is offered the platform's tools, and decides by itself.
    let script = Script::new([hello()]).with_platform_tool();
    drive(&script, ask(json!({})));
    assert!(script.requests()[0].get("tools").is_some());
    assert!(script.requests()[0].get("tool_choice").is_none());
}

#[test]
fn a_platforms_call_that_was_cut_leaves_no_trace() {
    let history = [message(MessageRole::User, "before")];
    let script = Script::new([Backend::answers([
        tool_call("calculator", "{\"expression\": \"2*"),
        finish("length"),
        usage(5, 15),
    ])])
    .with_platform_tool()
    .after(history);
    let body = ask(json!({"conversation": "conv_1", "max_completion_tokens": 15}));
    let reply = drive(&script, body);
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(script.stored(), ["hi", ""]);
    assert_eq!(script.stored_calls(), 0);
}

#[test]
fn the_ceiling_bounds_the_turn_and_not_each_call() {
    let call = |tokens| {
        Backend::answers([
            tool_call("calculator", "{}"),
            finish("tool_calls"),
            usage(5, tokens),
        ])
    };
    let script = Script::new([call(6), call(3), hello()]).with_platform_tool();
    let reply = drive(&script, ask(json!({"max_completion_tokens": 10})));
    assert_eq!(reply.status, 200);
    let ceilings: Vec<Value> = script
        .requests()
        .iter()
        .map(|sent| sent["max_completion_tokens"].clone())
        .collect();
    assert_eq!(ceilings, [json!(10), json!(4), json!(1)]);
    // What is used up ends the turn, and no model is asked for nothing.
    let script = Script::new([call(10), hello()]).with_platform_tool();
    let reply = drive(&script, ask(json!({"max_completion_tokens": 10})));
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(script.requests().len(), 1);
}

#[test]
fn several_answers_to_one_prompt_each_through_its_own_guard() {
    let piece = |index: u32, text: &str| json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": null}]});
    let end = |index: u32, reason: &str| json!({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]});
    let answer = || {
        Backend::answers([
            piece(1, "two "),
            piece(0, "one "),
            piece(1, "SECRET "),
            end(1, "length"),
            end(0, "stop"),
            usage(3, 9),
        ])
    };
    let script = Script::new([answer()]).with_platform_tool();
    let body = drive(&script, ask(json!({"n": 2}))).json();
    let choices = body["choices"].as_array().unwrap();
    let whole = |choice: &Value| {
        (
            choice["index"].clone(),
            choice["message"]["content"].clone(),
            choice["finish_reason"].clone(),
        )
    };
    assert_eq!(whole(&choices[0]), (json!(0), json!("one "), json!("stop")));
    assert_eq!(
        whole(&choices[1]),
        (json!(1), json!("two [MASK] "), json!("length"))
    );
    let sent = &script.requests()[0];
    assert_eq!((sent["n"].clone(), sent.get("tools")), (json!(2), None));
    let events = drive(
        &Script::new([answer()]),
        ask(json!({"n": 2, "stream": true})),
    )
    .events();
    let finished: Vec<Value> = events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter(|event| event["choices"][0]["finish_reason"].is_string())
        .map(|event| event["choices"][0]["index"].clone())
        .collect();
    assert_eq!(finished, [json!(0), json!(1)]);
    // A choice that was not asked for is no answer.
    let odd = Backend::answers([piece(0, "a"), piece(2, "b"), finish("stop")]);
    assert_eq!(drive(&Script::new([odd]), ask(json!({"n": 2}))).status, 502);
    let stored = drive(
        &Script::new([answer()]),
        ask(json!({"n": 2, "conversation": "conv_1"})),
    );
    assert_eq!(
        (stored.status, stored.json()["error"]["param"].clone()),
        (400, json!("n"))
    );
}

#[test]
fn a_compressed_body_is_read_within_the_maximum() {
    use std::io::Write;
    let post = |encoding: Option<&str>, body: &[u8]| {
        let script = Script::new([hello()]);
        script::send_encoded(
            &script,
            "POST",
            "/v1/chat/completions",
            Some("Bearer k"),
            encoding,
            body,
        )
        .status
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let deflate = |bytes: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let body = ask(json!({})).to_string();
    let body = body.as_bytes();
    for encoding in ["gzip", "x-gzip", " GZIP "] {
        assert_eq!(post(Some(encoding), &gzip(body)), 200, "{encoding}");
    }
    assert_eq!(post(Some("deflate"), &deflate(body)), 200);
    assert_eq!(post(Some("identity"), body), 200);
    for encoding in ["br", "zstd", "gzip, gzip", "x"] {
        assert_eq!(post(Some(encoding), body), 415, "{encoding}");
    }
    for broken in [body, &gzip(body)[..20], b""] {
        assert_eq!(post(Some("gzip"), broken), 400);
    }
    assert_eq!(
        post(Some("gzip"), &gzip(&vec![b' '; BODY_BYTES_MAX + 1])),
        413
    );
}
