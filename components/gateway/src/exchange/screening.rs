//! What of a prompt may go to the model, and what of a turn may be stored.
//!
//! The client's own messages decide whether a prompt is refused. What was stored before may be
//! older than today's policy, or was put into the conversation without a model: where it would be
//! refused now it is left out of the prompt, and the turn goes on. It does NOT judge any text.

use std::borrow::Cow;
use std::ops::Range;

use crate::bindings::skerry::chat::session::TurnOutcome;
use crate::bindings::skerry::chat::types::{Message, MessageRole};
use crate::error::ApiError;
use crate::exchange::Exchange;
use crate::platform::Platform;
use crate::prompt::Prompt;
use crate::request::ToolChoice;

impl<P: Platform> Exchange<P> {
    /// Masks the whole prompt, stored history and tools with it, so that a value has one
    /// placeholder throughout. The words for the user where it is refused; an error where
    /// something must be masked that has no other spelling.
    pub(super) async fn screen(&mut self) -> Result<Option<String>, ApiError> {
        self.own_from = self.messages.len();
        self.messages.append(&mut self.request.messages);
        let blocked = match self.mask().await? {
            Some(_) if self.own_from > 0 => self.screen_apart().await?,
            blocked => blocked,
        };
        if blocked.is_some() {
            self.outcome = TurnOutcome::Refused;
        }
        let own = self.messages.get(self.own_from..).unwrap_or_default();
        self.request.messages = own.to_vec();
        Ok(blocked)
    }

    /// The prompt as a whole is refused: by what the client sent now, or by what was stored.
    async fn screen_apart(&mut self) -> Result<Option<String>, ApiError> {
        // Only looked at: what is masked has its placeholders from the whole.
        let texts = self.prompt_from(self.own_from).texts();
        if let Err(refusal) = self.platform.screen(&texts).await {
            return Ok(Some(refusal.message));
        }
        let mut refused = Vec::new();
        for turn in turns(&self.messages[..self.own_from]) {
            let texts = texts_of(&mut self.messages[turn.clone()]);
            if self.platform.screen(&texts).await.is_err() {
                refused.push(turn);
            }
        }
        for turn in refused.into_iter().rev() {
            self.own_from -= turn.len();
            self.messages.drain(turn);
        }
        if self.mask().await?.is_none() {
            return Ok(None);
        }
        // Together the turns spell what none of them does.
        self.keep_newest_turns().await;
        self.mask().await
    }

    /// Leaves out the oldest turns until the rest is not refused.
    async fn keep_newest_turns(&mut self) {
        let starts = turns(&self.messages[..self.own_from]);
        let starts: Vec<usize> = starts.into_iter().map(|turn| turn.start).collect();
        let place = |index: usize| starts.get(index).copied();
        // From the first turn on it is refused, and without any it is not.
        let (mut refused, mut taken) = (0, starts.len());
        while refused + 1 < taken {
            let middle = refused.midpoint(taken);
            let texts = self
                .prompt_from(place(middle).unwrap_or(self.own_from))
                .texts();
            match self.platform.screen(&texts).await {
                Ok(_) => taken = middle,
                Err(_) => refused = middle,
            }
        }
        let first = place(taken).unwrap_or(self.own_from);
        self.messages.drain(..first);
        self.own_from -= first;
    }

    /// Screens all texts of the prompt, and puts what may go to the model in their places. The
    /// words for the user where it is refused.
    async fn mask(&mut self) -> Result<Option<String>, ApiError> {
        let texts = self.prompt_from(0).texts();
        match self.platform.screen(&texts).await {
            Ok(screened) => match self.prompt_from(0).replace(screened.texts) {
                Some(field) => Err(ApiError::must_be_masked(field)),
                None => Ok(None),
            },
            Err(refusal) => Ok(Some(refusal.message)),
        }
    }

    fn prompt_from(&mut self, first: usize) -> Prompt<'_> {
        Prompt {
            messages: &mut self.messages[first..],
            tools: self.request.tools.as_mut(),
            tool_choice: match &mut self.request.tool_choice {
                ToolChoice::Given(choice) => Some(choice),
                ToolChoice::Default | ToolChoice::None => None,
            },
            fields: &mut self.request.fields,
        }
    }
}

fn texts_of(messages: &mut [Message]) -> Vec<String> {
    let mut prompt = Prompt {
        messages,
        tools: None,
        tool_choice: None,
        fields: &mut [],
    };
    prompt.texts()
}

/// The turns of a history. Each begins with a user's message, so that none loses a call without
/// its answer; what prescribes how to answer stands alone.
fn turns(history: &[Message]) -> Vec<Range<usize>> {
    let mut turns: Vec<Range<usize>> = Vec::new();
    let mut was_alone = true;
    for (place, message) in history.iter().enumerate() {
        let is_alone = matches!(message.role, MessageRole::System | MessageRole::Developer);
        match turns.last_mut() {
            Some(turn) if !is_alone && !was_alone && message.role != MessageRole::User => {
                turn.end = place + 1;
            }
            _ => turns.push(place..place + 1),
        }
        was_alone = is_alone;
    }
    turns
}

/// What may be kept of a turn: of one that was refused, that something was said, and what the
/// platform said to it.
pub(super) fn storable(own: &[Message], outcome: TurnOutcome) -> Cow<'_, [Message]> {
    let (TurnOutcome::Refused, Some((answer, asked))) = (outcome, own.split_last()) else {
        return Cow::Borrowed(own);
    };
    let withheld = |message: &Message| Message {
        role: message.role,
        content: String::new(),
        name: None,
        tool_calls: Vec::new(),
        tool_call_id: None,
    };
    // A tool's answer is no message without the call that it answers.
    let asked = asked
        .iter()
        .filter(|message| message.role != MessageRole::Tool);
    Cow::Owned(asked.map(withheld).chain([answer.clone()]).collect())
}
