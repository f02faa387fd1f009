//! The exported interface on the host's atomic key-value store, clock and variables.
//!
//! It converts and does IO; the decision is in `admit`, the arithmetic in `window`.

use crate::admit::{self, Account, AdmitError, Counters, Reservation, State, Swapped};
use crate::bindings::exports::skerry::chat::rate_limit::{
    Admission, Drawn, Guest, Quantity as WitQuantity, RateLimitError, Rejection, State as WitState,
    Window as WitWindow,
};
use crate::bindings::skerry::chat::types::{Limits, Principal};
use crate::bindings::wasi::keyvalue::atomics::{self, Cas, CasError};
use crate::bindings::wasi::keyvalue::store;
use crate::window::{Ceiling, Draw, Excess, Left, Quantity};
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The key-value store that the manifest grants.
const STORE: &str = "windows";

struct Component;
crate::bindings::export!(Component with_types_in crate::bindings);

impl Guest for Component {
    async fn admit(who: Principal, tokens: u32) -> Result<Admission, RateLimitError> {
        let accounts = accounts(&who).await.map_err(RateLimitError::Unavailable)?;
        let bucket = HostStore::open().map_err(RateLimitError::Unavailable)?;
        match admit::admit(&*bucket, &accounts, tokens, now_ms).await {
            Ok((reservation, state)) => Ok(admission(&reservation, state)),
            Err(AdmitError::Rejected(excess, state)) => {
                Err(RateLimitError::Rejected(rejection(excess, state)))
            }
            Err(AdmitError::Unavailable(reason)) => Err(RateLimitError::Unavailable(reason)),
        }
    }

    async fn draw(reservation: String, used: u32, least: u32, most: u32) -> Result<Drawn, String> {
        let reservation = Reservation::from_text(&reservation).ok_or("not a reservation")?;
        let draw = Draw { used, least, most };
        let drawn = admit::draw(&*HostStore::open()?, &reservation, draw, now_ms).await?;
        Ok(Drawn {
            admission: admission(&drawn.reservation, drawn.state),
            refused: drawn.refused.map(|excess| rejection(excess, drawn.state)),
        })
    }

    async fn settle(reservation: String, tokens_used: u32) -> Result<(), String> {
        let reservation = Reservation::from_text(&reservation).ok_or("not a reservation")?;
        admit::settle(&*HostStore::open()?, &reservation, tokens_used, now_ms).await
    }
}

fn admission(reservation: &Reservation, state: State) -> Admission {
    Admission {
        reservation: reservation.to_text(),
        held: reservation.held(),
        state: into_wit(state),
    }
}

fn rejection(excess: Excess, state: State) -> Rejection {
    Rejection {
        quantity: match excess.quantity {
            Quantity::Requests => WitQuantity::Requests,
            Quantity::Tokens => WitQuantity::Tokens,
        },
        retry_after_ms: excess.retry_after_ms,
        state: into_wit(state),
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The key's account and the project's, with the platform's ceilings where they have none.
async fn accounts(who: &Principal) -> Result<[Account; 2], String> {
    let platform = platform().await?;
    let ceiling = |limits: &Limits| Ceiling {
        requests: limits.requests_per_minute.unwrap_or(platform.requests),
        tokens: limits.tokens_per_minute.unwrap_or(platform.tokens),
    };
    Ok([
        Account {
            name: format!("rate/{}", who.key_id),
            ceiling: ceiling(&who.key_limits),
        },
        Account {
            name: format!("rate/{}", who.project_id),
            ceiling: ceiling(&who.project_limits),
        },
    ])
}

thread_local! {
    /// Read once in the life of an instance, before which the host has fixed them.
    static PLATFORM: OnceCell<Ceiling> = const { OnceCell::new() };
    /// Opened once in the life of an instance.
    static OPENED: OnceCell<Rc<HostStore>> = const { OnceCell::new() };
}

/// The platform's ceilings.
async fn platform() -> Result<Ceiling, String> {
    if let Some(ceiling) = PLATFORM.with(|known| known.get().copied()) {
        return Ok(ceiling);
    }
    let ceiling = Ceiling {
        requests: variable("requests_per_minute").await?,
        tokens: variable("tokens_per_minute").await?,
    };
    Ok(PLATFORM.with(|known| *known.get_or_init(|| ceiling)))
}

async fn variable(name: &str) -> Result<u32, String> {
    let text = spin_sdk::variables::get(name)
        .await
        .map_err(|error| error.to_string())?;
    text.trim()
        .parse()
        .map_err(|_| format!("variable {name} is not a whole number"))
}

struct HostStore(store::Bucket);

impl HostStore {
    fn open() -> Result<Rc<Self>, String> {
        if let Some(store) = OPENED.with(|opened| opened.get().cloned()) {
            return Ok(store);
        }
        let store = Rc::new(store::open(STORE).map(Self).map_err(words)?);
        Ok(OPENED.with(|opened| Rc::clone(opened.get_or_init(|| store))))
    }
}

impl Counters for HostStore {
    type Held = Cas;

    async fn hold(&self, name: &str) -> Result<(Option<Vec<u8>>, Cas), String> {
        let held = Cas::new(&self.0, name).map_err(words)?;
        Ok((held.current().map_err(words)?, held))
    }

    async fn swap(&self, held: Cas, value: Vec<u8>) -> Result<Swapped<Cas>, String> {
        match atomics::swap(held, &value) {
            Ok(()) => Ok(Swapped::Done),
            Err(CasError::CasFailed(again)) => {
                Ok(Swapped::Lost(again.current().map_err(words)?, again))
            }
            Err(CasError::StoreError(error)) => Err(words(error)),
        }
    }
}

fn words(error: store::Error) -> String {
    match error {
        store::Error::NoSuchStore => format!("no store {STORE} is configured"),
        store::Error::AccessDenied => format!("the manifest does not grant store {STORE}"),
        store::Error::Other(words) => words,
    }
}

fn into_wit((requests, tokens): State) -> WitState {
    let window = |left: Left| WitWindow {
        limit: left.limit,
        remaining: left.remaining,
        reset_ms: left.reset_ms,
    };
    WitState {
        requests: window(requests),
        tokens: window(tokens),
    }
}
