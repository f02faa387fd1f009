//! The families of decoder models: how each departs from a Llama, one function a family.
//! Each is checked against transformers' logits by `tests/golden.rs`.
//! Knows nothing of tensors: `loader.rs` and `layer.rs` follow the neutral `ModelConfig`.

use serde_json::{Value, json};

use super::config::file::{File, activation, rope};
use super::config::{ConfigError, Local, ModelConfig, Rope, require, unsupported};

/// From a file to a shape. Keys that a file leaves out mean what transformers'
/// configuration class takes them to mean.
type Read = fn(Value) -> Result<ModelConfig, ConfigError>;

/// The families, by the name in `architectures`.
const FAMILIES: [(&str, Read); 6] = [
    ("LlamaForCausalLM", llama),
    ("MistralForCausalLM", mistral),
    ("Qwen2ForCausalLM", qwen2),
    ("Qwen3ForCausalLM", qwen3),
    ("Gemma2ForCausalLM", gemma2),
    ("Gemma3ForCausalLM", gemma3),
];

/// Reads a `config.json` as its architecture means it.
pub(super) fn config(architecture: &str, json: Value) -> Result<ModelConfig, ConfigError> {
    match FAMILIES.iter().find(|(name, _)| *name == architecture) {
        Some((_, read)) => read(json),
        None => Err(ConfigError::Architecture {
            got: architecture.to_owned(),
            supported: FAMILIES.map(|(name, _)| name).join(", "),
        }),
    }
}

/// Llama 2 and 3, SmolLM2: what the others are compared with.
fn llama(file: Value) -> Result<ModelConfig, ConfigError> {
    File::parse(file, json!({}))?.into_config()
}

/// Mistral: each layer sees a window, where one is given.
fn mistral(file: Value) -> Result<ModelConfig, ConfigError> {
    let absent = json!({"sliding_window": 4096, "max_position_embeddings": 131_072});
    let file = File::parse(file, absent)?;
    let window = file.sliding_window;
    with_window(file.into_config()?, window, |_| true)
}

/// Qwen 2 and 2.5: biases on queries, keys and values, and on nothing else.
fn qwen2(file: Value) -> Result<ModelConfig, ConfigError> {
    let absent = json!({"sliding_window": 4096, "max_position_embeddings": 32_768});
    let file = File::parse(file, absent)?;
    let (window, local) = (file.qwen_window(), file.qwen_local()?);
    let config = ModelConfig {
        qkv_bias: true,
        attention_out_bias: false,
        ..file.into_config()?
    };
    with_window(config, window, |layer| local[layer])
}

/// Qwen 3: a norm on each query and key head.
fn qwen3(file: Value) -> Result<ModelConfig, ConfigError> {
    let absent = json!({"head_dim": 128, "sliding_window": 4096,
        "max_position_embeddings": 32_768});
    let file = File::parse(file, absent)?;
    let (window, local) = (file.qwen_window(), file.qwen_local()?);
    let config = ModelConfig {
        qk_norm: true,
        ..file.into_config()?
    };
    with_window(config, window, |layer| local[layer])
}

/// Gemma 2: scores and logits bounded, every second layer local.
fn gemma2(file: Value) -> Result<ModelConfig, ConfigError> {
    let absent = json!({"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
        "max_position_embeddings": 8192});
    let file = gemma_file(file, absent)?;
    let window = file.sliding_window;
    let local = file.layers_by_type(|layer| layer % 2 == 0)?;
    let (attention, logits) = (file.attn_logit_softcapping, file.final_logit_softcapping);
    let config = ModelConfig {
        attention_softcap: positive(attention, "attn_logit_softcapping")?,
        logit_softcap: positive(logits, "final_logit_softcapping")?,
        ..gemma(file)?
    };
    with_window(config, window, |layer| local[layer])
}

