//! What is left out so that the rest fits into the model's window.
//!
//! A turn is a user's message and all that follows it. Whole turns are left out, oldest first;
//! system and developer messages stay, and so does the last turn. It counts with `tokens` and
//! knows no model.
//!
//! Invariant: a tool's answer never stays without the call that it answers.

use crate::tokens;
use crate::wire::{Message, Role};

#[cfg(test)]
mod tests;

/// What stays, in order, and how many messages do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    pub messages: Vec<Message>,
    pub dropped: u32,
}

/// The system messages and the last turn alone are longer than the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Leaves out the oldest turns until the rest is estimated to fit.
pub fn trim(messages: Vec<Message>, prompt_tokens_max: u32) -> Result<Trimmed, TooLong> {
    let given = messages.len();
    let messages = without_orphans(messages);
    let turns = turns(&messages);
    let last = turns.iter().copied().max().unwrap_or(0);
    let mut cost = vec![0_u64; last + 1];
    let mut total = tokens::EMPTY;
    for (message, turn) in messages.iter().zip(&turns) {
        let tokens = tokens::of_message(message);
        total += tokens;
        if !always_stays(message) {
            cost[*turn] += tokens;
        }
    }
    let mut first = 0;
    while total > u64::from(prompt_tokens_max) {
        if first >= last {
            return Err(TooLong);
        }
        total -= cost[first];
        first += 1;
    }
    let kept: Vec<Message> = messages
        .into_iter()
        .zip(turns)
        .filter(|(message, turn)| *turn >= first || always_stays(message))
        .map(|(message, _)| message)
        .collect();
    let dropped = u32::try_from(given - kept.len()).unwrap_or(u32::MAX);
    Ok(Trimmed {
        messages: kept,
        dropped,
    })
}

fn always_stays(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// The number of each message's turn. User messages in a row begin one turn; what comes before the
/// first of them is turn 0.
fn turns(messages: &[Message]) -> Vec<usize> {
    let (mut turn, mut before) = (0, None);
    messages
        .iter()
        .map(|message| {
            if message.role == Role::User && before.is_some_and(|role| role != Role::User) {
                turn += 1;
            }
            if !always_stays(message) {
                before = Some(message.role);
            }
            turn
        })
        .collect()
}

/// Without the tools' answers whose call does not stand before them within the same turn.
fn without_orphans(messages: Vec<Message>) -> Vec<Message> {
    let mut calls: Vec<String> = Vec::new();
    messages
        .into_iter()
        .filter(|message| {
            match message.role {
                Role::User => calls.clear(),
                Role::Assistant => {
                    calls.extend(message.tool_calls.iter().map(|call| call.id.clone()));
                }
                Role::Tool => {
                    return message
                        .tool_call_id
                        .as_ref()
                        .is_some_and(|id| calls.contains(id));
                }
                Role::System | Role::Developer => {}
            }
            true
        })
        .collect()
}
