//! Which traces are recorded, by the names of `OTEL_TRACES_SAMPLER`.
//!
//! It knows a trace's id and its caller's decision; it does NOT know requests.

use super::TraceContext;
use opentelemetry::trace::TraceId;

/// The decision for traces that nobody has decided about, or for all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampler {
    share: f64,
    /// What the caller decided holds.
    follows_parent: bool,
}

impl Sampler {
    /// The sampler called `name`, with `argument`.
    pub(crate) fn named(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let (kind, follows_parent) = match name.strip_prefix("parentbased_") {
            Some(kind) => (kind, true),
            None => (name, false),
        };
        let share = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument
                .map_or(Ok(1.0), str::parse::<f64>)
                .ok()
                .filter(|share| (0.0..=1.0).contains(share))
                .ok_or("OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1")?,
            _ => {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER: {name:?} is none of always_on, always_off, \
                     traceidratio, each also with parentbased_ before it"
                ));
            }
        };
        Ok(Self {
            share,
            follows_parent,
        })
    }

    /// Is the trace recorded? Whoever decides by its id as the specification says decides
    /// the same.
    pub(crate) fn samples(self, trace: TraceId, parent: Option<TraceContext>) -> bool {
        if let (true, Some(parent)) = (self.follows_parent, parent) {
            return parent.is_sampled;
        }
        let bytes = trace.to_bytes();
        let low = bytes[8..]
            .iter()
            .fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
        self.share >= 1.0 || low >> 1 < (self.share * (1_u64 << 63) as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::SpanId;

    #[test]
    fn names_are_those_of_the_specification() {
        let named = |name: &str, argument| Sampler::named(name, argument);
        let trace = |low: u64| TraceId::from(u128::from(low));
        let parent = |is_sampled| TraceContext {
            trace: trace(1),
            span: SpanId::from(1),
            is_sampled,
        };
        let on = named("always_on", None).unwrap();
        assert!(on.samples(trace(u64::MAX), Some(parent(false))));
        let off = named("parentbased_always_off", None).unwrap();
        assert!(!off.samples(trace(0), None));
        assert!(off.samples(trace(0), Some(parent(true))));
        let half = named("traceidratio", Some("0.5")).unwrap();
        assert!(half.samples(trace(u64::MAX / 2 - 1), None));
        assert!(!half.samples(trace(u64::MAX / 2 + 2), Some(parent(true))));
        let half = named("parentbased_traceidratio", Some("0.5")).unwrap();
        assert!(!half.samples(trace(0), Some(parent(false))));
        for (name, argument) in [
            ("traceidratio", Some("2")),
            ("traceidratio", Some("x")),
            ("jaeger_remote", None),
            ("", None),
        ] {
            assert!(named(name, argument).is_err(), "{name}");
        }
    }
}
