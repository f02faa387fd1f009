//! What a turn may use of its windows: it draws on its reservation as its answers grow, and says
//! when they are empty.
//!
//! `Invariant:` the reservation that was drawn on last is the one that is settled, and what was
//! counted by a draw is not counted again.
//!
//! It does NOT count an answer's tokens; `relay/count.rs` does.

use crate::bindings::skerry::chat::rate_limit::{Admission, RateLimitError, State};
use crate::error::ApiError;
use crate::platform::Platform;

/// Tokens of an answer whose length the client left open that are taken at a time.
pub(crate) const STEP_TOKENS: u32 = 512;
/// So often a stream draws that holds enough: what is held would be free again after a minute, and
/// what is used belongs to the minute in which it is used. At a heartbeat each 2 s, every 20 s.
const HEARTBEATS_PER_DRAW: u32 = 10;

/// What an answer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// The client set a ceiling: it is taken before the answer begins, so nothing cuts it.
    Most(u32),
    /// It is taken in steps of this.
    Open(u32),
}

impl Answer {
    /// For `choices` answers of at most so many tokens.
    pub(crate) fn new(tokens_max: Option<u32>, choices: usize) -> Self {
        let choices = u32::try_from(choices).unwrap_or(u32::MAX);
        match tokens_max {
            Some(tokens) => Self::Most(tokens.saturating_mul(choices)),
            None => Self::Open(STEP_TOKENS.saturating_mul(choices)),
        }
    }

    /// What is taken before it begins.
    pub(crate) fn first(self) -> u32 {
        let (Self::Most(tokens) | Self::Open(tokens)) = self;
        tokens
    }

    /// What is to be held once there are so many tokens of it.
    fn next(self, completion: u32) -> u32 {
        match self {
            Self::Most(tokens) => tokens.saturating_sub(completion),
            Self::Open(step) => step,
        }
    }
}

pub(crate) struct Meter {
    admission: Admission,
    /// Of the turn's tokens, those that draws have counted.
    counted: u32,
    /// Tokens of the calls that have ended.
    ended: u32,
    answer: Answer,
    /// Since the last draw.
    heartbeats: u32,
}

impl Meter {
    pub(crate) fn new(admission: Admission, answer: Answer) -> Self {
        Self {
            admission,
            counted: 0,
            ended: 0,
            answer,
            heartbeats: 0,
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.admission.state
    }

    /// Before a model is called: the prompt, and the answer's first step where its length is
    /// open, have to fit into what is held, or into what can be drawn.
    pub(crate) async fn begin(
        &mut self,
        platform: &impl Platform,
        prompt_tokens: u32,
        answer: Answer,
    ) -> Result<(), ApiError> {
        self.answer = answer;
        let least = match answer {
            Answer::Most(tokens) => prompt_tokens.saturating_add(tokens),
            Answer::Open(_) => prompt_tokens.saturating_add(1),
        };
        if least <= self.left(0) {
            return Ok(());
        }
        let most = prompt_tokens.saturating_add(answer.first());
        self.draw(platform, 0, least, most).await
    }

    /// While a model answers: `tokens` of prompt and answer, `completion` of the answer.
    pub(crate) async fn grow(
        &mut self,
        platform: &impl Platform,
        tokens: u32,
        completion: u32,
    ) -> Result<(), ApiError> {
        let next = self.answer.next(completion);
        if next == 0 || self.left(tokens) > 0 {
            return Ok(());
        }
        self.draw(platform, tokens, 1, next).await
    }

    /// Time goes by.
    pub(crate) async fn heartbeat(
        &mut self,
        platform: &impl Platform,
        tokens: u32,
        completion: u32,
    ) {
        self.heartbeats += 1;
        if self.heartbeats < HEARTBEATS_PER_DRAW {
            return;
        }
        let next = self.answer.next(completion);
        // With nothing as the least, nothing is refused.
        let _drawn = self.draw(platform, tokens, 0, next).await;
    }

    /// A call has ended.
    pub(crate) fn end(&mut self, tokens: u32) {
        self.ended = self.ended.saturating_add(tokens);
    }

    /// Counts what the turn used and gives back what is held.
    pub(crate) async fn settle(&self, platform: &impl Platform) -> Result<(), String> {
        let used = self.ended.saturating_sub(self.counted);
        platform.release(&self.admission.reservation, used).await
    }

    /// Of what is held, what is left beside a call of so many tokens.
    fn left(&self, tokens: u32) -> u32 {
        let total = self.ended.saturating_add(tokens);
        // Draws may have counted more: a call's that failed and is not charged.
        let paid = self.admission.held.saturating_add(self.counted);
        paid.saturating_sub(total)
    }

    async fn draw(
        &mut self,
        platform: &impl Platform,
        tokens: u32,
        least: u32,
        most: u32,
    ) -> Result<(), ApiError> {
        let total = self.ended.saturating_add(tokens);
        let used = total.saturating_sub(self.counted);
        let paid = self.counted.saturating_sub(total);
        let (least, most) = (least.saturating_sub(paid), most.saturating_sub(paid));
        self.heartbeats = 0;
        let reservation = &self.admission.reservation;
        match platform.draw(reservation, used, least, most).await {
            Ok(drawn) => {
                self.admission = drawn.admission;
                self.counted = self.counted.saturating_add(used);
                let refused = drawn.refused.map(RateLimitError::Rejected);
                refused.map_or(Ok(()), |refused| Err(refused.into()))
            }
            Err(detail) => {
                // Counters that cannot be read cut no answer that has begun: it goes on for a
                // step, and what it used is counted by the next draw or at the end.
                crate::log::error("rate_limit_draw", &detail);
                self.admission.held = used.saturating_add(most);
                Ok(())
            }
        }
    }
}
