//! The shape of a decoder model, the same for every family: what `config.json` says once
//! `config/file.rs` has read it and `family.rs` has interpreted it.
//! Knows nothing of tensors, and of no family by name.

pub(super) mod file;

#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::Value;

use crate::kernels::Activation;
pub(crate) use file::{OneOrMany, activation, inverse_root};

/// The shape of a decoder model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub vocab: usize,
    pub hidden: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub rms_eps: f32,
    pub activation: Activation,
    /// Of the layers that see everything.
    pub rope: Rope,
    pub local: Option<Local>,
    /// Longest sequence, prompt and answer together, in tokens.
    pub context: usize,
    /// The output matrix is the embedding table.
    pub tied: bool,
    /// Biases of the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias of the attention's output projection.
    pub attention_out_bias: bool,
    pub mlp_bias: bool,
    /// Each query and key head is normed before it is rotated.
    pub qk_norm: bool,
    /// What a half of a layer adds to the residual is normed once more.
    pub post_norms: bool,
    /// Norm weights are written less one.
    pub norms_less_one: bool,
    /// Factor on the embedded tokens.
    pub embedding_scale: Option<f32>,
    /// Factor on the attention's scores.
    pub attention_scale: f32,
    /// Bound of the scaled scores, by tanh.
    pub attention_softcap: Option<f32>,
    /// Bound of the logits, by tanh.
    pub logit_softcap: Option<f32>,
    /// Tokens that end an answer, from `config.json`.
    pub eos: Vec<u32>,
}

/// Layers that see only the latest tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// For each layer, whether it is one of them.
    pub layers: Vec<bool>,
    /// Tokens that such a layer sees, the current one included.
    pub window: usize,
    pub rope: Rope,
}

/// Rotary position angles.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    pub theta: f32,
    pub scaling: Scaling,
}

/// How the angles are stretched to longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    None,
    Linear {
        factor: f32,
    },
    /// Meta's rule for Llama 3.1 and later.
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        original_context: f32,
    },
    Yarn(Yarn),
}

/// YaRN (Peng et al., 2023): fast angles stay, slow ones are divided, and the scores grow.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    pub factor: f32,
    /// Factor on cosines and sines.
    pub attention: f32,
    /// Turns within the original context from which an angle stays as it is.
    pub fast: f64,
    /// Turns up to which it is divided by the whole factor.
    pub slow: f64,
    pub original_context: f32,
    /// The dimensions between which the two are blended are whole numbers.
    pub truncate: bool,
}

/// Why a `config.json` cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("config.json: cannot be read")]
    Read(#[source] std::io::Error),
    #[error("config.json: {0}")]
    Json(serde_json::Error),
    #[error("config.json: architecture {got:?} is not supported; supported: {supported}")]
    Architecture { got: String, supported: String },
    #[error("config.json: `{key}` = {value} is not supported")]
    Unsupported { key: &'static str, value: String },
    #[error("config.json: `{key}` {problem}")]
    Invalid {
        key: &'static str,
        problem: &'static str,
    },
}

impl ModelConfig {
    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// The file is missing, is not JSON, or asks for something that is not computed.
    pub fn read(dir: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(dir)?)
    }

    /// As [`Self::read`], from bytes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let json: Value = serde_json::from_slice(text).map_err(ConfigError::Json)?;
        super::family::config(&architecture(&json), json)
    }

    /// SmolLM2-135M's shape, for the benchmark.
    pub fn smollm2_135m() -> Self {
        Self {
            vocab: 49_152,
            hidden: 576,
            inner: 1_536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            rms_eps: 1e-5,
            activation: Activation::Silu,
            rope: Rope {
                theta: 100_000.0,
                scaling: Scaling::None,
            },
            local: None,
            context: 8_192,
            tied: true,
            qkv_bias: false,
            attention_out_bias: false,
            mlp_bias: false,
            qk_norm: false,
            post_norms: false,
            norms_less_one: false,
            embedding_scale: None,
            attention_scale: 0.125,
            attention_softcap: None,
            logit_softcap: None,
            eos: vec![0],
        }
    }

    /// What layer `index` sees: its window, if it has one, and its angles.
    pub fn sight(&self, index: usize) -> (Option<usize>, &Rope) {
        match &self.local {
            Some(local) if local.layers[index] => (Some(local.window), &local.rope),
            _ => (None, &self.rope),
        }
    }
}

/// The bytes of `dir/config.json`.
pub(crate) fn read(dir: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(dir.join("config.json")).map_err(ConfigError::Read)
}

/// The architecture that a configuration names; of several, all, as no table has them.
pub(crate) fn architecture(json: &Value) -> String {
    let names = json.get("architectures").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(", ")
}

/// `Err` that names `key` unless `holds`.
pub(crate) fn require(
    holds: bool,
    key: &'static str,
    problem: &'static str,
) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError::Invalid { key, problem })
    }
}

/// `Err` that says that this value of `key` is not computed.
pub(crate) fn unsupported<T>(key: &'static str, value: impl ToString) -> Result<T, ConfigError> {
    Err(ConfigError::Unsupported {
        key,
        value: value.to_string(),
    })
}
