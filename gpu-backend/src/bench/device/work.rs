//! What a step has to move and to compute at the least, from a model's shape.
//! Knows nothing of devices.

use super::count;
use crate::backend::Precision;
use crate::kernels::AttentionShape;
use crate::model::ModelConfig;

/// The work of one model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Values of all matrices that each token meets: the table's rows are not among them,
    /// but the output is.
    values: f64,
    /// Bytes of those.
    weight_bytes: f64,
    /// Bytes of one token's keys and values over all layers at two bytes a value: what an
    /// engine on this device needs, so that a cache that takes more counts as none of it.
    token_bytes: f64,
    /// Values of all query heads over all layers.
    query_values: f64,
}

impl Work {
    pub(super) fn of(config: &ModelConfig, precision: Precision) -> Self {
        let shape: AttentionShape = config.attention_shape(0);
        let queries = config.heads * config.head_dim;
        let layer = config.hidden * (shape.qkv_width() + queries + 3 * config.inner);
        let values = count(config.layers * layer + config.vocab * config.hidden);
        let bytes = match precision {
            Precision::F32 => 4.0,
            Precision::Bf16 => 2.0,
            // With a scale of four bytes for each group.
            Precision::Int8 => 1.0 + 4.0 / 64.0,
            Precision::Int4 => 0.5 + 4.0 / 32.0,
        };
        let block: usize = shape.keys(1).iter().product::<usize>() * 2;
        let token = block / crate::kernels::BLOCK_TOKENS * size_of::<half::bf16>();
        Self {
            values,
            weight_bytes: values * bytes,
            token_bytes: count(config.layers * token),
            query_values: count(config.layers * queries),
        }
    }

    /// Bytes that a step reads: the weights once, and the keys and values of so many
    /// sequences.
    pub(super) fn step_bytes(&self, sequences: usize, context: usize) -> f64 {
        self.weight_bytes + count(sequences * context) * self.token_bytes
    }

    /// Operations of so many tokens that each see `context` others.
    pub(super) fn flops(&self, tokens: usize, context: usize) -> f64 {
        count(tokens) * (2.0 * self.values + 4.0 * count(context) * self.query_values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_llama_of_one_billion_has_its_weights_and_its_cache() {
        let config = crate::bench::shape("llama-3.2-1b").unwrap();
        let work = Work::of(&config, Precision::Bf16);
        // 1,235,746,816 of its card, of which norms are a few.
        assert!(
            (work.values / 1.2357e9 - 1.0).abs() < 1e-3,
            "{}",
            work.values
        );
        // 16 layers of 8 heads of 64, keys and values, two bytes each.
        assert!((work.token_bytes - 32_768.0).abs() < 0.5);
    }

    #[test]
    fn a_step_needs_the_bytes_of_its_precision_and_no_cache_wider_than_bf16() {
        let config = crate::bench::shape("llama-3.1-8b").unwrap();
        // 7.50 billion values met by a token; 32 layers of 8 heads of 128, keys and values.
        let cache = 64.0 * 544.0 * 131_072.0;
        let cases = [
            (Precision::F32, 4.0),
            (Precision::Bf16, 2.0),
            (Precision::Int8, 1.0625),
            (Precision::Int4, 0.625),
        ];
        for (precision, bytes) in cases {
            let work = Work::of(&config, precision);
            let step = work.step_bytes(64, 544);
            let want = 7.504e9 * bytes + cache;
            assert!((step / want - 1.0).abs() < 1e-3, "{precision}: {step}");
        }
    }
}
