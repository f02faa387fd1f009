//! How many cycles a core has in a second of its time, told by work of a known number of
//! them: prints that number, and whoever started it divides by the CPU time that it took.
//!
//! Each step waits for the one before it. A multiplication of 64 bits takes 3 cycles and an
//! addition 1 on every x86-64 core since Nehalem and Zen (Fog, Instruction tables); where it
//! takes another number, figures of one machine still compare.

use std::hint::black_box;
use std::io::{Write as _, stdout};

/// Some tenths of a second.
const STEPS: u64 = 100_000_000;
const CYCLES_A_STEP: u64 = 4;

fn main() -> std::io::Result<()> {
    let addend = black_box(1_u64);
    let mut value = black_box(3_u64);
    for _ in 0..STEPS {
        value = value.wrapping_mul(value).wrapping_add(addend);
    }
    black_box(value);
    writeln!(stdout(), "{}", STEPS * CYCLES_A_STEP)
}
