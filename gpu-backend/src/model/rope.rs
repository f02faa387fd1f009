//! The table of rotary angles: for each position, the cosines and then the sines of
//! its `head_dim / 2` angles.
//! Knows nothing of layers or requests.

use super::config::{ModelConfig, Scaling};

/// `[positions, head_dim]`, cosines in the first half of a row and sines in the second.
pub fn angles(config: &ModelConfig, positions: usize) -> Vec<f32> {
    let frequencies = frequencies(config);
    let mut table = Vec::with_capacity(positions * config.head_dim);
    for position in 0..positions {
        #[expect(clippy::cast_precision_loss, reason = "positions are far below 2^24")]
        let position = position as f32;
        let angle = |f: &f32| position * f;
        table.extend(frequencies.iter().map(angle).map(f32::cos));
        table.extend(frequencies.iter().map(angle).map(f32::sin));
    }
    table
}

/// Angle per position and pair of dimensions, after scaling.
fn frequencies(config: &ModelConfig) -> Vec<f32> {
    let dim = config.head_dim;
    (0..dim / 2)
        .map(|i| {
            #[expect(clippy::cast_precision_loss, reason = "small integers")]
            let exponent = (2 * i) as f32 / dim as f32;
            scale(1.0 / config.rope.theta.powf(exponent), &config.rope.scaling)
        })
        .collect()
}

/// Applies a checkpoint's scaling rule, as transformers' `modeling_rope_utils` does.
fn scale(frequency: f32, scaling: &Scaling) -> f32 {
    match *scaling {
        Scaling::None => frequency,
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
    use super::super::config::Rope;
    use super::*;

    #[test]
    fn position_zero_turns_nothing_and_position_one_turns_by_one_radian() {
        let config = ModelConfig::smollm2_135m();
        let table = angles(&config, 2);
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
        let config = ModelConfig {
            rope: Rope {
                theta: 1e4,
                scaling: Scaling::Linear { factor: 2.0 },
            },
            ..ModelConfig::smollm2_135m()
        };
        assert_eq!(frequencies(&config)[0], 0.5);
    }
}
