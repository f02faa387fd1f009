//! Requests as they are written, and events as they are read.

use serde_json::{Value, json};

use super::chunk::Chunk;
use super::*;

fn message(role: MessageRole, content: &str) -> Message {
    Message {
        role,
        content: content.into(),
        name: None,
        tool_calls: Vec::new(),
        tool_call_id: None,
    }
}

fn calling(ids: &[&str], arguments: &str) -> Message {
    let call = |id: &&str| ToolCall {
        id: (*id).into(),
        name: "f".into(),
        arguments: arguments.into(),
    };
    Message {
        tool_calls: ids.iter().map(call).collect(),
        ..message(MessageRole::Assistant, "")
    }
}

fn answering(id: &str) -> Message {
    Message {
        tool_call_id: Some(id.into()),
        ..message(MessageRole::Tool, "done")
    }
}

fn written(dialect: Dialect, messages: &[Message], fields: &[(&str, &str)]) -> Value {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), raw(value)))
        .collect();
    let tools = raw(r#"[{"type":"function","function":{"name":"f"}}]"#);
    let required = raw("\"required\"");
    let request = BackendRequest {
        dialect,
        model: "m",
        messages,
        tokens_max: Some(9),
        tools: Some(&tools),
        tool_choice: Some(Cow::Borrowed(&required)),
        cache_salt: "org/proj".into(),
        cache_shared_messages: Some(0),
        fields: &fields,
    };
    serde_json::to_value(Written(&request)).unwrap()
}

