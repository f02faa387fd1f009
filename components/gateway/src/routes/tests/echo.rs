//! What an error repeats of the request that it refuses: of its values nothing, of its names a
//! beginning.

use super::script::{Script, get_as, send};
use super::*;

const SECRET: &str = "hunter2-is-my-secret";

/// Values of every kind with the secret inside.
fn values() -> Vec<Value> {
    vec![
        json!(SECRET),
        json!(format!("\n\u{1b}[31m{SECRET}\"")),
        json!(format!("{}{SECRET}", "x".repeat(300))),
        json!([SECRET]),
        json!([[SECRET], 7]),
        json!([{"type": SECRET}]),
        json!([{"type": "text", "text": {"a": SECRET}}]),
        json!([{"role": SECRET, "content": SECRET}]),
        json!([{"role": "user", "content": [{"type": SECRET, "text": SECRET}]}]),
        json!([{"role": "user", "content": "hi", "name": [SECRET]}]),
        json!([{"role": "user", "content": "hi", "name": SECRET.repeat(5)}]),
        json!([{"role": "user", "content": "hi", "tool_calls": [SECRET]}]),
        json!([{"role": "tool", "content": "hi", "tool_call_id": SECRET.repeat(9)}]),
        json!([{"role": "user", "content": "hi"}, {"role": "tool", "content": SECRET, "tool_call_id": SECRET}]),
        json!([{"role": "assistant", "tool_calls": [{"id": SECRET, "function": {"name": 7}}]}]),
        json!([{"type": "function", "function": {"name": format!("{SECRET} ")}}]),
        json!([{"type": "function", "function": {"name": "f", "parameters": SECRET}}]),
        json!([{"type": "function", "function": {"name": "f", "strict": SECRET}}]),
        json!({"type": SECRET}),
        json!({"id": format!("{SECRET}/..")}),
        json!({"events": SECRET}),
        json!({"include_usage": SECRET}),
        json!({"1": SECRET}),
    ]
}

#[track_caller]
fn check_silent(body: &[u8]) -> u16 {
    let script = Script::new([]);
    let got = send(
        &script,
        "POST",
        "/v1/chat/completions",
        Some("Bearer key"),
        body,
    );
    let body = String::from_utf8_lossy(body);
    assert!(!got.text().contains("hunter2"), "{body}: {}", got.text());
    assert!(got.text().len() < 600, "{body}: {}", got.text());
    got.status
}

#[test]
fn of_a_refused_requests_values_no_error_repeats_anything() {
    let mut refused = 0;
    for field in chat_fields::FIELDS {
        for value in values() {
            let mut body = ask(json!({"stream": true}));
            body[field.name] = value;
            let body = body.to_string();
            refused += u32::from(check_silent(body.as_bytes()) == 400);
            // Cut anywhere behind the secret, and with something behind it.
            let behind = body.find("hunter2").unwrap() + SECRET.len();
            for broken in [&body[..behind], &body[..body.len() - 1]] {
                assert_eq!(check_silent(broken.as_bytes()), 400, "{broken}");
            }
            assert_eq!(check_silent(format!("{body}{SECRET}").as_bytes()), 400);
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn what_is_no_json_is_not_repeated() {
    for body in [
        SECRET.to_owned(),
        format!("\"{SECRET}\""),
        format!("[\"{SECRET}\"]"),
        format!("{{{SECRET}: 1}}"),
        format!("{{\"model\": {SECRET}}}"),
        format!("{{\"model\": 1{SECRET}}}"),
        format!("{{\"{SECRET}\\x\": 1}}"),
        format!("{{\"model\": \"\\u{SECRET}\"}}"),
    ] {
        assert_eq!(check_silent(body.as_bytes()), 400, "{body}");
    }
    let not_utf8 = [SECRET.as_bytes(), b"\xff"].concat();
    assert_eq!(check_silent(&not_utf8), 400);
}

#[test]
fn of_a_long_name_an_error_repeats_its_beginning_on_one_line() {
    let long = format!("na\u{1b}\nme{}{SECRET}", "x".repeat(80));
    let bodies = [
        ask(json!({long.as_str(): 1})),
        ask(json!({"messages": [{"role": "user", "content": "hi", long.as_str(): 1}]})),
        ask(json!({"skerry": {long.as_str(): 1}})),
        ask(json!({"stream": true, "stream_options": {long.as_str(): 1}})),
        ask(json!({"tools": [{"type": "function", "function": {"name": "f", long.as_str(): 1}}]})),
    ];
    for body in bodies {
        let body = body.to_string();
        let script = Script::new([]);
        let path = "/v1/chat/completions";
        let got = send(&script, "POST", path, Some("Bearer key"), body.as_bytes());
        let error = &got.json()["error"];
        assert_eq!(got.status, 400);
        check_silent(body.as_bytes());
        for said in ["message", "param"] {
            let said = error[said].as_str().unwrap();
            assert!(said.contains("na\\u{1b}\\nme"), "{said}");
            assert!(
                !said.contains(char::is_control) && said.len() < 120,
                "{said}"
            );
        }
    }
    for path in [format!("/v1/{long}"), format!("/v1/models/{long}")] {
        let got = get_as(&Script::new([]), &path, &["Bearer key"]);
        assert_eq!(got.status, 404);
        assert!(
            got.text().len() < 400 && !got.text().contains("hunter2"),
            "{}",
            got.text()
        );
    }
}
