//! One minute of one ceiling: what was taken when, and what is left.
//!
//! It is the arithmetic under `admit`, and does no IO. It does not know keys, projects or stores.
//!
//! The method is a sliding log whose entries are rounded to steps of 2 s (between the "sliding
//! log" and the "sliding window counter" of the usual comparison, such as the one in Kong's and
//! Cloudflare's articles on rate limiting): exact up to one step, and bounded in size. A step
//! counts until all of it is a minute old.
//!
//! What is consumed moves from the step in which it was reserved to the step in which it was
//! consumed, and what is still reserved moves along with each draw.
//!
//! Invariant: of any 60 s, no more than the ceiling was taken and not given back; but for what was
//! consumed beyond its reservation, or of a reservation that was left alone for a minute.

/// Length of a step.
pub const STEP_MS: u64 = 2_000;
/// Length of the window.
pub const WINDOW_MS: u64 = 60_000;
/// Steps of one window; one more is partly in it.
const STEPS: u64 = WINDOW_MS / STEP_MS;
/// Reservations of one step that can be settled, at most: this bounds the value's size. The
/// directory allows no ceiling above it.
pub const RESERVATIONS_MAX: u32 = 100_000;

const _: () = assert!(WINDOW_MS.is_multiple_of(STEP_MS));

/// The ceilings of one key or project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// Requests a minute.
    pub requests: u32,
    /// Tokens a minute.
    pub tokens: u32,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
}

/// Why nothing can be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// The quantity that is short for longest.
    pub quantity: Quantity,
    /// Until there is enough of both; none is never.
    pub retry_after_ms: Option<u64>,
}

/// What is left of one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The ceiling.
    pub limit: u32,
    /// What can be taken now.
    pub remaining: u32,
    /// Until it is full again.
    pub reset_ms: u64,
}

/// Where something was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The step's number since the Unix epoch.
    pub step: u64,
    /// The reservation's number within the step.
    pub number: u32,
}

/// What was reserved, and is to be settled once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Where.
    pub ticket: Ticket,
    /// What of it counts until then.
    pub tokens: u32,
}

/// A draw on a reservation, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Draw {
    /// Consumed since the reservation was made or last drawn on.
    pub used: u32,
    /// With less than that held afterwards, nothing is.
    pub least: u32,
    /// To be held afterwards, where there is room.
    pub most: u32,
}

/// What was taken in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) step: u64,
    pub(crate) requests: u32,
    pub(crate) tokens: u64,
    /// Reservations that were given a number.
    pub(crate) issued: u32,
    /// One bit per number that is settled; bits that are not stored are zero.
    pub(crate) settled: Vec<u8>,
}

/// The last minute, oldest step first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    pub(crate) steps: Vec<Step>,
}

impl Window {
    /// Forgets what is over. What lies further ahead than a window was written under a clock
    /// that has since been put back, and would never end.
    fn prune(&mut self, now_ms: u64) {
        let ahead_max = now_ms / STEP_MS + STEPS;
        self.steps
            .retain(|step| step.ends_ms() > now_ms && step.step <= ahead_max);
    }

    /// Is there room for one request of so many tokens?
    pub fn check(&mut self, now_ms: u64, tokens: u32, ceiling: Ceiling) -> Result<(), Excess> {
        self.prune(now_ms);
        let requests = self.wait(now_ms, 1, ceiling.requests, |step| u64::from(step.requests));
        let tokens = self.wait(now_ms, tokens, ceiling.tokens, |step| step.tokens);
        let excess = |quantity, retry_after_ms| {
            Err(Excess {
                quantity,
                retry_after_ms,
            })
        };
        match (requests, tokens) {
            (Wait::None, Wait::None) => Ok(()),
            (_, Wait::Forever) => excess(Quantity::Tokens, None),
            (Wait::Forever, _) => excess(Quantity::Requests, None),
            (Wait::Ms(requests), Wait::Ms(tokens)) if tokens > requests => {
                excess(Quantity::Tokens, Some(tokens))
            }
            (Wait::Ms(requests), _) => excess(Quantity::Requests, Some(requests)),
            (Wait::None, Wait::Ms(tokens)) => excess(Quantity::Tokens, Some(tokens)),
        }
    }

