//! What a checkpoint's `config.json` says of its shape, checked whole: an
//! architecture, activation or scaling that the engine does not compute is refused.
//! Knows nothing of tensors or files other than this one.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// The shape of a Llama-architecture model.
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
    pub rope: Rope,
    /// Longest sequence, prompt and answer together, in tokens.
    pub context: usize,
    /// The output matrix is the embedding table.
    pub tied: bool,
    pub attention_bias: bool,
    pub mlp_bias: bool,
    /// Tokens that end an answer, from `config.json`.
    pub eos: Vec<u32>,
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
}

/// Why a `config.json` cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("config.json: cannot be read")]
    Read(#[source] std::io::Error),
    #[error("config.json: {0}")]
    Json(serde_json::Error),
    #[error("config.json: architecture {0:?} is not supported; supported: LlamaForCausalLM")]
    Architecture(String),
    #[error("config.json: `{key}` = {value} is not supported")]
    Unsupported { key: &'static str, value: String },
    #[error("config.json: `{key}` {problem}")]
    Invalid {
        key: &'static str,
        problem: &'static str,
    },
}

/// The file as it is written; keys that do not change the computation are left out.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    /// Before transformers 5.
    rope_scaling: Option<Value>,
    /// Since transformers 5.
    rope_parameters: Option<Value>,
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
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

impl ModelConfig {
    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// The file is missing, is not JSON, or asks for something that is not computed.
    pub fn read(dir: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(dir.join("config.json")).map_err(ConfigError::Read)?;
        Self::parse(&text)
    }

    /// As [`Self::read`], from bytes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let file: File = serde_json::from_slice(text).map_err(ConfigError::Json)?;
        match file.architectures.as_slice() {
            [one] if one == "LlamaForCausalLM" => {}
            other => return Err(ConfigError::Architecture(other.join(", "))),
        }
        refuse_unsupported(&file)?;
        let heads = file.num_attention_heads;
        let kv_heads = file.num_key_value_heads.unwrap_or(heads);
        require(
            heads > 0 && kv_heads > 0,
            "num_attention_heads",
            "must be above zero",
        )?;
        require(
            heads.is_multiple_of(kv_heads),
            "num_key_value_heads",
            "must divide the heads",
        )?;
        let head_dim = file.head_dim.unwrap_or(file.hidden_size / heads);
        require(
            head_dim > 0 && head_dim.is_multiple_of(2),
            "head_dim",
            "must be even",
        )?;
        require(file.vocab_size > 0, "vocab_size", "must be above zero")?;
        require(file.hidden_size > 0, "hidden_size", "must be above zero")?;
        require(
            file.intermediate_size > 0,
            "intermediate_size",
            "must be above zero",
        )?;
        require(
            file.num_hidden_layers > 0,
            "num_hidden_layers",
            "must be above zero",
        )?;
        let context = file.max_position_embeddings.unwrap_or(2048);
        require(context > 1, "max_position_embeddings", "must be above one")?;
        Ok(Self {
            vocab: file.vocab_size,
            hidden: file.hidden_size,
            inner: file.intermediate_size,
            layers: file.num_hidden_layers,
            heads,
            kv_heads,
            head_dim,
            rms_eps: file.rms_norm_eps.unwrap_or(1e-6),
            rope: rope(&file)?,
            context,
            tied: file.tie_word_embeddings,
            attention_bias: file.attention_bias,
            mlp_bias: file.mlp_bias,
            eos: file
                .eos_token_id
                .map(OneOrMany::into_vec)
                .unwrap_or_default(),
        })
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
            rope: Rope {
                theta: 100_000.0,
                scaling: Scaling::None,
            },
            context: 8_192,
            tied: true,
            attention_bias: false,
            mlp_bias: false,
            eos: vec![0],
        }
    }
}

fn require(holds: bool, key: &'static str, problem: &'static str) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError::Invalid { key, problem })
    }
}

fn refuse_unsupported(file: &File) -> Result<(), ConfigError> {
    if let Some(act) = file.hidden_act.as_deref()
        && act != "silu"
    {
        return Err(ConfigError::Unsupported {
            key: "hidden_act",
            value: act.to_owned(),
        });
    }
    if let Some(value) = &file.quantization_config {
        let value = value.get("quant_method").unwrap_or(value).to_string();
        return Err(ConfigError::Unsupported {
            key: "quantization_config",
            value,
        });
    }
    Ok(())
}

