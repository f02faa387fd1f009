//! The stages that a component says its answer took: its own `Server-Timing` (W3C Server
//! Timing), such as `auth;dur=0.12, llm;dur=180`.
//!
//! What cannot be read is passed over, for a component may say there what it likes. It does
//! NOT know who counts them.

use http::HeaderMap;
use std::time::Duration;

/// The most stages that are read of one answer.
const STAGES_MAX: usize = 32;
/// The longest name of a stage.
const NAME_BYTES_MAX: usize = 32;

/// Each stage and how long it took.
pub(super) fn told(headers: &HeaderMap) -> impl Iterator<Item = (&str, Duration)> {
    let lines = headers.get_all("server-timing").into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(stage)
        .take(STAGES_MAX)
}

/// `NAME;dur=MILLISECONDS`, perhaps with a description.
fn stage(text: &str) -> Option<(&str, Duration)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| is_name(name))?;
    let duration = parts.find_map(|part| part.strip_prefix("dur="))?;
    let ms: f64 = duration.parse().ok()?;
    let duration = Duration::try_from_secs_f64(ms / 1e3).ok()?;
    Some((name, duration))
}

/// A name that is one in the page of figures, too.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&str]) -> Vec<(String, u128)> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("server-timing", HeaderValue::from_str(line).unwrap());
        }
        told(&headers)
            .map(|(name, took)| (name.to_owned(), took.as_micros()))
            .collect()
    }

    #[test]
    fn stages_are_read_from_all_lines() {
        let stages = read(&[
            "auth;dur=0.120, llm;desc=\"the model\";dur=180",
            "cache ; dur=1e1",
        ]);
        let expect = [("auth", 120), ("llm", 180_000), ("cache", 10_000)];
        assert_eq!(stages, expect.map(|(name, us)| (name.to_owned(), us)));
    }

    #[test]
    fn what_is_no_stage_is_passed_over() {
        for line in [
            "",
            "miss",
            "db;dur=",
            "db;dur=-1",
            "db;dur=NaN",
            "db;dur=inf",
            "db;dur=1e300",
            "a\"b;dur=1",
            "a b;dur=1",
            ";dur=1",
            &format!("{};dur=1", "n".repeat(NAME_BYTES_MAX + 1)),
        ] {
            assert!(read(&[line]).is_empty(), "{line}");
        }
    }

    #[test]
    fn no_more_are_read_than_the_most() {
        let many = vec!["a;dur=1"; 2 * STAGES_MAX].join(",");
        assert_eq!(read(&[&many]).len(), STAGES_MAX);
    }
}