    /// Takes one request of so many tokens. To be called after `check` at the same instant.
    pub fn take(&mut self, now_ms: u64, tokens: u32) -> Hold {
        let step = self.step(now_ms);
        step.requests = step.requests.saturating_add(1);
        step.hold(tokens)
    }

    /// Takes back a whole reservation, as if it had not been made. False if it is settled already
    /// or its minute is over.
    pub fn undo(&mut self, hold: Hold) -> bool {
        let Some(step) = self.find(hold.ticket) else {
            return false;
        };
        if !step.release(hold) {
            return false;
        }
        step.requests = step.requests.saturating_sub(1);
        true
    }

    /// Puts what was used, now, in the place of what was reserved; that may be more. False if that
    /// was done already.
    pub fn settle(&mut self, now_ms: u64, hold: Hold, used: u32) -> bool {
        self.prune(now_ms);
        // One whose minute is over holds nothing any more; what was used counts all the same.
        if self
            .find(hold.ticket)
            .is_some_and(|step| !step.release(hold))
        {
            return false;
        }
        self.count(now_ms, used);
        true
    }

    /// Counts what was used, now, and was not reserved.
    pub fn count(&mut self, now_ms: u64, used: u32) {
        let step = self.step(now_ms);
        step.tokens = step.tokens.saturating_add(u64::from(used));
    }

    /// Holds what is to be used next, or nothing where that would be too little. To be called
    /// after `settle` at the same instant.
    pub fn hold(&mut self, now_ms: u64, draw: Draw, ceiling: Ceiling) -> (Hold, Option<Excess>) {
        let taken: u64 = self.steps.iter().map(|step| step.tokens).sum();
        let room = u64::from(ceiling.tokens).saturating_sub(taken);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        if room < draw.least {
            let wait = self.wait(now_ms, draw.least, ceiling.tokens, |step| step.tokens);
            let excess = Excess {
                quantity: Quantity::Tokens,
                retry_after_ms: match wait {
                    Wait::Forever => None,
                    Wait::None => Some(0),
                    Wait::Ms(ms) => Some(ms),
                },
            };
            return (self.step(now_ms).hold(0), Some(excess));
        }
        (self.step(now_ms).hold(room.min(draw.most)), None)
    }

    fn find(&mut self, ticket: Ticket) -> Option<&mut Step> {
        self.steps.iter_mut().find(|step| step.step == ticket.step)
    }

    /// The step of this instant.
    fn step(&mut self, now_ms: u64) -> &mut Step {
        let now = now_ms / STEP_MS;
        let index = self.steps.partition_point(|step| step.step < now);
        if self.steps.get(index).is_none_or(|step| step.step != now) {
            let step = Step {
                step: now,
                ..Step::default()
            };
            self.steps.insert(index, step);
        }
        &mut self.steps[index]
    }

    /// What is left of both quantities.
    pub fn left(&mut self, now_ms: u64, ceiling: Ceiling) -> (Left, Left) {
        self.prune(now_ms);
        let left = |limit: u32, of: fn(&Step) -> u64| {
            let used: u64 = self.steps.iter().map(of).sum();
            let last = self.steps.iter().rev().find(|step| of(step) > 0);
            Left {
                limit,
                remaining: u32::try_from(u64::from(limit).saturating_sub(used)).unwrap_or(limit),
                reset_ms: last.map_or(0, |step| step.ends_ms() - now_ms),
            }
        };
        (
            left(ceiling.requests, |step| u64::from(step.requests)),
            left(ceiling.tokens, |s| s.tokens),
        )
    }

    fn wait(&self, now_ms: u64, wanted: u32, limit: u32, of: fn(&Step) -> u64) -> Wait {
        if wanted > limit {
            return Wait::Forever;
        }
        let used: u64 = self.steps.iter().map(of).sum();
        let mut short = (used + u64::from(wanted)).saturating_sub(u64::from(limit));
        let mut wait = Wait::None;
        for step in &self.steps {
            if short == 0 {
                break;
            }
            wait = Wait::Ms(step.ends_ms() - now_ms);
            short = short.saturating_sub(of(step));
        }
        wait
    }
}

enum Wait {
    None,
    Ms(u64),
    Forever,
}

impl Step {
    /// When none of it is within the last minute.
    fn ends_ms(&self) -> u64 {
        (self.step + 1)
            .saturating_mul(STEP_MS)
            .saturating_add(WINDOW_MS)
    }