fn rope(file: &File) -> Result<Rope, ConfigError> {
    let spec = file.rope_parameters.as_ref().or(file.rope_scaling.as_ref());
    let number = |key: &str| spec.and_then(|s| s.get(key)).and_then(Value::as_f64);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "configuration numbers fit f32"
    )]
    let get = |key: &str| number(key).map(|v| v as f32);
    let need = |key: &'static str| {
        get(key)
            .filter(|v| v.is_finite() && *v > 0.0)
            .ok_or(ConfigError::Invalid {
                key,
                problem: "is required by this `rope_type` and must be above zero",
            })
    };
    let theta = get("rope_theta").or(file.rope_theta).unwrap_or(10_000.0);
    let kind = spec
        .and_then(|s| s.get("rope_type").or_else(|| s.get("type")))
        .and_then(Value::as_str)
        .unwrap_or("default");
    let scaling = match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear {
            factor: need("factor")?,
        },
        "llama3" => Scaling::Llama3 {
            factor: need("factor")?,
            low: need("low_freq_factor")?,
            high: need("high_freq_factor")?,
            original_context: need("original_max_position_embeddings")?,
        },
        other => {
            return Err(ConfigError::Unsupported {
                key: "rope_type",
                value: other.to_owned(),
            });
        }
    };
    Ok(Rope { theta, scaling })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(extra: &str) -> Result<ModelConfig, ConfigError> {
        let text = format!(
            r#"{{"architectures":["LlamaForCausalLM"],"vocab_size":10,"hidden_size":8,
            "intermediate_size":16,"num_hidden_layers":1,"num_attention_heads":2{extra}}}"#
        );
        ModelConfig::parse(text.as_bytes())
    }

    #[track_caller]
    fn refused(extra: &str, says: &str) {
        let error = with(extra).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn defaults_are_transformers_defaults() {
        let config = with("").unwrap();
        assert_eq!(
            (config.kv_heads, config.head_dim, config.context),
            (2, 4, 2048)
        );
        assert_eq!(
            config.rope,
            Rope {
                theta: 10_000.0,
                scaling: Scaling::None
            }
        );
        assert!(!config.tied);
    }

    #[test]
    fn both_spellings_of_llama3_scaling_are_read() {
        let inner = r#""rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
            "high_freq_factor":4.0,"original_max_position_embeddings":64"#;
        let old = with(&format!(r#","rope_theta":5.0,"rope_scaling":{{{inner}}}"#)).unwrap();
        let new = with(&format!(
            r#","rope_parameters":{{"rope_theta":5.0,{inner}}}"#
        ))
        .unwrap();
        assert_eq!(old.rope, new.rope);
        assert!(matches!(
            old.rope.scaling,
            Scaling::Llama3 { factor: 8.0, .. }
        ));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        refused(r#","hidden_act":"gelu""#, "`hidden_act` = gelu");
        refused(r#","rope_scaling":{"type":"yarn"}"#, "`rope_type` = yarn");
        refused(r#","rope_scaling":{"type":"linear"}"#, "`factor`");
        refused(r#","num_key_value_heads":3"#, "`num_key_value_heads`");
        refused(r#","head_dim":5"#, "`head_dim`");
        refused(r#","quantization_config":{"quant_method":"awq"}"#, "awq");
        let error = ModelConfig::parse(
            br#"{"architectures":["Gemma2ForCausalLM"],"vocab_size":1,"hidden_size":1,
            "intermediate_size":1,"num_hidden_layers":1,"num_attention_heads":1}"#,
        );
        assert!(error.unwrap_err().to_string().contains("Gemma2ForCausalLM"));
        assert!(
            ModelConfig::parse(b"{")
                .unwrap_err()
                .to_string()
                .starts_with("config.json:")
        );
        assert!(
            ModelConfig::parse(b"{}")
                .unwrap_err()
                .to_string()
                .contains("vocab_size")
        );
    }
}
