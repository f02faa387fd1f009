//! Models whose directories lack something, or have too much of it.

use std::path::Path;

use http::StatusCode;
use serde_json::{Value as Json, json};

use crate::check_error;
use crate::harness::{Server, VOCAB, chat, command};

#[tokio::test(flavor = "multi_thread")]
async fn a_base_model_completes_texts_and_says_that_it_has_no_chat_template() {
    let files = |model: &Path| std::fs::remove_file(model.join("chat_template.jinja")).unwrap();
    let server = Server::start_with(files, &[]);
    let asked = json!({"model": "tiny", "prompt": "Hello", "max_tokens": 3, "ignore_eos": true});
    let (status, answer) = server.ask("/v1/completions", asked).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    for (path, body) in [
        ("/v1/chat/completions", chat(json!({}))),
        ("/v1/chat/completions", chat(json!({"stream": true}))),
        (
            "/tokenize",
            json!({"messages": [{"role": "user", "content": "a"}]}),
        ),
    ] {
        let (status, body) = server.ask(path, body).await;
        let message = body["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("no chat template"), "{message}");
        check_error((status, body), 400, json!("model"), "chat_template_missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processors_template_is_the_chats() {
    let files = |model: &Path| {
        std::fs::remove_file(model.join("chat_template.jinja")).unwrap();
        let template = json!({"chat_template": "{{ messages[0].content }}!"});
        std::fs::write(model.join("chat_template.json"), template.to_string()).unwrap();
    };
    let server = Server::start_with(files, &[]);
    let asked = json!({"messages": [{"role": "user", "content": "a"}]});
    let (status, body) = server.ask("/tokenize", asked).await;
    assert_eq!(
        (status, &body["tokens"]),
        (StatusCode::OK, &json!([97, 33]))
    );
}

/// As google/gemma-3-1b-it, whose tokenizer has a token for images.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_without_a_row_are_text() {
    const EXTRA: &str = "<image_soft_token>";
    let files = |model: &Path| {
        let path = model.join("tokenizer.json");
        let mut json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (id, content, special) in [(VOCAB, EXTRA, true), (VOCAB + 1, "<other>", false)] {
            json["added_tokens"]
                .as_array_mut()
                .unwrap()
                .push(json!({"id": id,
                "content": content, "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false}));
        }
        std::fs::write(path, json.to_string()).unwrap();
    };
    let server = Server::start_with(files, &[]);
    for text in [EXTRA, "<other>"] {
        let asked = json!({"prompt": text});
        let (status, body) = server.ask("/tokenize", asked).await;
        assert_eq!(
            (status, &body["count"]),
            (StatusCode::OK, &json!(text.len()))
        );
        let message = json!([{"role": "user", "content": text}]);
        let fields = json!({"messages": message, "max_tokens": 2, "ignore_eos": true});
        let (status, body) = server.chat(fields).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let asked = json!({"model": "tiny", "prompt": text, "max_tokens": 2, "ignore_eos": true});
        let (status, body) = server.ask("/v1/completions", asked).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

/// A token of the vocabulary proper cannot be taken out of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_with_a_token_that_has_no_row_is_refused() {
    let files = |model: &Path| {
        let path = model.join("tokenizer.json");
        let mut json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        // The library numbers added tokens on from the vocabulary, unless it has them.
        for token in json["added_tokens"].as_array().unwrap().clone() {
            json["model"]["vocab"][token["content"].as_str().unwrap()] = token["id"].clone();
        }
        json["model"]["vocab"]["ab"] = VOCAB.into();
        json["model"]["merges"] = json!([["a", "b"]]);
        std::fs::write(path, json.to_string()).unwrap();
    };
    let server = Server::start_with(files, &[]);
    let text = json!({"model": "tiny", "prompt": "xaby", "max_tokens": 2});
    let chat = chat(json!({"messages": [{"role": "user", "content": "xaby"}]}));
    for (path, body, param) in [
        ("/v1/completions", text, "prompt"),
        ("/v1/chat/completions", chat, "messages"),
        ("/tokenize", json!({"prompt": "xaby"}), "prompt"),
    ] {
        let (status, body) = server.ask(path, body).await;
        let message = body["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("\"ab\", token 260"), "{message}");
        check_error((status, body), 400, json!(param), "invalid_value");
    }
    let (status, _) = server.chat(json!({"max_tokens": 2})).await;
    assert_eq!(status, StatusCode::OK);
}

#[test]
fn another_format_of_weights_is_named_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model-Q4_K_M.gguf");
    std::fs::write(&file, "GGUF").unwrap();
    let pickled = dir.path().join("pickled");
    std::fs::create_dir(&pickled).unwrap();
    std::fs::write(pickled.join("config.json"), "{}").unwrap();
    std::fs::write(pickled.join("pytorch_model.bin"), "").unwrap();
    for (path, says) in [
        (file.as_path(), "is a GGUF file"),
        (dir.path(), "holds its weights as GGUF only"),
        (
            pickled.as_path(),
            "holds its weights as pickled PyTorch only",
        ),
    ] {
        let mut serve = command();
        serve
            .args(["serve", "--listen", "127.0.0.1:0", "--model"])
            .arg(path);
        let output = serve.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("--model") && said.contains(says), "{said}");
        assert!(said.contains("safetensors"), "{said}");
    }
}

/// Clients send whole answers back, with all their fields.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_back_as_it_was_sent() {
    let server = Server::start(&[]);
    let fields = json!({"max_tokens": 5, "ignore_eos": true, "seed": 3});
    let (_, answer) = server.chat(fields).await;
    let plain = answer["choices"][0]["message"].clone();
    let mut called = plain.clone();
    called["content"] = Json::Null;
    called["reasoning_content"] = "hm".into();
    called["tool_calls"] = json!([{"id": "call_1", "type": "function",
        "function": {"name": "f", "arguments": "{\"a\": \"<|im_end|>"}}]);
    for past in [plain, called] {
        let user = json!({"role": "user", "content": "Hello"});
        let messages = json!([user, past, user]);
        let (status, body) = server
            .chat(json!({"messages": messages, "max_tokens": 2}))
            .await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}
