//! The real server over HTTP: answers, streams, errors, clients that vanish, draining.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

mod completions;
mod contract;
mod harness;
mod directory;
mod hub;
mod paths;
mod structured;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value as Json, json};

use harness::{CONTEXT, Server, chat, command, text};

/// The text of a streamed answer.
fn streamed_text(events: &[String]) -> String {
    let delta = |event: &String| -> Option<String> {
        let chunk: Json = serde_json::from_str(event).ok()?;
        Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())
    };
    events.iter().filter_map(delta).collect()
}

#[track_caller]
fn check_error((status, body): (StatusCode, Json), want: u16, param: Json, code: &str) {
    assert_eq!(status.as_u16(), want, "{body}");
    let error = body["error"].as_object().unwrap();
    assert_eq!(
        error.keys().map(String::as_str).collect::<Vec<_>>(),
        ["message", "type", "param", "code"]
    );
    assert_eq!(
        (&error["param"], &error["code"]),
        (&param, &json!(code)),
        "{body}"
    );
}

const SPECULATIVE: &str = r#"{"method": "ngram", "num_speculative_tokens": 4}"#;

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_it_is() {
    let server = Server::start(&[]);
    assert_eq!(
        server.get("/health").await,
        (StatusCode::OK, r#"{"status":"ready"}"#.into())
    );
    let (status, models) = server.get("/v1/models").await;
    let models: Json = serde_json::from_str(&models).unwrap();
    assert_eq!(
        (status, &models["object"], &models["data"][0]["id"]),
        (StatusCode::OK, &json!("list"), &json!("tiny"))
    );
    assert_eq!(models["data"][0]["max_model_len"], CONTEXT);
    assert_eq!(server.metric("vllm:num_requests_running").await, 0.0);
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_same_whole_streamed_and_over_http2() {
    let server = Server::start(&[]);
    let fields = json!({"seed": 5, "max_tokens": 40, "ignore_eos": true, "temperature": 1.0});
    let (status, whole) = server.chat(fields.clone()).await;
    assert_eq!(
        (status, &whole["object"]),
        (StatusCode::OK, &json!("chat.completion"))
    );
    let choice = &whole["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["role"]),
        (&json!("length"), &json!("assistant"))
    );
    let usage = &whole["usage"];
    assert_eq!(usage["completion_tokens"], 40);
    // <|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n, a token a byte.
    assert_eq!(usage["prompt_tokens"], 1 + 5 + 5 + 1 + 1 + 1 + 10);
    assert_eq!(usage["total_tokens"], 64);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 0);

    let mut with_usage = fields.clone();
    with_usage["stream_options"] = json!({"include_usage": true});
    let events = server.stream(with_usage).await;
    let (done, events) = events.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    assert_eq!(json!(streamed_text(events)), choice["message"]["content"]);
    let chunks: Vec<Json> = events
        .iter()
        .map(|e| serde_json::from_str(e).unwrap())
        .collect();
    let (last, rest) = chunks.split_last().unwrap();
    let mut usage = usage.clone();
    usage["prompt_tokens_details"]["cached_tokens"] = 16.into();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &usage));
    assert!(
        rest.iter()
            .all(|c| c["usage"].is_null() && c["id"] == last["id"])
    );
    assert_eq!(rest[0]["choices"][0]["delta"]["role"], "assistant");
    let reasons: Vec<&Json> = rest
        .iter()
        .map(|c| &c["choices"][0]["finish_reason"])
        .collect();
    assert_eq!(reasons.iter().filter(|r| !r.is_null()).count(), 1);
    assert_eq!(*reasons[reasons.len() - 1], "length");

    let http2 = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let response = http2
        .request(server.post(chat(fields).to_string()))
        .await
        .unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let (_, body) = text(response).await;
    let again: Json = serde_json::from_str(&body).unwrap();
    assert_eq!(again["choices"][0]["message"], choice["message"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_answer_does_not_depend_on_what_else_runs() {
    let server = Server::start(&["--max-num-batched-tokens", "24"]);
    let fields = |seed| json!({"seed": seed, "max_tokens": 60, "ignore_eos": true, "top_p": 0.9});
    let (_, alone) = server.chat(fields(3)).await;
    let crowd = futures_util::future::join_all((0..20).map(|i| server.chat(fields(i)))).await;
    let texts: Vec<&Json> = crowd
        .iter()
        .map(|(_, a)| &a["choices"][0]["message"]["content"])
        .collect();
    assert_eq!(texts[3], &alone["choices"][0]["message"]["content"]);
    assert_ne!(texts[3], texts[4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_strings_stop_tokens_and_bias_do_what_they_say() {
    let server = Server::start(&[]);
    let greedy = json!({"temperature": 0, "max_tokens": 30, "ignore_eos": true});
    let with = |extra: Json| {
        let mut fields = greedy.clone();
        for (key, value) in extra.as_object().unwrap() {
            fields[key] = value.clone();
        }
        fields
    };
    // Bias towards "a" (token 97): a known text.
    let (_, biased) = server.chat(with(json!({"logit_bias": {"97": 100}}))).await;
    assert_eq!(biased["choices"][0]["message"]["content"], "a".repeat(30));
    let (_, stopped) = server
        .chat(with(
            json!({"logit_bias": {"97": 100}, "stop": ["aaa"], "max_tokens": 2000}),
        ))
        .await;
    assert_eq!(stopped["choices"][0]["message"]["content"], "");
    assert_eq!(
        (
            &stopped["choices"][0]["finish_reason"],
            &stopped["usage"]["completion_tokens"]
        ),
        (&json!("stop"), &json!(3))
    );
    // It was complete, so it counts as finished and not as cancelled.
    let stops = "vllm:request_success_total{finished_reason=\"stop\"}";
    server.until(stops, 1.0).await;
    assert_eq!(server.metric("skerry:requests_cancelled_total").await, 0.0);
    let (_, ended) = server
        .chat(with(
            json!({"logit_bias": {"97": 100}, "stop_token_ids": [97]}),
        ))
        .await;
    assert_eq!(
        (
            &ended["choices"][0]["finish_reason"],
            &ended["usage"]["completion_tokens"]
        ),
        (&json!("stop"), &json!(1))
    );
    // The end-of-turn token is special: it ends the answer and is not shown.
    let eos = json!({"temperature": 0, "max_tokens": 9, "logit_bias": {"257": 100}});
    let (_, eos) = server.chat(eos).await;
    assert_eq!(
        (
            &eos["choices"][0]["finish_reason"],
            &eos["choices"][0]["message"]["content"]
        ),
        (&json!("stop"), &json!(""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_context_is_cut_to_what_the_cache_affords_unless_it_was_asked_for() {
    let long = |dir: &Path| {
        let path = dir.join("config.json");
        let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["max_position_embeddings"] = json!(131_072);
        std::fs::write(path, config.to_string()).unwrap();
    };
    let server = Server::start_with(long, &["--kv-cache-mib", "1"]);
    let (_, models) = server.get("/v1/models").await;
    let models: Json = serde_json::from_str(&models).unwrap();
    let afforded = models["data"][0]["max_model_len"].as_u64().unwrap();
    // A token takes 256 bytes of cache, and some more for its alignment.
    assert!((2048..=4096).contains(&afforded), "{afforded}");
    let (status, _) = server.chat(json!({"max_tokens": 3})).await;
    assert_eq!(status, StatusCode::OK);

    let dir = tempfile::tempdir().unwrap();
    harness::write_model(dir.path());
    long(dir.path());
    let longer = (afforded + 1).to_string();
    let asked = command()
        .args(["serve", "--kv-cache-mib", "1", "--max-model-len", &longer])
        .arg("--model")
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(64), "{said}");
    assert!(said.contains("--kv-cache-mib"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_own_length_bounds_an_answer_that_is_left_open() {
    let files = |dir: &Path| {
        let config = json!({"max_new_tokens": 7, "do_sample": false});
        std::fs::write(dir.join("generation_config.json"), config.to_string()).unwrap();
    };
    let server = Server::start_with(files, &[]);
    for (fields, tokens) in [
        (json!({"ignore_eos": true}), 7),
        (json!({"ignore_eos": true, "max_tokens": 20}), 20),
        (json!({"ignore_eos": true, "max_tokens": 3}), 3),
    ] {
        let (_, answer) = server.chat(fields).await;
        assert_eq!(answer["usage"]["completion_tokens"], tokens, "{answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_probabilities_are_of_the_best_tokens() {
    let server = Server::start(&[]);
    let (_, scored) = server
        .chat(json!({
            "temperature": 0, "ignore_eos": true, "max_tokens": 5,
            "logprobs": true, "top_logprobs": 3,
        }))
        .await;
    let content = scored["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(content.len(), 5);
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(
            (top.len(), &top[0]["logprob"]),
            (3, &token["logprob"]),
            "greedy takes the best"
        );
        let sum: f64 = top
            .iter()
            .map(|t| t["logprob"].as_f64().unwrap().exp())
            .sum();
        assert!(sum > 0.0 && sum <= 1.0 + 1e-5);
        assert!(token["bytes"].is_array());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_call_in_the_answer_becomes_a_tool_call() {
    let server = Server::start(&[]);
    // Whatever the model says between the tags is no JSON: it must come back as text,
    // with the tags. The last tag began a call when the answer was cut, and is dropped.
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let fields =
        json!({"tools": tools, "temperature": 0, "max_tokens": 3, "logit_bias": {"258": 100}});
    let (status, answer) = server.chat(fields.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        "<tool_call>".repeat(2)
    );
    let events = server.stream(fields).await;
    assert_eq!(streamed_text(&events), "<tool_call>".repeat(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_clear_answers() {
    let server = Server::start(&["--max-model-len", "512"]);
    let refuse = async |body: Vec<u8>| {
        let (status, body) = text(server.send(server.post(body)).await).await;
        (status, serde_json::from_str::<Json>(&body).unwrap())
    };
    check_error(
        refuse(b"{\"model\":".to_vec()).await,
        400,
        Json::Null,
        "invalid_json",
    );
    check_error(
        refuse(b"{\"model\":\"\xff\"}".to_vec()).await,
        400,
        Json::Null,
        "invalid_json",
    );
    check_error(
        refuse(vec![b' '; 10 << 20]).await,
        413,
        Json::Null,
        "body_too_large",
    );
    check_error(
        server.chat(json!({"model": "x"})).await,
        404,
        json!("model"),
        "model_not_found",
    );
    check_error(
        server.chat(json!({"banana": 1})).await,
        400,
        json!("banana"),
        "unsupported_parameter",
    );
    check_error(
        server.chat(json!({"n": 129})).await,
        400,
        json!("n"),
        "invalid_value",
    );
    check_error(
        server.chat(json!({"temperature": 9})).await,
        400,
        json!("temperature"),
        "invalid_value",
    );
    let long = "context_length_exceeded";
    check_error(
        server.chat(json!({"max_tokens": 10_000_000})).await,
        400,
        json!("max_tokens"),
        long,
    );
    check_error(
        server.chat(json!({"max_tokens": u64::MAX})).await,
        400,
        json!("max_tokens"),
        long,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_cannot_be_answered_is_refused() {
    let server = Server::start(&["--max-model-len", "512"]);
    let long = "context_length_exceeded";
    let essay = json!({"messages": [{"role": "user", "content": "a".repeat(600)}]});
    check_error(server.chat(essay).await, 400, json!("messages"), long);
    let assistant_last = json!({"messages": [{"role": "assistant", "content": "a"}]});
    check_error(
        server.chat(assistant_last).await,
        400,
        json!("messages"),
        "invalid_value",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_wrong_methods_and_too_many_headers_get_clear_answers() {
    let server = Server::start(&[]);
    let (status, body) = server.get("/v1/nothing").await;
    check_error(
        (status, serde_json::from_str(&body).unwrap()),
        404,
        Json::Null,
        "unknown_url",
    );
    let (status, body) = server.get("/v1/chat/completions").await;
    check_error(
        (status, serde_json::from_str(&body).unwrap()),
        405,
        Json::Null,
        "method_not_allowed",
    );

    let address = server.url.strip_prefix("http://").unwrap();
    let mut raw = TcpStream::connect(address).unwrap();
    let headers: String = (0..10_000).map(|i| format!("x-{i}: 1\r\n")).collect();
    let _ = raw.write_all(format!("GET /health HTTP/1.1\r\nhost: a\r\n{headers}\r\n").as_bytes());
    let mut answer = Vec::new();
    let _ = raw.read_to_end(&mut answer);
    assert!(
        answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(server.get("/health").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_taken_over_or_made() {
    let server = Server::start(&[]);
    let request = |id: &str| {
        let request = Request::get(format!("{}/health", server.url)).header("x-request-id", id);
        request.body(Full::<Bytes>::default()).unwrap()
    };
    let given = server.send(request("abc-1")).await;
    assert_eq!(given.headers()["x-request-id"], "abc-1");
    let made = server.send(request(&"x".repeat(200))).await;
    assert!(
        made.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req_")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_streams_all_end_exactly_once() {
    let server = Server::start(&["--max-num-seqs", "64"]);
    let fields = |seed| json!({"seed": seed, "max_tokens": 20, "ignore_eos": true});
    let all = futures_util::future::join_all((0..200).map(|i| server.stream(fields(i)))).await;
    for events in all {
        assert_eq!(events.iter().filter(|e| *e == "[DONE]").count(), 1);
        let ends = events
            .iter()
            .filter(|e| e.contains("\"finish_reason\":\"length\""))
            .count();
        assert_eq!(ends, 1);
    }
    assert_eq!(
        server
            .metric("vllm:request_success_total{finished_reason=\"length\"}")
            .await,
        200.0
    );
    assert_eq!(server.metric("vllm:generation_tokens_total").await, 4000.0);
    assert_eq!(
        server.metric("vllm:prompt_tokens_total").await,
        200.0 * 24.0
    );
    server.until("vllm:kv_cache_usage_perc", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_vanishing_clients_free_their_sequences() {
    let server = Server::start(&[]);
    let long = json!({"max_tokens": 2000, "ignore_eos": true, "stream": true});
    for round in 0..4 {
        let streams = futures_util::future::join_all((0..25).map(|i| {
            let mut fields = long.clone();
            fields["seed"] = (round * 25 + i).into();
            server.send(server.post(chat(fields).to_string()))
        }))
        .await;
        for (i, stream) in streams.into_iter().enumerate() {
            let mut body = stream.into_body();
            // Some vanish at once, others in the middle.
            for _ in 0..i % 5 {
                body.frame().await.unwrap().unwrap();
            }
        }
    }
    let (cancelled, finished) = server.ends(100.0).await;
    assert!(cancelled >= 90.0, "{finished} ended by themselves");
    server.until("vllm:num_requests_running", 0.0).await;
    server.until("vllm:kv_cache_usage_perc", 0.0).await;
    let (status, _) = server.chat(json!({"max_tokens": 3})).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_before_its_answer_frees_it_too() {
    let server = Server::start(&["--max-num-seqs", "1"]);
    let long = json!({"max_tokens": 2000, "ignore_eos": true});
    let answers = futures_util::future::join_all((0..8).map(|_| server.chat(long.clone())));
    // All are with the engine, one runs and the others wait: then all are given up.
    let queued = async {
        while server.metric("vllm:num_requests_waiting").await < 7.0 {
            assert_eq!(server.finished().await, 0.0, "it ended too soon");
        }
    };
    tokio::select! {
        _ = answers => panic!("nobody gave up"),
        () = queued => {}
    }
    let (cancelled, finished) = server.ends(8.0).await;
    assert!(cancelled >= 6.0, "{finished} ended by themselves");
    server.until("vllm:num_requests_waiting", 0.0).await;
    server.until("vllm:kv_cache_usage_perc", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_is_a_tenants_own_but_for_the_platforms_prefix() {
    let server = Server::start(&["--speculative-config", SPECULATIVE]);
    let words = "The platform says this to every tenant.";
    let ask = async |salt: &str, shared: usize| {
        let messages = json!([
            {"role": "system", "content": words},
            {"role": "user", "content": "and a tenant asks this, which is its own"},
        ]);
        let fields = json!({"messages": messages, "max_tokens": 4, "seed": 1,
            "cache_salt": salt, "cache_shared_messages": shared});
        let (status, body) = server.chat(fields).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["usage"]["prompt_tokens_details"]["cached_tokens"].clone()
    };
    assert_eq!(ask("a", 1).await, 0);
    let all = ask("a", 1).await.as_u64().unwrap();
    let platform = ask("b", 1).await.as_u64().unwrap();
    // A token a byte: the words with their frame, in whole blocks.
    assert_eq!(platform, 48);
    assert!(all > platform, "{all}");
    assert_eq!(
        ask("c", 0).await,
        0,
        "this one says that nothing is the platform's"
    );
    let hits = server.metric("vllm:prefix_cache_hits_total").await;
    assert_eq!(hits, (all + platform) as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_504_or_the_last_event() {
    let server = Server::start(&[]);
    let fields = json!({"max_tokens": 2000, "ignore_eos": true, "deadline_ms": 5});
    let answer = server.chat(fields.clone()).await;
    check_error(answer, 504, Json::Null, "deadline_exceeded");
    let events = server.stream(fields).await;
    let last: Json = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "deadline_exceeded");
    server.until("vllm:num_requests_running", 0.0).await;
    for (field, value) in [
        ("deadline_ms", json!(0)),
        ("priority", json!("high")),
        ("cache_salt", json!("")),
    ] {
        check_error(
            server.chat(json!({field: value})).await,
            400,
            field.into(),
            "invalid_value",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_429_with_retry_after() {
    let server = Server::start(&["--max-num-seqs", "1", "--max-queue", "1"]);
    let long = json!({"max_tokens": 2000, "ignore_eos": true, "stream": true});
    let first = server
        .send(server.post(chat(long.clone()).to_string()))
        .await;
    let second = server
        .send(server.post(chat(long.clone()).to_string()))
        .await;
    assert_eq!(
        (first.status(), second.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    let third = server.send(server.post(chat(long).to_string())).await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(third.headers()["retry-after"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_open_streams_end() {
    let mut server = Server::start(&[]);
    let fields = json!({"max_tokens": 400, "ignore_eos": true, "stream": true});
    let stream = server.send(server.post(chat(fields).to_string())).await;
    let pid = server.child.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .unwrap();
    assert!(killed.success());
    let (_, body) = text(stream).await;
    assert!(body.ends_with("data: [DONE]\n\n"));
    let status = tokio::task::spawn_blocking(move || server.child.wait().unwrap())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_wrong_configuration_exits_64_and_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("tiny");
    std::fs::create_dir(&model).unwrap();
    harness::write_model(&model);
    let model = model.to_str().unwrap();
    let empty = dir.path().to_str().unwrap();
    for (arguments, named) in [
        (&["serve"][..], "--model"),
        (&["serve", "--model", "/nowhere/at/all"], "--model"),
        (&["serve", "--model", empty], "config.json"),
        (&["serve", "--model", model, "--threads", "0"], "--threads"),
        (
            &["serve", "--model", model, "--max-model-len", "9999"],
            "--max-model-len",
        ),
        (
            &["serve", "--model", model, "--quantize", "int3"],
            "quantize",
        ),
        (&["serve", "--model", model, "--device", "tpu"], "device"),
        (
            &[
                "serve",
                "--model",
                model,
                "--listen",
                "127.0.0.1:0",
                "--bogus",
            ],
            "--bogus",
        ),
        (&["bench", "--shape", "huge"], "--shape"),
    ] {
        let output = command().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}
