//! What an encoder's directory says: the shape in `config.json`, and in the files of
//! sentence-transformers how token vectors become one and what a score is.
//! Knows nothing of tensors.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kernels::{Activation, AttentionShape};
use crate::model::config::{self, ConfigError, activation, inverse_root, require, unsupported};

/// What stands in `architectures`, and what it means.
const ARCHITECTURES: [(&str, Family, bool); 6] = [
    ("BertModel", Family::Bert, false),
    ("BertForSequenceClassification", Family::Bert, true),
    ("RobertaModel", Family::Roberta, false),
    ("RobertaForSequenceClassification", Family::Roberta, true),
    ("XLMRobertaModel", Family::Roberta, false),
    ("XLMRobertaForSequenceClassification", Family::Roberta, true),
];

/// How the two kinds of encoder differ: names of tensors, the first position, the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Bert,
    /// RoBERTa and XLM-R: positions start after the padding token's id.
    Roberta,
}

/// The shape of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    pub family: Family,
    pub vocab: usize,
    pub hidden: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    pub activation: Activation,
    pub norm_eps: f32,
    /// Rows of the table of positions.
    pub positions: usize,
    /// Row of the first token.
    pub first_position: usize,
    /// Rows of the table of token types.
    pub types: usize,
    /// Longest input, special tokens included.
    pub tokens_max: usize,
    pub head: Head,
}

/// What is made of the last layer's vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// One vector per input.
    Embedding { pooling: Pooling, normalise: bool },
    /// One number per input, between 0 and 1 if `sigmoid`.
    Score { sigmoid: bool },
}

/// How the vectors of an input's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's.
    Cls,
    Mean,
}

#[derive(Deserialize)]
struct File {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "norm_eps")]
    layer_norm_eps: f32,
    max_position_embeddings: usize,
    #[serde(default = "types")]
    type_vocab_size: usize,
    pad_token_id: Option<usize>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    id2label: Option<serde_json::Map<String, Value>>,
    quantization_config: Option<Value>,
    /// A cross-encoder's last step, before and since sentence-transformers 4.
    sbert_ce_default_activation_function: Option<String>,
    sentence_transformers: Option<CrossEncoder>,
}

#[derive(Deserialize)]
struct CrossEncoder {
    activation_fn: Option<String>,
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn norm_eps() -> f32 {
    1e-12
}

fn types() -> usize {
    2
}

/// Whether `dir` holds an encoder, and not a decoder.
///
/// # Errors
/// `config.json` is missing or is not JSON.
pub fn is_encoder(dir: &Path) -> Result<bool, ConfigError> {
    let json: Value = serde_json::from_slice(&config::read(dir)?).map_err(ConfigError::Json)?;
    let name = config::architecture(&json);
    Ok(ARCHITECTURES.iter().any(|(known, ..)| *known == name))
}

impl EncoderConfig {
    /// Reads and checks the directory's files.
    ///
    /// # Errors
    /// One is missing or malformed, or asks for something that is not computed.
    pub fn read(dir: &Path) -> Result<Self, ConfigError> {
        let json: Value = serde_json::from_slice(&config::read(dir)?).map_err(ConfigError::Json)?;
        let name = config::architecture(&json);
        let known = ARCHITECTURES.iter().find(|(known, ..)| *known == name);
        let Some((_, family, scores)) = known else {
            return Err(ConfigError::Architecture {
                got: name,
                supported: ARCHITECTURES.map(|(name, ..)| name).join(", "),
            });
        };
        let file: File = serde_json::from_value(json).map_err(ConfigError::Json)?;
        let head = match scores {
            true => score(&file)?,
            false => embedding(dir, file.hidden_size)?,
        };
        let config = file.into_config(*family, head)?;
        let text: Option<TextLimits> = optional(dir, "sentence_bert_config.json")?;
        let limit = text.and_then(|limits| limits.max_seq_length);
        let tokens_max = limit.map_or(config.tokens_max, |most| most.min(config.tokens_max));
        require(tokens_max > 2, "max_seq_length", "must be above two")?;
        Ok(Self {
            tokens_max,
            ..config
        })
    }

