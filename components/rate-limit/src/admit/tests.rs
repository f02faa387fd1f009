//! Simulation: many clients on one store, their steps interleaved by a seeded scheduler.
//!
//! After every step the store is checked against a slow reference: the list of all that was ever
//! taken. A failure prints its seed.

use super::*;
use crate::window::{STEP_MS, WINDOW_MS};
use futures::executor::block_on;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A store whose every call lets the others go first.
#[derive(Default)]
struct Store {
    values: RefCell<BTreeMap<String, Vec<u8>>>,
    now_ms: Cell<u64>,
    /// Calls until the store fails once.
    fails_in: Cell<Option<u32>>,
    /// Where it fails at a swap, the value is changed all the same, and nobody hears of it.
    loses_answers: Cell<bool>,
    swaps_lost: Cell<u32>,
}

impl Store {
    async fn reached(&self) -> Result<(), String> {
        yield_once().await;
        match self.fails_in.get() {
            Some(0) => {
                self.fails_in.set(None);
                Err("the store is away".to_owned())
            }
            Some(calls) => {
                self.fails_in.set(Some(calls - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn window(&self, name: &str) -> Window {
        Window::from_bytes(self.values.borrow().get(name).map(Vec::as_slice))
    }
}

impl Counters for Store {
    type Held = (String, Option<Vec<u8>>);

    async fn hold(&self, name: &str) -> Result<(Option<Vec<u8>>, Self::Held), String> {
        self.reached().await?;
        let value = self.values.borrow().get(name).cloned();
        Ok((value.clone(), (name.to_owned(), value)))
    }

    async fn swap(
        &self,
        (name, expected): Self::Held,
        value: Vec<u8>,
    ) -> Result<Swapped<Self::Held>, String> {
        let reached = self.reached().await;
        if !self.loses_answers.get() {
            reached.clone()?;
        }
        let mut values = self.values.borrow_mut();
        let current = values.get(&name).cloned();
        if current == expected {
            values.insert(name, value);
            return reached.map(|()| Swapped::Done);
        }
        self.swaps_lost.set(self.swaps_lost.get() + 1);
        Ok(Swapped::Lost(current.clone(), (name, current)))
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut yielded, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// splitmix64: small, seeded, and good enough to choose with.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn account(name: &str, requests: u32, tokens: u32) -> Account {
    Account {
        name: name.to_owned(),
        ceiling: Ceiling { requests, tokens },
    }
}

/// What the reference knows of one admission.
struct Taken {
    accounts: [String; 2],
    steps: [u64; 2],
    /// Of what was taken, what is left of it: this is never over the ceiling.
    tokens: u64,
    /// What counts in the end; it may be more than was taken.
    counted: u64,
}

struct Client<'a> {
    run: Pin<Box<dyn Future<Output = ()> + 'a>>,
}

async fn client(
    store: &Store,
    accounts: [Account; 2],
    tokens: u32,
    used: u32,
    settles: u64,
    taken: &RefCell<Vec<Taken>>,
) {
    let admitted = admit(store, &accounts, tokens, || store.now_ms.get()).await;
    let Ok((reservation, _)) = admitted else {
        return;
    };
    let index = taken.borrow().len();
    taken.borrow_mut().push(Taken {
        accounts: accounts.map(|account| account.name),
        steps: reservation
            .parts
            .each_ref()
            .map(|part| part.hold.ticket.step),
        tokens: u64::from(tokens),
        counted: u64::from(tokens),
    });
    for _ in 0..settles {
        yield_once().await;
        // The text travels through the caller.
        let reservation = Reservation::from_text(&reservation.to_text()).unwrap();
        // What is given back may be taken by others before `settle` is through both accounts.
        taken.borrow_mut()[index].tokens = u64::from(used.min(tokens));
        taken.borrow_mut()[index].counted = u64::from(used);
        settle(store, &reservation, used, || store.now_ms.get())
            .await
            .unwrap();
    }
}

/// Of any 60 s: the sum over each window of steps is within the ceiling.
fn check_never_over(seed: u64, accounts: &[Account], taken: &[Taken]) {
    for account in accounts {
        let mut by_step = BTreeMap::<u64, (u32, u64)>::new();
        for one in taken {
            for (name, step) in one.accounts.iter().zip(one.steps) {
                if *name == account.name {
                    let entry = by_step.entry(step).or_default();
                    entry.0 += 1;
                    entry.1 += one.tokens;
                }
            }
        }
        for first in by_step.keys() {
            let window = by_step.range(first..=&(first + WINDOW_MS / STEP_MS));
            let (requests, tokens) =
                window.fold((0, 0), |sum, (_, one)| (sum.0 + one.0, sum.1 + one.1));
            assert!(
                requests <= account.ceiling.requests,
                "seed {seed} {account:?} {requests}"
            );
            assert!(
                tokens <= u64::from(account.ceiling.tokens),
                "seed {seed} {account:?} {tokens}"
            );
        }
    }
}

/// The store holds what the reference holds, when everybody is done and no time has passed.
fn check_books(seed: u64, store: &Store, accounts: &[Account], taken: &[Taken]) {
    for account in accounts {
        let of = |one: &&Taken| one.accounts.contains(&account.name);
        let requests = taken.iter().filter(of).count() as u64;
        let tokens: u64 = taken.iter().filter(of).map(|one| one.counted).sum();
        let window = store.window(&account.name);
        let held_requests: u64 = window
            .steps
            .iter()
            .map(|step| u64::from(step.requests))
            .sum();
        let held_tokens: u64 = window.steps.iter().map(|step| step.tokens).sum();
        assert_eq!(
            (held_requests, held_tokens),
            (requests, tokens),
            "seed {seed} {account:?}"
        );
    }
}

/// One run: up to 12 clients of two keys and one project. Returns how often swaps were lost.
fn simulate(seed: u64, time_passes: bool) -> u32 {
    let mut dice = Dice(seed);
    let (store, taken) = (Store::default(), RefCell::new(Vec::new()));
    store.now_ms.set(1_000_000);
    let project = account("p", 1 + dice.below(8) as u32, 50 + dice.below(300) as u32);
    let keys: Vec<Account> = (0..2)
        .map(|n| {
            let (requests, tokens) = (1 + dice.below(6) as u32, 50 + dice.below(200) as u32);
            account(&format!("k{n}"), requests, tokens)
        })
        .collect();
    let mut clients: Vec<Client<'_>> = (0..12)
        .map(|_| {
            let key = keys[dice.below(2) as usize].clone();
            let tokens = dice.below(80) as u32;
            // Sometimes more is used than was taken, sometimes settled twice or never.
            let (used, settles) = (dice.below(100) as u32, dice.below(3));
            let accounts = [key, project.clone()];
            Client {
                run: Box::pin(client(&store, accounts, tokens, used, settles, &taken)),
            }
        })
        .collect();
    let mut all = keys;
    all.push(project);
    let mut context = Context::from_waker(Waker::noop());
    while !clients.is_empty() {
        let chosen = dice.below(clients.len() as u64) as usize;
        if clients[chosen].run.as_mut().poll(&mut context).is_ready() {
            clients.swap_remove(chosen);
        }
        if time_passes {
            let ms = [0, 1, 300, 2_000, 9_000][dice.below(5) as usize];
            store.now_ms.set(store.now_ms.get() + ms);
        }
        check_never_over(seed, &all, &taken.borrow());
    }
    if !time_passes {
        check_books(seed, &store, &all, &taken.borrow());
    }
    store.swaps_lost.get()
}

#[test]
fn never_over_the_ceiling_and_all_given_back_in_thousands_of_interleavings() {
    let lost: u32 = (0..2_500).map(|seed| simulate(seed, false)).sum();
    assert!(
        lost > 1_000,
        "the clients do get in each other's way: {lost}"
    );
}

#[test]
fn never_over_the_ceiling_while_time_passes() {
    let _lost: u32 = (0..2_500).map(|seed| simulate(seed, true)).sum();
}

#[test]
fn a_closed_project_takes_nothing_from_the_key() {
    let store = Store::default();
    let accounts = [account("k", 5, 100), account("p", 1, 100)];
    let ask = |tokens| block_on(drive(admit(&store, &accounts, tokens, || 0)));
    let (_, (requests, tokens)) = ask(30).unwrap();
    assert_eq!((requests.limit, requests.remaining), (1, 0));
    assert_eq!((tokens.limit, tokens.remaining), (100, 70));
    let before = store.window("k");
    let Err(AdmitError::Rejected(excess, state)) = ask(10) else {
        panic!("admitted")
    };
    assert_eq!(excess.retry_after_ms, Some(62_000));
    assert_eq!(state.0.remaining, 0);
    assert_eq!(store.window("k"), before);
}

#[test]
fn the_wait_is_the_longer_of_the_two() {
    let store = Store::default();
    let accounts = [account("k", 1, 100), account("p", 1, 100)];
    block_on(drive(admit(&store, &accounts, 0, || 0))).unwrap();
    // The key was used again by another project's request, later.
    let other = [account("k", 2, 100), account("q", 1, 100)];
    block_on(drive(admit(&store, &other, 0, || 8_000))).unwrap();
    let asked = block_on(drive(admit(&store, &accounts, 0, || 9_000)));
    let Err(AdmitError::Rejected(excess, state)) = asked else {
        panic!("admitted")
    };
    // The project is free at 62,000; the key only at 70,000.
    assert_eq!(excess.retry_after_ms, Some(61_000));
    assert_eq!(state.0.reset_ms, 61_000);
}

#[test]
fn a_closed_key_takes_nothing_from_the_project() {
    let store = Store::default();
    let accounts = [account("k", 5, 20), account("p", 5, 100)];
    let asked = block_on(drive(admit(&store, &accounts, 30, || 0)));
    let Err(AdmitError::Rejected(excess, state)) = asked else {
        panic!("admitted")
    };
    assert_eq!(excess.retry_after_ms, None);
    assert_eq!(state.1.limit, 20);
    assert_eq!(store.window("p"), Window::default());
    assert_eq!(store.window("k"), Window::default());
}

#[test]
fn a_store_that_fails_anywhere_leaves_nothing_taken_for_good() {
    for calls in 0..4 {
        let store = Store::default();
        store.fails_in.set(Some(calls));
        let accounts = [account("k", 5, 100), account("p", 5, 100)];
        let asked = block_on(drive(admit(&store, &accounts, 30, || 0)));
        assert_eq!(
            asked.unwrap_err(),
            AdmitError::Unavailable("the store is away".into())
        );
        let held: u64 = ["k", "p"]
            .iter()
            .flat_map(|name| store.window(name).steps)
            .map(|step| step.tokens + u64::from(step.requests))
            .sum();
        assert_eq!(held, 0, "the store failed at call {calls}");
    }
}

#[test]
fn settling_again_after_a_failure_finishes_the_job() {
    let store = Store::default();
    let accounts = [account("k", 5, 100), account("p", 5, 100)];
    let (reservation, _) = block_on(drive(admit(&store, &accounts, 30, || 0))).unwrap();
    // The key's share is given back, then the store is away.
    store.fails_in.set(Some(2));
    assert!(block_on(drive(settle(&store, &reservation, 10, || 0))).is_err());
    for _ in 0..2 {
        block_on(drive(settle(&store, &reservation, 10, || 0))).unwrap();
    }
    for name in ["k", "p"] {
        assert_eq!(store.window(name).steps[0].tokens, 10, "{name}");
    }
}

#[test]
fn a_reservation_is_opaque_text() {
    let part = |name: &str, step, number| Part {
        account: account(name, 3, 70),
        hold: Hold {
            ticket: Ticket { step, number },
            tokens: 9,
        },
        owed: number,
    };
    let parts = [part("k/a:b", 7, 1), part("p/é", 8, 2)];
    let reservation = Reservation { parts };
    assert_eq!(
        Reservation::from_text(&reservation.to_text()),
        Some(reservation)
    );
    for wrong in [
        "",
        "3:",
        "2:9:7:1:3:70:9:8:2:3:70:1:ab",
        "3:9:7:1:3:70:0:9:8:2:3:70:0:9:ab",
        "3:9:x:1:3:70:0:9:8:2:3:70:0:1:ab",
        "3:9:7:1:3:70:0:9:8",
    ] {
        assert_eq!(Reservation::from_text(wrong), None, "{wrong}");
    }
}

#[test]
fn a_draw_holds_what_both_have_and_counts_what_was_used_where_it_is_refused() {
    let store = Store::default();
    let accounts = [account("k", 5, 100), account("p", 5, 60)];
    let draw = |used, least, most| Draw { used, least, most };
    let (reservation, _) = block_on(drive(admit(&store, &accounts, 20, || 0))).unwrap();
    let drawn = super::draw(&store, &reservation, draw(20, 1, 50), || 0);
    let drawn = block_on(drive(drawn)).unwrap();
    assert_eq!((drawn.reservation.held(), drawn.refused), (40, None));
    assert_eq!((drawn.state.1.limit, drawn.state.1.remaining), (60, 0));
    let empty = super::draw(&store, &drawn.reservation, draw(40, 1, 50), || 0);
    let empty = block_on(drive(empty)).unwrap();
    assert_eq!(empty.reservation.held(), 0);
    assert_eq!(empty.refused.unwrap().retry_after_ms, Some(62_000));
    block_on(drive(settle(&store, &empty.reservation, 3, || 0))).unwrap();
    for name in ["k", "p"] {
        assert_eq!(store.window(name).steps[0].tokens, 63, "{name}");
    }
    let settled = super::draw(&store, &empty.reservation, draw(1, 0, 1), || 0);
    assert!(block_on(drive(settled)).is_err());
}

#[test]
fn a_store_that_fails_in_a_draw_loses_no_token_and_ends_no_ceiling() {
    for (calls, loses_answers) in (0..4).flat_map(|calls| [(calls, false), (calls, true)]) {
        let case = format!("call {calls}, its answer lost: {loses_answers}");
        let store = Store::default();
        store.loses_answers.set(loses_answers);
        let accounts = [account("k", 5, 100), account("p", 5, 100)];
        let (mut reservation, _) = block_on(drive(admit(&store, &accounts, 20, || 0))).unwrap();
        store.fails_in.set(Some(calls));
        let (mut used, mut draws) = (0, 0);
        loop {
            let piece = reservation.held().min(20);
            used += piece;
            draws += 1;
            assert!(draws < 10, "no ceiling, {case}");
            let draw = Draw {
                used: piece,
                least: 1,
                most: 20,
            };
            // The text travels through the caller.
            reservation = Reservation::from_text(&reservation.to_text()).unwrap();
            let drawn = super::draw(&store, &reservation, draw, || 0);
            let drawn = block_on(drive(drawn)).unwrap();
            reservation = drawn.reservation;
            if drawn.refused.is_some() {
                break;
            }
        }
        block_on(drive(settle(&store, &reservation, 0, || 0))).unwrap();
        let counted = ["k", "p"].map(|name| store.window(name).steps[0].tokens);
        match loses_answers && calls % 2 == 1 {
            // Twenty were counted and twenty held when nobody heard of it.
            true => assert_eq!((used, counted.iter().max()), (60, Some(&100)), "{case}"),
            false => assert_eq!((used, counted), (100, [100, 100]), "{case}"),
        }
    }
}

/// Tokens of one account, when they were consumed.
type Consumed = RefCell<Vec<([String; 2], u64, u64)>>;

/// A stream that consumes what it holds, draws before it goes on, and stops when it is refused.
async fn stream(
    store: &Store,
    accounts: [Account; 2],
    mut wanted: u32,
    mut dice: Dice,
    consumed: &Consumed,
) {
    let now_ms = || store.now_ms.get();
    let step = 1 + dice.below(60) as u32;
    let Ok((mut reservation, _)) = admit(store, &accounts, step.min(wanted), now_ms).await else {
        return;
    };
    let names = accounts.map(|account| account.name);
    let mut used = 0;
    while wanted > 0 {
        let piece = (dice.below(20) as u32 + 1).min(reservation.held() - used);
        let piece = piece.min(wanted);
        (used, wanted) = (used + piece, wanted - piece);
        consumed
            .borrow_mut()
            .push((names.clone(), now_ms(), u64::from(piece)));
        yield_once().await;
        // Where it holds enough it draws as time goes by.
        if used < reservation.held() && dice.below(3) > 0 {
            continue;
        }
        let (least, most) = (1, step.min(wanted));
        let text = reservation.to_text();
        reservation = Reservation::from_text(&text).unwrap();
        let draw = Draw { used, least, most };
        if wanted == 0 {
            break;
        }
        let drawn = super::draw(store, &reservation, draw, now_ms)
            .await
            .unwrap();
        (reservation, used) = (drawn.reservation, 0);
        if drawn.refused.is_some() {
            break;
        }
    }
    settle(store, &reservation, used, now_ms).await.unwrap();
}

/// Streams that outlive their minute by far. Returns what was consumed.
fn simulate_streams(seed: u64) -> u64 {
    let mut dice = Dice(seed);
    let (store, consumed) = (Store::default(), Consumed::default());
    store.now_ms.set(1_000_000);
    let project = account("p", 100, 100 + dice.below(400) as u32);
    let keys: Vec<Account> = (0..2)
        .map(|n| account(&format!("k{n}"), 100, 50 + dice.below(300) as u32))
        .collect();
    let mut clients: Vec<Client<'_>> = (0..6)
        .map(|_| {
            let accounts = [keys[dice.below(2) as usize].clone(), project.clone()];
            let (wanted, seed) = (1 + dice.below(5_000) as u32, dice.below(u64::MAX));
            Client {
                run: Box::pin(stream(&store, accounts, wanted, Dice(seed), &consumed)),
            }
        })
        .collect();
    let mut context = Context::from_waker(Waker::noop());
    while !clients.is_empty() {
        let chosen = dice.below(clients.len() as u64) as usize;
        if clients[chosen].run.as_mut().poll(&mut context).is_ready() {
            clients.swap_remove(chosen);
        }
        let ms = [0, 1, 100, 400][dice.below(4) as usize];
        store.now_ms.set(store.now_ms.get() + ms);
    }
    let consumed = consumed.borrow();
    for account in keys.iter().chain([&project]) {
        let own: Vec<(u64, u64)> = consumed
            .iter()
            .filter(|(names, ..)| names.contains(&account.name))
            .map(|(_, at_ms, tokens)| (*at_ms, *tokens))
            .collect();
        for (from_ms, _) in &own {
            let minute = *from_ms..from_ms + WINDOW_MS;
            let within = own.iter().filter(|(at_ms, _)| minute.contains(at_ms));
            let tokens: u64 = within.map(|(_, tokens)| tokens).sum();
            let ceiling = u64::from(account.ceiling.tokens);
            assert!(tokens <= ceiling, "seed {seed} {account:?} {tokens}");
        }
    }
    consumed.iter().map(|(_, _, tokens)| tokens).sum()
}

#[test]
fn streams_that_outlive_their_minute_never_consume_more_than_a_minutes_ceiling() {
    let consumed: u64 = (0..1_000).map(simulate_streams).sum();
    assert!(consumed > 200_000, "they do consume: {consumed}");
}

/// The store's calls yield without a waker, so this polls until there is an answer.
async fn drive<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return answer;
        }
    }
}
