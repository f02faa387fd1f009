//! The fused CPU kernels of training, on plain `f32` slices: RMS norm, rotary attention over
//! packed sequences, SwiGLU and the weighted cross-entropy, each with its gradient.
//!
//! They know nothing of tensors, graphs or devices; `ops.rs` hangs them into burn's autodiff.
//! Invariant: every row-major matrix is contiguous, and a caller's lengths agree with its plan.

use std::sync::Arc;

/// How a packed batch `[tokens, …]` falls into sequences, and the shape of attention.
#[derive(Debug, Clone)]
pub struct AttentionPlan {
    /// Row at which each sequence starts, and the number of rows at the end.
    pub starts: Vec<usize>,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Cosines and sines of the rotary angles, `[position][head_dim / 2]`.
    pub rotary: Arc<Rotary>,
}

/// Tables of the rotary position embedding (Hugging Face's half-rotation convention).
#[derive(Debug)]
pub struct Rotary {
    /// Cosines, `[position][head_dim / 2]`.
    pub cos: Vec<f32>,
    /// Sines, `[position][head_dim / 2]`.
    pub sin: Vec<f32>,
}

impl Rotary {
    /// Tables for `positions` positions and base frequency `theta`.
    pub fn new(positions: usize, head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let mut cos = Vec::with_capacity(positions * half);
        let mut sin = Vec::with_capacity(positions * half);
        for position in 0..positions {
            for i in 0..half {
                let frequency = theta.powf(-2.0 * i as f64 / head_dim as f64);
                let angle = position as f64 * frequency;
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        Self { cos, sin }
    }

    /// Rotates one head in place; `direction` is 1 forwards and -1 for the gradient.
    pub fn rotate(&self, head: &mut [f32], position: usize, direction: f32) {
        let half = head.len() / 2;
        let cos = &self.cos[position * half..(position + 1) * half];
        let sin = &self.sin[position * half..(position + 1) * half];
        let (low, high) = head.split_at_mut(half);
        for i in 0..half {
            let (a, b) = (low[i], high[i]);
            let s = sin[i] * direction;
            low[i] = a * cos[i] - b * s;
            high[i] = b * cos[i] + a * s;
        }
    }
}

impl AttentionPlan {
    /// Columns of the fused query, key and value matrix.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Columns of the attention's output.
    pub fn out_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Number of packed tokens.
    pub fn tokens(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }
}

/// What attention's forward pass keeps for its gradient.
#[derive(Debug, Clone, Default)]
pub struct AttentionSaved {
    /// Rotated queries and keys and the plain values, as `[tokens, qkv_width]`.
    pub rotated: Vec<f32>,
    /// Probabilities: per sequence, per head, a `[t, t]` square with zeros above the diagonal.
    pub probabilities: Vec<f32>,
}

/// `e^x` by range reduction and a polynomial (relative error about 2e-7), so that loops over
/// it are vectorised; libm's call is not.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + 0.5).floor();
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_6e-1;
    p = p * r + 5.000_000_3e-1;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

#[inline(always)]
fn axpy(out: &mut [f32], scale: f32, x: &[f32]) {
    for (o, v) in out.iter_mut().zip(x) {
        *o += scale * v;
    }
}

/// Sum of products with eight running sums, so that it is vectorised.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = ca
        .remainder()
        .iter()
        .zip(cb.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in ca.zip(cb) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// `y = x / rms(x) * weight` for every row of `width` columns.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len();
    let mut y = vec![0f32; x.len()];
    for (row, out) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let inverse = 1.0 / (dot(row, row) / width as f32 + eps).sqrt();
        for i in 0..width {
            out[i] = row[i] * inverse * weight[i];
        }
    }
    y
}

/// Gradients of [`rms_norm`] with respect to `x` and `weight`.
pub fn rms_norm_backward(
    grad: &[f32],
    x: &[f32],
    weight: &[f32],
    eps: f32,
) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let mut dx = vec![0f32; x.len()];
    let mut dw = vec![0f32; width];
    for ((row, g), d) in x
        .chunks_exact(width)
        .zip(grad.chunks_exact(width))
        .zip(dx.chunks_exact_mut(width))
    {
        let inverse = 1.0 / (dot(row, row) / width as f32 + eps).sqrt();
        for i in 0..width {
            d[i] = g[i] * weight[i];
            dw[i] += g[i] * row[i] * inverse;
        }
        let mean = dot(d, row) / width as f32 * inverse * inverse;
        for i in 0..width {
            d[i] = inverse * (d[i] - row[i] * mean);
        }
    }
    (dx, dw)
}

