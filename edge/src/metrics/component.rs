//! The figures of one component: each of its instances holds them. They are counted without
//! a lock; only a stage that is named for the first time waits for others.
//!
//! What they are called is said in `metrics.rs`. It does NOT know how time is measured.

use super::{Name, write_head};
use crate::lanes::Lane;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use wasmtime::Trap;

/// The upper bounds of the histograms, in microseconds: from a look at a cache to the first
/// token behind a full queue.
const BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000,
];

/// The most stages of a component that are kept apart; it names them itself.
const STAGES_MAX: usize = 32;

/// Why an instance was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum TrapKind {
    /// `unreachable`: what a panic becomes.
    Unreachable,
    /// An access outside of its memory or table, or a call of the wrong type.
    Bounds,
    /// The stack is used up.
    Stack,
    /// A division by zero, an overflow, a conversion that is none.
    Arithmetic,
    /// Nothing can go on, for all of it waits.
    Deadlock,
    /// It went on for too long after its clients had gone.
    Timeout,
    /// It ended its process.
    Exit,
    /// Anything else, such as a host call that may not be made so.
    Other,
}

impl TrapKind {
    /// Every kind with its label, in the order of their numbers.
    const ALL: [(Self, &'static str); 8] = [
        (Self::Unreachable, "unreachable"),
        (Self::Bounds, "bounds"),
        (Self::Stack, "stack"),
        (Self::Arithmetic, "arithmetic"),
        (Self::Deadlock, "deadlock"),
        (Self::Timeout, "timeout"),
        (Self::Exit, "exit"),
        (Self::Other, "other"),
    ];

    /// The kind of the error that ended an instance.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        if error.is::<wasmtime_wasi::I32Exit>() {
            return Self::Exit;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) => Self::Unreachable,
            Some(
                Trap::MemoryOutOfBounds
                | Trap::TableOutOfBounds
                | Trap::IndirectCallToNull
                | Trap::BadSignature
                | Trap::HeapMisaligned,
            ) => Self::Bounds,
            Some(Trap::StackOverflow) => Self::Stack,
            Some(
                Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger,
            ) => Self::Arithmetic,
            Some(Trap::AsyncDeadlock) => Self::Deadlock,
            Some(_) => Self::Other,
            // wasmtime's handler has words only for an instance that has expired.
            None if error.to_string() == "guest timed out" => Self::Timeout,
            None => Self::Other,
        }
    }
}

/// Durations, sorted into buckets.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let bucket = BOUNDS_US
            .iter()
            .position(|bound| duration <= Duration::from_micros(*bound));
        if let Some(bucket) = bucket {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Writes its series, each with `labels` beside its own.
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut below = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_US) {
            below += bucket.load(Relaxed);
            let bound = bound as f64 / 1e6;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        // Read last, so that it is no less than what was read before.
        let count = self.count.load(Relaxed).max(below);
        let sum = self.sum_us.load(Relaxed) as f64 / 1e6;
        let _ = write!(
            out,
            "{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n\
             {name}_sum{{{labels}}} {sum}\n\
             {name}_count{{{labels}}} {count}\n"
        );
    }
}

/// A histogram for each stage that a component has named so far.
#[derive(Debug, Default)]
struct Stages(RwLock<Vec<(Box<str>, Histogram)>>);

impl Stages {
    fn observe(&self, stage: &str, duration: Duration) {
        if self.observe_known(stage, duration) {
            return;
        }
        let mut stages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another may have named it meanwhile.
        let known = stages.iter().position(|(name, _)| **name == *stage);
        let at = known.unwrap_or(stages.len());
        if known.is_none() {
            if stages.len() == STAGES_MAX {
                return;
            }
            stages.push((stage.into(), Histogram::default()));
        }
        stages[at].1.observe(duration);
    }

    fn observe_known(&self, stage: &str, duration: Duration) -> bool {
        let stages = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = stages.iter().find(|(name, _)| **name == *stage);
        if let Some((_, histogram)) = known {
            histogram.observe(duration);
        }
        known.is_some()
    }

    fn write(&self, out: &mut String, name: &str, component: &str) {
        let stages = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (stage, histogram) in &*stages {
            let labels = format!("component=\"{component}\",stage=\"{stage}\"");
            histogram.write(out, name, &labels);
        }
    }
}

/// The figures of one component.
#[derive(Debug, Default)]
pub(crate) struct ComponentFigures {
    pub(crate) instances: AtomicI64,
    pub(crate) instantiations: AtomicU64,
    pub(crate) cpu_stops: AtomicU64,
    slow: AtomicI64,
    busy_ns: AtomicU64,
    memory: AtomicI64,
    memory_peak: AtomicI64,
    instance_memory_peak: AtomicI64,
    traps: [AtomicU64; TrapKind::ALL.len()],
    answers: Histogram,
    stages: Stages,
}

impl ComponentFigures {
    /// An instance was lost.
    pub(crate) fn trap(&self, kind: TrapKind) {
        self.traps[kind as usize].fetch_add(1, Relaxed);
    }

    /// The component had a thread for so long.
    pub(crate) fn busy(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.busy_ns.fetch_add(ns, Relaxed);
    }

    /// Where the component's requests go from now on.
    pub(crate) fn goes(&self, lane: Lane) {
        self.slow.store(i64::from(lane == Lane::Slow), Relaxed);
    }

    /// The head of an answer came after so long.
    pub(crate) fn answered(&self, after: Duration) {
        self.answers.observe(after);
    }

    /// A stage of an answer took so long, its component says. What `stage` may be made of is
    /// the caller's to check.
    pub(crate) fn stage(&self, stage: &str, took: Duration) {
        self.stages.observe(stage, took);
    }

