//! Attention: over a paged cache that two steps write, and within whole sequences.
//! Knows nothing of models.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{CheckError, Pair, matrix, random, small};
use crate::backend::{self, KvCacheDtype, LayerCache};
use crate::kernels::{AttentionShape, BLOCK_TOKENS, Span, StepLayout};

/// Positions that have angles.
const POSITIONS: usize = 600;

/// Heads, key-value heads, and values of a head: no group, odd groups, wide heads.
const HEADS: [(usize, usize, usize); 5] =
    [(4, 4, 20), (6, 2, 34), (7, 1, 64), (8, 4, 128), (4, 1, 256)];

/// Tokens of each sequence in the first step, and in the second: prompts, pieces of
/// prompts beside single tokens, and single tokens alone, near and far.
const STEPS: [&[(usize, usize)]; 4] = [
    &[(1, 1)],
    &[(5, 1), (16, 3), (33, 1), (17, 40)],
    &[(257, 1), (255, 1), (1, 1)],
    &[(520, 1), (300, 2)],
];

pub(super) fn paged(pair: &mut Pair<'_>) -> Result<(), CheckError> {
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    for (turn, (heads, kv_heads, head_dim)) in HEADS.into_iter().enumerate() {
        for (index, sequences) in STEPS.into_iter().enumerate() {
            // Each kind of cap, window and cache somewhere, not each with each: every
            // combination is a kernel to compile.
            let softcap = (index % 2 == 1).then_some(0.8);
            let window = [None, Some(9), Some(300)][(index + heads) % 3];
            let shape = AttentionShape {
                heads,
                kv_heads,
                head_dim,
                scale: 0.5,
                softcap,
                window,
            };
            let kept = [KvCacheDtype::Auto, KvCacheDtype::Int8][(turn + index) % 2];
            two_steps(pair, rng, &shape, sequences, kept)?;
        }
    }
    Ok(())
}

/// Lays out `tokens` of each sequence after its `context`, in its own blocks.
fn layout(blocks: &[Vec<u32>], contexts: &[usize], tokens: &[usize]) -> StepLayout {
    let mut step = StepLayout::default();
    for ((blocks, context), tokens) in blocks.iter().zip(contexts).zip(tokens) {
        let first = step.tokens();
        for position in *context..context + tokens {
            let block = blocks[position / BLOCK_TOKENS] as usize;
            step.positions.push(small(position));
            step.slots
                .push(small(block * BLOCK_TOKENS + position % BLOCK_TOKENS));
        }
        step.spans.push(Span {
            rows: first..first + tokens,
            context: *context,
            blocks: blocks.clone(),
        });
    }
    step
}

pub(super) fn two_steps(
    pair: &mut Pair<'_>,
    rng: &mut ChaCha8Rng,
    shape: &AttentionShape,
    sequences: &[(usize, usize)],
    kept: KvCacheDtype,
) -> Result<(), CheckError> {
    let needed = |(a, b): &(usize, usize)| (a + b).div_ceil(BLOCK_TOKENS);
    let all: usize = sequences.iter().map(needed).sum::<usize>() + 3;
    let mut free: Vec<u32> = (0..small(all)).collect();
    let mut blocks = Vec::new();
    for sequence in sequences {
        let take = |_| free.swap_remove(rng.random_range(0..free.len()));
        blocks.push((0..needed(sequence)).map(take).collect::<Vec<u32>>());
    }
    let (first, second): (Vec<usize>, Vec<usize>) = sequences.iter().copied().unzip();
    let steps = [
        layout(&blocks, &vec![0; first.len()], &first),
        layout(&blocks, &first, &second),
    ];
    let angles = random(rng, POSITIONS * shape.head_dim);
    let inputs = steps
        .each_ref()
        .map(|step| random(rng, step.tokens() * shape.qkv_width()));
    let run = |device: &_| {
        let mut cache = LayerCache::new(shape, all, kept, device);
        let angles = matrix(&angles, POSITIONS, device);
        [0, 1].map(|i| {
            // A layout of its own: another device has prepared the first.
            let step = steps[i].clone();
            let qkv = matrix(&inputs[i], step.tokens(), device);
            cache.attend(qkv, &angles, *shape, &step)
        })
    };
    let (want, got) = (run(&pair.cpu), run(&pair.other));
    // A number half way between two integers may fall on either side.
    let bound = match kept {
        KvCacheDtype::Auto => 5e-5,
        KvCacheDtype::Int8 => 1e-2,
    };
    for (step, (want, got)) in want.into_iter().zip(got).enumerate() {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
            softcap,
            window,
            ..
        } = shape;
        let name = format!(
            "attention {}, cache {kept}, {heads}/{kv_heads} heads of {head_dim}, cap {softcap:?}, \
             window {window:?}, sequences {sequences:?}",
            ["prefill", "next step"][step]
        );
        pair.push(name, bound, want, got)?;
    }
    Ok(())
}

pub(super) fn dense(pair: &mut Pair<'_>) -> Result<(), CheckError> {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    for (heads, kv_heads, head_dim) in [(1, 1, 2), (12, 12, 32), (6, 2, 64)] {
        let lengths = [1usize, 17, 70];
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_dim,
            scale: 0.4,
            softcap: None,
            window: None,
        };
        let rows = lengths.iter().sum();
        let qkv = random(rng, rows * shape.qkv_width());
        // Its two products may be rounded to 10 bits (TF32), as `steps` says.
        let name = format!("dense attention, {heads}/{kv_heads} heads of {head_dim}");
        pair.compare(name, 2e-3, |device| {
            backend::dense_attention(matrix(&qkv, rows, device), shape, &lengths)
        })?;
    }
    Ok(())
}
