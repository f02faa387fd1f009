//! Who compiles a form now: a few at a time, of each tenant one, and the tenants that wait in
//! turn. So a tenant whose forms take long delays its own.
//! Knows no form.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::kv_cache::prefix::Salt;

/// Whose forms they are; those without a salt are one tenant.
pub(super) type Tenant = Option<Salt>;

/// How many forms are compiled and wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Compiled at the same time, of each tenant one.
    pub(super) running: usize,
    /// Of one tenant that wait for their turn.
    pub(super) waiting_of_tenant: usize,
    /// Of all tenants together.
    pub(super) waiting: usize,
}

/// No place to wait is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug)]
pub(super) struct Turns {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Those that compile or wait.
    tenants: HashMap<Tenant, Forms>,
    /// Those that wait, the next first.
    order: VecDeque<Tenant>,
}

/// The forms of one tenant.
#[derive(Debug, Default)]
struct Forms {
    is_running: bool,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// The right to compile, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    tenant: Tenant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(self.tenant);
    }
}

impl Turns {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            state: Mutex::default(),
        })
    }

    /// A place in the tenant's line, which brings a turn; who drops it has left.
    pub(super) fn enter(self: &Arc<Self>, tenant: Tenant) -> Result<oneshot::Receiver<Turn>, Full> {
        let (sender, place) = oneshot::channel();
        let mut state = self.lock();
        state.forget_who_left();
        let of_tenant = state
            .tenants
            .get(&tenant)
            .map_or(0, |forms| forms.waiting.len());
        if of_tenant >= self.bounds.waiting_of_tenant || state.waiting() >= self.bounds.waiting {
            return Err(Full);
        }
        let forms = state.tenants.entry(tenant).or_default();
        forms.waiting.push_back(sender);
        if !state.order.contains(&tenant) {
            state.order.push_back(tenant);
        }
        self.grant(state);
        Ok(place)
    }

    fn give_back(self: &Arc<Self>, tenant: Tenant) {
        let mut state = self.lock();
        state.running -= 1;
        if let Some(forms) = state.tenants.get_mut(&tenant) {
            forms.is_running = false;
        }
        self.grant(state);
    }

    /// Gives what turns there are. A turn that nobody takes any more is dropped, and comes
    /// back, once the state is free.
    fn grant(self: &Arc<Self>, mut state: std::sync::MutexGuard<'_, State>) {
        let mut untaken = Vec::new();
        while state.running < self.bounds.running
            && let Some((tenant, sender)) = state.next()
        {
            let turns = self.clone();
            if let Err(turn) = sender.send(Turn { turns, tenant }) {
                untaken.push(turn);
            }
        }
        drop(state);
        drop(untaken);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.tenants.values().map(|forms| forms.waiting.len()).sum()
    }

    fn forget_who_left(&mut self) {
        for forms in self.tenants.values_mut() {
            forms.waiting.retain(|sender| !sender.is_closed());
        }
        let tenants = &mut self.tenants;
        tenants.retain(|_, forms| forms.is_running || !forms.waiting.is_empty());
        self.order.retain(|tenant| {
            tenants
                .get(tenant)
                .is_some_and(|forms| !forms.waiting.is_empty())
        });
    }

    /// The next form whose tenant compiles none, which does from now on.
    fn next(&mut self) -> Option<(Tenant, oneshot::Sender<Turn>)> {
        let may = |tenant: &Tenant| {
            self.tenants
                .get(tenant)
                .is_some_and(|forms| !forms.is_running)
        };
        let at = self.order.iter().position(may)?;
        let tenant = self.order.remove(at)?;
        let forms = self.tenants.get_mut(&tenant)?;
        let sender = forms.waiting.pop_front()?;
        forms.is_running = true;
        self.running += 1;
        if !forms.waiting.is_empty() {
            self.order.push_back(tenant);
        }
        Some((tenant, sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        running: 2,
        waiting_of_tenant: 3,
        waiting: 8,
    };

    fn tenant(name: &str) -> Tenant {
        Some(Salt::of(name))
    }

    type Place = oneshot::Receiver<Turn>;

    fn enter(turns: &Arc<Turns>, name: &str) -> Place {
        turns.enter(tenant(name)).unwrap()
    }

    #[test]
    fn a_tenant_compiles_one_at_a_time_and_others_beside_it() {
        let turns = Turns::new(BOUNDS);
        let (mut first, mut second) = (enter(&turns, "a"), enter(&turns, "a"));
        let mut other = enter(&turns, "b");
        let of_a = first.try_recv().unwrap();
        let of_b = other.try_recv().unwrap();
        assert!(second.try_recv().is_err());
        drop(of_b);
        assert!(second.try_recv().is_err(), "its tenant compiles still");
        drop(of_a);
        assert!(second.try_recv().is_ok());
    }

    #[test]
    fn tenants_take_turns() {
        let turns = Turns::new(Bounds {
            running: 1,
            ..BOUNDS
        });
        let mut places: Vec<(&str, Place)> = ["a", "a", "a", "b", "b", "c"]
            .into_iter()
            .map(|name| (name, enter(&turns, name)))
            .collect();
        let mut order = String::new();
        while !places.is_empty() {
            let ready = |(_, place): &mut (&str, Place)| place.try_recv().ok();
            let (at, turn) = (0..places.len())
                .find_map(|at| Some((at, ready(&mut places[at])?)))
                .unwrap();
            order += places.remove(at).0;
            drop(turn);
        }
        assert_eq!(order, "aabcab");
    }

    #[test]
    fn places_are_counted_by_tenant_and_in_all() {
        let turns = Turns::new(BOUNDS);
        let mut held: Vec<Place> = (0..4).map(|_| enter(&turns, "a")).collect();
        assert_eq!(
            turns.enter(tenant("a")).err(),
            Some(Full),
            "one runs, three wait"
        );
        held.extend((0..4).map(|_| enter(&turns, "b")));
        held.extend((0..2).map(|_| enter(&turns, "c")));
        assert_eq!(turns.enter(tenant("d")).err(), Some(Full));
        // Who leaves makes room, and a turn that was given and not taken comes back.
        held.drain(..4);
        let mut place = enter(&turns, "d");
        drop(held);
        assert!(place.try_recv().is_ok());
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let turns = Turns::new(BOUNDS);
        for name in 0..100 {
            let mut place = enter(&turns, &name.to_string());
            drop(place.try_recv().unwrap());
        }
        drop(enter(&turns, "last"));
        let mut state = turns.lock();
        state.forget_who_left();
        assert_eq!(
            (state.running, state.tenants.len(), state.order.len()),
            (0, 0, 0)
        );
    }
}
