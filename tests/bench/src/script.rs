//! What a prompt asks the scripted backend to do.
//!
//! The last user message may carry one directive, `[script chunks=50 delay=2]`, so
//! that a test behind the whole of `edge` can choose its backend's behaviour.
//! Knows no HTTP.

use std::time::Duration;

use anyhow::{Context, bail};

/// More would be a test of something else.
const CHUNKS_MAX: u32 = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Words of the answer; in a stream, a chunk each.
    pub chunks: u32,
    /// Before each chunk.
    pub delay: Duration,
    /// Before anything is answered.
    pub wait: Duration,
    /// Anything but 200 is an error body with `Retry-After` set to `retry_after_s`.
    pub status: u16,
    pub retry_after_s: u32,
    /// After so many chunks the connection breaks.
    pub cut_after: Option<u32>,
    /// After so many chunks an error event ends the stream.
    pub error_after: Option<u32>,
    /// The calculator is called with this expression before the answer, if the
    /// request offers tools.
    pub calculate: Option<String>,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            chunks: 16,
            delay: Duration::ZERO,
            wait: Duration::ZERO,
            status: 200,
            retry_after_s: 1,
            cut_after: None,
            error_after: None,
            calculate: None,
        }
    }
}

impl Script {
    /// The directive in a prompt, or the default.
    pub fn of_prompt(prompt: &str) -> anyhow::Result<Script> {
        let mut script = Script::default();
        let Some((_, rest)) = prompt.split_once("[script") else {
            return Ok(script);
        };
        let (directive, _) = rest.split_once(']').context("the script has no end")?;
        for word in directive.split_whitespace() {
            let (key, value) = word
                .split_once('=')
                .context("a script is made of key=value")?;
            script
                .set(key, value)
                .with_context(|| format!("{key}={value}"))?;
        }
        Ok(script)
    }

    fn set(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        match key {
            "chunks" => self.chunks = value.parse::<u32>()?.min(CHUNKS_MAX),
            "delay" => self.delay = Duration::from_millis(value.parse()?),
            "wait" => self.wait = Duration::from_millis(value.parse()?),
            "status" => self.status = value.parse()?,
            "retry_after" => self.retry_after_s = value.parse()?,
            "cut_after" => self.cut_after = Some(value.parse()?),
            "error_after" => self.error_after = Some(value.parse()?),
            "calculate" => self.calculate = Some(value.to_owned()),
            _ => bail!("there is no such word in a script"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_without_a_directive_is_the_default() {
        assert_eq!(
            Script::of_prompt("What is 12*7?").unwrap(),
            Script::default()
        );
    }

    #[test]
    fn a_directive_may_stand_anywhere() {
        let script = Script::of_prompt("Hi [script chunks=3 delay=5 cut_after=2] there").unwrap();
        let expected = Script {
            chunks: 3,
            delay: Duration::from_millis(5),
            cut_after: Some(2),
            ..Script::default()
        };
        assert_eq!(script, expected);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for prompt in [
            "[script",
            "[script chunks]",
            "[script chunks=x]",
            "[script colour=red]",
        ] {
            assert!(Script::of_prompt(prompt).is_err(), "{prompt}");
        }
    }

    #[test]
    fn an_answer_has_an_end() {
        assert_eq!(
            Script::of_prompt("[script chunks=4000000000]")
                .unwrap()
                .chunks,
            CHUNKS_MAX
        );
    }
}
