//! What a conversation keeps of a refused turn, and that nothing stored poisons the next one.

use serde_json::{Value, json};

use super::script::{Script, drive, message};
use super::{ask, hello};
use crate::bindings::skerry::chat::session::TurnOutcome;
use crate::bindings::skerry::chat::types::{Message, MessageRole, ToolCall};

fn say(words: &str) -> Value {
    let mut body = ask(json!({"conversation": "conv_1"}));
    body["messages"][0]["content"] = words.into();
    body
}

fn user(words: &str) -> Message {
    message(MessageRole::User, words)
}

fn assistant(words: &str) -> Message {
    message(MessageRole::Assistant, words)
}

/// The texts that a model is asked with after this history.
fn asked_after(history: impl IntoIterator<Item = Message>) -> Vec<String> {
    let script = Script::new([hello()]).after(history);
    let reply = drive(&script, say("hi"));
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "stop");
    assert_eq!(script.stored(), ["hi", "Hello"]);
    assert_eq!(script.stored_as(), [TurnOutcome::Answered]);
    let sent = script.requests()[0]["messages"].clone();
    let texts = sent.as_array().unwrap().iter();
    texts
        .map(|message| message["content"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_refused_prompt_is_kept_as_refused_without_its_text() {
    for history in [vec![], vec![user("before"), assistant("yes")]] {
        let script = Script::new([hello()]).after(history);
        let mut body = say("FORBIDDEN, and my SECRET");
        body["messages"][0]["name"] = "SECRET".into();
        let reply = drive(&script, body);
        let choice = &reply.json()["choices"][0];
        assert_eq!(choice["finish_reason"], "content_filter");
        assert!(script.requests().is_empty(), "no model is called");
        assert_eq!(script.stored(), ["", "Not this."]);
        assert_eq!(script.stored_as(), [TurnOutcome::Refused]);
    }
}

#[test]
fn of_a_refused_turn_neither_calls_nor_their_answers_are_kept() {
    let script = Script::new([hello()]);
    let call = json!({"id": "SECRET", "type": "function",
        "function": {"name": "pay", "arguments": "{\"to\":\"SECRET\"}"}});
    let body = json!({"model": "m", "conversation": "conv_1", "messages": [
        {"role": "user", "content": "pay"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "SECRET", "content": "FORBIDDEN"},
        {"role": "user", "content": "well?"},
    ]});
    assert_eq!(drive(&script, body).status, 200);
    assert_eq!(script.stored(), ["", "", "", "Not this."]);
    assert_eq!(
        (script.stored_calls(), script.stored_as()),
        (0, vec![TurnOutcome::Refused])
    );
}

#[test]
fn stored_text_that_is_refused_today_leaves_the_prompt_and_the_turn_goes_on() {
    let history = [
        message(MessageRole::System, "Be brief."),
        user("one"),
        assistant("1"),
        user("FORBIDDEN"),
        assistant("no"),
        user("SECRET two"),
        assistant("2"),
    ];
    let expected = ["Be brief.", "one", "1", "[MASK] two", "2", "hi"];
    assert_eq!(asked_after(history), expected);
}

#[test]
fn a_refused_instruction_leaves_alone_and_a_refused_call_with_its_answer() {
    let called = Message {
        tool_calls: vec![ToolCall {
            id: "c1".into(),
            name: "pay".into(),
            arguments: "{\"to\":\"FORBIDDEN\"}".into(),
        }],
        ..assistant("")
    };
    let answered = Message {
        tool_call_id: Some("c1".into()),
        ..message(MessageRole::Tool, "paid")
    };
    let history = [
        message(MessageRole::System, "FORBIDDEN"),
        message(MessageRole::Developer, "Be kind."),
        user("one"),
        called,
        answered,
        assistant("done"),
        user("two"),
    ];
    assert_eq!(asked_after(history), ["Be kind.", "two", "hi"]);
}

#[test]
fn of_turns_that_are_refused_only_together_the_older_leave() {
    for before in 0..6 {
        for after in 0..6 {
            let filler = |count| std::iter::repeat_with(|| user("word")).take(count);
            let split = [user("FORB"), user("IDDEN")];
            let history = filler(before).chain(split).chain(filler(after));
            let mut expected = vec!["IDDEN"];
            expected.extend(std::iter::repeat_n("word", after));
            expected.push("hi");
            assert_eq!(asked_after(history), expected, "{before} {after}");
        }
    }
    // With the end of what was stored, the new message spells it: that one goes to the model.
    let script = Script::new([hello()]).after([user("FORB")]);
    let reply = drive(&script, say("IDDEN"));
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        script.requests()[0]["messages"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_refused_turn_is_refused_whatever_was_stored() {
    let script = Script::new([hello()]).after([user("FORBIDDEN")]);
    let reply = drive(&script, say("FORBIDDEN"));
    assert_eq!(
        reply.json()["choices"][0]["finish_reason"],
        "content_filter"
    );
    assert_eq!(script.stored_as(), [TurnOutcome::Refused]);
}

#[test]
fn a_turn_that_would_have_no_place_is_refused_before_a_model_is_called() {
    let script = Script::new([hello()]).of_a_full_project();
    let reply = drive(&script, say("hi"));
    let error = reply.json()["error"].clone();
    assert_eq!(
        (reply.status, &error["code"]),
        (403, &json!("quota_exceeded"))
    );
    assert_eq!(error["type"], "insufficient_quota");
    assert!(script.requests().is_empty());
    assert_eq!(script.settled(), [0], "nothing was used");
    // Without a conversation nothing is stored, and nothing is in the way.
    assert_eq!(drive(&script, ask(json!({}))).status, 200);
}
