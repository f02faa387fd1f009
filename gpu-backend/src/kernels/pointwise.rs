//! The row-wise steps of a layer on the CPU: RMS norm, residual sum, activations, bias.
//!
//! Invariant: a row's result depends on that row alone.
//! Knows nothing of tensors, layers or requests.

#![expect(
    unsafe_code,
    reason = "the trait that picks the instruction set is unsafe to call"
)]

use super::lanes::{Kernel, LANES, Lanes, Level, launch};
use super::workers::for_each_row;
use super::{Activation, AttentionShape};

/// e^x for |x| ≤ 87, to about 1e-7 relative; outside it is clamped to that range.
/// Cephes' polynomial (S. L. Moshier), in plain operations so that it vectorises
/// and gives the same bits on every CPU.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, the first exact in few bits.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // 1.5 · 2²³: adding it rounds to an integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    // The integer's bits sit in the mantissa of `shifted`; move them to the exponent.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    y * scale
}

/// `cap · tanh(x / cap)`, to about 1e-7 of `cap`.
#[inline(always)]
pub(crate) fn softcap(x: f32, cap: f32) -> f32 {
    cap - 2.0 * cap / (1.0 + exp(x * (2.0 / cap)))
}

/// `x · sigmoid(x)`.
#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `½x · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, the tanh written as a sigmoid.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    // 2 · √(2/π)
    const SLOPE: f32 = 1.595_769;
    x / (1.0 + exp(-SLOPE * (x + 0.044_715 * x * x * x)))
}

/// `½x · (1 + erf(x/√2))`, to about 2e-7 of `x`: erf by Abramowitz and Stegun, 7.1.26.
#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    // What erf leaves to ±1; it is halved into the smaller of the two tails.
    let rest = 0.5 * p * t * exp(-z * z);
    x * if x < 0.0 { rest } else { 1.0 - rest }
}

/// The root mean square's reciprocal of one row.
#[inline(always)]
fn rms_scale(x: &[f32], eps: f32) -> f32 {
    let mut sums = [0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (sum, v) in sums.iter_mut().zip(chunk) {
            *sum += v * v;
        }
    }
    let tail: f32 = chunks.remainder().iter().map(|v| v * v).sum();
    let total = sums.iter().sum::<f32>() + tail;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a row is far below 2^24 elements"
    )]
    let mean = total / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

/// `x · weight / sqrt(mean(x²) + eps)` for one row (Zhang and Sennrich, 2019).
struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let scale = rms_scale(self.x, self.eps);
        for ((o, v), w) in self.out.iter_mut().zip(self.x).zip(self.weight) {
            *o = v * scale * w;
        }
    }
}

/// RMS norm of every row of `x[T, H]`.
pub(crate) fn rms_norm(level: Level, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let h = weight.len();
    for_each_row(out, h, |row, out| {
        let x = &x[row * h..][..h];
        let kernel = RmsNorm {
            x,
            weight,
            eps,
            out,
        };
        launch(level, kernel);
    });
}

/// The RMS norms of each query head and each key head, in place in rows
/// `[q heads | k heads | v heads]`.
pub(crate) fn qk_norm(
    qkv: &mut [f32],
    query: &[f32],
    key: &[f32],
    shape: &AttentionShape,
    eps: f32,
) {
    let d = shape.head_dim;
    for_each_row(qkv, shape.qkv_width(), |_, row| {
        for (i, head) in row.chunks_exact_mut(d).enumerate() {
            let weight = match i {
                i if i < shape.heads => query,
                i if i < shape.heads + shape.kv_heads => key,
                _ => break,
            };
            let scale = rms_scale(head, eps);
            for (v, w) in head.iter_mut().zip(weight) {
                *v = *v * scale * w;
            }
        }
    });
}

/// `(x - mean) · weight / sqrt(variance + eps) + bias` for one row (Ba et al., 2016).
fn layer_norm_row(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a row is far below 2^24 elements"
    )]
    let len = x.len() as f32;
    let mean = x.iter().sum::<f32>() / len;
    x.iter_mut().for_each(|v| *v -= mean);
    let scale = rms_scale(x, eps);
    for ((v, w), b) in x.iter_mut().zip(weight).zip(bias) {
        *v = *v * scale * w + b;
    }
}

/// Layer norm of every row of `x[T, H]`, in place.
pub(crate) fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    for_each_row(x, weight.len(), |_, row| {
        layer_norm_row(row, weight, bias, eps);
    });
}

/// `residual[T, width] += x[T, width]`, element by element.
pub(crate) fn add_assign(level: Level, residual: &mut [f32], x: &[f32], width: usize) {
    for_each_row(residual, width, |row, sum| {
        let x = &x[row * width..][..width];
        launch(level, Add { sum, x });
    });
}

/// Adds `bias[N]` to every row of `y[T, N]`.
pub(crate) fn add_bias(level: Level, y: &mut [f32], bias: &[f32]) {
    for_each_row(y, bias.len(), |_, sum| launch(level, Add { sum, x: bias }));
}

struct Add<'a> {
    sum: &'a mut [f32],
    x: &'a [f32],
}

