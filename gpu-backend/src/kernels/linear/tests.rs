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
    fn int8_weights_are_near_and_equal_on_all_levels(
        rows in 1usize..9, n in 1usize..70, k in 1usize..200, seed: u64,
    ) {
        let (x, w) = (random(seed, rows * k), random(!seed, n * k));
        let want = naive(&x, &w, rows, n, k);
        let (values, scales) = quantise(&w, n, k);
        let mut first: Option<Vec<f32>> = None;
        for level in available() {
            let mut y = vec![f32::NAN; rows * n];
            linear(level, &x, Packed::Int8(&values, &scales), &mut y, n, k);
            // Half a step of 1/127 per weight, on inputs below one.
            let bound = k as f32 * 0.5 / 127.0 + 1e-4;
            prop_assert!(y.iter().zip(&want).all(|(a, b)| (a - b).abs() <= bound));
            prop_assert_eq!(first.get_or_insert_with(|| y.clone()), &y);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours(
        rows in 1usize..15, n in 1usize..150, k in 1usize..90, seed: u64,
    ) {
        let (x, w) = (random(seed, rows * k), random(!seed, n * k));
        let packed = pack(&w, n, k);
        for level in available() {
            let mut together = vec![0f32; rows * n];
            linear(level, &x, Packed::F32(&packed), &mut together, n, k);
            for r in 0..rows {
                let mut alone = vec![0f32; n];
                linear(level, &x[r * k..][..k], Packed::F32(&packed), &mut alone, n, k);
                prop_assert_eq!(&alone[..], &together[r * n..][..n]);
            }
        }
    }
}

#[test]
fn a_large_product_runs_in_parallel_and_agrees() {
    let (rows, n, k) = (7, 515, 130);
    let (x, w) = (random(1, rows * k), random(2, n * k));
    let mut y = vec![0f32; rows * n];
    linear(
        super::super::lanes::level(),
        &x,
        Packed::F32(&pack(&w, n, k)),
        &mut y,
        n,
        k,
    );
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
    let (values, scales) = quantise(&w, n, k);
    gather_row(Packed::Int8(&values, &scales), k, 20, &mut row);
    assert!(
        row.iter()
            .zip(&w[20 * k..])
            .all(|(a, b)| (a - b).abs() < 0.005)
    );
}
