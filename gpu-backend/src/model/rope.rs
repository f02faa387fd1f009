//! The table of rotary angles: for each position, the cosines and then the sines of
//! its `head_dim / 2` angles.
//! Knows nothing of layers or requests.

use rayon::prelude::*;

use super::config::{Rope, Scaling, Yarn};

/// `[positions, head_dim]`, cosines in the first half of a row and sines in the second.
pub fn angles(rope: &Rope, head_dim: usize, positions: usize) -> Vec<f32> {
    let frequencies = frequencies(rope, head_dim);
    let amplitude = match &rope.scaling {
        Scaling::Yarn(yarn) => yarn.attention,
        Scaling::None | Scaling::Linear { .. } | Scaling::Llama3 { .. } => 1.0,
    };
    let mut table = vec![0f32; positions * head_dim];
    // In parallel: a context of 128k tokens is some ten million angles.
    let rows = table.par_chunks_exact_mut(head_dim.max(1));
    rows.enumerate().for_each(|(position, row)| {
        #[expect(clippy::cast_precision_loss, reason = "positions are far below 2^24")]
        let position = position as f32;
        let (cosines, sines) = row.split_at_mut(frequencies.len());
        for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(&frequencies) {
            let (s, c) = (position * frequency).sin_cos();
            (*sin, *cos) = (s * amplitude, c * amplitude);
        }
    });
    table
}

/// Angle per position and pair of dimensions, after scaling.
fn frequencies(rope: &Rope, head_dim: usize) -> Vec<f32> {
    let plain = (0..head_dim / 2).map(|i| {
        #[expect(clippy::cast_precision_loss, reason = "small integers")]
        let exponent = (2 * i) as f32 / head_dim as f32;
        1.0 / rope.theta.powf(exponent)
    });
    match &rope.scaling {
        Scaling::Yarn(yarn) => blended(plain, yarn, rope.theta, head_dim),
        scaling => plain.map(|frequency| scale(frequency, scaling)).collect(),
    }
}

/// YaRN's blend, as transformers' `modeling_rope_utils` makes it: along the dimensions
/// and not, as in the paper's formula, along the wavelengths.
fn blended(plain: impl Iterator<Item = f32>, yarn: &Yarn, theta: f32, head_dim: usize) -> Vec<f32> {
    let (low, high) = blended_dimensions(yarn, theta, head_dim);
    let blend = |(index, frequency): (u16, f32)| {
        let divided = ((f32::from(index) - low) / (high - low)).clamp(0.0, 1.0);
        frequency / yarn.factor * divided + frequency * (1.0 - divided)
    };
    (0..).zip(plain).map(blend).collect()
}

/// Pairs of dimensions up to which angles stay and from which they are divided.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a head has a few hundred dimensions"
)]
fn blended_dimensions(yarn: &Yarn, theta: f32, head_dim: usize) -> (f32, f32) {
    let dimensions = head_dim as f64;
    // The dimension whose angle makes so many turns within the original context.
    let of_turns = |turns: f64| {
        let turn = turns * std::f64::consts::TAU;
        dimensions * (f64::from(yarn.original_context) / turn).ln() / (2.0 * f64::from(theta).ln())
    };
    let (mut low, mut high) = (of_turns(yarn.fast), of_turns(yarn.slow));
    if yarn.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dimensions - 1.0));
    if low == high {
        high += 0.001;
    }
    (low as f32, high as f32)
}

/// Applies a checkpoint's rule for single angles, as `modeling_rope_utils` does.
fn scale(frequency: f32, scaling: &Scaling) -> f32 {
    match *scaling {
        Scaling::None | Scaling::Yarn(_) => frequency,
        Scaling::Linear { factor } => frequency / factor,
        Scaling::Llama3 {
            factor,
            low,
            high,
            original_context,
        } => {
            let wavelength = std::f32::consts::TAU / frequency;
            if wavelength < original_context / high {
                frequency
            } else if wavelength > original_context / low {
                frequency / factor
            } else {
                let smooth = (original_context / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(theta: f32, scaling: Scaling) -> Rope {
        Rope { theta, scaling }
    }

    #[test]
    fn position_zero_turns_nothing_and_position_one_turns_by_one_radian() {
        let table = angles(&rope(1e5, Scaling::None), 64, 2);
        assert_eq!(table.len(), 2 * 64);
        assert!(table[..32].iter().all(|c| *c == 1.0) && table[32..64].iter().all(|s| *s == 0.0));
        assert!((table[64] - 1f32.cos()).abs() < 1e-7 && (table[96] - 1f32.sin()).abs() < 1e-7);
    }

    #[test]
    fn llama3_scaling_leaves_short_waves_and_divides_long_ones() {
        let scaling = Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original_context: 8192.0,
        };
        assert_eq!(scale(1.0, &scaling), 1.0);
        assert_eq!(scale(1e-6, &scaling), 1e-6 / 8.0);
        let middle = std::f32::consts::TAU / 4000.0;
        let scaled = scale(middle, &scaling);
        assert!(scaled < middle && scaled > middle / 8.0);
        let halved = rope(1e4, Scaling::Linear { factor: 2.0 });
        assert_eq!(frequencies(&halved, 64)[0], 0.5);
    }
}
