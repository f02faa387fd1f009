//! The rate limit's state as OpenAI's six headers.
//!
//! It does not know what the figures mean; `rate-limit` does.

/// One quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// The ceiling.
    pub limit: u32,
    /// What is left.
    pub remaining: u32,
    /// Until it is full again.
    pub reset_ms: u64,
}

/// Both quantities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// Requests a minute.
    pub requests: Window,
    /// Tokens a minute.
    pub tokens: Window,
}

impl State {
    /// `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "x-ratelimit-limit-requests",
                self.requests.limit.to_string(),
            ),
            (
                "x-ratelimit-remaining-requests",
                self.requests.remaining.to_string(),
            ),
            (
                "x-ratelimit-reset-requests",
                duration(self.requests.reset_ms),
            ),
            ("x-ratelimit-limit-tokens", self.tokens.limit.to_string()),
            (
                "x-ratelimit-remaining-tokens",
                self.tokens.remaining.to_string(),
            ),
            ("x-ratelimit-reset-tokens", duration(self.tokens.reset_ms)),
        ]
    }
}

/// As OpenAI writes a duration: `120ms`, `1.5s`, `6m0s`.
pub fn duration(ms: u64) -> String {
    let (minutes, rest_ms) = (ms / 60_000, ms % 60_000);
    let fraction = format!("{:03}", rest_ms % 1_000);
    let seconds = match fraction.trim_end_matches('0') {
        "" => format!("{}s", rest_ms / 1_000),
        fraction => format!("{}.{fraction}s", rest_ms / 1_000),
    };
    match (minutes, ms) {
        (0, 0) => "0s".to_owned(),
        (0, 1..1_000) => format!("{ms}ms"),
        (0, _) => seconds,
        _ => format!("{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_does() {
        let check = |ms, text| assert_eq!(duration(ms), text);
        check(0, "0s");
        check(120, "120ms");
        check(1_000, "1s");
        check(1_500, "1.5s");
        check(59_001, "59.001s");
        check(60_000, "1m0s");
        check(360_000, "6m0s");
        check(61_050, "1m1.05s");
    }
}
