//! Prints how fast prompts are screened and answers guarded, in MB/s on one core.
//!
//! `cargo run --release -p safety --example speed`. No part of any request's path.
#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use safety::guard::Guard;
use safety::policy::{Policy, Refusal};
use safety::screen::screen;

const PROSE: &str = "The ferry to the outer islands leaves at 7:45 from pier 3, and costs 12.50. \
    Tell Anna (anna.berg@example.org, +47 22 12 34 56) that I come later; my card 4111 1111 1111 \
    1111 has expired. Weather: 4 degrees, wind from the north-west, rain after noon.\n";
/// Of one measurement.
const BYTES: usize = 1 << 17;
const TIME: Duration = Duration::from_secs(1);

fn main() -> Result<(), Refusal> {
    for (name, block_list) in [
        ("no block list", ""),
        ("block list", "blue whale,secret plan"),
    ] {
        let policy = Rc::new(Policy::parse("email,phone,card,iban,api-key", block_list)?);
        let text = PROSE.repeat(BYTES / PROSE.len());
        let prompt = [text.clone()];
        let screened = rate(text.len(), || {
            black_box(screen(&policy, black_box(&prompt))).is_ok()
        });
        let chunks: Vec<&str> = PROSE.split_inclusive(' ').collect();
        let guarded = rate(PROSE.len(), || {
            let mut guard = Guard::new(Rc::clone(&policy));
            for chunk in &chunks {
                black_box(guard.push(black_box(chunk)));
            }
            guard.finish().refusal.is_none()
        });
        println!("{name}: screen {screened:.0} MB/s, stream guard {guarded:.0} MB/s");
    }
    Ok(())
}

/// Of the best of many short measurements: the others had the processor to share.
fn rate(bytes: usize, mut work: impl FnMut() -> bool) -> f64 {
    let rounds = BYTES.div_ceil(bytes);
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < TIME {
        let round = Instant::now();
        if !(0..rounds).all(|_| work()) {
            return 0.0;
        }
        best = best.min(round.elapsed());
    }
    (rounds * bytes) as f64 / best.as_secs_f64() / 1e6
}
