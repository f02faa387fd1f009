//! Our kernels against the compositions of burn's own operations.

use burn::backend::Flex;
use burn::tensor::{DType, Shape, TensorData};
use burn_flex::{FlexTensor, Layout};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{LlmOps, reference};
use crate::kernels::{Activation, AttentionShape, BLOCK_TOKENS, Span, StepLayout};

fn random(rng: &mut ChaCha8Rng, shape: &[usize]) -> FlexTensor {
    let len = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|_| rng.random_range(-1.0..1.0)).collect();
    FlexTensor::from_data(TensorData::new(values, Shape::from(shape.to_vec())))
}

fn near(a: &FlexTensor, b: &FlexTensor, bound: f32) {
    assert_eq!(a.layout().shape(), b.layout().shape());
    let (a, b) = (a.to_contiguous(), b.to_contiguous());
    for (x, y) in a.storage::<f32>().iter().zip(b.storage::<f32>()) {
        assert!((x - y).abs() <= bound, "{x} against {y}");
    }
}

/// Sequences with the given (context, rows), in shuffled blocks.
fn step(sequences: &[(usize, usize)], rng: &mut ChaCha8Rng) -> (StepLayout, usize) {
    let needed: usize = sequences
        .iter()
        .map(|(c, r)| (c + r).div_ceil(BLOCK_TOKENS))
        .sum();
    let mut free: Vec<u32> = (0..needed as u32 + 3).collect();
    let mut layout = StepLayout::default();
    for &(context, rows) in sequences {
        let blocks: Vec<u32> = (0..(context + rows).div_ceil(BLOCK_TOKENS))
            .map(|_| free.swap_remove(rng.random_range(0..free.len())))
            .collect();
        let first = layout.tokens();
        for position in context..context + rows {
            let block = blocks[position / BLOCK_TOKENS] as usize;
            layout.positions.push(position as u32);
            layout
                .slots
                .push((block * BLOCK_TOKENS + position % BLOCK_TOKENS) as u32);
        }
        layout.spans.push(Span {
            rows: first..first + rows,
            context,
            blocks,
        });
    }
    (layout, needed + 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn paged_attention_equals_plain_attention(
        kv_heads in 1usize..4, group in 1usize..6, half in 1usize..20,
        softcap in prop::option::of(0.3f32..5.0), window in prop::option::of(1usize..50),
        sequences in prop::collection::vec((0usize..40, 1usize..25), 1..4), seed: u64,
    ) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (heads, head_dim) = (kv_heads * group, half * 2);
        let shape = AttentionShape {
            heads, kv_heads, head_dim, scale: 1.0 / (head_dim as f32).sqrt(), softcap, window,
        };
        let (layout, blocks) = step(&sequences, rng);
        let qkv = random(rng, &[layout.tokens(), shape.qkv_width()]);
        let angles = random(rng, &[70, head_dim]);
        let keys = random(rng, &shape.keys(blocks));
        let values = random(rng, &shape.values(blocks));
        let own = |t: &FlexTensor| FlexTensor::new(
            burn::tensor::Bytes::from_bytes_vec(t.bytes().to_vec()),
            Layout::contiguous(t.layout().shape().clone()), t.dtype(),
        );
        let got = <Flex as LlmOps>::attention(
            own(&qkv), own(&angles), own(&keys), own(&values), shape, &layout,
        );
        let want = reference::attention::<Flex>(qkv, angles, keys, values, shape, &layout);
        near(&got.0, &want.0, 1e-4);
        near(&got.1, &want.1, 1e-6);
        near(&got.2, &want.2, 0.0);
    }

    #[test]
    fn linear_and_embedding_equal_burns(
        t in 1usize..9, n in 1usize..60, k in 1usize..80, seed: u64,
    ) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (x, w) = (random(rng, &[t, k]), random(rng, &[n, k]));
        let packed = <Flex as LlmOps>::pack(w.clone());
        let got = <Flex as LlmOps>::linear(x.clone(), packed.clone(), n);
        near(&got, &reference::linear::<Flex>(x.clone(), w.clone()), 1e-4);
        let ids: Vec<u32> = (0..5).map(|_| rng.random_range(0..n as u32)).collect();
        near(
            &<Flex as LlmOps>::embed(packed, &ids),
            &reference::embed::<Flex>(w.clone(), &ids),
            0.0,
        );
        let (values, scales) = <Flex as LlmOps>::quantise(w.clone());
        let got = <Flex as LlmOps>::linear_int8(x.clone(), values, scales, n);
        let exact = reference::linear::<Flex>(x.clone(), w.clone());
        // Half a step of 1/127 for the weight, and for the activation.
        near(&got, &exact, k as f32 * 1.02 / 127.0 + 1e-4);
        let (values, scales) = <Flex as LlmOps>::quantise_int4(w);
        let got = <Flex as LlmOps>::linear_int4(x, values, scales, n);
        // Half a step of 1/8, a whole one where 8 is cut to 7.
        near(&got, &exact, k as f32 * (1.02 / 8.0 + 0.6 / 127.0) + 1e-4);
    }

    #[test]
    fn quantised_references_are_near(n in 1usize..20, k in 1usize..5, seed: u64) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        for k in [k, 32 * k] {
            let w = random(rng, &[n, k]);
            for most in [127, 7] {
                let (values, scales) = reference::quantise::<Flex>(w.clone(), most);
                let got = reference::dequantise::<Flex>(values, scales);
                near(&got, &w, 0.51 / f32::from(most));
            }
        }
    }

    #[test]
    fn attention_over_an_int8_cache_equals_its_reference_and_is_near_the_exact_one(
        kv_heads in 1usize..4, group in 1usize..6, half in 1usize..20,
        window in prop::option::of(1usize..50),
        sequences in prop::collection::vec(1usize..90, 1..4), seed: u64,
    ) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (heads, head_dim) = (kv_heads * group, half * 2);
        let shape = AttentionShape {
            heads, kv_heads, head_dim, scale: 1.0 / (head_dim as f32).sqrt(), softcap: None, window,
        };
        let sequences: Vec<_> = sequences.into_iter().map(|rows| (0, rows)).collect();
        let (layout, blocks) = step(&sequences, rng);
        let qkv = random(rng, &[layout.tokens(), shape.qkv_width()]);
        let angles = random(rng, &[90, head_dim]);
        let zeros = |shape: [usize; 4], dtype| FlexTensor::zeros(Shape::new(shape), dtype);
        let caches = || (
            zeros(shape.keys(blocks), DType::I8),
            zeros(shape.values(blocks), DType::I8),
            zeros(shape.scales(blocks), DType::F32),
        );
        let own = |t: &FlexTensor| FlexTensor::new(
            burn::tensor::Bytes::from_bytes_vec(t.bytes().to_vec()),
            Layout::contiguous(t.layout().shape().clone()), t.dtype(),
        );
        let (keys, values, scales) = caches();
        let got = <Flex as LlmOps>::attention_int8(
            own(&qkv), own(&angles), keys, values, scales, shape, &layout,
        );
        let (keys, values, scales) = caches();
        let want = reference::attention_int8::<Flex>(
            own(&qkv), own(&angles), keys, values, scales, shape, &layout,
        );
        // A number half way between two integers may fall on either side.
        near(&got.0, &want.0, 2e-2);
        near(&got.3, &want.3, 1e-6);
        let keys = zeros(shape.keys(blocks), DType::F32);
        let values = zeros(shape.values(blocks), DType::F32);
        let exact = reference::attention::<Flex>(qkv, angles, keys, values, shape, &layout);
        near(&got.0, &exact.0, 3e-2);
    }

    #[test]
    fn row_wise_steps_equal_burns(t in 1usize..5, h in 1usize..70, seed: u64) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (x, w) = (random(rng, &[t, h]), random(rng, &[h]));
        near(
            &<Flex as LlmOps>::rms_norm(x.clone(), w.clone(), 1e-5),
            &reference::rms_norm::<Flex>(x.clone(), w.clone(), 1e-5),
            1e-5,
        );
        near(
            &<Flex as LlmOps>::add_bias(x.clone(), w.clone()),
            &reference::add_bias::<Flex>(x, w),
            0.0,
        );
        let both = random(rng, &[t, 2 * h]);
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::GeluErf] {
            near(
                &<Flex as LlmOps>::gated(both.clone(), activation),
                &reference::gated::<Flex>(both.clone(), activation),
                1e-5,
            );
        }
        near(
            &<Flex as LlmOps>::softcap(both.clone(), 0.7),
            &reference::softcap::<Flex>(both, 0.7),
            1e-5,
        );
    }

    #[test]
    fn an_encoders_steps_equal_burns(
        lengths in prop::collection::vec(1usize..40, 1..5),
        kv_heads in 1usize..4, group in 1usize..4, half in 1usize..20, seed: u64,
    ) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let shape = AttentionShape {
            heads: kv_heads * group, kv_heads, head_dim: 2 * half,
            scale: 0.4, softcap: None, window: None,
        };
        let t = lengths.iter().sum();
        let qkv = random(rng, &[t, shape.qkv_width()]);
        near(
            &<Flex as LlmOps>::dense_attention(qkv.clone(), shape, &lengths),
            &reference::dense_attention::<Flex>(qkv.clone(), shape, &lengths),
            1e-5,
        );
        let (w, b) = (random(rng, &[shape.qkv_width()]), random(rng, &[shape.qkv_width()]));
        near(
            &<Flex as LlmOps>::layer_norm(qkv.clone(), w.clone(), b.clone(), 1e-5),
            &reference::layer_norm::<Flex>(qkv.clone(), w, b, 1e-5),
            1e-5,
        );
        near(
            &<Flex as LlmOps>::activate(qkv.clone(), Activation::GeluErf),
            &reference::activate::<Flex>(qkv, Activation::GeluErf),
            1e-5,
        );
    }

    #[test]
    fn norms_of_heads_equal_burns(
        t in 1usize..5, kv_heads in 1usize..4, group in 1usize..4, half in 1usize..20, seed: u64,
    ) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let shape = AttentionShape {
            heads: kv_heads * group, kv_heads, head_dim: 2 * half,
            scale: 1.0, softcap: None, window: None,
        };
        let qkv = random(rng, &[t, shape.qkv_width()]);
        let (q, k) = (random(rng, &[2 * half]), random(rng, &[2 * half]));
        near(
            &<Flex as LlmOps>::qk_norm(qkv.clone(), q.clone(), k.clone(), shape, 1e-5),
            &reference::qk_norm::<Flex>(qkv, q, k, shape, 1e-5),
            1e-5,
        );
    }
}