/// `silu(gate) * up` where each row is `[gate, up]`.
pub fn swiglu(gate_up: &[f32], width: usize) -> Vec<f32> {
    let mut y = vec![0f32; gate_up.len() / 2];
    for (row, out) in gate_up
        .chunks_exact(2 * width)
        .zip(y.chunks_exact_mut(width))
    {
        let (gate, up) = row.split_at(width);
        for i in 0..width {
            out[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
        }
    }
    y
}

/// Gradient of [`swiglu`].
pub fn swiglu_backward(grad: &[f32], gate_up: &[f32], width: usize) -> Vec<f32> {
    let mut d = vec![0f32; gate_up.len()];
    for ((row, g), out) in gate_up
        .chunks_exact(2 * width)
        .zip(grad.chunks_exact(width))
        .zip(d.chunks_exact_mut(2 * width))
    {
        let (gate, up) = row.split_at(width);
        let (dgate, dup) = out.split_at_mut(width);
        for i in 0..width {
            let sigmoid = 1.0 / (1.0 + exp(-gate[i]));
            let silu = gate[i] * sigmoid;
            dup[i] = g[i] * silu;
            dgate[i] = g[i] * up[i] * (sigmoid + silu * (1.0 - sigmoid));
        }
    }
    d
}

/// Weighted cross-entropy. Returns the loss and `d loss / d logits`.
pub fn cross_entropy(
    logits: &[f32],
    vocabulary: usize,
    targets: &[u32],
    weights: &[f32],
) -> (f32, Vec<f32>) {
    let mut d = vec![0f32; logits.len()];
    let mut loss = 0f64;
    for (row, (logit, out)) in logits
        .chunks_exact(vocabulary)
        .zip(d.chunks_exact_mut(vocabulary))
        .enumerate()
    {
        let weight = weights[row];
        if weight == 0.0 {
            continue;
        }
        let highest = logit.iter().copied().fold(f32::MIN, f32::max);
        for (o, l) in out.iter_mut().zip(logit) {
            *o = exp(l - highest);
        }
        let sum: f32 = out.iter().sum();
        let target = targets[row] as usize;
        loss += f64::from(weight * (sum.ln() + highest - logit[target]));
        let scale = weight / sum;
        for o in out.iter_mut() {
            *o *= scale;
        }
        out[target] -= weight;
    }
    (loss as f32, d)
}

/// Causal attention inside each packed sequence; rotates queries and keys on the way.
pub fn attention(qkv: &[f32], plan: &AttentionPlan) -> (Vec<f32>, AttentionSaved) {
    let (hd, width) = (plan.head_dim, plan.qkv_width());
    let mut rotated = qkv.to_vec();
    for window in plan.starts.windows(2) {
        for row in window[0]..window[1] {
            let rotating = (plan.heads + plan.kv_heads) * hd;
            for head in rotated[row * width..row * width + rotating].chunks_exact_mut(hd) {
                plan.rotary.rotate(head, row - window[0], 1.0);
            }
        }
    }
    let squares: usize = plan.starts.windows(2).map(|w| (w[1] - w[0]).pow(2)).sum();
    let mut probabilities = vec![0f32; squares * plan.heads];
    let mut out = vec![0f32; plan.tokens() * plan.out_width()];
    let mut offset = 0;
    let mut keys = Vec::new();
    for window in plan.starts.windows(2) {
        let t = window[1] - window[0];
        for head in 0..plan.heads {
            let view = HeadView::new(plan, window[0], t, head);
            view.transpose(&rotated, view.key, &mut keys);
            let square = &mut probabilities[offset..offset + t * t];
            view.forward(&rotated, &keys, square, &mut out);
            offset += t * t;
        }
    }
    (
        out,
        AttentionSaved {
            rotated,
            probabilities,
        },
    )
}

/// Gradient of [`attention`] with respect to the fused `qkv`.
pub fn attention_backward(grad: &[f32], saved: &AttentionSaved, plan: &AttentionPlan) -> Vec<f32> {
    let (hd, width) = (plan.head_dim, plan.qkv_width());
    let mut d = vec![0f32; saved.rotated.len()];
    let mut offset = 0;
    let mut values = Vec::new();
    for window in plan.starts.windows(2) {
        let t = window[1] - window[0];
        for head in 0..plan.heads {
            let view = HeadView::new(plan, window[0], t, head);
            view.transpose(&saved.rotated, view.value, &mut values);
            let square = &saved.probabilities[offset..offset + t * t];
            view.backward(&saved.rotated, &values, square, grad, &mut d);
            offset += t * t;
        }
        for row in window[0]..window[1] {
            let rotating = (plan.heads + plan.kv_heads) * hd;
            for head in d[row * width..row * width + rotating].chunks_exact_mut(hd) {
                plan.rotary.rotate(head, row - window[0], -1.0);
            }
        }
    }
    d
}

/// Where one head of one sequence lies in the packed matrices.
struct HeadView {
    first: usize,
    t: usize,
    hd: usize,
    width: usize,
    out_width: usize,
    query: usize,
    key: usize,
    value: usize,
    scale: f32,
}

impl HeadView {
    fn new(plan: &AttentionPlan, first: usize, t: usize, head: usize) -> Self {
        let hd = plan.head_dim;
        let group = head / (plan.heads / plan.kv_heads);
        Self {
            first,
            t,
            hd,
            width: plan.qkv_width(),
            out_width: plan.out_width(),
            query: head * hd,
            key: (plan.heads + group) * hd,
            value: (plan.heads + plan.kv_heads + group) * hd,
            scale: 1.0 / (hd as f32).sqrt(),
        }
    }

    fn row<'a>(&self, matrix: &'a [f32], i: usize, column: usize) -> &'a [f32] {
        let at = (self.first + i) * self.width + column;
        &matrix[at..at + self.hd]
    }

    fn row_mut<'a>(&self, matrix: &'a mut [f32], i: usize, column: usize) -> &'a mut [f32] {
        let at = (self.first + i) * self.width + column;
        &mut matrix[at..at + self.hd]
    }

    /// Writes the head's block as `[hd, t]`, so that scores run along the positions.
    fn transpose(&self, matrix: &[f32], column: usize, out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.hd * self.t, 0.0);
        for j in 0..self.t {
            for (d, value) in self.row(matrix, j, column).iter().enumerate() {
                out[d * self.t + j] = *value;
            }
        }
    }

    fn forward(&self, rotated: &[f32], keys: &[f32], square: &mut [f32], out: &mut [f32]) {
        for i in 0..self.t {
            let row = &mut square[i * self.t..i * self.t + i + 1];
            let query = self.row(rotated, i, self.query);
            for (d, q) in query.iter().enumerate() {
                axpy(row, q * self.scale, &keys[d * self.t..d * self.t + i + 1]);
            }
            let highest = row.iter().copied().fold(f32::MIN, f32::max);
            for p in row.iter_mut() {
                *p = exp(*p - highest);
            }
            let inverse = 1.0 / row.iter().sum::<f32>();
            for p in row.iter_mut() {
                *p *= inverse;
            }
            let at = (self.first + i) * self.out_width + self.query;
            let result = &mut out[at..at + self.hd];
            for (j, p) in row.iter().enumerate() {
                axpy(result, *p, self.row(rotated, j, self.value));
            }
        }
    }

    fn backward(
        &self,
        rotated: &[f32],
        values: &[f32],
        square: &[f32],
        grad: &[f32],
        d: &mut [f32],
    ) {
        let mut scores = vec![0f32; self.t];
        for i in 0..self.t {
            let row = &square[i * self.t..i * self.t + i + 1];
            let at = (self.first + i) * self.out_width + self.query;
            let g = &grad[at..at + self.hd];
            let ds = &mut scores[..i + 1];
            ds.fill(0.0);
            for (k, value) in g.iter().enumerate() {
                axpy(ds, *value, &values[k * self.t..k * self.t + i + 1]);
            }
            let mean = dot(ds, row);
            for (s, p) in ds.iter_mut().zip(row) {
                *s = p * (*s - mean) * self.scale;
            }
            let mut dq = [0f32; 256];
            let dq = &mut dq[..self.hd];
            let query = self.row(rotated, i, self.query);
            for j in 0..=i {
                axpy(dq, ds[j], self.row(rotated, j, self.key));
                axpy(self.row_mut(d, j, self.key), ds[j], query);
                axpy(self.row_mut(d, j, self.value), row[j], g);
            }
            axpy(self.row_mut(d, i, self.query), 1.0, dq);
        }
    }
}
