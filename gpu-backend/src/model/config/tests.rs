//! What a `config.json` is taken to say, family by family, and what is refused by name.

use serde_json::{Value, json};

use super::*;

/// A tiny configuration of `architecture`, with `extra` keys added or replaced.
fn with(architecture: &str, extra: Value) -> Result<ModelConfig, ConfigError> {
    let mut config = json!({"architectures": [architecture], "vocab_size": 10, "hidden_size": 8,
        "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2});
    for (key, value) in extra.as_object().unwrap() {
        config[key] = value.clone();
    }
    ModelConfig::parse(config.to_string().as_bytes())
}

#[track_caller]
fn refused(architecture: &str, extra: Value, says: &str) {
    let error = with(architecture, extra).unwrap_err().to_string();
    assert!(
        error.starts_with("config.json: ") && error.contains(says),
        "{error}"
    );
}

fn plain(theta: f32) -> Rope {
    Rope {
        theta,
        scaling: Scaling::None,
    }
}

#[test]
fn defaults_are_transformers_defaults() {
    let llama = with("LlamaForCausalLM", json!({})).unwrap();
    assert_eq!(
        (llama.kv_heads, llama.head_dim, llama.context),
        (2, 4, 2048)
    );
    assert_eq!(
        (llama.rope, llama.local, llama.tied),
        (plain(10_000.0), None, false)
    );

    let mistral = with("MistralForCausalLM", json!({})).unwrap();
    let local = mistral.local.unwrap();
    assert_eq!((local.window, local.layers), (4096, vec![true, true]));

    let qwen3 = with("Qwen3ForCausalLM", json!({})).unwrap();
    assert!(qwen3.qk_norm && qwen3.local.is_none());
    assert_eq!((qwen3.head_dim, qwen3.context), (128, 32_768));

    let gemma2 = with("Gemma2ForCausalLM", json!({})).unwrap();
    assert_eq!(
        (gemma2.attention_softcap, gemma2.logit_softcap),
        (Some(50.0), Some(30.0))
    );
    assert_eq!((gemma2.head_dim, gemma2.attention_scale), (256, 1.0 / 16.0));
    assert!(gemma2.tied && gemma2.post_norms && gemma2.norms_less_one && !gemma2.qk_norm);
    assert_eq!(gemma2.embedding_scale, Some(8f32.sqrt()));
}

#[test]
fn null_turns_off_what_absence_leaves_on() {
    let mistral = with("MistralForCausalLM", json!({"sliding_window": null})).unwrap();
    assert_eq!(mistral.local, None);
    let off = json!({"attn_logit_softcapping": null, "final_logit_softcapping": null});
    let gemma2 = with("Gemma2ForCausalLM", off).unwrap();
    assert_eq!(
        (gemma2.attention_softcap, gemma2.logit_softcap),
        (None, None)
    );
}

#[test]
fn qwens_window_is_for_the_later_layers_and_only_when_turned_on() {
    let keys = json!({"sliding_window": 4, "max_window_layers": 1, "num_hidden_layers": 3});
    assert_eq!(with("Qwen2ForCausalLM", keys.clone()).unwrap().local, None);
    let mut on = keys;
    on["use_sliding_window"] = true.into();
    let local = with("Qwen2ForCausalLM", on).unwrap().local.unwrap();
    assert_eq!((local.window, local.layers), (4, vec![false, true, true]));
    let biases = with("Qwen2ForCausalLM", json!({"attention_bias": true})).unwrap();
    assert!(biases.qkv_bias && !biases.attention_out_bias);
}

#[test]
fn gemma3_has_its_angles_in_either_spelling() {
    let old = json!({"num_hidden_layers": 7, "rope_theta": 5e5, "rope_local_base_freq": 2e3,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    let new = json!({"num_hidden_layers": 7, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e3}}});
    for keys in [old, new] {
        let config = with("Gemma3ForCausalLM", keys).unwrap();
        let linear = Scaling::Linear { factor: 8.0 };
        let global = Rope {
            theta: 5e5,
            scaling: linear,
        };
        assert_eq!(config.sight(5), (None, &global));
        assert_eq!(config.sight(6), (Some(4096), &plain(2e3)));
        assert_eq!(
            config.local.unwrap().layers,
            [true, true, true, true, true, false, true]
        );
    }
    let default = with("Gemma3ForCausalLM", json!({})).unwrap();
    assert_eq!(
        (default.rope, default.local.unwrap().rope),
        (plain(1e6), plain(1e4))
    );
}

#[test]
fn layer_types_decide_over_the_familys_rule() {
    let types = json!({"layer_types": ["full_attention", "sliding_attention"]});
    let gemma2 = with("Gemma2ForCausalLM", types).unwrap();
    assert_eq!(gemma2.local.unwrap().layers, [false, true]);
    let chunked = json!({"layer_types": ["full_attention", "chunked_attention"]});
    refused(
        "Gemma2ForCausalLM",
        chunked,
        "`layer_types` = chunked_attention",
    );
    refused(
        "Qwen3ForCausalLM",
        json!({"layer_types": []}),
        "`layer_types`",
    );
}

#[test]
fn both_spellings_of_llama3_scaling_are_read() {
    let inner = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    let mut outer = inner.clone();
    outer["rope_theta"] = 5.0.into();
    let old = json!({"rope_theta": 5.0, "rope_scaling": inner});
    let old = with("LlamaForCausalLM", old).unwrap();
    let new = with("LlamaForCausalLM", json!({"rope_parameters": outer})).unwrap();
    assert_eq!(old.rope, new.rope);
    assert!(matches!(
        old.rope.scaling,
        Scaling::Llama3 { factor: 8.0, .. }
    ));
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    const LLAMA: &str = "LlamaForCausalLM";
    for (extra, says) in [
        (json!({"hidden_act": "relu"}), "`hidden_act` = relu"),
        (
            json!({"rope_scaling": {"type": "dynamic"}}),
            "`rope_type` = dynamic",
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope"}}),
            "`rope_type` = longrope",
        ),
        (
            json!({"rope_scaling": {"type": "yarn", "factor": -4.0}}),
            "`factor`",
        ),
        (
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": -1.0}}),
            "`beta_fast`",
        ),
        (
            json!({"rope_theta": 1.0, "rope_scaling": {"type": "yarn", "factor": 4.0}}),
            "`rope_theta`",
        ),
        (json!({"rope_scaling": {"type": "linear"}}), "`factor`"),
        (json!({"rope_theta": -1.0}), "`rope_theta`"),
        (
            json!({"partial_rotary_factor": 0.5}),
            "`partial_rotary_factor` = 0.5",
        ),
        (json!({"num_key_value_heads": 3}), "`num_key_value_heads`"),
        (json!({"num_hidden_layers": 0}), "`num_hidden_layers`"),
        (json!({"head_dim": 5}), "`head_dim`"),
        (
            json!({"quantization_config": {"quant_method": "awq"}}),
            "awq",
        ),
        (json!({"vocab_size": null}), "null"),
    ] {
        refused(LLAMA, extra, says);
    }
    refused(
        "MistralForCausalLM",
        json!({"sliding_window": 0}),
        "`sliding_window`",
    );
    let cap = json!({"attn_logit_softcapping": 50.0});
    refused("Gemma3ForCausalLM", cap, "`attn_logit_softcapping` = 50");
    let both_ways = json!({"use_bidirectional_attention": true});
    refused(
        "Gemma3ForCausalLM",
        both_ways,
        "`use_bidirectional_attention` = true",
    );
}

#[test]
fn an_unknown_architecture_is_named_with_those_that_are_known() {
    refused(
        "FalconForCausalLM",
        json!({}),
        "\"FalconForCausalLM\" is not supported",
    );
    refused("FalconForCausalLM", json!({}), "Qwen3ForCausalLM");
    let none = ModelConfig::parse(b"{}").unwrap_err().to_string();
    assert!(none.contains("architecture \"\""), "{none}");
    let broken = ModelConfig::parse(b"{").unwrap_err().to_string();
    assert!(broken.starts_with("config.json:"), "{broken}");
    let empty = ModelConfig::parse(br#"{"architectures": ["LlamaForCausalLM"]}"#);
    assert!(empty.unwrap_err().to_string().contains("vocab_size"));
}

#[test]
fn yarn_is_read_in_every_spelling_and_stretches_the_context() {
    let spec = json!({"factor": 4.0, "original_max_position_embeddings": 32_768});
    let spelled = |key: &str, positions: usize| {
        let mut scaling = spec.clone();
        scaling[key] = "yarn".into();
        let old = json!({"max_position_embeddings": positions, "rope_theta": 1e6,
            "rope_scaling": scaling.clone()});
        scaling["rope_theta"] = 1e6.into();
        let new = json!({"max_position_embeddings": positions, "rope_parameters": scaling});
        [old, new]
    };
    let all = [spelled("type", 32_768), spelled("rope_type", 40_960)].concat();
    for keys in all {
        let config = with("Qwen3ForCausalLM", keys).unwrap();
        let Scaling::Yarn(yarn) = config.rope.scaling else {
            panic!("{:?}", config.rope);
        };
        assert_eq!(config.context, 131_072);
        assert_eq!((yarn.factor, yarn.original_context), (4.0, 32_768.0));
        assert_eq!((yarn.fast, yarn.slow, yarn.truncate), (32.0, 1.0, true));
    }
    // A file that counts the stretching in already keeps its own number.
    let [counted, _] = spelled("rope_type", 163_840);
    let counted = with("Qwen2ForCausalLM", counted).unwrap();
    assert_eq!(counted.context, 163_840);
}

/// The goldens are transformers'; `tests/golden/yarn/make.py` says how.
#[test]
fn yarns_angles_are_those_of_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/yarn/golden.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let mut parameters = case["rope_parameters"].clone();
        parameters["rope_type"] = "yarn".into();
        let head_dim = case["head_dim"].as_u64().unwrap() as usize;
        let keys = json!({"head_dim": head_dim, "rope_parameters": parameters,
            "max_position_embeddings": case["max_position_embeddings"]});
        let rope = with("LlamaForCausalLM", keys).unwrap().rope;
        let table = crate::model::rope::angles(&rope, head_dim, 2);
        let attention = case["attention"].as_f64().unwrap();
        let close =
            |got: f32, want: f64| (f64::from(got) - want).abs() < 1e-6 * want.abs().max(1e-3);
        let (zero, one) = table.split_at(head_dim);
        let half = head_dim / 2;
        for (i, angle) in case["angles"].as_array().unwrap().iter().enumerate() {
            let angle = angle.as_f64().unwrap();
            assert!(close(zero[i], attention) && zero[half + i] == 0.0, "{case}");
            let (cos, sin) = (attention * angle.cos(), attention * angle.sin());
            let place = format!("{i}: {} {} {cos} {sin} {case}", one[i], one[half + i]);
            assert!(close(one[i], cos) && close(one[half + i], sin), "{place}");
        }
    }
}
