//! The fused operations of training as a burn backend extension: forward on `Flex` (the CPU),
//! gradients through burn's autodiff. `model.rs` calls the wrappers at the end; each has a
//! composed twin in `model/composed.rs` against which it is tested.
//!
//! It does not know parameters, batches or the optimiser.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Shape, Tensor, TensorData};

pub mod kernels;

use kernels::{AttentionPlan, AttentionSaved};

type FlexTensor = FloatTensor<Flex>;

/// RMS norm's epsilon, Llama's usual value.
pub const RMS_NORM_EPS: f32 = 1e-5;

/// Next-token targets and their loss weights, one per packed row.
#[derive(Debug)]
pub struct Targets {
    /// The token that should follow each row.
    pub ids: Vec<u32>,
    /// Loss weight of each row, already divided by the step's total.
    pub weights: Vec<f32>,
}

/// Operations that are fused for training.
#[backend_extension(Autodiff, Flex)]
pub trait FusedOps: Backend {
    /// `x / rms(x) * weight`; `x` is `[tokens, hidden]`, `weight` is `[hidden]`.
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `[tokens, 2 * width]` to `[tokens, width]`.
    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `[tokens, qkv]` to `[tokens, heads * head_dim]`.
    fn fused_attention(qkv: FloatTensor<Self>, plan: Arc<AttentionPlan>) -> FloatTensor<Self>;
    /// `[tokens, vocabulary]` to the loss as `[1]`.
    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: Arc<Targets>) -> FloatTensor<Self>;
}

fn matrix(data: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, Shape::from(shape.to_vec())))
}

fn width_of(tensor: &FlexTensor) -> usize {
    tensor
        .layout()
        .shape()
        .as_slice()
        .last()
        .copied()
        .unwrap_or(0)
}

fn rows_of(tensor: &FlexTensor) -> usize {
    tensor.layout().shape().num_elements() / width_of(tensor).max(1)
}

/// The tensor's values in row-major order; copies only a strided view.
fn with_slice<R>(tensor: &FlexTensor, f: impl FnOnce(&[f32]) -> R) -> R {
    if let Some(slice) = tensor.as_slice::<f32>() {
        return f(slice);
    }
    let owned = tensor.to_contiguous();
    f(owned.as_slice::<f32>().unwrap_or(&[]))
}

impl FusedOps for Flex {
    fn fused_rms_norm(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let shape = [rows_of(&x), width_of(&x)];
        let y = with_slice(&x, |x| {
            with_slice(&weight, |w| kernels::rms_norm(x, w, RMS_NORM_EPS))
        });
        matrix(y, &shape)
    }

    fn fused_swiglu(gate_up: FlexTensor) -> FlexTensor {
        let (rows, width) = (rows_of(&gate_up), width_of(&gate_up) / 2);
        matrix(
            with_slice(&gate_up, |x| kernels::swiglu(x, width)),
            &[rows, width],
        )
    }

    fn fused_attention(qkv: FlexTensor, plan: Arc<AttentionPlan>) -> FlexTensor {
        attention_forward(&qkv, &plan).0
    }

    fn fused_cross_entropy(logits: FlexTensor, targets: Arc<Targets>) -> FlexTensor {
        loss_forward(&logits, &targets).0
    }
}

fn attention_forward(qkv: &FlexTensor, plan: &AttentionPlan) -> (FlexTensor, AttentionSaved) {
    let (out, saved) = with_slice(qkv, |x| kernels::attention(x, plan));
    (matrix(out, &[plan.tokens(), plan.out_width()]), saved)
}

fn loss_forward(logits: &FlexTensor, targets: &Targets) -> (FlexTensor, FlexTensor) {
    let (rows, width) = (rows_of(logits), width_of(logits));
    let (loss, d) = with_slice(logits, |x| {
        kernels::cross_entropy(x, width, &targets.ids, &targets.weights)
    });
    (matrix(vec![loss], &[1]), matrix(d, &[rows, width]))
}

#[derive(Debug)]
struct RmsNormBackward;

impl Backward<Flex, 2> for RmsNormBackward {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight) = ops.state;
        let shape = [rows_of(&x), width_of(&x)];
        let grad = grads.consume::<Flex>(&ops.node);
        let (dx, dw) = with_slice(&grad, |g| {
            with_slice(&x, |x| {
                with_slice(&weight, |w| {
                    kernels::rms_norm_backward(g, x, w, RMS_NORM_EPS)
                })
            })
        });
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, matrix(dx, &shape));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, matrix(dw, &shape[1..]));
        }
    }
}

#[derive(Debug)]
struct SwigluBackward;

impl Backward<Flex, 1> for SwigluBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let x = ops.state;
        let shape = [rows_of(&x), width_of(&x)];
        unary::<Flex, _>(ops.parents, ops.node, grads, |grad| {
            let d = with_slice(&grad, |g| {
                with_slice(&x, |x| kernels::swiglu_backward(g, x, shape[1] / 2))
            });
            matrix(d, &shape)
        });
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 1> for AttentionBackward {
    type State = (Arc<AttentionSaved>, Arc<AttentionPlan>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (saved, plan) = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, grads, |grad| {
            let d = with_slice(&grad, |g| kernels::attention_backward(g, &saved, &plan));
            matrix(d, &[plan.tokens(), plan.qkv_width()])
        });
    }
}

#[derive(Debug)]
struct CrossEntropyBackward;

impl Backward<Flex, 1> for CrossEntropyBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        // The loss is the graph's last node: its own gradient is one.
        let d = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, grads, |_one| d);
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let y = Flex::fused_rms_norm(x.clone(), weight.clone());
        match RmsNormBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, weight), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [gate_up.node()];
        let x = gate_up.into_primitive();
        let y = Flex::fused_swiglu(x.clone());
        match SwigluBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(x, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_attention(qkv: FloatTensor<Self>, plan: Arc<AttentionPlan>) -> FloatTensor<Self> {
        let nodes = [qkv.node()];
        let (y, saved) = attention_forward(&qkv.into_primitive(), &plan);
        match AttentionBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((Arc::new(saved), plan), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: Arc<Targets>) -> FloatTensor<Self> {
        let nodes = [logits.node()];
        let (loss, d) = loss_forward(&logits.into_primitive(), &targets);
        match CrossEntropyBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(d, loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }
}

/// RMS norm of every row.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_rms_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
    ))
}

/// `silu(gate) * up`.
pub fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_swiglu(gate_up.into_dispatch()))
}

/// Rotary causal attention inside each packed sequence.
pub fn attention(qkv: Tensor<2>, plan: &Arc<AttentionPlan>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_attention(
        qkv.into_dispatch(),
        Arc::clone(plan),
    ))
}

/// Weighted cross-entropy.
///
/// Invariant: the result is the root of `backward`; its gradient is taken to be one.
pub fn cross_entropy(logits: Tensor<2>, targets: &Arc<Targets>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::fused_cross_entropy(
        logits.into_dispatch(),
        Arc::clone(targets),
    ))
}
