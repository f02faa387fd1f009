//! What `/v1/completions`, `n`, echo and the fields of an answer do on a real server.

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};

use crate::harness::{CONTEXT, Server, chat};

const PATH: &str = "/v1/completions";

fn completion(extra: Json) -> Json {
    let mut fields = json!({"model": "tiny", "prompt": "Once upon a time", "ignore_eos": true});
    for (key, value) in extra.as_object().unwrap() {
        fields[key] = value.clone();
    }
    fields
}

async fn complete(server: &Server, extra: Json) -> Json {
    let (status, answer) = server.ask(PATH, completion(extra)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

fn numbers(list: &Json) -> Vec<f64> {
    list.as_array()
        .unwrap()
        .iter()
        .filter_map(Json::as_f64)
        .collect()
}

fn texts(answer: &Json) -> Vec<&str> {
    let choices = answer["choices"].as_array().unwrap();
    choices
        .iter()
        .map(|c| c["text"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_answers_differ_and_come_again_with_the_seed() {
    let server = Server::start(&[]);
    let fields = |n: usize| json!({"n": n, "seed": 11, "max_tokens": 24, "temperature": 1.0});
    let three = complete(&server, fields(3)).await;
    let one = complete(&server, fields(1)).await;
    let said = texts(&three);
    assert_eq!(
        said[0],
        texts(&one)[0],
        "the first is drawn with the seed itself"
    );
    assert!(said[0] != said[1] && said[1] != said[2] && said[0] != said[2]);
    assert_eq!(texts(&complete(&server, fields(3)).await), said);
    let usage = &three["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(16), &json!(72))
    );

    // In a busy batch, streamed, the same.
    let crowd = (0..12).map(|i| complete(&server, json!({"seed": i, "max_tokens": 40})));
    let stream = server.stream_of(PATH, completion(fields(3)));
    let (events, _) =
        futures_util::future::join(stream, futures_util::future::join_all(crowd)).await;
    let mut streamed = vec![String::new(); 3];
    for event in events.iter().filter(|e| *e != "[DONE]") {
        let chunk: Json = serde_json::from_str(event).unwrap();
        let choice = &chunk["choices"][0];
        let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        streamed[index] += choice["text"].as_str().unwrap();
    }
    assert_eq!(streamed, said);
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_as_text_and_as_tokens_say_the_same() {
    let server = Server::start(&[]);
    let fields = json!({"temperature": 0, "max_tokens": 8});
    let with = |prompt: Json| {
        let mut fields = fields.clone();
        fields["prompt"] = prompt;
        fields
    };
    let text = complete(&server, with(json!("Hi"))).await;
    let tokens = complete(&server, with(json!([72, 105]))).await;
    assert_eq!(texts(&text), texts(&tokens));
    let both = complete(&server, with(json!(["Hi", "Ho there"]))).await;
    let other = complete(&server, with(json!("Ho there"))).await;
    assert_eq!(texts(&both), [texts(&text)[0], texts(&other)[0]]);
    assert_eq!(both["usage"]["prompt_tokens"], 2 + 8);
    let kept = complete(
        &server,
        json!({"prompt": "__Hi", "truncate_prompt_tokens": 2,
        "temperature": 0, "max_tokens": 8}),
    )
    .await;
    assert_eq!(
        (texts(&kept), &kept["usage"]["prompt_tokens"]),
        (texts(&text), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echoed_answer_is_scored_as_it_was_generated() {
    // Chunks of 8 tokens: a prompt is scored piece by piece.
    let server = Server::start(&["--max-num-batched-tokens", "8"]);
    let fields =
        json!({"prompt": "Hello there", "temperature": 0, "max_tokens": 20, "logprobs": 2});
    let generated = complete(&server, fields).await;
    let lists = &generated["choices"][0]["logprobs"];
    let (tokens, generated) = (&lists["tokens"], numbers(&lists["token_logprobs"]));
    assert_eq!(
        (tokens.as_array().unwrap().len(), generated.len()),
        (20, 20)
    );

    // The answer's ids are its bytes, unless a token is special or an added one.
    let prompt: Vec<u32> = b"Hello there".iter().map(|b| u32::from(*b)).collect();
    let scored = complete(
        &server,
        json!({"prompt": [prompt, prompt], "echo": true,
        "max_tokens": 0, "logprobs": 1}),
    )
    .await;
    assert_eq!(texts(&scored), ["Hello there", "Hello there"]);
    assert_eq!(scored["usage"]["completion_tokens"], 0);
    assert_eq!(scored["choices"][0]["finish_reason"], "length");
    let lists = &scored["choices"][0]["logprobs"];
    assert_eq!(lists["token_logprobs"][0], Json::Null);
    assert_eq!(lists["top_logprobs"][0], Json::Null);
    assert_eq!(lists["text_offset"], json!((0..11).collect::<Vec<_>>()));
    assert_eq!(numbers(&lists["token_logprobs"]).len(), 10);

    // One more token, as evaluation harnesses ask: the prompt's part is the same, and
    // the token after it the one that was generated first.
    let one = complete(
        &server,
        json!({"prompt": prompt, "echo": true, "max_tokens": 1,
        "logprobs": 1, "temperature": 0}),
    )
    .await;
    let all = numbers(&one["choices"][0]["logprobs"]["token_logprobs"]);
    assert_eq!(all[..10], numbers(&lists["token_logprobs"])[..]);
    assert_eq!(all[10], generated[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_as_long_as_the_context_can_be_scored_but_not_continued() {
    let server = Server::start(&["--max-model-len", "64"]);
    let full = "a".repeat(64);
    let scored = complete(
        &server,
        json!({"prompt": full, "echo": true, "max_tokens": 0,
        "logprobs": 0}),
    )
    .await;
    assert_eq!(
        numbers(&scored["choices"][0]["logprobs"]["token_logprobs"]).len(),
        63
    );
    for (prompt, param) in [
        (full, "prompt"),
        ("a".repeat(CONTEXT), "prompt"),
        (String::new(), "prompt"),
    ] {
        let (status, error) = server
            .ask(PATH, completion(json!({"prompt": prompt})))
            .await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (StatusCode::BAD_REQUEST, &json!(param))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_an_answer_is_told_and_shown_as_asked() {
    let server = Server::start(&[]);
    let biased = |extra: Json| {
        let mut fields = json!({"temperature": 0, "max_tokens": 6, "logit_bias": {"97": 100}});
        for (key, value) in extra.as_object().unwrap() {
            fields[key] = value.clone();
        }
        fields
    };
    let end = async |extra: Json| {
        let answer = complete(&server, biased(extra)).await;
        let choice = &answer["choices"][0];
        (
            choice["text"].clone(),
            choice["finish_reason"].clone(),
            choice["stop_reason"].clone(),
        )
    };
    let want = |text: &str, finish: &str, reason: Json| (json!(text), json!(finish), reason);
    assert_eq!(end(json!({})).await, want("aaaaaa", "length", Json::Null));
    assert_eq!(
        end(json!({"stop": "aaa"})).await,
        want("", "stop", json!("aaa"))
    );
    let shown = json!({"stop": "aaa", "include_stop_str_in_output": true});
    assert_eq!(end(shown).await, want("aaa", "stop", json!("aaa")));
    let later = json!({"stop": "a", "min_tokens": 4, "include_stop_str_in_output": true});
    assert_eq!(end(later).await, want("aaaa", "stop", json!("a")));
    let token = json!({"stop_token_ids": [97]});
    assert_eq!(end(token).await, want("", "stop", json!(97)));
    let shown = json!({"stop_token_ids": [97], "include_stop_str_in_output": true});
    assert_eq!(end(shown).await, want("a", "stop", json!(97)));
    // The end of a turn is not asked for by the caller, so it is no reason; with a least
    // number of tokens it is held back so long.
    let eos = json!({"logit_bias": {"257": 100, "98": 50}, "ignore_eos": false, "min_tokens": 2});
    assert_eq!(end(eos).await, want("bb", "stop", Json::Null));
    let special = json!({"logit_bias": {"256": 100}, "max_tokens": 1});
    assert_eq!(end(special.clone()).await.0, "");
    let mut shown = special;
    shown["skip_special_tokens"] = false.into();
    assert_eq!(end(shown).await.0, "<|im_start|>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_all_its_answers() {
    let server = Server::start(&["--max-num-seqs", "8"]);
    let fields = json!({"n": 6, "max_tokens": 2000, "ignore_eos": true, "stream": true});
    let stream = server
        .send(server.post(chat(fields.clone()).to_string()))
        .await;
    let mut body = stream.into_body();
    for _ in 0..8 {
        body.frame().await.unwrap().unwrap();
    }
    let (_, load) = server.get("/load").await;
    assert_eq!(load, r#"{"server_load":1}"#);
    drop(body);
    server.until("skerry:requests_cancelled_total", 6.0).await;
    server.until("vllm:num_requests_running", 0.0).await;
    let (_, load) = server.get("/load").await;
    assert_eq!(load, r#"{"server_load":0}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_queue_as_a_whole_leaves_nothing_behind() {
    let server = Server::start(&["--max-num-seqs", "2", "--max-queue", "1"]);
    let (status, _) = server
        .ask(PATH, completion(json!({"n": 4, "max_tokens": 500})))
        .await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    server.until("skerry:requests_cancelled_total", 3.0).await;
    assert_eq!(
        texts(&complete(&server, json!({"n": 3, "max_tokens": 1})).await).len(),
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_found_by_name() {
    let server = Server::start(&["--served-model-name", "org/tiny"]);
    let (status, model) = server.get("/v1/models/org/tiny").await;
    assert_eq!(status, StatusCode::OK);
    assert!(model.contains(r#""id":"org/tiny""#));
    assert_eq!(
        server.get("/v1/models/other").await.0,
        StatusCode::NOT_FOUND
    );
}
