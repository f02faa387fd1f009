//! Answers that come back: whatever the engine, or a server like it, has sent is taken.

use serde_json::json;

use super::*;

#[track_caller]
fn taken(message: Json) -> Message {
    let user = json!({"role": "user", "content": "hi"});
    parse(json!([user, message])).unwrap().pop().unwrap()
}

fn refused(message: Json) -> Option<String> {
    parse(json!([message])).unwrap_err().param
}

#[test]
fn arguments_of_any_kind_are_taken() {
    for (arguments, want) in [
        (json!("{\"x\": 1}"), json!({"x": 1})),
        (json!(" {\"x\": 1}\n"), json!({"x": 1})),
        (json!({"x": 1}), json!({"x": 1})),
        (json!(""), json!({})),
        (json!(" \n"), json!({})),
        (Json::Null, json!({})),
        (json!("null"), json!(null)),
        (json!("[]"), json!([])),
        (json!("[1, 2]"), json!([1, 2])),
        (json!("7"), json!(7)),
        (json!("{\"a\": \"cut"), json!("{\"a\": \"cut")),
        (json!("{\"a\": 1e999}"), json!("{\"a\": 1e999}")),
        (json!("plain text"), json!("plain text")),
    ] {
        let call = json!({"id": "c", "type": "function", "index": 0,
            "function": {"name": "f", "arguments": arguments}});
        let message = taken(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
        assert_eq!(message.tool_calls[0].function.arguments, want);
        assert_eq!(message.content, "");
    }
    let deep = "[".repeat(100_000);
    let call = json!({"id": "c", "function": {"name": "f", "arguments": deep}});
    let message = taken(json!({"role": "assistant", "tool_calls": [call]}));
    assert_eq!(message.tool_calls[0].function.arguments, json!(deep));
}

#[test]
fn an_answer_with_nothing_in_it_is_taken() {
    for more in [
        json!({}),
        json!({"content": null}),
        json!({"content": ""}),
        json!({"content": []}),
        json!({"content": null, "tool_calls": []}),
        json!({"content": null, "tool_calls": null, "function_call": null, "audio": null,
            "refusal": null, "annotations": [], "reasoning_content": null, "name": null}),
    ] {
        let mut message = more;
        message["role"] = "assistant".into();
        assert_eq!(taken(message), Message::new("assistant", ""));
    }
}

#[test]
fn a_refusal_is_the_text_of_an_answer_that_has_no_other() {
    for (more, content) in [
        (json!({"refusal": "no"}), "no"),
        (json!({"refusal": "no", "content": null}), "no"),
        (json!({"refusal": "no", "content": "yes"}), "yes"),
        (
            json!({"content": [{"type": "refusal", "refusal": "no"}]}),
            "no",
        ),
        (
            json!({"content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]}),
            "ab",
        ),
    ] {
        let mut message = more;
        message["role"] = "assistant".into();
        assert_eq!(taken(message).content, content);
    }
}

#[test]
fn reasoning_is_taken_under_either_name() {
    for (more, want) in [
        (json!({"reasoning_content": "hm"}), Some("hm")),
        (json!({"reasoning": "hm"}), Some("hm")),
        (
            json!({"reasoning": "new", "reasoning_content": "old"}),
            Some("old"),
        ),
        (
            json!({"reasoning": null, "reasoning_content": ""}),
            Some(""),
        ),
        (json!({}), None),
    ] {
        let mut message = more;
        message["role"] = "assistant".into();
        message["content"] = "a".into();
        let message = taken(message);
        assert_eq!(message.reasoning_content.as_deref(), want);
        assert_eq!(message.content, "a");
    }
}

#[test]
fn what_only_answers_have_is_no_other_roles() {
    for (field, value) in [
        ("reasoning_content", json!("hm")),
        ("refusal", json!("no")),
        ("tool_calls", json!([{}])),
    ] {
        let mut message = json!({"role": "user", "content": "a"});
        message[field] = value;
        assert_eq!(refused(message), Some(format!("messages[0].{field}")));
    }
    let part = json!([{"type": "refusal", "refusal": "no"}]);
    let user = json!({"role": "user", "content": part});
    assert_eq!(refused(user).as_deref(), Some("messages[0].content[0]"));
    for role in ["user", "system", "tool"] {
        let none = json!({"role": role, "content": null, "tool_call_id": "c"});
        assert!(refused(none).is_some(), "{role}");
    }
    let listed = json!({"role": "assistant", "reasoning_content": ["hm"]});
    assert_eq!(
        refused(listed).as_deref(),
        Some("messages[0].reasoning_content")
    );
}
