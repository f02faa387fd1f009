//! OpenAI's `usage`: as a backend counts it, read leniently, and as a client gets it.
//!
//! It does NOT estimate; `relay.rs` asks for that where nothing was counted.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bindings::skerry::chat::types::Usage;

/// The tokens that a backend counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted(pub(crate) Usage);

impl Counted {
    pub(super) fn of_plain(usage: PlainUsage) -> Option<Self> {
        if usage.prompt_tokens.is_none() && usage.completion_tokens.is_none() {
            return None;
        }
        let cached = usage
            .prompt_tokens_details
            .and_then(|all| all.cached_tokens);
        let details = usage.completion_tokens_details;
        let reasoning = details.and_then(|all| all.reasoning_tokens);
        Some(Self(Usage {
            prompt_tokens: usage.prompt_tokens.unwrap_or_default(),
            cached_tokens: cached.unwrap_or_default(),
            completion_tokens: usage.completion_tokens.unwrap_or_default(),
            reasoning_tokens: reasoning.unwrap_or_default(),
        }))
    }

    /// None where nothing was counted: `{}`, nulls, another shape.
    pub(crate) fn read(usage: &Value) -> Option<Self> {
        let prompt = count(&usage["prompt_tokens"]);
        let completion = count(&usage["completion_tokens"]);
        if prompt.is_none() && completion.is_none() {
            return None;
        }
        let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
        let reasoning = count(&usage["completion_tokens_details"]["reasoning_tokens"]);
        Some(Self(Usage {
            prompt_tokens: prompt.unwrap_or_default(),
            cached_tokens: cached.unwrap_or_default(),
            completion_tokens: completion.unwrap_or_default(),
            reasoning_tokens: reasoning.unwrap_or_default(),
        }))
    }
}

/// The usage as nearly all write it. It may stand in every event of an answer, so it is read
/// without a copy; what does not fit is read by [`Counted::read`].
#[derive(Debug, Deserialize)]
pub(super) struct PlainUsage {
    #[serde(default)]
    prompt_tokens: Option<u32>,
    #[serde(default)]
    completion_tokens: Option<u32>,
    #[serde(default)]
    prompt_tokens_details: Option<PlainPromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<PlainCompletionDetails>,
}

#[derive(Debug, Deserialize)]
struct PlainPromptDetails {
    #[serde(default)]
    cached_tokens: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct PlainCompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u32>,
}

/// A count, which some backends write as a float. None for any other value.
fn count(value: &Value) -> Option<u32> {
    let number = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| *number >= 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; what is too large saturates"
        )]
        Some(number as u64)
    })?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

/// OpenAI's `usage`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WireUsage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptTokensDetails,
    completion_tokens_details: CompletionTokensDetails,
}

#[derive(Debug, Clone, Serialize)]
struct PromptTokensDetails {
    cached_tokens: u32,
}

#[derive(Debug, Clone, Serialize)]
struct CompletionTokensDetails {
    reasoning_tokens: u32,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: usage.cached_tokens,
            },
            completion_tokens_details: CompletionTokensDetails {
                reasoning_tokens: usage.reasoning_tokens,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_counted_is_read_and_nothing_else() {
        let check = |usage: Value, expected: Option<[u32; 4]>| {
            let counted = Counted::read(&usage).map(|Counted(usage)| {
                let Usage {
                    prompt_tokens,
                    cached_tokens,
                    completion_tokens,
                    reasoning_tokens,
                } = usage;
                [
                    prompt_tokens,
                    cached_tokens,
                    completion_tokens,
                    reasoning_tokens,
                ]
            });
            assert_eq!(counted, expected, "{usage}");
        };
        for nothing in [
            json!({}),
            json!(null),
            json!([]),
            json!({"prompt_tokens": null}),
            json!({"prompt_tokens": "7"}),
            json!({"completion_tokens": -1}),
        ] {
            check(nothing, None);
        }
        check(
            json!({"prompt_tokens": 7, "completion_tokens": 2,
                   "prompt_tokens_details": {"cached_tokens": 3},
                   "completion_tokens_details": {"reasoning_tokens": 1}}),
            Some([7, 3, 2, 1]),
        );
        check(
            json!({"prompt_tokens": 7.0, "completion_tokens": null,
                   "prompt_tokens_details": {"cached_tokens": null},
                   "completion_tokens_details": null}),
            Some([7, 0, 0, 0]),
        );
        check(
            json!({"completion_tokens": 1e30}),
            Some([0, 0, u32::MAX, 0]),
        );
    }
}
