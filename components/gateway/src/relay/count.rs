//! The tokens of one answer while it comes: as the backend tells them, or else from the text.
//!
//! It reads what came, before any guard. It does NOT know limits or prices.

use crate::backend::chunk::Chunk;
use crate::backend::usage::Counted;
use crate::bindings::skerry::chat::types::Usage;
use crate::estimate::Extent;

/// Tokens that a backend may make while it shows nothing, such as hidden reasoning, between two
/// heartbeats: 50 in a second, as large models do.
const SILENT_TOKENS: u32 = 100;

/// How a call's tokens are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counting {
    /// The backend was asked to tell with each event how many tokens its choice has so far.
    pub(crate) is_continuous: bool,
    /// The estimate of the prompt, where the backend tells nothing.
    pub(crate) prompt_tokens: u32,
    /// The answer's ceiling, over all choices.
    pub(crate) completion_tokens_max: Option<u32>,
}

/// What a call used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) usage: Usage,
    /// Not all of it is what the backend counted at the answer's end.
    pub(crate) is_estimated: bool,
}

pub(super) struct Count {
    counting: Counting,
    /// What the backend told last.
    told: Option<Usage>,
    /// Of each choice, what was told last.
    of_choices: Vec<u32>,
    /// It was told for the whole answer.
    is_final: bool,
    /// The text until now, and until the backend told something.
    text: Extent,
    text_told: Extent,
    /// An event came since the last heartbeat.
    has_moved: bool,
    silent_heartbeats: u32,
    /// Generated and not received when the backend was stopped.
    under_way: u32,
}

impl Count {
    pub(super) fn new(counting: Counting, choices: usize) -> Self {
        Self {
            counting,
            told: None,
            of_choices: vec![0; choices],
            is_final: false,
            text: Extent::default(),
            text_told: Extent::default(),
            has_moved: true,
            silent_heartbeats: 0,
            under_way: 0,
        }
    }

    pub(super) fn event(&mut self, chunk: &Chunk<'_>) {
        self.has_moved = true;
        for choice in &chunk.choices {
            let delta = &choice.delta;
            self.text.add(delta.reasoning.as_deref().unwrap_or(""));
            self.text.add(delta.content.as_deref().unwrap_or(""));
            for call in &delta.tool_calls {
                if let Some(name) = &call.name {
                    self.text.add_call(name);
                }
                self.text.add(&call.arguments);
            }
        }
        let Some(Counted(mut told)) = chunk.usage else {
            return;
        };
        match chunk.choices.as_slice() {
            [] => self.is_final = true,
            [choice] if self.counting.is_continuous => {
                if let Some(tokens) = self.of_choices.get_mut(choice.index) {
                    *tokens = told.completion_tokens;
                }
                let all = self.of_choices.iter();
                told.completion_tokens = all.fold(0, |sum, tokens| sum.saturating_add(*tokens));
            }
            _ => {}
        }
        self.told = Some(told);
        self.text_told = self.text;
    }

    pub(super) fn heartbeat(&mut self) {
        if !std::mem::replace(&mut self.has_moved, false) {
            self.silent_heartbeats += 1;
        }
    }

    pub(super) fn add_under_way(&mut self, tokens: u32) {
        self.under_way = tokens;
    }

    /// The tokens of prompt and answer so far, and those of the answer alone.
    pub(super) fn so_far(&self) -> (u32, u32) {
        let completion = self.completion();
        (self.prompt().0.saturating_add(completion), completion)
    }

    fn completion(&self) -> u32 {
        let most = self.counting.completion_tokens_max.unwrap_or(u32::MAX);
        match self.believed() {
            // Nothing to estimate: what was told, whatever the ceiling.
            Some(told) if self.text == self.text_told => told,
            Some(told) => {
                let since = self.text.since(self.text_told).tokens_max();
                told.saturating_add(since).min(most.max(told))
            }
            None => self.text.tokens_max().min(most),
        }
    }

    /// What the backend told of the answer, unless the text alone is more.
    fn believed(&self) -> Option<u32> {
        let told = self.told?.completion_tokens;
        (told >= self.text_told.tokens_min()).then_some(told)
    }

    /// The prompt, and whether the backend told it.
    fn prompt(&self) -> (u32, bool) {
        match self.told.map_or(0, |told| told.prompt_tokens) {
            0 => (self.counting.prompt_tokens, false),
            told => (told, true),
        }
    }

    /// The whole, once nothing more comes. `is_whole`: the answer came to its end.
    pub(super) fn used(&self, is_whole: bool) -> Used {
        let (prompt_tokens, is_prompt_told) = self.prompt();
        let is_ended = is_whole || self.is_final;
        let mut completion_tokens = self.completion();
        if !is_ended {
            let unseen = match self.counting.is_continuous {
                true => self.under_way,
                false => self.silent_heartbeats.saturating_mul(SILENT_TOKENS),
            };
            let most = self.counting.completion_tokens_max.unwrap_or(u32::MAX);
            let with_unseen = completion_tokens.saturating_add(unseen).min(most);
            completion_tokens = completion_tokens.max(with_unseen);
        }
        let is_told = self.believed().is_some() && self.text == self.text_told;
        let (cached, reasoning) = self
            .told
            .map_or((0, 0), |told| (told.cached_tokens, told.reasoning_tokens));
        Used {
            usage: Usage {
                prompt_tokens,
                cached_tokens: cached.min(prompt_tokens),
                completion_tokens,
                reasoning_tokens: reasoning.min(completion_tokens),
            },
            is_estimated: !(is_ended && is_told && is_prompt_told),
        }
    }
}
