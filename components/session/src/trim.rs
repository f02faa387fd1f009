//! What is left out so that the rest fits into the model's window.
//!
//! A turn is a user's message and all that follows it. Whole turns are left out, oldest first;
//! system and developer messages stay, and so does what the client sent itself, with the turn that
//! it continues. It counts with `tokens` and knows no model.
//!
//! Invariant: a stored answer of a tool never stays without the call that it answers.

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

/// What always stays is alone longer than the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Leaves out the oldest turns until the rest is estimated to fit. The last `own` messages are
/// the client's, and stay.
pub fn trim(
    messages: Vec<Message>,
    own: usize,
    prompt_tokens_max: u32,
) -> Result<Trimmed, TooLong> {
    let given = messages.len();
    let own_from = given.saturating_sub(own);
    let messages = without_orphans(messages, own_from);
    let own_from = messages.len().saturating_sub(own);
    let turns = turns(&messages);
    let stays = |place: usize, message: &Message| place >= own_from || always_stays(message);

    let mut cost = vec![0_u64; turns.last().map_or(1, |last| last + 1)];
    let mut total = tokens::EMPTY;
    for (place, message) in messages.iter().enumerate() {
        let tokens = tokens::of_message(message);
        total += tokens;
        if !stays(place, message) {
            cost[turns[place]] += tokens;
        }
    }
    let last = first_own_turn(&messages, &turns, own_from);
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
        .enumerate()
        .filter(|(place, message)| turns[*place] >= first || stays(*place, message))
        .map(|(_, message)| message)
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

/// The turn in which the client's own messages begin: the answer of a tool continues a stored one.
/// Where there are none, the last.
fn first_own_turn(messages: &[Message], turns: &[usize], own_from: usize) -> usize {
    let own = messages.iter().zip(turns).skip(own_from);
    let mut own = own.filter(|(message, _)| !always_stays(message));
    let first = own.next().map(|(_, turn)| *turn);
    first.or(turns.last().copied()).unwrap_or(0)
}

/// The number of each message's turn. What comes before the first user's message is turn 0.
fn turns(messages: &[Message]) -> Vec<usize> {
    let (mut turn, mut is_first) = (0, true);
    messages
        .iter()
        .map(|message| {
            if message.role == Role::User && !is_first {
                turn += 1;
            }
            is_first &= always_stays(message);
            turn
        })
        .collect()
}

/// Without the stored answers of tools whose call does not stand before them within the same turn.
fn without_orphans(messages: Vec<Message>, own_from: usize) -> Vec<Message> {
    let mut calls: Vec<String> = Vec::new();
    let stays = |(place, message): &(usize, Message)| {
        match message.role {
            Role::User => calls.clear(),
            Role::Assistant => {
                calls.extend(message.tool_calls.iter().map(|call| call.id.clone()));
            }
            Role::Tool => {
                let id = message.tool_call_id.as_ref();
                return *place >= own_from || id.is_some_and(|id| calls.contains(id));
            }
            Role::System | Role::Developer => {}
        }
        true
    };
    let kept = messages.into_iter().enumerate().filter(stays);
    kept.map(|(_, message)| message).collect()
}
