//! The variables of this star, read before anything is served: a wrong one is named then,
//! and not by every request.
//!
//! This component's own are parsed here. A leaf parses its own when it is first called, so it
//! is called with an input that changes nothing, and its complaint is passed on.

use crate::bindings::skerry::chat::rate_limit::RateLimitError;
use crate::bindings::skerry::chat::router::RouteError;
use crate::bindings::skerry::chat::types::{Limits, Principal};
use crate::error::ApiError;
use crate::platform::Platform;

const TOOL_ROUNDS: &str = "tool_rounds_max";
/// Where the variable has no value.
const TOOL_ROUNDS_DEFAULT: u32 = 4;
/// Each round is a call to the model with a longer prompt.
const TOOL_ROUNDS_MAX: u32 = 32;

/// Rounds of platform tools in one turn, at most.
pub(crate) async fn tool_rounds_max(platform: &impl Platform) -> Result<u32, ApiError> {
    let Some(text) = platform.variable(TOOL_ROUNDS).await else {
        return Ok(TOOL_ROUNDS_DEFAULT);
    };
    let rounds = text.trim().parse().ok();
    rounds
        .filter(|rounds| *rounds <= TOOL_ROUNDS_MAX)
        .ok_or_else(|| {
            ApiError::misconfigured(format!(
                "variable `{TOOL_ROUNDS}` must be a whole number from 0 to {TOOL_ROUNDS_MAX}"
            ))
        })
}

/// Every variable of this component and of its leaves.
pub(crate) async fn check(platform: &impl Platform) -> Result<(), ApiError> {
    tool_rounds_max(platform).await?;
    // No ceiling holds so many tokens: it is refused, and nothing is taken.
    match platform.admit(&nobody(), u32::MAX).await {
        Ok(taken) => {
            let released = platform.release(&taken.reservation, 0).await;
            released.map_err(ApiError::misconfigured)?;
        }
        Err(RateLimitError::Rejected(_)) => {}
        Err(RateLimitError::Unavailable(words)) => return Err(ApiError::misconfigured(words)),
    }
    // Where there is no text, only the filter itself can be at fault.
    if let Err(refusal) = platform.screen(&[]).await {
        return Err(ApiError::misconfigured(refusal.message));
    }
    // A backend that is away is no mistake of the configuration.
    match platform.models().await {
        Err(RouteError::Misconfigured(words)) => Err(ApiError::misconfigured(words)),
        _ => Ok(()),
    }
}

/// Has none of its own limits, so the platform's are read for it.
fn nobody() -> Principal {
    let none = Limits {
        requests_per_minute: None,
        tokens_per_minute: None,
    };
    Principal {
        organization_id: "check".to_owned(),
        project_id: "check/project".to_owned(),
        user_id: None,
        key_id: "check/key".to_owned(),
        roles: Vec::new(),
        key_limits: none,
        project_limits: none,
        platform_tools: false,
    }
}
