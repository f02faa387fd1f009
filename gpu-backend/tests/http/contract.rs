//! The form of every route's answer against files: `golden/NAME.json` for one object,
//! `golden/NAME.sse` for a stream. What differs from run to run (identifiers, times,
//! measured numbers) is written as a mark of its kind.
//!
//! `UPDATE_GOLDEN=1` writes the files anew; then read what changed.

use std::path::PathBuf;

use http::StatusCode;
use serde_json::{Value as Json, json};

use crate::harness::{Server, chat};

/// Compares text with a file, or writes the file.
#[track_caller]
fn check(name: &str, got: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/http/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        got, want,
        "{name}: if this is meant, run with UPDATE_GOLDEN=1"
    );
}

/// Replaces what differs from run to run.
fn normal(value: &mut Json) {
    match value {
        Json::Number(number) if number.is_f64() => *value = "<float>".into(),
        Json::Array(list) => list.iter_mut().for_each(normal),
        Json::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), &value) {
                    ("created", _) => *value = "<time>".into(),
                    ("id", Json::String(id)) if id.contains('-') => {
                        let kind = id.split('-').next().unwrap_or_default();
                        *value = format!("{kind}-<id>").into();
                    }
                    _ => normal(value),
                }
            }
        }
        _ => {}
    }
}

async fn whole(server: &Server, name: &str, path: &str, body: Json, status: StatusCode) {
    let (got, mut answer) = server.ask(path, body).await;
    assert_eq!(got, status, "{answer}");
    normal(&mut answer);
    let text = serde_json::to_string_pretty(&answer).unwrap() + "\n";
    check(&format!("{name}.json"), &text);
}

async fn stream(server: &Server, name: &str, path: &str, body: Json) {
    let mut text = String::new();
    for event in server.stream_of(path, body).await {
        let shown = match serde_json::from_str::<Json>(&event) {
            Ok(mut chunk) => {
                normal(&mut chunk);
                chunk.to_string()
            }
            Err(_) => event,
        };
        text += &format!("data: {shown}\n\n");
    }
    check(&format!("{name}.sse"), &text);
}

/// A known text: the bias outweighs whatever the model would say.
fn known(extra: Json) -> Json {
    let mut fields = json!({"temperature": 0, "max_tokens": 3, "logit_bias": {"97": 100},
        "ignore_eos": true});
    for (key, value) in extra.as_object().unwrap() {
        fields[key] = value.clone();
    }
    fields
}

fn completion(extra: Json) -> Json {
    let mut fields = known(json!({"model": "tiny", "prompt": "Hé"}));
    for (key, value) in extra.as_object().unwrap() {
        fields[key] = value.clone();
    }
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_have_openais_form() {
    let server = Server::start(&[]);
    let path = "/v1/chat/completions";
    let ok = StatusCode::OK;
    whole(&server, "chat", path, chat(known(json!({}))), ok).await;
    let two = json!({"n": 2, "logprobs": true, "top_logprobs": 0, "max_tokens": 1});
    whole(&server, "chat_n", path, chat(known(two)), ok).await;
    let stopped = json!({"stop": ["aa"], "include_stop_str_in_output": true});
    whole(&server, "chat_stop", path, chat(known(stopped)), ok).await;
    let usage = json!({"stream_options": {"include_usage": true}});
    stream(&server, "chat", path, chat(known(usage))).await;
    let continuous = json!({"include_usage": true, "continuous_usage_stats": true});
    let fields = json!({"stream_options": continuous, "max_tokens": 2});
    stream(&server, "chat_continuous_usage", path, chat(known(fields))).await;
    let refused = chat(json!({"temperature": 3}));
    whole(
        &server,
        "error_field",
        path,
        refused,
        StatusCode::BAD_REQUEST,
    )
    .await;
    let unknown = chat(json!({"model": "x"}));
    whole(&server, "error_model", path, unknown, StatusCode::NOT_FOUND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_have_openais_form() {
    let server = Server::start(&[]);
    let path = "/v1/completions";
    let ok = StatusCode::OK;
    whole(&server, "completion", path, completion(json!({})), ok).await;
    let scored = json!({"echo": true, "logprobs": 0, "max_tokens": 1});
    whole(&server, "completion_echo", path, completion(scored), ok).await;
    let several = json!({"prompt": [[72], [72, 105]], "n": 2, "max_tokens": 1});
    whole(&server, "completion_prompts", path, completion(several), ok).await;
    let usage = json!({"stream_options": {"include_usage": true}, "echo": true});
    stream(&server, "completion", path, completion(usage)).await;
    let scored = json!({"echo": true, "logprobs": 0, "max_tokens": 1});
    stream(&server, "completion_echo", path, completion(scored)).await;
    let refused = completion(json!({"suffix": "x"}));
    whole(
        &server,
        "error_suffix",
        path,
        refused,
        StatusCode::BAD_REQUEST,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokenization_has_vllms_form() {
    let server = Server::start(&[]);
    let ok = StatusCode::OK;
    let text = json!({"model": "tiny", "prompt": "Hé ", "return_token_strs": true});
    whole(&server, "tokenize", "/tokenize", text, ok).await;
    let chat = json!({"messages": [{"role": "user", "content": "a"}]});
    whole(&server, "tokenize_chat", "/tokenize", chat, ok).await;
    let tokens = json!({"tokens": [72, 195, 169, 256]});
    whole(&server, "detokenize", "/detokenize", tokens, ok).await;
}
