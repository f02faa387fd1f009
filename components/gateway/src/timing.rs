//! How long each stage of a request took: the `Server-Timing` header.
//!
//! Stages are named as the leaves are. A stage that runs twice adds up.

/// Nanoseconds spent in each stage, in order of first use. One stage begins where another
/// ends, so that a clock, which is the host's, is read once for both.
#[derive(Debug)]
pub(crate) struct Timing {
    stages: Vec<(&'static str, u64)>,
    since_ns: u64,
}

impl Timing {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            stages: Vec::new(),
            since_ns: now_ns,
        }
    }

    /// A stage ends: it had the time since the last one ended.
    pub(crate) fn lap(&mut self, stage: &'static str, now_ns: u64) {
        let nanoseconds = now_ns - self.since_ns;
        self.since_ns = now_ns;
        match self.stages.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, total)) => *total += nanoseconds,
            None => self.stages.push((stage, nanoseconds)),
        }
    }

    /// The time since the last stage was no stage's.
    pub(crate) fn skip(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
    }

    /// When the last stage ended.
    pub(crate) fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// `auth;dur=0.12, session;dur=1.5`, in milliseconds, as the Server Timing
    /// specification of the W3C has it.
    pub(crate) fn header(&self) -> String {
        let mut text = String::new();
        for (name, nanoseconds) in &self.stages {
            if !text.is_empty() {
                text.push_str(", ");
            }
            let microseconds = nanoseconds / 1_000;
            text.push_str(&format!(
                "{name};dur={}.{:03}",
                microseconds / 1_000,
                microseconds % 1_000
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_add_up_and_keep_their_order() {
        let mut timing = Timing::new(5_000_000);
        timing.lap("auth", 5_120_000);
        timing.lap("llm", 7_120_000);
        timing.skip(90_000_000);
        assert_eq!(timing.since_ns(), 90_000_000);
        timing.lap("auth", 90_080_000);
        assert_eq!(timing.header(), "auth;dur=0.200, llm;dur=2.000");
    }
}
