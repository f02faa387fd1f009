//! The response headers that every answer of the data plane carries.
//!
//! It does NOT know what the figures mean; `rate-limit` does.

use crate::bindings::skerry::chat::rate_limit::{State, Window};

/// OpenAI's six `x-ratelimit-*` headers.
pub(crate) fn limit_headers(state: &State) -> Vec<(&'static str, String)> {
    fn three(
        names: [&'static str; 3],
        window: &Window,
    ) -> impl Iterator<Item = (&'static str, String)> {
        let values = [
            window.limit.to_string(),
            window.remaining.to_string(),
            duration(window.reset_ms),
        ];
        names.into_iter().zip(values)
    }
    let requests = [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ];
    let tokens = [
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    ];
    three(requests, &state.requests)
        .chain(three(tokens, &state.tokens))
        .collect()
}

/// Milliseconds as OpenAI writes a span of time: `35ms`, `1.5s`, `6m0s`.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    if milliseconds < 1_000 {
        return format!("{milliseconds}ms");
    }
    if seconds < 60 {
        let text = format!("{seconds}.{:03}", milliseconds % 1_000);
        return format!("{}s", text.trim_end_matches('0').trim_end_matches('.'));
    }
    format!("{}m{}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_reads_as_openai_writes_it() {
        let written: Vec<_> = [0, 35, 1_000, 1_500, 59_999, 360_000]
            .into_iter()
            .map(duration)
            .collect();
        assert_eq!(written, ["0ms", "35ms", "1s", "1.5s", "59.999s", "6m0s"]);
    }
}
