//! The network in training: parameters as plain vectors, and the forward pass over a packed
//! batch as burn tensors, so that burn's autodiff gives the gradients.
//!
//! Matrices are kept as `[in, out]`, and the ones that read the same input lie side by side
//! (query, key and value; gate and up). It knows no text, no dialogue and no learning rate.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::config::{Config, POSITIONS_MAX};
use crate::ops::kernels::{AttentionPlan, Rotary};
use crate::ops::{self, Targets};

pub mod composed;

/// What a parameter is, which decides how it is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Token embedding, tied with the output.
    Embedding,
    /// Weight of an RMS norm.
    Norm,
    /// Matrix of a linear map.
    Matrix,
}

/// One trained parameter.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// `[rows, columns]`, or `[width]` for a norm.
    pub shape: Vec<usize>,
    /// Column at which each separate matrix inside it starts, and the number of columns.
    pub splits: Vec<usize>,
    /// What it is.
    pub kind: Kind,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// Index of the first parameter of `layer`; see [`initialise`] for the order.
pub const fn layer_base(layer: usize) -> usize {
    1 + layer * PER_LAYER
}

/// Parameters of one layer: norm, qkv, output, norm, gate-up, down.
pub const PER_LAYER: usize = 6;

/// Fresh parameters: embedding, then each layer, then the last norm.
pub fn initialise(config: &Config, rng: &mut ChaCha8Rng) -> Vec<Parameter> {
    let (h, f) = (config.hidden_size, config.intermediate_size);
    let (q, k) = (config.query_width(), config.key_width());
    let depth = 1.0 / (2.0 * config.num_hidden_layers as f32).sqrt();
    let inner = 1.0 / (h as f32).sqrt();
    let mut all = vec![matrix(
        rng,
        Kind::Embedding,
        &[config.vocab_size, h],
        &[0, h],
        0.04,
    )];
    for _ in 0..config.num_hidden_layers {
        all.push(norm(h));
        all.push(matrix(
            rng,
            Kind::Matrix,
            &[h, q + 2 * k],
            &[0, q, q + k, q + 2 * k],
            inner,
        ));
        let out = depth / (q as f32).sqrt();
        all.push(matrix(rng, Kind::Matrix, &[q, h], &[0, h], out));
        all.push(norm(h));
        all.push(matrix(
            rng,
            Kind::Matrix,
            &[h, 2 * f],
            &[0, f, 2 * f],
            inner,
        ));
        all.push(matrix(
            rng,
            Kind::Matrix,
            &[f, h],
            &[0, h],
            depth / (f as f32).sqrt(),
        ));
    }
    all.push(norm(h));
    all
}

fn norm(width: usize) -> Parameter {
    let values = vec![1.0; width];
    Parameter {
        shape: vec![width],
        splits: vec![0, width],
        kind: Kind::Norm,
        values,
    }
}

fn matrix(
    rng: &mut ChaCha8Rng,
    kind: Kind,
    shape: &[usize],
    splits: &[usize],
    deviation: f32,
) -> Parameter {
    let n: usize = shape.iter().product();
    let values = (0..n).map(|_| normal(rng) * deviation).collect();
    Parameter {
        shape: shape.to_vec(),
        splits: splits.to_vec(),
        kind,
        values,
    }
}

/// A standard normal number (Box and Muller's method).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (a, b): (f32, f32) = (rng.random(), rng.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f32::consts::TAU * b).cos()
}

/// Dialogues packed one behind the other, without padding.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Input tokens.
    pub tokens: Vec<u32>,
    /// Row at which each dialogue starts, and the number of rows.
    pub starts: Vec<usize>,
    /// Next-token targets and weights.
    pub targets: Arc<Targets>,
}

/// The forward pass: fused kernels, or burn's own operations as their reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// `ops.rs`; CPU only.
    Fused,
    /// `model/composed.rs`; any device of burn.
    Composed,
}

/// Everything about a network that does not change from step to step.
#[derive(Debug, Clone)]
pub struct Network {
    /// Shape.
    pub config: Config,
    /// Which operations to use.
    pub kernels: Kernels,
    rotary: Arc<Rotary>,
    device: Device,
}

impl Network {
    /// A network of this shape on the CPU.
    pub fn new(config: Config, kernels: Kernels) -> Self {
        let rotary = Arc::new(Rotary::new(
            POSITIONS_MAX,
            config.head_dim,
            config.rope_theta,
        ));
        Self {
            config,
            kernels,
            rotary,
            device: Device::flex().autodiff(),
        }
    }

