//! What the caller of the engine, the edge, says of a request beyond what its client
//! asked: whose it is, how urgent, and until when.
//! Knows neither the wire nor how the scheduler decides.

use std::time::{Duration, Instant};

use super::{Chat, ChatRequest};
use crate::handle::Generate;
use crate::kv_cache::prefix::{Identity, Salt};

/// Said by the caller; what is absent is ordinary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The tenant: its prompts share cached prefixes with each other and with nobody
    /// else, and its requests have one fair share.
    pub cache_salt: Option<String>,
    /// The tools and so many of the first messages are the platform's own, the same for
    /// every tenant: what they come to in tokens is shared by all.
    pub shared_messages: Option<usize>,
    /// Smaller is earlier.
    pub priority: i32,
    /// Time from now in which an answer is of use.
    pub deadline: Option<Duration>,
}

impl Scheduling {
    /// The tenant, if one is said.
    pub(super) fn tenant(&self) -> Option<Salt> {
        self.cache_salt.as_deref().map(Salt::of)
    }

    /// Sets the terms of a generation; `platform_tokens` as [`Chat::platform_tokens`].
    pub(super) fn apply(&self, generate: &mut Generate, platform_tokens: usize) {
        generate.identity = Identity {
            salt: self.tenant(),
            platform_tokens,
        };
        generate.priority = self.priority;
        generate.deadline = self.deadline.and_then(|d| Instant::now().checked_add(d));
    }
}

impl Chat {
    /// How many leading tokens of a chat's prompt are the platform's own.
    ///
    /// The platform's messages and tools are rendered alone. As far as the prompt has the
    /// same tokens, they were made from these alone: nothing a client wrote stands among
    /// them, whatever the template does. A template may refuse a chat of so few messages;
    /// then nothing is the platform's.
    pub(super) fn platform_tokens(&self, request: &ChatRequest, prompt: &[u32]) -> usize {
        // A prompt that is cut at its front does not begin with the platform's own.
        let asked = &request.options;
        let (Some(count), None) = (asked.scheduling.shared_messages, asked.prompt_tokens_kept)
        else {
            return 0;
        };
        let mut own = request.clone();
        own.messages.truncate(count);
        let own = self.prompt(&own).unwrap_or_default();
        own.iter().zip(prompt).take_while(|(a, b)| a == b).count()
    }
}
