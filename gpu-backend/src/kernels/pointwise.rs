//! The row-wise steps of a layer on the CPU: RMS norm, residual sum, SwiGLU, bias.
//!
//! Invariant: a row's result depends on that row alone.
//! Knows nothing of tensors, layers or requests.

#![expect(
    unsafe_code,
    reason = "the trait that picks the instruction set is unsafe to call"
)]

use rayon::prelude::*;

use super::lanes::{Kernel, LANES, Lanes, Level, launch};

/// Below this many elements a row-wise step runs on the calling thread.
const PARALLEL_MIN_ELEMENTS: usize = 64 * 1024;

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

/// `x · weight / sqrt(mean(x²) + eps)` for one row (Zhang and Sennrich, 2019).
fn rms_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
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
    let scale = 1.0 / (total / x.len() as f32 + eps).sqrt();
    for ((o, v), w) in out.iter_mut().zip(x).zip(weight) {
        *o = v * scale * w;
    }
}

/// RMS norm of every row of `x[T, H]`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let h = weight.len();
    let work = |(x, out): (&[f32], &mut [f32])| rms_row(x, weight, eps, out);
    if x.len() < PARALLEL_MIN_ELEMENTS {
        x.chunks_exact(h)
            .zip(out.chunks_exact_mut(h))
            .for_each(work);
    } else {
        x.par_chunks_exact(h)
            .zip(out.par_chunks_exact_mut(h))
            .for_each(work);
    }
}

/// `residual += x`, element by element.
pub(crate) fn add_assign(residual: &mut [f32], x: &[f32]) {
    for (r, v) in residual.iter_mut().zip(x) {
        *r += v;
    }
}

/// Adds `bias[N]` to every row of `y[T, N]`.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
    for row in y.chunks_exact_mut(bias.len()) {
        add_assign(row, bias);
    }
}

/// `silu(gate) · up` for rows `[gate | up]` of `2 · inner` values (Shazeer, 2020).
pub(crate) fn silu_mul(level: Level, gate_up: &[f32], inner: usize, out: &mut [f32]) {
    let work = |(row, out): (&[f32], &mut [f32])| {
        let (gate, up) = row.split_at(inner);
        launch(level, SiluMul { gate, up, out });
    };
    if out.len() < PARALLEL_MIN_ELEMENTS / 8 {
        gate_up
            .chunks_exact(2 * inner)
            .zip(out.chunks_exact_mut(inner))
            .for_each(work);
    } else {
        gate_up
            .par_chunks_exact(2 * inner)
            .zip(out.par_chunks_exact_mut(inner))
            .for_each(work);
    }
}

struct SiluMul<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for SiluMul<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for ((o, g), u) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *o = g / (1.0 + exp(-g)) * u;
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
            rms_norm(&x, &w, 1e-5, &mut out);
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
    fn silu_mul_equals_its_definition_on_every_level() {
        let row: Vec<f32> = (0..74).map(|i| (i as f32 - 37.0) / 4.0).collect();
        for level in super::super::lanes::available() {
            let mut out = vec![0f32; 37];
            silu_mul(level, &row, 37, &mut out);
            for (i, got) in out.iter().enumerate() {
                let want = row[i] / (1.0 + (-row[i]).exp()) * row[37 + i];
                assert!(
                    (got - want).abs() < 1e-5 * want.abs().max(1.0),
                    "{got} {want}"
                );
            }
        }
    }
}