    /// The memories of an instance grew by `bytes`, to `held` in all.
    pub(crate) fn grew(&self, bytes: usize, held: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let all = self.memory.fetch_add(bytes, Relaxed).saturating_add(bytes);
        self.memory_peak.fetch_max(all, Relaxed);
        let held = i64::try_from(held).unwrap_or(i64::MAX);
        self.instance_memory_peak.fetch_max(held, Relaxed);
    }

    /// An instance's memories of `bytes` are gone.
    pub(crate) fn freed(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.memory.fetch_sub(bytes, Relaxed);
    }

    fn write(&self, out: &mut String, name: Name, component: &str) {
        let text = name.text();
        let level = |of: &AtomicI64| of.load(Relaxed).to_string();
        let count = |of: &AtomicU64| of.load(Relaxed).to_string();
        let value = match name {
            Name::ComponentAnswerSeconds => {
                let labels = format!("component=\"{component}\"");
                return self.answers.write(out, text, &labels);
            }
            Name::StageSeconds => return self.stages.write(out, text, component),
            Name::Traps => {
                for (kind, label) in TrapKind::ALL {
                    let value = self.traps[kind as usize].load(Relaxed);
                    let labels = format!("component=\"{component}\",kind=\"{label}\"");
                    let _ = writeln!(out, "{text}{{{labels}}} {value}");
                }
                return;
            }
            Name::ComponentSlow => level(&self.slow),
            Name::Instances => level(&self.instances),
            Name::Instantiations => count(&self.instantiations),
            Name::CpuStops => count(&self.cpu_stops),
            Name::ComponentCpuSeconds => (self.busy_ns.load(Relaxed) as f64 / 1e9).to_string(),
            Name::ComponentMemory => level(&self.memory),
            Name::ComponentMemoryPeak => level(&self.memory_peak),
            Name::InstanceMemoryPeak => level(&self.instance_memory_peak),
            _ => return,
        };
        let _ = writeln!(out, "{text}{{component=\"{component}\"}} {value}");
    }
}

/// What is counted for each component, in the order of the page.
const NAMES: [Name; 11] = [
    Name::ComponentAnswerSeconds,
    Name::StageSeconds,
    Name::ComponentCpuSeconds,
    Name::ComponentSlow,
    Name::Instances,
    Name::Instantiations,
    Name::Traps,
    Name::CpuStops,
    Name::ComponentMemory,
    Name::ComponentMemoryPeak,
    Name::InstanceMemoryPeak,
];

/// Writes the figures of all components.
pub(super) fn write_all<'a>(
    out: &mut String,
    components: impl Iterator<Item = (&'a String, &'a Arc<ComponentFigures>)> + Clone,
) {
    for name in NAMES {
        write_head(out, name);
        for (component, figures) in components.clone() {
            figures.write(out, name, component);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_have_kinds() {
        let of = |trap: Trap| TrapKind::of(&trap.into());
        assert_eq!(of(Trap::UnreachableCodeReached), TrapKind::Unreachable);
        assert_eq!(of(Trap::MemoryOutOfBounds), TrapKind::Bounds);
        assert_eq!(of(Trap::StackOverflow), TrapKind::Stack);
        assert_eq!(of(Trap::IntegerDivisionByZero), TrapKind::Arithmetic);
        assert_eq!(of(Trap::AsyncDeadlock), TrapKind::Deadlock);
        assert_eq!(
            TrapKind::of(&wasmtime_wasi::I32Exit(1).into()),
            TrapKind::Exit
        );
        let error = |text: &'static str| TrapKind::of(&wasmtime::Error::msg(text));
        assert_eq!(error("guest timed out"), TrapKind::Timeout);
        assert_eq!(error("elsewhere"), TrapKind::Other);
        for (number, (kind, _)) in TrapKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn a_histogram_adds_up() {
        let histogram = Histogram::default();
        for ms in [1, 3, 3, 100_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut out = String::new();
        histogram.write(&mut out, "x", "component=\"a\"");
        for line in [
            "x_bucket{component=\"a\",le=\"0.001\"} 1",
            "x_bucket{component=\"a\",le=\"0.005\"} 3",
            "x_bucket{component=\"a\",le=\"60\"} 3",
            "x_bucket{component=\"a\",le=\"+Inf\"} 4",
            "x_sum{component=\"a\"} 100.007",
            "x_count{component=\"a\"} 4",
        ] {
            assert!(out.lines().any(|each| each == line), "{line} in {out}");
        }
    }

    #[test]
    fn a_component_names_its_stages_but_not_without_end() {
        let stages = Stages::default();
        for number in 0..2 * STAGES_MAX {
            for _ in 0..2 {
                stages.observe(&number.to_string(), Duration::from_micros(200));
            }
        }
        let mut out = String::new();
        stages.write(&mut out, "x", "a");
        let lines = |part: &str| out.lines().filter(|line| line.starts_with(part)).count();
        assert_eq!(lines("x_count"), STAGES_MAX);
        assert!(out.contains("x_bucket{component=\"a\",stage=\"0\",le=\"0.0001\"} 0"));
        assert!(out.contains("x_bucket{component=\"a\",stage=\"0\",le=\"0.00025\"} 2"));
    }

    #[test]
    fn the_peak_of_memory_stays() {
        let figures = ComponentFigures::default();
        figures.grew(100, 100);
        figures.grew(50, 50);
        figures.freed(100);
        figures.grew(10, 60);
        let read = |of: &AtomicI64| of.load(Relaxed);
        assert_eq!(read(&figures.memory), 60);
        assert_eq!(read(&figures.memory_peak), 150);
        assert_eq!(read(&figures.instance_memory_peak), 100);
    }
}