impl Kernel for Add<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for (sum, v) in self.sum.iter_mut().zip(self.x) {
            *sum += v;
        }
    }
}

/// `softcap` of every value of `x[T, width]`, in place.
pub(crate) fn softcap_all(level: Level, x: &mut [f32], cap: f32, width: usize) {
    for_each_row(x, width, |_, x| launch(level, Softcap { x, cap }));
}

/// `activation(gate) · up` for rows `[gate | up]` of `2 · inner` values (Shazeer, 2020).
pub(crate) fn gated(
    level: Level,
    gate_up: &[f32],
    inner: usize,
    activation: Activation,
    out: &mut [f32],
) {
    for_each_row(out, inner, |row, out| {
        let (gate, up) = gate_up[row * 2 * inner..][..2 * inner].split_at(inner);
        let kernel = Gated {
            gate,
            up,
            activation,
            out,
        };
        launch(level, kernel);
    });
}

/// The activation's curve over every value of `x[T, width]`, in place.
pub(crate) fn activate(level: Level, x: &mut [f32], activation: Activation, width: usize) {
    for_each_row(x, width, |_, x| launch(level, Activate { x, activation }));
}

struct Activate<'a> {
    x: &'a mut [f32],
    activation: Activation,
}

impl Kernel for Activate<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        match self.activation {
            Activation::Silu => self.by(silu),
            Activation::GeluTanh => self.by(gelu_tanh),
            Activation::GeluErf => self.by(gelu_erf),
        }
    }
}

impl Activate<'_> {
    #[inline(always)]
    fn by(self, curve: impl Fn(f32) -> f32) {
        self.x.iter_mut().for_each(|v| *v = curve(*v));
    }
}

struct Softcap<'a> {
    x: &'a mut [f32],
    cap: f32,
}

impl Kernel for Softcap<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for v in self.x {
            *v = softcap(*v, self.cap);
        }
    }
}

struct Gated<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    activation: Activation,
    out: &'a mut [f32],
}

impl Kernel for Gated<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        match self.activation {
            Activation::Silu => self.by(silu),
            Activation::GeluTanh => self.by(gelu_tanh),
            Activation::GeluErf => self.by(gelu_erf),
        }
    }
}

impl Gated<'_> {
    #[inline(always)]
    fn by(self, curve: impl Fn(f32) -> f32) {
        for ((o, g), u) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *o = curve(*g) * u;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_parts_in_ten_million_over_its_range() {
        for i in -8700..=8700 {
            let x = i as f32 / 100.0;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(((got - want) / want).abs() < 2e-7, "{x}: {got} {want}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
        assert!(exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn rms_norm_equals_its_definition() {
        for h in [1, 15, 16, 17, 192] {
            let x: Vec<f32> = (0..2 * h).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
            let w: Vec<f32> = (0..h).map(|i| 0.5 + i as f32 * 0.01).collect();
            let mut out = vec![0f32; 2 * h];
            rms_norm(super::super::lanes::level(), &x, &w, 1e-5, &mut out);
            for (row, got) in x.chunks(h).zip(out.chunks(h)) {
                let mean = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / h as f64;
                for ((v, w), g) in row.iter().zip(&w).zip(got) {
                    let want = f64::from(*v) / (mean + 1e-5).sqrt() * f64::from(*w);
                    assert!((f64::from(*g) - want).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn gated_equals_its_definition_on_every_level() {
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let tanh = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        };
        let erf = |x: f64| 0.5 * x * (1.0 + erf_series(x / 2f64.sqrt()));
        let row: Vec<f32> = (0..74).map(|i| (i as f32 - 18.0) / 4.0).collect();
        for level in super::super::lanes::available() {
            check_gated(level, &row, Activation::Silu, silu);
            check_gated(level, &row, Activation::GeluTanh, tanh);
            check_gated(level, &row, Activation::GeluErf, erf);
        }
    }

    fn check_gated(level: Level, row: &[f32], activation: Activation, curve: impl Fn(f64) -> f64) {
        let (gate, up) = row.split_at(37);
        let mut out = vec![0f32; 37];
        gated(level, row, 37, activation, &mut out);
        for ((got, gate), up) in out.iter().zip(gate).zip(up) {
            let want = curve(f64::from(*gate)) * f64::from(*up);
            let error = (f64::from(*got) - want).abs();
            assert!(
                error < 5e-6 * want.abs().max(1.0),
                "{activation:?}({gate}): {got} {want}"
            );
        }
    }

    /// erf by its Taylor series, which is exact enough for |x| ≤ 4.
    fn erf_series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn softcap_equals_its_definition_on_every_level() {
        let row: Vec<f32> = (-500..500).map(|i| i as f32 / 2.0).collect();
        for level in super::super::lanes::available() {
            let mut got = row.clone();
            softcap_all(level, &mut got, 30.0, 100);
            for (x, got) in row.iter().zip(got) {
                let want = 30.0 * (f64::from(*x) / 30.0).tanh();
                assert!((f64::from(got) - want).abs() < 1e-5, "{x}: {got} {want}");
            }
        }
    }
}
