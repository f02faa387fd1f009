//! Taking from two windows or from neither, and giving back once.
//!
//! It stands between the exported functions and the store, which is a trait here, so that
//! thousands of interleavings are tested natively. It does not know what a key or a project is
//! beyond its name.

use crate::window::{Ceiling, Excess, Left, Ticket, Window};

/// Attempts to swap one value. Of those who try at once one succeeds each time, so this many
/// would have to be faster again and again.
const SWAPS_MAX: u32 = 256;

/// A store with compare-and-swap.
pub trait Counters {
    /// A value that was read and may be swapped.
    type Held;
    /// Reads a value in order to swap it.
    fn hold(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<(Option<Vec<u8>>, Self::Held), String>>;
    /// Swaps the value if it is still the one that was read.
    fn swap(
        &self,
        held: Self::Held,
        value: Vec<u8>,
    ) -> impl Future<Output = Result<Swapped<Self::Held>, String>>;
}

/// What came of a swap.
#[derive(Debug)]
pub enum Swapped<Held> {
    /// The value is the new one.
    Done,
    /// Somebody was faster; the value is held anew.
    Lost(Option<Vec<u8>>, Held),
}

/// One of the two that a request takes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name in the store.
    pub name: String,
    /// Its ceilings.
    pub ceiling: Ceiling,
}

/// Requests left and tokens left: of both accounts, the tighter.
pub type State = (Left, Left);

/// Why nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmitError {
    /// There is not enough, in one account or the other.
    Rejected(Excess, State),
    /// The store failed. The text is for the operator.
    Unavailable(String),
}

/// What was taken, to be handed to `settle`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    tokens: u32,
    parts: [(String, Ticket); 2],
}

/// Takes one request and `tokens` from both accounts, or nothing.
pub async fn admit<C: Counters>(
    counters: &C,
    accounts: &[Account; 2],
    tokens: u32,
    now_ms: impl Fn() -> u64,
) -> Result<(Reservation, State), AdmitError> {
    let [first, second] = accounts;
    // The second is looked at before the first is changed, so a closed project costs no write;
    // and held meanwhile, so that it is read once.
    let second_held = hold(counters, second).await?;
    let (verdict, second_left) = peek(&second_held, second, tokens, &now_ms);
    if let Err(excess) = verdict {
        let first_held = hold(counters, first).await?;
        let (other, first_left) = peek(&first_held, first, tokens, &now_ms);
        let excess = other.err().map_or(excess, |other| longer(excess, other));
        return Err(AdmitError::Rejected(
            excess,
            tighter(first_left, second_left),
        ));
    }
    let first_held = hold(counters, first).await?;
    let taken = take(counters, first_held, first, tokens, &now_ms).await?;
    let (first_ticket, first_left) = match taken {
        Ok(taken) => taken,
        Err((excess, left)) => {
            return Err(AdmitError::Rejected(excess, tighter(left, second_left)));
        }
    };
    let undo = async || {
        let held = counters.hold(&first.name).await?;
        let undone = |window: &mut Window| (window.undo(first_ticket, tokens), ());
        change(counters, held, undone).await
    };
    match take(counters, second_held, second, tokens, &now_ms).await {
        Ok(Ok((second_ticket, second_left))) => {
            let parts = [
                (first.name.clone(), first_ticket),
                (second.name.clone(), second_ticket),
            ];
            Ok((
                Reservation { tokens, parts },
                tighter(first_left, second_left),
            ))
        }
        Ok(Err((excess, left))) => {
            undo().await.map_err(AdmitError::Unavailable)?;
            Err(AdmitError::Rejected(excess, tighter(first_left, left)))
        }
        Err(error) => {
            // If this fails too, the key's share comes back with its minute.
            let _undone = undo().await;
            Err(error)
        }
    }
}

/// Counts what was used instead of what a reservation took. A second call changes nothing.
pub async fn settle<C: Counters>(
    counters: &C,
    reservation: &Reservation,
    tokens_used: u32,
) -> Result<(), String> {
    for (name, ticket) in &reservation.parts {
        let held = counters.hold(name).await?;
        change(counters, held, |window| {
            (
                window.give_back(*ticket, reservation.tokens, tokens_used),
                (),
            )
        })
        .await?;
    }
    Ok(())
}

