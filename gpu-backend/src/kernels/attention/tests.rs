//! Attention's bits do not depend on the level, on chunks, or on neighbours.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::Span;
use super::super::lanes::available;
use super::*;

/// A cache of one kind, with room for two sequences.
enum Store {
    F32(Vec<f32>, Vec<f32>),
    Int8(Vec<i8>, Vec<i8>, Vec<f32>),
}

impl Store {
    fn new(shape: &AttentionShape, blocks: usize, int8: bool) -> Self {
        let len = |dims: [usize; 4]| dims.iter().product();
        let (keys, values) = (len(shape.keys(blocks)), len(shape.values(blocks)));
        if int8 {
            let scales = vec![0.0; len(shape.scales(blocks))];
            Self::Int8(vec![0; keys], vec![0; values], scales)
        } else {
            Self::F32(vec![0.0; keys], vec![0.0; values])
        }
    }

    fn cache(&mut self) -> Cache<'_> {
        match self {
            Self::F32(keys, values) => Cache::F32 { keys, values },
            Self::Int8(keys, values, scales) => Cache::Int8 {
                keys,
                values,
                scales,
            },
        }
    }
}

/// The rows `rows` of a sequence in the blocks from `first` on, appended to a step.
fn append(step: &mut StepLayout, rows: std::ops::Range<usize>, first: u32) {
    let at = step.tokens();
    for position in rows.clone() {
        let slot = first as usize * BLOCK_TOKENS + position;
        step.positions.push(u32::try_from(position).unwrap());
        step.slots.push(u32::try_from(slot).unwrap());
    }
    let blocks = u32::try_from(rows.end.div_ceil(BLOCK_TOKENS)).unwrap();
    step.spans.push(Span {
        rows: at..step.tokens(),
        context: rows.start,
        blocks: (first..first + blocks).collect(),
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn chunks_neighbours_and_levels_change_no_bit(
        kv_heads in 1usize..3, group in 1usize..6, half in 1usize..34, tokens in 1usize..150,
        window in prop::option::of(1usize..90), int8: bool, seed: u64,
    ) {
        let shape = AttentionShape {
            heads: kv_heads * group, kv_heads, head_dim: 2 * half,
            scale: 0.3, softcap: None, window,
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut random = |len| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (width, out_width) = (shape.qkv_width(), shape.heads * shape.head_dim);
        let (qkv, other) = (random(tokens * width), random(tokens * width));
        let angles = random(tokens * shape.head_dim);
        let first = u32::try_from(tokens.div_ceil(BLOCK_TOKENS)).unwrap();
        let blocks = 2 * first as usize;
        let run = |level, store: &mut Store, step: &StepLayout, mut qkv: Vec<f32>| {
            let mut out = vec![f32::NAN; step.tokens() * out_width];
            let b = Buffers { qkv: &mut qkv, angles: &angles, cache: store.cache(), out: &mut out };
            attention(level, &shape, step, b);
            out
        };
        let mut whole = StepLayout::default();
        append(&mut whole, 0..tokens, 0);
        let mut store = Store::new(&shape, blocks, int8);
        let want = run(Level::Portable, &mut store, &whole, qkv.clone());
        prop_assert!(want.iter().all(|v| v.is_finite()));

        let mut cuts: Vec<usize> = (0..3).map(|_| rng.random_range(0..=tokens)).collect();
        cuts.extend([0, tokens]);
        cuts.sort_unstable();
        cuts.dedup();
        for level in available() {
            let mut store = Store::new(&shape, blocks, int8);
            let mut got = Vec::new();
            for cut in cuts.windows(2) {
                let mut step = StepLayout::default();
                // The neighbour comes first, in blocks of its own.
                append(&mut step, cut[0]..cut[1], first);
                append(&mut step, cut[0]..cut[1], 0);
                let rows = cut[0] * width..cut[1] * width;
                let both = [&other[rows.clone()], &qkv[rows]].concat();
                let out = run(level, &mut store, &step, both);
                got.extend_from_slice(&out[(cut[1] - cut[0]) * out_width..]);
            }
            prop_assert_eq!(&got, &want, "{:?}", level);
        }
    }
}
