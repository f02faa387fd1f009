//! How long the parts of a request's way took, until its answer began: what the header
//! `Server-Timing` says.
//!
//! It knows names and durations; it does NOT know who may read them.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The most names of one request; later ones are left out.
const STAGES_MAX: usize = 16;

/// One part of the way, however often it was gone.
#[derive(Debug)]
struct Stage {
    name: String,
    times: u32,
    duration: Duration,
}

/// The parts of one request's way, in the order in which they ended first.
#[derive(Debug, Default)]
pub struct Stages(Mutex<Vec<Stage>>);

impl Stages {
    /// Adds the time of one call.
    pub fn add(&self, name: &str, duration: Duration) {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = stages.iter_mut().find(|stage| stage.name == name) {
            stage.times += 1;
            stage.duration += duration;
        } else if stages.len() < STAGES_MAX {
            stages.push(Stage {
                name: name.to_owned(),
                times: 1,
                duration,
            });
        }
    }

    /// The value of `Server-Timing` (W3C Server Timing): `total` first, in milliseconds.
    #[must_use]
    pub fn text(&self, total: Duration) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let mut text = format!("total;dur={:.3}", ms(total));
        for stage in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let name = stage.name.chars().map(|c| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => c,
                _ => '_',
            });
            let name: String = name.collect();
            let _ = write!(text, ", {name};dur={:.3}", ms(stage.duration));
            if stage.times > 1 {
                let _ = write!(text, ";desc=\"{} calls\"", stage.times);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_add_up_and_are_bounded() {
        let ms = Duration::from_millis;
        let stages = Stages::default();
        stages.add("ledger", ms(2));
        stages.add("ga te", ms(9));
        stages.add("ledger", ms(1));
        assert_eq!(
            stages.text(ms(10)),
            "total;dur=10.000, ledger;dur=3.000;desc=\"2 calls\", ga_te;dur=9.000"
        );
        for number in 0..100 {
            stages.add(&number.to_string(), ms(1));
        }
        assert_eq!(stages.text(ms(1)).split(", ").count(), 1 + STAGES_MAX);
    }
}
