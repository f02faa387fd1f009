//! `config.json` as Hugging Face writes it: the keys that all decoder families share, in
//! the spellings before and since transformers 5.
//! Knows no family: what a missing or a special key means to one is in `family.rs`.

use serde::Deserialize;
use serde_json::Value;

use super::{ConfigError, ModelConfig, Rope, Scaling, Yarn, require, unsupported};
use crate::kernels::Activation;

/// The file; keys that do not change the computation are left out.
#[derive(Deserialize)]
pub(in crate::model) struct File {
    pub(in crate::model) vocab_size: usize,
    pub(in crate::model) hidden_size: usize,
    pub(in crate::model) intermediate_size: usize,
    pub(in crate::model) num_hidden_layers: usize,
    pub(in crate::model) num_attention_heads: usize,
    pub(in crate::model) num_key_value_heads: Option<usize>,
    pub(in crate::model) head_dim: Option<usize>,
    pub(in crate::model) rms_norm_eps: Option<f32>,
    pub(in crate::model) max_position_embeddings: Option<usize>,
    pub(in crate::model) tie_word_embeddings: Option<bool>,
    #[serde(default)]
    pub(in crate::model) attention_bias: bool,
    #[serde(default)]
    pub(in crate::model) mlp_bias: bool,
    pub(in crate::model) hidden_act: Option<String>,
    /// Gemma's name for `hidden_act`.
    pub(in crate::model) hidden_activation: Option<String>,
    pub(in crate::model) rope_theta: Option<f32>,
    /// Gemma 3, of the layers with a window; before transformers 5.
    pub(in crate::model) rope_local_base_freq: Option<f32>,
    /// Before transformers 5.
    pub(in crate::model) rope_scaling: Option<Value>,
    /// Since transformers 5: `theta` and scaling together, Gemma 3's by type of layer.
    pub(in crate::model) rope_parameters: Option<Value>,
    pub(in crate::model) partial_rotary_factor: Option<f32>,
    pub(in crate::model) sliding_window: Option<usize>,
    #[serde(default)]
    pub(in crate::model) use_sliding_window: bool,
    pub(in crate::model) max_window_layers: Option<usize>,
    /// Every so many layers one sees everything; before `layer_types`.
    pub(in crate::model) sliding_window_pattern: Option<usize>,
    pub(in crate::model) layer_types: Option<Vec<String>>,
    pub(in crate::model) query_pre_attn_scalar: Option<f32>,
    pub(in crate::model) attn_logit_softcapping: Option<f32>,
    pub(in crate::model) final_logit_softcapping: Option<f32>,
    pub(in crate::model) use_bidirectional_attention: Option<bool>,
    eos_token_id: Option<OneOrMany>,
    quantization_config: Option<Value>,
}

/// A token id or a list of them, as both `config.json` and `generation_config.json` write it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

impl File {
    /// `absent` has the family's own meaning of keys that are not there, which is not
    /// that of keys that are `null`.
    pub(in crate::model) fn parse(mut json: Value, absent: Value) -> Result<Self, ConfigError> {
        if let (Some(keys), Value::Object(absent)) = (json.as_object_mut(), absent) {
            for (key, value) in absent {
                keys.entry(key).or_insert(value);
            }
        }
        serde_json::from_value(json).map_err(ConfigError::Json)
    }

    /// What the families share, which is a Llama's shape: every layer sees everything,
    /// nothing is bounded, no norm but the two of a layer.
    pub(in crate::model) fn into_config(self) -> Result<ModelConfig, ConfigError> {
        if let Some(value) = &self.quantization_config {
            let method = value.get("quant_method").unwrap_or(value);
            return unsupported("quantization_config", method);
        }
        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        for (value, key) in [
            (heads, "num_attention_heads"),
            (kv_heads, "num_key_value_heads"),
            (self.vocab_size, "vocab_size"),
            (self.hidden_size, "hidden_size"),
            (self.intermediate_size, "intermediate_size"),
            (self.num_hidden_layers, "num_hidden_layers"),
        ] {
            require(value > 0, key, "must be above zero")?;
        }
        let divides = heads.is_multiple_of(kv_heads);
        require(divides, "num_key_value_heads", "must divide the heads")?;
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / heads);
        let even = head_dim > 0 && head_dim.is_multiple_of(2);
        require(even, "head_dim", "must be even")?;
        let context = self.context();
        require(context > 1, "max_position_embeddings", "must be above one")?;
        let rope = self.rope()?;
        let context = context.max(rope.context());
        Ok(ModelConfig {
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads,
            kv_heads,
            head_dim,
            rms_eps: self.rms_norm_eps.unwrap_or(1e-6),
            activation: activation("hidden_act", self.hidden_act.as_deref().unwrap_or("silu"))?,
            rope,
            local: None,
            context,
            tied: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: self.attention_bias,
            attention_out_bias: self.attention_bias,
            mlp_bias: self.mlp_bias,
            qk_norm: false,
            post_norms: false,
            norms_less_one: false,
            embedding_scale: None,
            attention_scale: inverse_root(head_dim),
            attention_softcap: None,
            logit_softcap: None,
            eos: self
                .eos_token_id
                .map(OneOrMany::into_vec)
                .unwrap_or_default(),
        })
    }

    /// Longest sequence of tokens before any stretching that the file does not count in.
    pub(in crate::model) fn context(&self) -> usize {
        self.max_position_embeddings.unwrap_or(2048)
    }

    /// The angles, where all layers have the same.
    fn rope(&self) -> Result<Rope, ConfigError> {
        if let Some(part) = self.partial_rotary_factor.filter(|part| *part != 1.0) {
            return unsupported("partial_rotary_factor", part);
        }
        let spec = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        rope(spec, self.rope_theta.unwrap_or(10_000.0), self.context())
    }
}