/// The roles, with the ids that stand beside them.
fn shape(messages: &[Message]) -> Vec<String> {
    let written = written(Dialect::Other, messages, &[]);
    let ids = |message: &Value| match message["tool_calls"].as_array() {
        Some(calls) => calls
            .iter()
            .filter_map(|call| call["id"].as_str())
            .collect(),
        None => message["tool_call_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    let messages = written["messages"].as_array().unwrap();
    let shape = |message: &Value| format!("{} {}", message["role"].as_str().unwrap(), ids(message));
    messages
        .iter()
        .map(|message| shape(message).trim().to_owned())
        .collect()
}

#[test]
fn each_call_has_an_answer_and_each_answer_its_call() {
    let user = || message(MessageRole::User, "hi");
    for (messages, expected) in [
        (
            vec![
                user(),
                calling(&["a", "b"], "{}"),
                answering("b"),
                answering("a"),
            ],
            vec!["user", "assistant ab", "tool b", "tool a"],
        ),
        (
            vec![calling(&["a", "b"], "{}"), answering("b"), user()],
            vec!["assistant ab", "tool b", "tool a", "user"],
        ),
        (vec![calling(&["a"], "{")], vec!["assistant a", "tool a"]),
        (
            vec![user(), answering("x"), user()],
            vec!["user", "assistant x", "tool x", "user"],
        ),
        (
            vec![calling(&["a"], "{}"), answering("x"), answering("a")],
            vec![
                "assistant a",
                "tool a",
                "assistant x",
                "tool x",
                "assistant a",
                "tool a",
            ],
        ),
    ] {
        assert_eq!(shape(&messages), expected);
    }
}

#[test]
fn past_arguments_are_always_an_object() {
    for (given, expected) in [
        (r#"{"a": 1.50}"#, r#"{"a": 1.50}"#),
        (" {}", " {}"),
        ("", "{}"),
        ("null", "{}"),
        ("[]", "{}"),
        (r#"{"a": "cut"#, r#"{"arguments":"{\"a\": \"cut"}"#),
        ("[1]", r#"{"arguments":"[1]"}"#),
        ("plain", r#"{"arguments":"plain"}"#),
    ] {
        let request = written(Dialect::Skerry, &[calling(&["a"], given)], &[]);
        let function = &request["messages"][0]["tool_calls"][0]["function"];
        assert_eq!(function["arguments"], expected, "{given}");
    }
}

#[test]
fn a_request_is_written_in_the_words_of_its_backend() {
    let fields = [
        ("seed", "7"),
        ("user", "\"u\""),
        ("prompt_cache_key", "\"k\""),
        ("temperature", "0.50"),
    ];
    let messages = [message(MessageRole::Developer, "be brief")];
    let keys = |dialect: Dialect| {
        let written = written(dialect, &messages, &fields);
        let mut keys: Vec<String> = written.as_object().unwrap().keys().cloned().collect();
        keys.retain(|key| {
            !["messages", "model", "stream", "temperature", "tools"].contains(&key.as_str())
        });
        keys.sort();
        let role = written["messages"][0]["role"].as_str().unwrap().to_owned();
        (
            keys.join(" "),
            role,
            written["tool_choice"].as_str().unwrap().to_owned(),
        )
    };
    for (dialect, expected, role, choice) in [
        (
            Dialect::Skerry,
            "cache_salt cache_shared_messages max_completion_tokens seed stream_options tool_choice",
            "developer",
            "required",
        ),
        (
            Dialect::OpenAi,
            "max_completion_tokens prompt_cache_key seed stream_options tool_choice user",
            "developer",
            "required",
        ),
        (
            Dialect::Vllm,
            "cache_salt max_completion_tokens seed stream_options tool_choice",
            "system",
            "required",
        ),
        (
            Dialect::Mistral,
            "max_tokens random_seed tool_choice",
            "system",
            "any",
        ),
        (
            Dialect::Ollama,
            "max_tokens seed stream_options tool_choice",
            "system",
            "required",
        ),
        (
            Dialect::LlamaCpp,
            "max_tokens seed stream_options tool_choice",
            "system",
            "required",
        ),
        (
            Dialect::Other,
            "max_tokens seed stream_options tool_choice",
            "system",
            "required",
        ),
    ] {
        let expected = (expected.to_owned(), role.to_owned(), choice.to_owned());
        assert_eq!(keys(dialect), expected, "{dialect:?}");
    }
}

/// An event's content, reasoning and finish reason, and true where usage was counted.
fn read(event: &str) -> (String, String, String, bool) {
    let chunk = Chunk::parse(event.as_bytes()).unwrap();
    let usage = chunk.usage.is_some();
    let Some(choice) = chunk.choices.into_iter().next() else {
        return (String::new(), String::new(), String::new(), usage);
    };
    let text = |text: Option<Cow<'_, str>>| text.unwrap_or_default().into_owned();
    (
        text(choice.delta.content),
        text(choice.delta.reasoning),
        text(choice.finish_reason),
        usage,
    )
}

/// An event, and what it says: content, reasoning, reason, whether usage was counted.
type Case = (Value, &'static str, &'static str, &'static str, bool);

#[track_caller]
fn check_read(cases: impl IntoIterator<Item = Case>) {
    for (event, content, reasoning, finish, usage) in cases {
        let expected = (
            content.to_owned(),
            reasoning.to_owned(),
            finish.to_owned(),
            usage,
        );
        assert_eq!(read(&event.to_string()), expected, "{event}");
    }
}

#[test]
fn an_odd_delta_loses_nothing_else() {
    check_read([
        (
            json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": null}]}),
            "a",
            "",
            "",
            false,
        ),
        (
            json!({"choices": [{"delta": {"content": "a", "role": null}, "finish_reason": "stop"}], "usage": {}}),
            "a",
            "",
            "stop",
            false,
        ),
        (
            json!({"choices": [{"index": null, "delta": {"content": "a"}}], "usage": null}),
            "a",
            "",
            "",
            false,
        ),
        (
            json!({"choices": [{"delta": null, "finish_reason": "stop"}]}),
            "",
            "",
            "stop",
            false,
        ),
        (
            json!({"choices": null, "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": null}}}),
            "",
            "",
            "",
            true,
        ),
        (
            json!({"choices": [{"delta": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}]}),
            "ab",
            "",
            "",
            false,
        ),
        (
            json!({"choices": [{"delta": {"content": null, "reasoning_content": "r"}}]}),
            "",
            "r",
            "",
            false,
        ),
        (
            json!({"choices": [{"delta": {"reasoning": "r"}}]}),
            "",
            "r",
            "",
            false,
        ),
    ]);
}

#[test]
fn an_event_of_another_form_loses_nothing_else() {
    check_read([
        (
            json!({"choices": [{"delta": {"content": "a", "tool_calls": null}, "logprobs": {"content": null}}]}),
            "a",
            "",
            "",
            false,
        ),
        (
            json!({"choices": [{"delta": {"content": "a", "tool_calls": {}}, "logprobs": 7}]}),
            "a",
            "",
            "",
            false,
        ),
        (
            json!({"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "length"}], "usage": {"completion_tokens": 2.0}}),
            "a",
            "",
            "length",
            true,
        ),
        (json!({"choices": [7, {"delta": 1}]}), "", "", "", false),
        (json!({"timings": {}, "created": 1.5}), "", "", "", false),
        (json!([]), "", "", "", false),
        (json!(null), "", "", "", false),
    ]);
}

#[test]
fn an_event_without_data_is_passed_over_and_a_broken_one_is_not_quoted() {
    for empty in ["", " ", "\t"] {
        assert!(Chunk::parse(empty.as_bytes()).unwrap().choices.is_empty());
    }
    for broken in [
        "{",
        "not JSON",
        "{\"choices\": [{\"delta\": {\"content\": \"my secret",
    ] {
        let error = Chunk::parse(broken.as_bytes()).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn an_error_in_a_stream_is_one_in_any_form() {
    for event in [
        json!({"error": {"message": "x"}}),
        json!({"error": "x"}),
        json!({"object": "error", "message": "x"}),
        json!({"error": {"message": "x"}, "choices": []}),
    ] {
        let chunk = event.to_string();
        assert!(
            Chunk::parse(chunk.as_bytes()).unwrap().error.is_some(),
            "{event}"
        );
    }
    let fine = json!({"error": null, "choices": [{"delta": {"content": "a"}}]}).to_string();
    assert!(Chunk::parse(fine.as_bytes()).unwrap().error.is_none());
}
