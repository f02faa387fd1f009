//! Taking from two windows or from neither, drawing on what was taken, and settling once.
//!
//! It stands between the exported functions and the store, which is a trait here, so that
//! thousands of interleavings are tested natively. It does not know what a key or a project is
//! beyond its name.

use crate::window::{Ceiling, Draw, Excess, Hold, Left, Ticket, Window};

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

/// What was taken, to be drawn on and settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    parts: [Part; 2],
}

/// What was taken from one account. It keeps the ceilings of the admission.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    account: Account,
    hold: Hold,
    /// Used, and not counted yet: the account could not be changed when the other one was.
    owed: u32,
}

/// A reservation that was drawn on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// In the place of the former one, also where it is refused.
    pub reservation: Reservation,
    /// What is left.
    pub state: State,
    /// Less than the least is there, so nothing is held.
    pub refused: Option<Excess>,
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
    let (first_hold, first_left) = match taken {
        Ok(taken) => taken,
        Err((excess, left)) => {
            return Err(AdmitError::Rejected(excess, tighter(left, second_left)));
        }
    };
    let undo = async || {
        let held = counters.hold(&first.name).await?;
        let undone = |window: &mut Window| (window.undo(first_hold), ());
        change(counters, held, undone).await
    };
    match take(counters, second_held, second, tokens, &now_ms).await {
        Ok(Ok((second_hold, second_left))) => {
            let part = |account: &Account, hold| Part {
                account: account.clone(),
                hold,
                owed: 0,
            };
            let parts = [part(first, first_hold), part(second, second_hold)];
            Ok((Reservation { parts }, tighter(first_left, second_left)))
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

/// Counts what was used, now, and holds anew what is to be used next: as much as both accounts
/// have, or nothing where that is less than the least.
///
/// An account that cannot be changed is owed what was used, until the next draw or until the end;
/// an error is that of both.
pub async fn draw<C: Counters>(
    counters: &C,
    reservation: &Reservation,
    draw: Draw,
    now_ms: impl Fn() -> u64,
) -> Result<Drawn, String> {
    let [first, second] = &reservation.parts;
    let first_drawn = draw_part(counters, first, draw, &now_ms).await;
    // The other counts what was used in any case, and holds no more than can be used.
    let other = match &first_drawn {
        Ok((_, _, Some(_))) => Draw {
            least: 0,
            most: 0,
            ..draw
        },
        Ok((first, _, None)) => Draw {
            most: first.hold.tokens,
            ..draw
        },
        Err(_) => draw,
    };
    let second_drawn = draw_part(counters, second, other, &now_ms).await;
    let owing = |part: &Part| Part {
        owed: part.owed.saturating_add(draw.used),
        ..part.clone()
    };
    let (parts, state, refused) = match (first_drawn, second_drawn) {
        (Ok((first, first_left, excess)), Ok((second, second_left, other))) => {
            let refused = match (excess, other) {
                (Some(one), Some(other)) => Some(longer(one, other)),
                (one, other) => one.or(other),
            };
            ([first, second], tighter(first_left, second_left), refused)
        }
        (Ok((first, left, excess)), Err(_)) => ([first, owing(second)], left, excess),
        (Err(_), Ok((second, left, excess))) => ([owing(first), second], left, excess),
        (Err(words), Err(_)) => return Err(words),
    };
    Ok(Drawn {
        reservation: Reservation { parts },
        state,
        refused,
    })
}

async fn draw_part<C: Counters>(
    counters: &C,
    part: &Part,
    draw: Draw,
    now_ms: &impl Fn() -> u64,
) -> Result<(Part, State, Option<Excess>), String> {
    let Part {
        account,
        hold,
        owed,
    } = part;
    let draw = Draw {
        used: draw.used.saturating_add(*owed),
        ..draw
    };
    let held = counters.hold(&account.name).await?;
    let drawn = change(counters, held, |window| {
        let now_ms = now_ms();
        let is_settled = !window.settle(now_ms, *hold, draw.used);
        if is_settled && *owed == 0 {
            return (false, None);
        }
        if is_settled {
            // The change that was thought to have failed was made: what was used then counts twice.
            window.count(now_ms, draw.used);
        }
        let drawn = window.hold(now_ms, draw, account.ceiling);
        (true, Some((drawn, window.left(now_ms, account.ceiling))))
    });
    let ((hold, excess), left) = drawn.await?.ok_or("the reservation is settled")?;
    let part = Part {
        account: account.clone(),
        hold,
        owed: 0,
    };
    Ok((part, left, excess))
}

/// Counts what was used, now, instead of what a reservation holds. A second call within its
/// minute changes nothing.
pub async fn settle<C: Counters>(
    counters: &C,
    reservation: &Reservation,
    tokens_used: u32,
    now_ms: impl Fn() -> u64,
) -> Result<(), String> {
    let mut settled = Ok(());
    for Part {
        account,
        hold,
        owed,
    } in &reservation.parts
    {
        let used = tokens_used.saturating_add(*owed);
        let one = async {
            let held = counters.hold(&account.name).await?;
            let settle = |window: &mut Window| (window.settle(now_ms(), *hold, used), ());
            change(counters, held, settle).await
        };
        // The other account is settled though this one could not be.
        settled = settled.and(one.await);
    }
    settled
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

type Taken = Result<(Hold, State), (Excess, State)>;

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
        let hold = window.take(now_ms, tokens);
        (true, Ok((hold, window.left(now_ms, account.ceiling))))
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
    /// Tokens that both accounts hold, or the one that is not owed anything.
    pub fn held(&self) -> u32 {
        let parts = self.parts.iter().filter(|part| part.owed == 0);
        parts.map(|part| part.hold.tokens).min().unwrap_or(0)
    }

    /// The opaque text. Names may hold any character.
    pub fn to_text(&self) -> String {
        let [first, second] = &self.parts;
        let (first_name, second_name) = (&first.account.name, &second.account.name);
        format!(
            "3:{}{}{}:{first_name}{second_name}",
            first.numbers(),
            second.numbers(),
            first_name.len(),
        )
    }

    /// The reservation in a text that `to_text` made.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix("3:")?.splitn(14, ':');
        let mut part = || {
            let tokens = numbers.next()?.parse().ok()?;
            let ticket = Ticket {
                step: numbers.next()?.parse().ok()?,
                number: numbers.next()?.parse().ok()?,
            };
            let ceiling = Ceiling {
                requests: numbers.next()?.parse().ok()?,
                tokens: numbers.next()?.parse().ok()?,
            };
            let owed = numbers.next()?.parse().ok()?;
            Some((Hold { ticket, tokens }, ceiling, owed))
        };
        let (first, second) = (part()?, part()?);
        let first_length = numbers.next()?.parse().ok()?;
        let (first_name, second_name) = numbers.next()?.split_at_checked(first_length)?;
        let part = |(hold, ceiling, owed), name: &str| Part {
            account: Account {
                name: name.to_owned(),
                ceiling,
            },
            hold,
            owed,
        };
        Some(Self {
            parts: [part(first, first_name), part(second, second_name)],
        })
    }
}

impl Part {
    fn numbers(&self) -> String {
        let (ticket, ceiling) = (self.hold.ticket, self.account.ceiling);
        format!(
            "{}:{}:{}:{}:{}:{}:",
            self.hold.tokens,
            ticket.step,
            ticket.number,
            ceiling.requests,
            ceiling.tokens,
            self.owed
        )
    }
}

#[cfg(test)]
mod tests;
