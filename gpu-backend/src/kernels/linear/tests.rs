//! The packed products against a plain triple loop, on every level of this CPU.

use proptest::prelude::*;
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::lanes::available;
use super::*;

fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn naive(x: &[f32], w: &[f32], rows: usize, n: usize, k: usize) -> Vec<f32> {
    let mut y = vec![0f32; rows * n];
    for r in 0..rows {
        for c in 0..n {
            y[r * n + c] = (0..k).fold(0f32, |s, i| x[r * k + i].mul_add(w[c * k + i], s));
        }
    }
    y
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_level_equals_the_plain_loop_bit_for_bit(
        rows in 1usize..15, n in 1usize..150, k in 1usize..90, seed: u64,
    ) {
        let (x, w) = (random(seed, rows * k), random(!seed, n * k));
        let want = naive(&x, &w, rows, n, k);
        let packed = pack(&w, n, k);
        for level in available() {
            let mut y = vec![f32::NAN; rows * n];
            linear(level, &x, Packed::F32(&packed), &mut y, n, k);
            prop_assert_eq!(&y, &want, "{:?}", level);
        }
    }

    #[test]
    fn bf16_weights_equal_the_plain_loop_on_rounded_weights(
        rows in 1usize..9, n in 1usize..70, k in 1usize..70, seed: u64,
    ) {
        let x = random(seed, rows * k);
        let w: Vec<bf16> = random(!seed, n * k).into_iter().map(bf16::from_f32).collect();
        let wide: Vec<f32> = w.iter().map(|v| v.to_f32()).collect();
        let want = naive(&x, &wide, rows, n, k);
        let packed = pack(&w, n, k);
        for level in available() {
            let mut y = vec![f32::NAN; rows * n];
            linear(level, &x, Packed::Bf16(&packed), &mut y, n, k);
            prop_assert_eq!(&y, &want, "{:?}", level);
        }
    }

    #[test]
    fn integer_products_equal_those_of_the_rounded_operands_on_all_levels(
        rows in 1usize..15, n in 1usize..70, k in 1usize..200, seed: u64,
    ) {
        let (x, w) = (random(seed, rows * k), random(!seed, n * k));
        for kind in [Kind::Int8, Kind::Int4] {
            let weight = kind.pack(&w, n, k);
            let want = naive(&rounded(&x, k, kind.group()), &weight.dense(n, k), rows, n, k);
            let mut first: Option<Vec<f32>> = None;
            for level in available() {
                let mut y = vec![f32::NAN; rows * n];
                linear(level, &x, weight.packed(), &mut y, n, k);
                for (got, want) in y.iter().zip(&want) {
                    prop_assert!((got - want).abs() < 1e-4, "{:?}: {} {}", level, got, want);
                }
                prop_assert_eq!(first.get_or_insert_with(|| y.clone()), &y, "{:?}", level);
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours(
        rows in 1usize..27, n in 1usize..150, k in 1usize..90, seed: u64,
    ) {
        let (x, w) = (random(seed, rows * k), random(!seed, n * k));
        for kind in [Kind::F32, Kind::Bf16, Kind::Int8, Kind::Int4] {
            let weight = kind.pack(&w, n, k);
            for level in available() {
                let mut together = vec![0f32; rows * n];
                linear(level, &x, weight.packed(), &mut together, n, k);
                for r in 0..rows {
                    let mut alone = vec![0f32; n];
                    linear(level, &x[r * k..][..k], weight.packed(), &mut alone, n, k);
                    prop_assert_eq!(&alone[..], &together[r * n..][..n]);
                }
            }
        }
    }

    #[test]
    fn quantised_weights_are_within_half_a_step(n in 1usize..40, k in 1usize..150, seed: u64) {
        let w = random(seed, n * k);
        for (kind, step) in [(Kind::Int8, 1.01 / 127.0), (Kind::Int4, 1.01 / 8.0)] {
            let dense = kind.pack(&w, n, k).dense(n, k);
            for (group, got) in w.chunks(k).zip(dense.chunks(k)) {
                for (w, got) in group.chunks(kind.group()).zip(got.chunks(kind.group())) {
                    let max = w.iter().fold(0f32, |m, v| m.max(v.abs()));
                    for (w, got) in w.iter().zip(got) {
                        // Int4 has no +8: what is above 7.5 steps is a whole one off at most.
                        let off = if kind == Kind::Int4 && w.abs() > 7.4 / 8.0 * max { 1.0 } else { 0.5 };
                        prop_assert!((w - got).abs() <= off * step * max + 1e-6, "{} {}", w, got);
                    }
                }
            }
        }
    }
}

/// What a weight is kept as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    F32,
    Bf16,
    Int8,
    Int4,
}

enum Kept {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    Int8(Vec<u8>, Vec<bf16>),
    Int4(Vec<u8>, Vec<bf16>),
}

impl Kind {
    fn pack(self, w: &[f32], n: usize, k: usize) -> Kept {
        match self {
            Kind::F32 => Kept::F32(pack(w, n, k)),
            Kind::Bf16 => {
                let w: Vec<bf16> = w.iter().map(|v| bf16::from_f32(*v)).collect();
                Kept::Bf16(pack(&w, n, k))
            }
            Kind::Int8 => {
                let (values, scales) = quantise_int8(w, n, k);
                Kept::Int8(values, scales)
            }
            Kind::Int4 => {
                let (values, scales) = quantise_int4(w, n, k);
                Kept::Int4(values, scales)
            }
        }
    }

    fn group(self) -> usize {
        match self {
            Kind::Int8 => integer::INT8_GROUP,
            _ => integer::INT4_GROUP,
        }
    }
}

impl Kept {
    fn packed(&self) -> Packed<'_> {
        match self {
            Kept::F32(w) => Packed::F32(w),
            Kept::Bf16(w) => Packed::Bf16(w),
            Kept::Int8(w, scales) => Packed::Int8(w, scales),
            Kept::Int4(w, scales) => Packed::Int4(w, scales),
        }
    }

    /// Back to `w[n, k]`.
    fn dense(&self, n: usize, k: usize) -> Vec<f32> {
        let mut w = vec![0f32; n * k];
        for (row, out) in w.chunks_mut(k).enumerate() {
            gather_row(self.packed(), k, row, out);
        }
        w
    }
}

/// `x[T, k]` rounded to int8 by rows and groups, as plain Rust does it.
fn rounded(x: &[f32], k: usize, group: usize) -> Vec<f32> {
    let of_group = |x: &[f32]| -> Vec<f32> {
        let scale = x.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
        x.iter()
            .map(|v| (v * (1.0 / scale)).round_ties_even() * scale)
            .collect()
    };
    x.chunks(k)
        .flat_map(|row| row.chunks(group).flat_map(of_group))
        .collect()
}

#[test]
fn zeros_and_tiny_and_uneven_activations_are_rounded_safely() {
    let (n, k) = (20, 130);
    let w = random(5, n * k);
    let (values, scales) = quantise_int8(&w, n, k);
    for scale in [0.0, 1e-42, 1e-30, 1e30] {
        let x: Vec<f32> = random(6, k).iter().map(|v| v * scale).collect();
        for level in available() {
            let mut y = vec![f32::NAN; n];
            linear(level, &x, Packed::Int8(&values, &scales), &mut y, n, k);
            assert!(y.iter().all(|v| v.is_finite()), "{scale}: {y:?}");
            let want = naive(&x, &w, 1, n, k);
            let bound = k as f32 * 1.02 / 127.0 * scale + 1e-37;
            assert!(y.iter().zip(want).all(|(a, b)| (a - b).abs() <= bound));
        }
    }
}

#[test]
fn a_large_product_runs_in_parallel_and_agrees() {
    let (rows, n, k) = (7, 515, 130);
    let (x, w) = (random(1, rows * k), random(2, n * k));
    let mut y = vec![0f32; rows * n];
    let packed = pack(&w, n, k);
    let level = super::super::lanes::level();
    workers::Workers::new(3)
        .unwrap()
        .install(|| linear(level, &x, Packed::F32(&packed), &mut y, n, k));
    assert_eq!(y, naive(&x, &w, rows, n, k));
}

#[test]
fn a_row_comes_back_out_of_a_packed_table() {
    let (n, k) = (37, 70);
    let w = random(3, n * k);
    let packed = pack(&w, n, k);
    let mut row = vec![0f32; k];
    gather_row(Packed::F32(&packed), k, 36, &mut row);
    assert_eq!(row, w[36 * k..]);
    let (values, scales) = quantise_int8(&w, n, k);
    gather_row(Packed::Int8(&values, &scales), k, 20, &mut row);
    assert!(
        row.iter()
            .zip(&w[20 * k..])
            .all(|(a, b)| (a - b).abs() < 0.005)
    );
}
