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

fn schema_format(schema: &Json, strict: bool) -> Json {
    let wrapper = json!({"name": "answer", "strict": strict, "schema": schema});
    json!({"type": "json_schema", "json_schema": wrapper})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_any_shape_is_refused_or_followed_and_the_engine_goes_on() {
    let server = Server::start(&[]);
    let chain = |links: usize, link: &dyn Fn(Json) -> Json| {
        let to = |i: usize| json!({"$ref": format!("#/$defs/d{i}")});
        let link = |i: usize| (format!("d{i}"), link(to(i + 1)));
        let mut definitions: serde_json::Map<String, Json> = (0..links).map(link).collect();
        definitions.insert(format!("d{links}"), json!({"enum": ["end"]}));
        json!({"$ref": "#/$defs/d0", "$defs": definitions})
    };
    let deep = chain(3_000, &|to| json!({"anyOf": [to, {"type": "null"}]}));
    let mutual = json!({"$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
    for schema in [deep, json!({"$ref": "#"}), mutual] {
        for strict in [true, false] {
            let format = json!({"response_format": schema_format(&schema, strict)});
            let param = json!("response_format.json_schema.schema");
            check_error(server.chat(format).await, 400, param, "invalid_value");
        }
        let function = json!({"name": "f", "strict": true, "parameters": schema});
        let tools = json!({"tools": [{"type": "function", "function": function}]});
        let param = json!("tools[0].function.parameters");
        check_error(server.chat(tools).await, 400, param, "invalid_value");
    }
    for link in [
        &(|to| json!({"allOf": [to]})) as &dyn Fn(Json) -> Json,
        &|to| json!({"anyOf": [to]}),
        &|to| to,
    ] {
        let format = json!({"response_format": schema_format(&chain(400, link), true)});
        let (status, answer) = server.chat(format).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(content(&answer).0, "\"end\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_strict_a_schema_is_followed_as_far_as_can_be() {
    let server = Server::start(&[]);
    let schema = json!({"type": "object", "required": ["n"], "additionalProperties": false,
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "propertyNames": {"pattern": "^n$"}, "not": {"required": ["m"]}});
    let format = json!({"response_format": schema_format(&schema, false)});
    let (status, answer) = server.chat(format).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let value: Json = serde_json::from_str(&content(&answer).0).unwrap();
    assert!(value["n"].as_u64().is_some_and(|n| n <= 9), "{value}");

    let strict = json!({"response_format": schema_format(&schema, true)});
    let (status, refused) = server.chat(strict).await;
    let said = refused["error"]["message"].as_str().unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(said.contains("'propertyNames'"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cut_is_never_content_and_its_arguments_are_an_object() {
    let server = Server::start(&[]);
    for parameters in [json!({}), Json::Null] {
        let function = json!({"name": "f", "parameters": parameters});
        let asked = |max: usize| {
            json!({"max_tokens": max, "seed": 1, "tool_choice": "required",
            "parallel_tool_calls": false, "tools": [{"type": "function", "function": function}]})
        };
        for max in 1..40 {
            let (status, answer) = server.chat(asked(max)).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            let choice = &answer["choices"][0];
            let text = choice["message"]["content"].as_str().unwrap_or_default();
            assert_eq!(text, "", "{answer}");
            if choice["finish_reason"] == "length" {
                continue;
            }
            assert_eq!(choice["finish_reason"], "tool_calls");
            let arguments = choice["message"]["tool_calls"][0]["function"]["arguments"].as_str();
            let arguments: Json = serde_json::from_str(arguments.unwrap()).unwrap();
            assert!(arguments.is_object(), "{arguments}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_of_the_text_leaves_the_tools_to_the_model() {
    let server = Server::start(&[]);
    let schema = json!({"type": "object", "required": ["ok"], "additionalProperties": false,
        "properties": {"ok": {"type": "boolean"}}});
    let function = json!({"name": "clock", "parameters": {"type": "object", "properties": {},
        "additionalProperties": false}});
    let (mut calls, mut texts) = (0, 0);
    for seed in 0..24 {
        let fields = json!({"seed": seed, "temperature": 2.0, "response_format": schema_format(&schema, true),
            "tools": [{"type": "function", "function": function}]});
        let (_, answer) = server.chat(fields).await;
        let choice = &answer["choices"][0];
        match choice["finish_reason"].as_str().unwrap() {
            "tool_calls" => {
                assert_eq!(
                    choice["message"]["tool_calls"][0]["function"]["name"],
                    "clock"
                );
                calls += 1;
            }
            "stop" => {
                let value: Json = serde_json::from_str(&content(&answer).0).unwrap();
                assert!(value["ok"].is_boolean());
                texts += 1;
            }
            other => panic!("{other}: {answer}"),
        }
    }
    assert!(calls > 0 && texts > 0, "{calls} calls, {texts} texts");
}

/// The bytes of all log-probabilities, one after the other.
fn bytes_of(scores: &Json) -> Vec<u8> {
    let each = scores.as_array().into_iter().flatten();
    let bytes = each.flat_map(|score| score["bytes"].as_array().unwrap());
    bytes
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn log_probabilities_have_the_true_bytes_of_parts_of_characters() {
    let server = Server::start(&[]);
    for max in 1..14 {
        let fields = json!({"guided_regex": "[é€😀]{4}", "logprobs": true, "top_logprobs": 3,
            "seed": 2, "max_tokens": max});
        let (_, answer) = server.chat(fields.clone()).await;
        let (text, finish) = content(&answer);
        let bytes = bytes_of(&answer["choices"][0]["logprobs"]["content"]);
        assert!(
            !text.contains('\u{fffd}') && bytes.starts_with(text.as_bytes()),
            "{text:?}"
        );
        let rest = std::str::from_utf8(&bytes[text.len()..]);
        match finish {
            "stop" => assert_eq!(bytes, text.as_bytes()),
            _ => assert!(
                rest.is_ok_and(str::is_empty) || rest.is_err_and(|e| e.error_len().is_none())
            ),
        }
        let (mut streamed, mut streamed_bytes) = (String::new(), Vec::new());
        for event in server.stream(fields).await {
            let Ok(chunk) = serde_json::from_str::<Json>(&event) else {
                continue;
            };
            let choice = &chunk["choices"][0];
            streamed += choice["delta"]["content"].as_str().unwrap_or_default();
            streamed_bytes.extend(bytes_of(&choice["logprobs"]["content"]));
        }
        assert_eq!((streamed, streamed_bytes), (text, bytes));
    }
}
