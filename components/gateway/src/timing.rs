//! How long each stage of a request took: the `Server-Timing` header.
//!
//! Stages are named as the leaves are. A stage that runs twice adds up.

/// Nanoseconds spent in each stage, in order of first use.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    stages: Vec<(&'static str, u64)>,
}

impl Timing {
    pub(crate) fn add(&mut self, stage: &'static str, nanoseconds: u64) {
        match self.stages.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, total)) => *total += nanoseconds,
            None => self.stages.push((stage, nanoseconds)),
        }
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
        let mut timing = Timing::default();
        timing.add("auth", 120_000);
        timing.add("llm", 2_000_000);
        timing.add("auth", 80_000);
        assert_eq!(timing.header(), "auth;dur=0.200, llm;dur=2.000");
    }
}