    fn hold(&mut self, tokens: u32) -> Hold {
        let number = self.issued;
        self.tokens = self.tokens.saturating_add(u64::from(tokens));
        self.issued = self.issued.saturating_add(1).min(RESERVATIONS_MAX);
        let step = self.step;
        Hold {
            ticket: Ticket { step, number },
            tokens,
        }
    }

    /// False if that was done before.
    fn release(&mut self, hold: Hold) -> bool {
        let number = hold.ticket.number;
        if number >= self.issued || !self.mark_settled(number) {
            return false;
        }
        self.tokens = self.tokens.saturating_sub(u64::from(hold.tokens));
        true
    }

    /// False if it was marked before.
    fn mark_settled(&mut self, number: u32) -> bool {
        let (byte, bit) = (number as usize / 8, 1_u8 << (number % 8));
        if self.settled.len() <= byte {
            self.settled.resize(byte + 1, 0);
        }
        let first = self.settled[byte] & bit == 0;
        self.settled[byte] |= bit;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: Ceiling = Ceiling {
        requests: 3,
        tokens: 100,
    };

    fn take(window: &mut Window, now_ms: u64, tokens: u32) -> Result<Hold, Excess> {
        window
            .check(now_ms, tokens, CEILING)
            .map(|()| window.take(now_ms, tokens))
    }

    #[test]
    fn requests_come_back_a_minute_after_their_step() {
        let mut window = Window::default();
        for now_ms in [10_000, 10_500, 15_000] {
            take(&mut window, now_ms, 1).unwrap();
        }
        let excess = take(&mut window, 16_000, 1).unwrap_err();
        // Step 5 is 10,000 to 12,000, so it counts until 72,000.
        let expected = Excess {
            quantity: Quantity::Requests,
            retry_after_ms: Some(56_000),
        };
        assert_eq!(excess, expected);
        assert!(take(&mut window, 71_999, 1).is_err());
        assert!(take(&mut window, 72_000, 1).is_ok());
        assert!(take(&mut window, 72_000, 1).is_ok());
        assert!(take(&mut window, 72_000, 1).is_err());
    }

    #[test]
    fn the_wait_is_exact_for_tokens_of_several_steps() {
        let mut window = Window::default();
        take(&mut window, 0, 40).unwrap();
        take(&mut window, 4_000, 60).unwrap();
        for (tokens, wait) in [(1, 62_000), (40, 62_000), (41, 66_000), (100, 66_000)] {
            let excess = window.check(0, tokens, CEILING).unwrap_err();
            let expected = Excess {
                quantity: Quantity::Tokens,
                retry_after_ms: Some(wait),
            };
            assert_eq!(excess, expected);
            assert!(window.clone().check(wait - 1, tokens, CEILING).is_err());
            assert_eq!(window.clone().check(wait, tokens, CEILING), Ok(()));
        }
    }

    #[test]
    fn more_than_the_ceiling_is_never() {
        let never = |quantity| {
            Err(Excess {
                quantity,
                retry_after_ms: None,
            })
        };
        let mut window = Window::default();
        assert_eq!(window.check(0, 101, CEILING), never(Quantity::Tokens));
        let closed = Ceiling {
            requests: 0,
            tokens: 5,
        };
        assert_eq!(window.check(0, 1, closed), never(Quantity::Requests));
        assert_eq!(window.check(0, 100, CEILING), Ok(()));
    }

    #[test]
    fn what_is_left_and_when_it_is_full() {
        let mut window = Window::default();
        take(&mut window, 1_000, 30).unwrap();
        let (requests, tokens) = window.left(5_000, CEILING);
        assert_eq!(
            requests,
            Left {
                limit: 3,
                remaining: 2,
                reset_ms: 57_000
            }
        );
        assert_eq!(
            tokens,
            Left {
                limit: 100,
                remaining: 70,
                reset_ms: 57_000
            }
        );
        let full = Left {
            limit: 3,
            remaining: 3,
            reset_ms: 0,
        };
        assert_eq!(window.left(62_000, CEILING).0, full);
        // A ceiling that was lowered meanwhile leaves nothing, and not less.
        let lowered = Ceiling {
            requests: 3,
            tokens: 10,
        };
        assert_eq!(Window::default().left(0, lowered).1.remaining, 10);
        window.take(62_000, 30);
        assert_eq!(window.left(62_000, lowered).1.remaining, 0);
    }

    #[test]
    fn a_reservation_settles_once() {
        let mut window = Window::default();
        let first = take(&mut window, 0, 50).unwrap();
        let second = take(&mut window, 0, 50).unwrap();
        assert!(window.settle(0, first, 5));
        assert!(!window.settle(0, first, 5));
        assert_eq!(window.left(0, CEILING).1.remaining, 45);
        assert!(window.undo(second));
        assert!(!window.undo(second));
        let (requests, tokens) = window.left(0, CEILING);
        assert_eq!((requests.remaining, tokens.remaining), (2, 95));
        let third = take(&mut window, 0, 5).unwrap();
        assert!(window.settle(0, third, 25));
        assert_eq!(
            window.left(0, CEILING).1.remaining,
            70,
            "what was used beyond it counts too"
        );
        let never_issued = Hold {
            ticket: Ticket { step: 0, number: 3 },
            tokens: 5,
        };
        assert!(!window.settle(0, never_issued, 0));
    }

    #[test]
    fn what_is_used_counts_when_it_is_used_and_not_when_it_was_reserved() {
        let mut window = Window::default();
        let hold = take(&mut window, 0, 100).unwrap();
        assert!(window.settle(50_000, hold, 80));
        for (now_ms, remaining) in [(61_999, 20), (62_000, 20), (111_999, 20), (112_000, 100)] {
            let left = window.left(now_ms, CEILING).1.remaining;
            assert_eq!(left, remaining, "{now_ms}");
        }
        // Also where the reservation's own minute is long over.
        let hold = take(&mut window, 200_000, 10).unwrap();
        assert!(window.settle(900_000, hold, 70));
        assert_eq!(window.left(900_000, CEILING).1.remaining, 30);
    }

    /// None if the reservation is settled.
    fn draw(
        window: &mut Window,
        now_ms: u64,
        held: Hold,
        [used, least, most]: [u32; 3],
    ) -> Option<(Hold, Option<Excess>)> {
        let is_open = window.settle(now_ms, held, used);
        is_open.then(|| window.hold(now_ms, Draw { used, least, most }, CEILING))
    }

    #[test]
    fn a_draw_moves_what_is_held_and_takes_no_more_than_there_is() {
        let mut window = Window::default();
        let hold = take(&mut window, 0, 40).unwrap();
        let (hold, excess) = draw(&mut window, 30_000, hold, [30, 1, 40]).unwrap();
        assert_eq!((hold.tokens, excess), (40, None));
        assert_eq!(window.left(30_000, CEILING).1.remaining, 30);
        // 70 are used by now, so 30 are left of the 40 that are wanted.
        let (hold, excess) = draw(&mut window, 40_000, hold, [40, 1, 40]).unwrap();
        assert_eq!((hold.tokens, excess), (30, None));
        // None is left, until the first 30 are a minute old.
        let (empty, excess) = draw(&mut window, 50_000, hold, [30, 1, 40]).unwrap();
        let wait = Excess {
            quantity: Quantity::Tokens,
            retry_after_ms: Some(42_000),
        };
        assert_eq!((empty.tokens, excess), (0, Some(wait)));
        assert!(draw(&mut window, 50_000, hold, [9, 0, 9]).is_none());
        let (hold, excess) = draw(&mut window, 92_000, empty, [0, 1, 40]).unwrap();
        assert_eq!((hold.tokens, excess), (30, None));
        let never = draw(&mut window, 92_000, hold, [0, 101, 101]);
        assert_eq!(never.unwrap().1.unwrap().retry_after_ms, None);
    }

    #[test]
    fn a_clock_put_back_by_an_hour_does_not_close_the_window_for_an_hour() {
        let mut window = Window::default();
        for _ in 0..3 {
            take(&mut window, 3_600_000, 1).unwrap();
        }
        assert!(take(&mut window, 0, 1).is_ok());
        // By a few seconds it still counts.
        let mut window = Window::default();
        for _ in 0..3 {
            take(&mut window, 30_000, 1).unwrap();
        }
        assert!(take(&mut window, 20_000, 1).is_err());
    }
}