    pub(crate) fn attention_shape(&self) -> AttentionShape {
        let head_dim = self.hidden / self.heads;
        AttentionShape {
            heads: self.heads,
            kv_heads: self.heads,
            head_dim,
            scale: inverse_root(head_dim),
            softcap: None,
            window: None,
        }
    }
}

impl File {
    fn into_config(self, family: Family, head: Head) -> Result<EncoderConfig, ConfigError> {
        if let Some(kind) = self.position_embedding_type.as_deref()
            && kind != "absolute"
        {
            return unsupported("position_embedding_type", kind);
        }
        if self.is_decoder {
            return unsupported("is_decoder", true);
        }
        if let Some(value) = &self.quantization_config {
            let method = value.get("quant_method").unwrap_or(value);
            return unsupported("quantization_config", method);
        }
        for (value, key) in [
            (self.num_attention_heads, "num_attention_heads"),
            (self.vocab_size, "vocab_size"),
            (self.hidden_size, "hidden_size"),
            (self.intermediate_size, "intermediate_size"),
            (self.num_hidden_layers, "num_hidden_layers"),
            (self.type_vocab_size, "type_vocab_size"),
        ] {
            require(value > 0, key, "must be above zero")?;
        }
        let whole = self.hidden_size.is_multiple_of(self.num_attention_heads);
        require(whole, "num_attention_heads", "must divide the hidden size")?;
        let first_position = match family {
            Family::Bert => 0,
            Family::Roberta => self.pad_token_id.unwrap_or(1) + 1,
        };
        let tokens_max = self.max_position_embeddings.saturating_sub(first_position);
        require(
            tokens_max > 2,
            "max_position_embeddings",
            "must be above two",
        )?;
        Ok(EncoderConfig {
            family,
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            activation: activation("hidden_act", &self.hidden_act)?,
            norm_eps: self.layer_norm_eps,
            positions: self.max_position_embeddings,
            first_position,
            types: self.type_vocab_size,
            tokens_max,
            head,
        })
    }
}

/// What a cross-encoder does with its one logit.
fn score(file: &File) -> Result<Head, ConfigError> {
    // Without `id2label`, transformers takes a classifier to have two labels.
    let labels = file.id2label.as_ref().map_or(2, serde_json::Map::len);
    if labels != 1 {
        return unsupported("id2label", format!("{labels} labels"));
    }
    let newer = file.sentence_transformers.as_ref();
    let named = newer.and_then(|keys| keys.activation_fn.as_deref());
    let named = named.or(file.sbert_ce_default_activation_function.as_deref());
    let kind = named.map(|path| path.rsplit('.').next().unwrap_or(path));
    match kind {
        None | Some("Sigmoid") => Ok(Head::Score { sigmoid: true }),
        Some("Identity") => Ok(Head::Score { sigmoid: false }),
        Some(other) => unsupported("activation_fn", other),
    }
}

/// `modules.json`: what follows the transformer, in order.
#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolingFile {
    word_embedding_dimension: Option<usize>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

#[derive(Deserialize)]
struct TextLimits {
    max_seq_length: Option<usize>,
}

/// How a sentence embedding is made; without `modules.json` it is the mean, normalised.
fn embedding(dir: &Path, hidden: usize) -> Result<Head, ConfigError> {
    let Some(modules) = optional::<Vec<Module>>(dir, "modules.json")? else {
        return Ok(Head::Embedding {
            pooling: Pooling::Mean,
            normalise: true,
        });
    };
    let (mut pooling, mut normalise) = (Pooling::Mean, false);
    for module in &modules {
        match module.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Pooling" => pooling = pooling_of(&dir.join(&module.path), hidden)?,
            "Normalize" => normalise = true,
            other => return unsupported("modules.json: type", other),
        }
    }
    Ok(Head::Embedding { pooling, normalise })
}

fn pooling_of(dir: &Path, hidden: usize) -> Result<Pooling, ConfigError> {
    let file: PoolingFile = optional(dir, "config.json")?.unwrap_or_default();
    let same = file.word_embedding_dimension.is_none_or(|d| d == hidden);
    require(same, "word_embedding_dimension", "must be the hidden size")?;
    for (on, key) in [
        (file.pooling_mode_max_tokens, "pooling_mode_max_tokens"),
        (
            file.pooling_mode_mean_sqrt_len_tokens,
            "pooling_mode_mean_sqrt_len_tokens",
        ),
        (
            file.pooling_mode_weightedmean_tokens,
            "pooling_mode_weightedmean_tokens",
        ),
        (file.pooling_mode_lasttoken, "pooling_mode_lasttoken"),
    ] {
        if on {
            return unsupported(key, true);
        }
    }
    match (file.pooling_mode_cls_token, file.pooling_mode_mean_tokens) {
        (true, false) => Ok(Pooling::Cls),
        (false, true) => Ok(Pooling::Mean),
        _ => Err(ConfigError::Invalid {
            key: "pooling_mode_mean_tokens",
            problem: "or `pooling_mode_cls_token` must be on, and only one of them",
        }),
    }
}

/// A JSON file that need not be there.
fn optional<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, ConfigError> {
    match std::fs::read(dir.join(name)) {
        Err(_) => Ok(None),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(ConfigError::Json),
    }
}