impl Rope {
    /// Tokens that the angles are stretched to, where the rule says; vLLM takes that for
    /// the model's context as well.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of tokens, above zero"
    )]
    fn context(&self) -> usize {
        match &self.scaling {
            Scaling::Yarn(yarn) => (yarn.original_context * yarn.factor) as usize,
            Scaling::None | Scaling::Linear { .. } | Scaling::Llama3 { .. } => 0,
        }
    }
}

/// 1/√n.
pub(crate) fn inverse_root(n: usize) -> f32 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a head has a few hundred dimensions"
    )]
    let n = n as f32;
    1.0 / n.sqrt()
}

/// An activation by transformers' name for it.
pub(crate) fn activation(key: &'static str, name: &str) -> Result<Activation, ConfigError> {
    match name {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::GeluErf),
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(Activation::GeluTanh),
        other => unsupported(key, other),
    }
}

/// The numbers of `rope_scaling` or `rope_parameters`.
#[derive(Clone, Copy)]
struct Spec<'a>(Option<&'a Value>);

impl Spec<'_> {
    fn number(self, key: &str) -> Option<f64> {
        self.0?.get(key)?.as_f64()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "configuration numbers fit f32"
    )]
    fn get(self, key: &str) -> Option<f32> {
        self.number(key).map(|v| v as f32)
    }

    fn need(self, key: &'static str) -> Result<f32, ConfigError> {
        let value = self.get(key).filter(|v| v.is_finite() && *v > 0.0);
        value.ok_or(ConfigError::Invalid {
            key,
            problem: "is required by this `rope_type` and must be above zero",
        })
    }
}

/// Angles as `rope_scaling` or `rope_parameters` describe them; `theta` and `context`
/// where they do not.
pub(in crate::model) fn rope(
    value: Option<&Value>,
    theta: f32,
    context: usize,
) -> Result<Rope, ConfigError> {
    let spec = Spec(value);
    if let Some(part) = spec
        .get("partial_rotary_factor")
        .filter(|part| *part != 1.0)
    {
        return unsupported("partial_rotary_factor", part);
    }
    let theta = spec.get("rope_theta").unwrap_or(theta);
    let positive = theta.is_finite() && theta > 0.0;
    require(positive, "rope_theta", "must be above zero")?;
    let kind = value
        .and_then(|s| s.get("rope_type").or_else(|| s.get("type")))
        .and_then(Value::as_str)
        .unwrap_or("default");
    let scaling = match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear {
            factor: spec.need("factor")?,
        },
        "llama3" => Scaling::Llama3 {
            factor: spec.need("factor")?,
            low: spec.need("low_freq_factor")?,
            high: spec.need("high_freq_factor")?,
            original_context: spec.need("original_max_position_embeddings")?,
        },
        "yarn" => {
            require(theta > 1.0, "rope_theta", "must be above one for yarn")?;
            Scaling::Yarn(yarn(spec, context)?)
        }
        other => return unsupported("rope_type", other),
    };
    Ok(Rope { theta, scaling })
}

/// As transformers' `_compute_yarn_parameters` reads it: what is zero counts as absent.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "contexts are far below 2^24 or powers of two"
)]
fn yarn(spec: Spec<'_>, context: usize) -> Result<Yarn, ConfigError> {
    let nonzero = |key: &str| spec.number(key).filter(|v| *v != 0.0);
    let above_zero = |key: &'static str, absent: f64| {
        let value = nonzero(key).unwrap_or(absent);
        require(value.is_finite() && value > 0.0, key, "must be above zero")?;
        Ok(value)
    };
    let original = above_zero("original_max_position_embeddings", context as f64)?;
    let factor = above_zero("factor", context as f64 / original)?;
    let growth = |mscale: f64| match factor > 1.0 {
        true => 0.1 * mscale * factor.ln() + 1.0,
        false => 1.0,
    };
    let of_paper = match (nonzero("mscale"), nonzero("mscale_all_dim")) {
        (Some(part), Some(all)) => growth(part) / growth(all),
        _ => growth(1.0),
    };
    let attention = spec.number("attention_factor").unwrap_or(of_paper);
    require(attention.is_finite(), "attention_factor", "must be finite")?;
    let truncate = spec.0.and_then(|s| s.get("truncate")?.as_bool());
    Ok(Yarn {
        factor: factor as f32,
        attention: attention as f32,
        fast: above_zero("beta_fast", 32.0)?,
        slow: above_zero("beta_slow", 1.0)?,
        original_context: original as f32,
        truncate: truncate.unwrap_or(true),
    })
}