/// A value as it was read, and what it may be swapped by.
type Held<C> = (Option<Vec<u8>>, <C as Counters>::Held);

async fn hold<C: Counters>(counters: &C, account: &Account) -> Result<Held<C>, AdmitError> {
    let held = counters.hold(&account.name).await;
    held.map_err(AdmitError::Unavailable)
}

/// Is there room now, and what is left?
fn peek<H>(
    (value, _): &(Option<Vec<u8>>, H),
    account: &Account,
    tokens: u32,
    now_ms: &impl Fn() -> u64,
) -> (Result<(), Excess>, State) {
    let (mut window, now_ms) = (Window::from_bytes(value.as_deref()), now_ms());
    let verdict = window.check(now_ms, tokens, account.ceiling);
    (verdict, window.left(now_ms, account.ceiling))
}

/// The one that takes longer to pass; never is longest.
fn longer(one: Excess, other: Excess) -> Excess {
    match (one.retry_after_ms, other.retry_after_ms) {
        (Some(ms), Some(other_ms)) if other_ms > ms => other,
        (Some(_), None) => other,
        _ => one,
    }
}

type Taken = Result<(Ticket, State), (Excess, State)>;

async fn take<C: Counters>(
    counters: &C,
    held: Held<C>,
    account: &Account,
    tokens: u32,
    now_ms: &impl Fn() -> u64,
) -> Result<Taken, AdmitError> {
    let taken = change(counters, held, |window| {
        // The clock is read for each attempt, so a step is never taken from long after it.
        let now_ms = now_ms();
        if let Err(excess) = window.check(now_ms, tokens, account.ceiling) {
            return (false, Err((excess, window.left(now_ms, account.ceiling))));
        }
        let ticket = window.take(now_ms, tokens);
        (true, Ok((ticket, window.left(now_ms, account.ceiling))))
    });
    taken.await.map_err(AdmitError::Unavailable)
}

/// Lets `edit` change a window that was read, and swaps it in, until nobody came between. `edit`
/// says whether there is anything to write.
async fn change<C: Counters, T>(
    counters: &C,
    (mut value, mut held): Held<C>,
    edit: impl Fn(&mut Window) -> (bool, T),
) -> Result<T, String> {
    for _ in 0..SWAPS_MAX {
        let mut window = Window::from_bytes(value.as_deref());
        let (changed, answer) = edit(&mut window);
        if !changed {
            return Ok(answer);
        }
        match counters.swap(held, window.to_bytes()).await? {
            Swapped::Done => return Ok(answer),
            Swapped::Lost(newer, again) => (value, held) = (newer, again),
        }
    }
    Err(format!(
        "a counter was changed by others {SWAPS_MAX} times in a row"
    ))
}

fn tighter(one: State, other: State) -> State {
    let tighter = |one: Left, other: Left| match one.remaining.cmp(&other.remaining) {
        std::cmp::Ordering::Less => one,
        std::cmp::Ordering::Greater => other,
        std::cmp::Ordering::Equal if one.limit <= other.limit => one,
        std::cmp::Ordering::Equal => other,
    };
    (tighter(one.0, other.0), tighter(one.1, other.1))
}

impl Reservation {
    /// The opaque text. Names may hold any character.
    pub fn to_text(&self) -> String {
        let [(first, one), (second, two)] = &self.parts;
        format!(
            "1:{}:{}:{}:{}:{}:{}:{first}{second}",
            self.tokens,
            one.step,
            one.number,
            two.step,
            two.number,
            first.len(),
        )
    }

    /// The reservation in a text that `to_text` made.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("1:")?.splitn(7, ':');
        let tokens = parts.next()?.parse().ok()?;
        let mut ticket = || {
            Some(Ticket {
                step: parts.next()?.parse().ok()?,
                number: parts.next()?.parse().ok()?,
            })
        };
        let (one, two) = (ticket()?, ticket()?);
        let first_length = parts.next()?.parse().ok()?;
        let (first, second) = parts.next()?.split_at_checked(first_length)?;
        Some(Self {
            tokens,
            parts: [(first.to_owned(), one), (second.to_owned(), two)],
        })
    }
}

#[cfg(test)]
mod tests;
