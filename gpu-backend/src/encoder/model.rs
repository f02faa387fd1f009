//! A BERT-like encoder: embeddings, layers with a norm after each half, and a head that
//! makes one vector or one score of each input.
//!
//! Invariant: an input's result depends on that input alone; inputs of a batch are laid
//! end to end, without padding.
//! Knows nothing of texts, requests or files.

use burn::tensor::Tensor;

use super::config::{EncoderConfig, Head, Pooling};
use crate::backend::{self, Matrix};
use crate::kernels::AttentionShape;
use crate::layer::Linear;
use crate::runner::DeviceFailed;

/// One input: its tokens, and the type of each (0 for a first text, 1 for a second).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    pub tokens: Vec<u32>,
    pub types: Vec<u32>,
}

/// Weight and bias of a layer norm.
#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Tensor<1>,
    pub(crate) bias: Tensor<1>,
    pub(crate) eps: f32,
}

impl Norm {
    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        backend::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// The weights of one layer.
#[derive(Debug)]
pub(crate) struct EncoderLayer {
    /// Queries, keys and values in one product.
    pub(crate) qkv: Linear,
    pub(crate) attention_out: Linear,
    pub(crate) attention_norm: Norm,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) mlp_norm: Norm,
}

/// What makes a score of the first token's vector.
#[derive(Debug)]
pub(crate) struct Scorer {
    pub(crate) pooler: Linear,
    pub(crate) classifier: Linear,
}

/// The weights, ready to run on one device.
#[derive(Debug)]
pub struct EncoderModel {
    pub(crate) config: EncoderConfig,
    pub(crate) words: Matrix,
    pub(crate) positions: Tensor<2>,
    pub(crate) types: Tensor<2>,
    pub(crate) norm: Norm,
    pub(crate) layers: Vec<EncoderLayer>,
    /// Present where the head is a score.
    pub(crate) scorer: Option<Scorer>,
}

impl EncoderModel {
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// One vector, or one score, for each input. Inputs have at least one token, and no
    /// more than the model's positions.
    ///
    /// # Errors
    /// The device failed.
    pub fn run(&self, inputs: &[Input]) -> Result<Vec<Vec<f32>>, DeviceFailed> {
        let lengths: Vec<usize> = inputs.iter().map(|input| input.tokens.len()).collect();
        let states = self.states(inputs, &lengths);
        match (self.config.head, &self.scorer) {
            (Head::Score { sigmoid }, Some(scorer)) => {
                let logits = scorer.apply(first_rows(states, &lengths));
                let score = |logit: f32| match sigmoid {
                    true => 1.0 / (1.0 + (-logit).exp()),
                    false => logit,
                };
                let logits = values(logits)?;
                Ok(logits.into_iter().map(|x| vec![score(x)]).collect())
            }
            (Head::Embedding { pooling, normalise }, _) => {
                let mut pooled = match pooling {
                    Pooling::Cls => {
                        let first = values(first_rows(states, &lengths))?;
                        let rows = first.chunks_exact(self.config.hidden);
                        rows.map(<[f32]>::to_vec).collect()
                    }
                    Pooling::Mean => means(&values(states)?, &lengths, self.config.hidden),
                };
                if normalise {
                    pooled.iter_mut().for_each(|vector| unit(vector));
                }
                Ok(pooled)
            }
            (Head::Score { .. }, None) => Err(DeviceFailed::new("a scorer without its head")),
        }
    }

    /// The last layer's vector of every token, `[tokens, hidden]`.
    fn states(&self, inputs: &[Input], lengths: &[usize]) -> Tensor<2> {
        let first = self.config.first_position;
        let tokens: Vec<u32> = inputs.iter().flat_map(|i| &i.tokens).copied().collect();
        let types: Vec<u32> = inputs.iter().flat_map(|i| &i.types).copied().collect();
        let positions: Vec<u32> = lengths
            .iter()
            .flat_map(|len| first..first + len)
            .map(|position| u32::try_from(position).unwrap_or(u32::MAX))
            .collect();
        let x = self.words.rows(&tokens);
        let x = backend::add(x, backend::select_rows(self.positions.clone(), &positions));
        let x = backend::add(x, backend::select_rows(self.types.clone(), &types));
        let mut x = self.norm.apply(x);
        let shape = self.config.attention_shape();
        for layer in &self.layers {
            x = layer.forward(x, &self.config, shape, lengths);
        }
        x
    }
}

impl EncoderLayer {
    fn forward(
        &self,
        x: Tensor<2>,
        config: &EncoderConfig,
        shape: AttentionShape,
        lengths: &[usize],
    ) -> Tensor<2> {
        let qkv = self.qkv.apply(x.clone());
        let attended = backend::dense_attention(qkv, shape, lengths);
        let x = backend::add(x, self.attention_out.apply(attended));
        let x = self.attention_norm.apply(x);

        let inner = backend::activate(self.up.apply(x.clone()), config.activation);
        let x = backend::add(x, self.down.apply(inner));
        self.mlp_norm.apply(x)
    }
}

impl Scorer {
    fn apply(&self, first: Tensor<2>) -> Tensor<2> {
        self.classifier.apply(self.pooler.apply(first).tanh())
    }
}

/// The vector of each input's first token.
fn first_rows(states: Tensor<2>, lengths: &[usize]) -> Tensor<2> {
    let starts = lengths.iter().scan(0usize, |next, len| {
        let start = *next;
        *next += len;
        Some(u32::try_from(start).unwrap_or(u32::MAX))
    });
    backend::select_rows(states, &starts.collect::<Vec<_>>())
}

fn values(x: Tensor<2>) -> Result<Vec<f32>, DeviceFailed> {
    let data = x
        .try_into_data()
        .map_err(|e| DeviceFailed::new(format!("{e:?}")))?;
    data.try_into_vec()
        .map_err(|e| DeviceFailed::new(format!("{e:?}")))
}

/// The mean of each input's rows.
fn means(states: &[f32], lengths: &[usize], hidden: usize) -> Vec<Vec<f32>> {
    let mut rows = states.chunks_exact(hidden);
    let mean = |len: &usize| {
        let mut sum = vec![0f32; hidden];
        for row in rows.by_ref().take(*len) {
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
        #[expect(clippy::cast_precision_loss, reason = "an input has few tokens")]
        let len = *len as f32;
        sum.iter_mut().for_each(|s| *s /= len);
        sum
    };
    lengths.iter().map(mean).collect()
}

/// Scales a vector to length one.
fn unit(vector: &mut [f32]) {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    // As PyTorch's `normalize`, which does not divide by less than this.
    let length = length.max(1e-12);
    vector.iter_mut().for_each(|v| *v /= length);
}
