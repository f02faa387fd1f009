//! From an encoder's directory to its weights: the tensors of BERT and RoBERTa by name.
//! Knows nothing of texts or requests.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

use super::checkpoint::Checkpoint;
use super::parts::Parts;
use super::{LoadError, Precision};
use crate::encoder::config::{EncoderConfig, Family, Head};
use crate::encoder::model::{EncoderLayer, EncoderModel, Norm, Scorer};

/// Loads a BERT-like encoder.
///
/// # Errors
/// Names the file, key or tensor that is missing, damaged or not supported.
pub fn load_encoder(
    dir: &Path,
    precision: Precision,
    device: &Device,
) -> Result<EncoderModel, LoadError> {
    let config = EncoderConfig::read(dir)?;
    let checkpoint = Checkpoint::open(dir)?;
    let wrapped = match config.family {
        Family::Bert => "bert.",
        Family::Roberta => "roberta.",
    };
    // A bare model's tensors may stand with or without the name of the model they were
    // taken from.
    let inside = format!("{wrapped}embeddings.word_embeddings.weight");
    let prefix = match checkpoint.has(&inside) {
        true => wrapped,
        false => "",
    };
    let parts = Parts {
        precision,
        device,
        source: |name: &str, shape: &[usize]| checkpoint.finite(name, shape),
    };
    Bert {
        config: &config,
        prefix,
        parts,
    }
    .model()
}

struct Bert<'a, S> {
    config: &'a EncoderConfig,
    /// Before every name but the head's.
    prefix: &'a str,
    parts: Parts<'a, S>,
}

impl<S> Bert<'_, S>
where
    S: Fn(&str, &[usize]) -> Result<Vec<f32>, LoadError> + Sync,
{
    fn model(&self) -> Result<EncoderModel, LoadError> {
        let c = self.config;
        let embeddings = format!("{}embeddings", self.prefix);
        let words = format!("{embeddings}.word_embeddings.weight");
        let layers = (0..c.layers).into_par_iter().map(|i| self.layer(i));
        Ok(EncoderModel {
            words: self.parts.matrix(&[&words], &[c.vocab], c.hidden)?,
            positions: self.table(
                &format!("{embeddings}.position_embeddings.weight"),
                c.positions,
            )?,
            types: self.table(
                &format!("{embeddings}.token_type_embeddings.weight"),
                c.types,
            )?,
            norm: self.norm(&format!("{embeddings}.LayerNorm"))?,
            layers: layers.collect::<Result<_, _>>()?,
            scorer: match c.head {
                Head::Score { .. } => Some(self.scorer()?),
                Head::Embedding { .. } => None,
            },
            config: c.clone(),
        })
    }

    fn layer(&self, index: usize) -> Result<EncoderLayer, LoadError> {
        let (hidden, inner) = (self.config.hidden, self.config.inner);
        let layer = format!("{}encoder.layer.{index}", self.prefix);
        let part = |name: &str| format!("{layer}.{name}");
        let linear = |prefix: &str, parts: &[(&str, usize)], inner| {
            self.parts.linear(&part(prefix), parts, inner, true)
        };
        let projections = [("query", hidden), ("key", hidden), ("value", hidden)];
        Ok(EncoderLayer {
            qkv: linear("attention.self", &projections, hidden)?,
            attention_out: linear("attention.output", &[("dense", hidden)], hidden)?,
            attention_norm: self.norm(&part("attention.output.LayerNorm"))?,
            up: linear("intermediate", &[("dense", inner)], hidden)?,
            down: linear("output", &[("dense", hidden)], inner)?,
            mlp_norm: self.norm(&part("output.LayerNorm"))?,
        })
    }

    fn scorer(&self) -> Result<Scorer, LoadError> {
        let hidden = self.config.hidden;
        let linear = |prefix: &str, name: &str, rows: usize| {
            self.parts.linear(prefix, &[(name, rows)], hidden, true)
        };
        match self.config.family {
            Family::Bert => Ok(Scorer {
                pooler: linear(&format!("{}pooler", self.prefix), "dense", hidden)?,
                classifier: self
                    .parts
                    .stacked(&["classifier".to_owned()], &[1], hidden, true)?,
            }),
            Family::Roberta => Ok(Scorer {
                pooler: linear("classifier", "dense", hidden)?,
                classifier: linear("classifier", "out_proj", 1)?,
            }),
        }
    }

    fn norm(&self, prefix: &str) -> Result<Norm, LoadError> {
        let vector = |suffix: &str| -> Result<Tensor<1>, LoadError> {
            let values = (self.parts.source)(&format!("{prefix}.{suffix}"), &[self.config.hidden])?;
            Ok(self.parts.upload(values))
        };
        Ok(Norm {
            weight: vector("weight")?,
            bias: vector("bias")?,
            eps: self.config.norm_eps,
        })
    }

    /// A small table that stays f32.
    fn table(&self, name: &str, rows: usize) -> Result<Tensor<2>, LoadError> {
        let hidden = self.config.hidden;
        let values = (self.parts.source)(name, &[rows, hidden])?;
        let data = TensorData::new(values, [rows, hidden]);
        Ok(Tensor::from_data(data, (self.parts.device, DType::F32)))
    }
}
