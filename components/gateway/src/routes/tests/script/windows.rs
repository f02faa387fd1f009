//! The rate limit's own arithmetic on a store in memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use rate_limit::admit::{self, Account, AdmitError, Counters, Reservation, State, Swapped};
use rate_limit::window::{Ceiling, Draw, Excess, Left, Quantity, Window};

use crate::bindings::skerry::chat::rate_limit as wit;

const NAMES: [&str; 2] = ["key", "project"];
const REQUESTS: u32 = 1_000;

#[derive(Clone)]
pub(super) struct Windows {
    tokens: u32,
    store: Rc<Store>,
    /// Nothing can be drawn: the counters cannot be read.
    pub(super) is_broken: bool,
}

#[derive(Default)]
struct Store {
    values: RefCell<BTreeMap<String, Vec<u8>>>,
    calls: Cell<u32>,
}

impl Counters for Store {
    type Held = String;

    async fn hold(&self, name: &str) -> Result<(Option<Vec<u8>>, String), String> {
        self.calls.set(self.calls.get() + 1);
        Ok((self.values.borrow().get(name).cloned(), name.to_owned()))
    }

    async fn swap(&self, name: String, value: Vec<u8>) -> Result<Swapped<String>, String> {
        self.calls.set(self.calls.get() + 1);
        self.values.borrow_mut().insert(name, value);
        Ok(Swapped::Done)
    }
}

impl Windows {
    pub(super) fn new(tokens: u32) -> Self {
        Self {
            tokens,
            store: Rc::default(),
            is_broken: false,
        }
    }

    pub(super) fn calls(&self) -> u32 {
        self.store.calls.get()
    }

    pub(super) fn counted(&self, now_ms: u64) -> [u64; 2] {
        NAMES.map(|name| {
            let values = self.store.values.borrow();
            let mut window = Window::from_bytes(values.get(name).map(Vec::as_slice));
            let endless = Ceiling {
                requests: REQUESTS,
                tokens: u32::MAX,
            };
            u64::from(u32::MAX - window.left(now_ms, endless).1.remaining)
        })
    }

    pub(super) async fn admit(
        &self,
        tokens: u32,
        now_ms: u64,
    ) -> Result<wit::Admission, wit::RateLimitError> {
        let accounts = NAMES.map(|name| Account {
            name: name.to_owned(),
            ceiling: Ceiling {
                requests: REQUESTS,
                tokens: self.tokens,
            },
        });
        match admit::admit(&*self.store, &accounts, tokens, || now_ms).await {
            Ok((reservation, state)) => Ok(admission(&reservation, state)),
            Err(AdmitError::Rejected(excess, state)) => {
                Err(wit::RateLimitError::Rejected(rejection(excess, state)))
            }
            Err(AdmitError::Unavailable(words)) => Err(wit::RateLimitError::Unavailable(words)),
        }
    }

    pub(super) async fn draw(
        &self,
        reservation: &str,
        draw: Draw,
        now_ms: u64,
    ) -> Result<wit::Drawn, String> {
        if self.is_broken {
            return Err("the counters are away".to_owned());
        }
        let reservation = Reservation::from_text(reservation).ok_or("not a reservation")?;
        let drawn = admit::draw(&*self.store, &reservation, draw, || now_ms).await?;
        Ok(wit::Drawn {
            admission: admission(&drawn.reservation, drawn.state),
            refused: drawn.refused.map(|excess| rejection(excess, drawn.state)),
        })
    }

    pub(super) async fn settle(
        &self,
        reservation: &str,
        used: u32,
        now_ms: u64,
    ) -> Result<(), String> {
        let reservation = Reservation::from_text(reservation).ok_or("not a reservation")?;
        admit::settle(&*self.store, &reservation, used, || now_ms).await
    }
}

fn admission(reservation: &Reservation, state: State) -> wit::Admission {
    wit::Admission {
        reservation: reservation.to_text(),
        held: reservation.held(),
        state: wit_state(state),
    }
}

fn rejection(excess: Excess, state: State) -> wit::Rejection {
    wit::Rejection {
        quantity: match excess.quantity {
            Quantity::Requests => wit::Quantity::Requests,
            Quantity::Tokens => wit::Quantity::Tokens,
        },
        retry_after_ms: excess.retry_after_ms,
        state: wit_state(state),
    }
}

fn wit_state((requests, tokens): State) -> wit::State {
    let window = |left: Left| wit::Window {
        limit: left.limit,
        remaining: left.remaining,
        reset_ms: left.reset_ms,
    };
    wit::State {
        requests: window(requests),
        tokens: window(tokens),
    }
}