    /// Loss of a batch and the gradient of every parameter, in order.
    pub fn loss_and_gradients(&self, all: &[Parameter], batch: &Batch) -> (f32, Vec<Vec<f32>>) {
        let leaves: Vec<Leaf> = all.iter().map(|p| self.leaf(p)).collect();
        let logits = self.logits(&leaves, batch);
        let loss = match self.kernels {
            Kernels::Fused => ops::cross_entropy(logits, &batch.targets),
            Kernels::Composed => composed::cross_entropy(logits, &batch.targets),
        };
        let value = loss
            .clone()
            .into_data()
            .iter::<f32>()
            .next()
            .unwrap_or(f32::NAN);
        let gradients = loss.backward();
        let gradient = |leaf: &Leaf| match leaf {
            Leaf::Matrix(t) => t.grad(&gradients).map(|g| floats(g.into_data())),
            Leaf::Vector(t) => t.grad(&gradients).map(|g| floats(g.into_data())),
        };
        let all = leaves
            .iter()
            .zip(all)
            .map(|(leaf, p)| gradient(leaf).unwrap_or_else(|| vec![0.0; p.values.len()]))
            .collect();
        (value, all)
    }

    /// Logits of every row of a batch, `[rows, vocabulary]`, without gradients kept.
    pub fn logits_of(&self, all: &[Parameter], batch: &Batch) -> Vec<f32> {
        let leaves: Vec<Leaf> = all.iter().map(|p| self.leaf(p)).collect();
        floats(self.logits(&leaves, batch).into_data())
    }

    fn leaf(&self, parameter: &Parameter) -> Leaf {
        let data = TensorData::new(parameter.values.clone(), parameter.shape.clone());
        if parameter.kind == Kind::Norm {
            Leaf::Vector(Tensor::from_data(data, &self.device).require_grad())
        } else {
            Leaf::Matrix(Tensor::from_data(data, &self.device).require_grad())
        }
    }

    fn plan(&self, batch: &Batch) -> Arc<AttentionPlan> {
        Arc::new(AttentionPlan {
            starts: batch.starts.clone(),
            heads: self.config.num_attention_heads,
            kv_heads: self.config.num_key_value_heads,
            head_dim: self.config.head_dim,
            rotary: Arc::clone(&self.rotary),
        })
    }

    fn logits(&self, leaves: &[Leaf], batch: &Batch) -> Tensor<2> {
        let plan = self.plan(batch);
        let ids: Vec<i32> = batch.tokens.iter().map(|t| *t as i32).collect();
        let length = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [length]), &self.device);
        let embedding = leaves[0].matrix();
        let mut x = embedding.clone().select(0, ids);
        for layer in 0..self.config.num_hidden_layers {
            let p = &leaves[layer_base(layer)..layer_base(layer) + PER_LAYER];
            let qkv = self
                .rms_norm(x.clone(), p[0].vector())
                .matmul(p[1].matrix());
            x = x + self.attention(qkv, &plan).matmul(p[2].matrix());
            let gate_up = self
                .rms_norm(x.clone(), p[3].vector())
                .matmul(p[4].matrix());
            x = x + self.swiglu(gate_up).matmul(p[5].matrix());
        }
        let last = leaves[layer_base(self.config.num_hidden_layers)].vector();
        self.rms_norm(x, last).matmul(embedding.transpose())
    }

    fn rms_norm(&self, x: Tensor<2>, weight: Tensor<1>) -> Tensor<2> {
        match self.kernels {
            Kernels::Fused => ops::rms_norm(x, weight),
            Kernels::Composed => composed::rms_norm(x, weight),
        }
    }

    fn swiglu(&self, gate_up: Tensor<2>) -> Tensor<2> {
        match self.kernels {
            Kernels::Fused => ops::swiglu(gate_up),
            Kernels::Composed => composed::swiglu(gate_up),
        }
    }

    fn attention(&self, qkv: Tensor<2>, plan: &Arc<AttentionPlan>) -> Tensor<2> {
        match self.kernels {
            Kernels::Fused => ops::attention(qkv, plan),
            Kernels::Composed => composed::attention(qkv, plan),
        }
    }
}

fn floats(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// A parameter as a leaf of the graph.
enum Leaf {
    Matrix(Tensor<2>),
    Vector(Tensor<1>),
}

impl Leaf {
    fn matrix(&self) -> Tensor<2> {
        match self {
            Self::Matrix(t) => t.clone(),
            Self::Vector(t) => t.clone().unsqueeze_dim(0),
        }
    }

    fn vector(&self) -> Tensor<1> {
        match self {
            Self::Vector(t) => t.clone(),
            Self::Matrix(t) => t.clone().flatten(0, 1),
        }
    }
}
