//! The encoder's handle: texts in, checks, the bounded queue, both tasks; and what its
//! configuration refuses. What the model computes is compared with transformers in
//! `tests/encoder.rs`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::{EncoderConfig, Pooling};
use super::*;

/// A copy of a golden model's directory with a tokenizer of its own: whole words `w3` …
/// `w112`, between `[CLS]` and `[SEP]`.
fn directory(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new("tests/golden").join(name), dir.path());
    let vocab: serde_json::Map<String, Value> = (0..113u32)
        .map(|id| match id {
            0 => ("[UNK]".to_owned(), json!(0)),
            1 => ("[CLS]".to_owned(), json!(1)),
            2 => ("[SEP]".to_owned(), json!(2)),
            id => (format!("w{id}"), json!(id)),
        })
        .collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    };
    let token = |id: &str, kind: u32| json!({"SpecialToken": {"id": id, "type_id": kind}});
    let text = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let tokenizer = json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst",
            "stride": 0},
        "padding": {"strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"},
        "added_tokens": [special(1, "[CLS]"), special(2, "[SEP]")],
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)],
            "pair": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0), text("B", 1),
                token("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]},
            },
        },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    });
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

fn options() -> Options {
    Options {
        threads: 2,
        queue_max: 2,
        step_tokens_max: 40,
        ..Options::default()
    }
}

fn open(name: &str) -> Encoder {
    Encoder::open(directory(name).path(), &options()).unwrap()
}

fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn texts_become_vectors_of_length_one_whatever_else_is_asked_at_the_same_time() {
    let encoder = open("minilm");
    assert_eq!(encoder.task(), Task::Embed { dimensions: 48 });
    let inputs: Vec<Vec<u32>> = (3..20)
        .map(|i| {
            let text: Vec<String> = (3..3 + i).map(|w| format!("w{w}")).collect();
            encoder.tokens(&text.join(" ")).unwrap()
        })
        .collect();
    assert_eq!(inputs[0], [1, 3, 4, 5, 2], "neither cut nor padded");
    let together = encoder.embed_blocking(inputs.clone()).unwrap();
    for (input, vector) in inputs.into_iter().zip(&together) {
        let alone = encoder.embed_blocking(vec![input]).unwrap();
        assert!(near(&alone[0], vector));
        let length: f32 = vector.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
    assert_eq!(
        encoder.embed_blocking(vec![]).unwrap(),
        Vec::<Vec<f32>>::new()
    );
}

#[test]
fn documents_are_scored_in_order() {
    let encoder = open("cross");
    assert_eq!(encoder.task(), Task::Score);
    let documents: Vec<String> = ["w7 w8", "w9", "w10 w11 w12"].map(str::to_owned).to_vec();
    let scores = encoder.score_blocking("w3 w4", &documents).unwrap();
    assert_eq!(scores.prompt_tokens, 7 + 6 + 8);
    for (document, score) in documents.iter().zip(&scores.values) {
        let alone = encoder
            .score_blocking("w3 w4", std::slice::from_ref(document))
            .unwrap();
        assert!(near(&alone.values, &[*score]) && *score > 0.0 && *score < 1.0);
    }
    let other = encoder.score_blocking("w9 w4", &documents).unwrap();
    assert!(!near(&other.values, &scores.values), "the query counts");
}

#[test]
fn special_tokens_in_a_text_are_text() {
    let encoder = open("cross");
    let pair = encoder.tokenizer.encode_pair("w3 [SEP] w4", "w5").unwrap();
    assert_eq!(pair.0.iter().filter(|id| **id == 2).count(), 2);
    assert_eq!(pair.1.iter().filter(|kind| **kind == 1).count(), 2);
}

#[test]
fn what_an_input_may_not_be_is_said_with_its_index() {
    let encoder = open("bge");
    let refused = |inputs: Vec<Vec<u32>>, says: &str| {
        let error = encoder.embed_blocking(inputs).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(vec![vec![1, 2], vec![]], "input 1 is empty");
    refused(
        vec![vec![1; 65]],
        "input 0 has 65 tokens; the model takes 64",
    );
    refused(vec![vec![1], vec![1, 113]], "input 1: token 113 is not");
    let error = encoder.score_blocking("w3", &[]).unwrap_err().to_string();
    assert!(error.contains("does not score"), "{error}");
    let error = open("cross")
        .embed_blocking(vec![vec![1]])
        .unwrap_err()
        .to_string();
    assert!(error.contains("makes no embeddings"), "{error}");
}

#[tokio::test]
async fn the_queue_is_bounded_and_who_leaves_is_forgotten() {
    let encoder = open("minilm");
    let inputs = vec![vec![3; 64]; 400];
    let mut waiting = Vec::new();
    let busy = loop {
        match encoder.send(encoder.embeddings(inputs.clone()).unwrap()) {
            Ok(reply) => waiting.push(reply),
            Err(error) => break error,
        }
        assert!(waiting.len() < 50, "the queue never fills");
    };
    assert!(matches!(busy, EncodeError::Busy));
    drop(waiting);
    // What was dropped is skipped: the queue has room again soon.
    loop {
        match encoder.embed(vec![vec![3, 4]]).await {
            Ok(vectors) => break assert_eq!(vectors.len(), 1),
            Err(EncodeError::Busy) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

fn config(name: &str, change: impl Fn(&mut Value)) -> Result<EncoderConfig, String> {
    let dir = directory(name);
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
    EncoderConfig::read(dir.path()).map_err(|e| e.to_string())
}

#[test]
fn the_head_is_what_the_directory_says() {
    let head = |name: &str| config(name, |_| {}).unwrap().head;
    let (pooling, normalise) = (Pooling::Mean, true);
    assert_eq!(head("minilm"), Head::Embedding { pooling, normalise });
    let pooling = Pooling::Cls;
    assert_eq!(head("bge"), Head::Embedding { pooling, normalise });
    assert_eq!(head("cross"), Head::Score { sigmoid: true });
    for keys in [
        json!({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}),
        json!({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}),
    ] {
        let change = |config: &mut Value| {
            let config = config.as_object_mut().unwrap();
            config.extend(keys.as_object().unwrap().clone());
        };
        assert_eq!(
            self::config("cross", change).unwrap().head,
            Head::Score { sigmoid: false }
        );
    }
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let refused = |name: &str, key: &str, value: Value, says: &str| {
        let error = config(name, |config| config[key] = value.clone()).unwrap_err();
        assert!(error.contains(says), "{error}");
    };
    refused(
        "minilm",
        "architectures",
        json!(["T5Model"]),
        "\"T5Model\" is not supported",
    );
    refused(
        "minilm",
        "position_embedding_type",
        json!("relative_key"),
        "relative_key",
    );
    refused("minilm", "hidden_act", json!("tanh"), "`hidden_act` = tanh");
    refused(
        "minilm",
        "num_attention_heads",
        json!(5),
        "`num_attention_heads`",
    );
    refused("cross", "id2label", json!({"0": "a", "1": "b"}), "2 labels");
    refused(
        "cross",
        "sentence_transformers",
        json!({"activation_fn": "torch.nn.Softmax"}),
        "`activation_fn` = Softmax",
    );
    let dir = directory("minilm");
    let write = |path: &str, value: Value| {
        std::fs::write(dir.path().join(path), value.to_string()).unwrap();
        EncoderConfig::read(dir.path()).unwrap_err().to_string()
    };
    let error = write(
        "1_Pooling/config.json",
        json!({"pooling_mode_max_tokens": true}),
    );
    assert!(
        error.contains("`pooling_mode_max_tokens` = true"),
        "{error}"
    );
    let dense = json!([{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]);
    assert!(write("modules.json", dense).contains("Dense"));
}

#[test]
fn encoders_are_told_from_decoders_and_missing_tensors_are_named() {
    let path = |name: &str| PathBuf::from("tests/golden").join(name);
    assert!(is_encoder(&path("cross")).unwrap());
    assert!(!is_encoder(&path("qwen3")).unwrap());
    let dir = directory("minilm");
    std::fs::copy(
        path("llama3").join("model.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .unwrap();
    let error = Encoder::open(dir.path(), &options())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("embeddings.word_embeddings.weight` is missing"),
        "{error}"
    );
}