/// Gemma 3, text: norms on query and key heads, five local layers with angles of their
/// own to each that sees everything.
fn gemma3(file: Value) -> Result<ModelConfig, ConfigError> {
    let absent = json!({"max_position_embeddings": 131_072, "sliding_window_pattern": 6});
    let mut file = gemma_file(file, absent)?;
    if let Some(cap) = file.attn_logit_softcapping {
        return unsupported("attn_logit_softcapping", cap);
    }
    let window = file.sliding_window;
    let pattern = file.sliding_window_pattern.unwrap_or(6);
    require(pattern > 0, "sliding_window_pattern", "must be above zero")?;
    let local = file.layers_by_type(|layer| !(layer + 1).is_multiple_of(pattern))?;
    let logits = file.final_logit_softcapping;
    let by_type = file.rope_parameters.take();
    let of = |kind: &str| by_type.as_ref().and_then(|spec| spec.get(kind));
    let local_theta = file.rope_local_base_freq.unwrap_or(10_000.0);
    let context = file.context();
    let local_rope = rope(of("sliding_attention"), local_theta, context)?;
    let global_theta = file.rope_theta.unwrap_or(1_000_000.0);
    let global = of("full_attention").or(file.rope_scaling.as_ref());
    let config = ModelConfig {
        rope: rope(global, global_theta, context)?,
        qk_norm: true,
        logit_softcap: positive(logits, "final_logit_softcapping")?,
        ..gemma(file)?
    };
    let mut config = with_window(config, window, |layer| local[layer])?;
    if let Some(local) = &mut config.local {
        local.rope = local_rope;
    }
    Ok(config)
}

/// A Gemma's file; `absent` adds what its generation takes absent keys to mean.
fn gemma_file(file: Value, mut absent: Value) -> Result<File, ConfigError> {
    absent["head_dim"] = 256.into();
    absent["query_pre_attn_scalar"] = 256.into();
    absent["sliding_window"] = 4096.into();
    absent["tie_word_embeddings"] = true.into();
    File::parse(file, absent)
}

/// What Gemma 2 and 3 share: norms round both sides of each half, weights of norms less
/// one, embeddings times √hidden, GELU, a factor on the scores of their own, tied.
fn gemma(mut file: File) -> Result<ModelConfig, ConfigError> {
    if file.use_bidirectional_attention == Some(true) {
        return unsupported("use_bidirectional_attention", true);
    }
    let curve = file.hidden_activation.take();
    let curve = curve.as_deref().unwrap_or("gelu_pytorch_tanh");
    let curve = activation("hidden_activation", curve)?;
    file.hidden_act = None;
    let scalar = file.query_pre_attn_scalar.unwrap_or(256.0);
    require(scalar > 0.0, "query_pre_attn_scalar", "must be above zero")?;
    let config = file.into_config()?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "hidden sizes are far below 2^24"
    )]
    let hidden = config.hidden as f32;
    Ok(ModelConfig {
        activation: curve,
        post_norms: true,
        norms_less_one: true,
        embedding_scale: Some(hidden.sqrt()),
        attention_scale: 1.0 / scalar.sqrt(),
        ..config
    })
}

impl File {
    /// Qwen's window, which `use_sliding_window` turns on.
    fn qwen_window(&self) -> Option<usize> {
        self.sliding_window.filter(|_| self.use_sliding_window)
    }

    /// Qwen's layers from `max_window_layers` on are local.
    fn qwen_local(&self) -> Result<Vec<bool>, ConfigError> {
        let first = self.max_window_layers.unwrap_or(28);
        self.layers_by_type(|layer| layer >= first)
    }

    /// For each layer whether it is local: as `layer_types` says, or else by the family's
    /// own rule.
    fn layers_by_type(&self, rule: impl Fn(usize) -> bool) -> Result<Vec<bool>, ConfigError> {
        let Some(types) = &self.layer_types else {
            return Ok((0..self.num_hidden_layers).map(rule).collect());
        };
        let all = types.len() == self.num_hidden_layers;
        require(all, "layer_types", "must have an entry for each layer")?;
        let local = |kind: &String| match kind.as_str() {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => unsupported("layer_types", other),
        };
        types.iter().map(local).collect()
    }
}

/// `config` with a window on the layers that are `local`, with the same angles.
fn with_window(
    config: ModelConfig,
    window: Option<usize>,
    local: impl Fn(usize) -> bool,
) -> Result<ModelConfig, ConfigError> {
    let Some(window) = window else {
        return Ok(config);
    };
    require(window > 0, "sliding_window", "must be above zero")?;
    let rope: Rope = config.rope.clone();
    let layers: Vec<bool> = (0..config.layers).map(local).collect();
    let local = layers.contains(&true).then_some(Local {
        layers,
        window,
        rope,
    });
    Ok(ModelConfig { local, ..config })
}

/// A bound that is absent or above zero.
fn positive(bound: Option<f32>, key: &'static str) -> Result<Option<f32>, ConfigError> {
    let fine = bound.is_none_or(|bound| bound.is_finite() && bound > 0.0);
    require(fine, key, "must be above zero")?;
    Ok(bound)
}
