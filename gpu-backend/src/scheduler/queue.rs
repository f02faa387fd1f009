//! Who of those that wait is next: the smallest priority first; among equals those that
//! were interrupted; then the tenant that was served least; then who came first.
//!
//! Service is counted by virtual token counters (Sheng et al., 2024, "Fairness in
//! Serving Large Language Models"): a tenant's counter grows with what is computed for
//! it, and a tenant that comes back is lifted to the least of those that wait, so that
//! its idle time is no credit.
//!
//! Invariant: integers only; a sequence waits at most once.

use std::collections::{BTreeMap, BTreeSet};

use super::SequenceId;
use crate::kv_cache::prefix::Salt;

/// Weight of a computed prompt token.
pub(super) const PROMPT_WEIGHT: u64 = 1;
/// Weight of an answer's token: each takes a step, so it costs more (the paper's ratio).
pub(super) const ANSWER_WEIGHT: u64 = 2;
/// Counters kept of tenants that have nothing here at the moment.
const IDLE_ACCOUNTS_MAX: usize = 4096;

/// Whose share a sequence counts for; all that give no salt are one.
pub(super) type Tenant = Option<Salt>;

/// Where a sequence stands among those of its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: i32,
    pub(super) turn: Turn,
    pub(super) id: SequenceId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// It ran already and gave way.
    Resumed,
    New,
}

#[derive(Debug, Default)]
struct Account {
    served: u64,
    waiting: BTreeSet<Place>,
    /// Waiting or running.
    sequences: usize,
}

/// All that wait, by tenant.
#[derive(Debug, Default)]
pub(super) struct Queue {
    accounts: BTreeMap<Tenant, Account>,
    waiting: usize,
    /// What the tenant last taken from the queue had been served.
    floor: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// A new sequence of a tenant waits.
    pub(super) fn enter(&mut self, tenant: Tenant, place: Place) {
        let lift = self.lift();
        let account = self.accounts.entry(tenant).or_default();
        if account.waiting.is_empty() {
            account.served = account.served.max(lift);
        }
        account.sequences += 1;
        self.wait(tenant, place);
    }

    /// The least that a tenant counts as served when it comes back.
    fn lift(&self) -> u64 {
        let waiting = self.accounts.values().filter(|a| !a.waiting.is_empty());
        waiting.map(|a| a.served).min().unwrap_or(self.floor)
    }

    /// A sequence waits again, at its old place or a better one.
    pub(super) fn wait(&mut self, tenant: Tenant, place: Place) {
        let account = self.accounts.entry(tenant).or_default();
        self.waiting += usize::from(account.waiting.insert(place));
    }

    /// The next one.
    pub(super) fn first(&self) -> Option<Place> {
        let heads = self.accounts.values().filter_map(|account| {
            let place = *account.waiting.first()?;
            Some((
                (place.priority, place.turn, account.served, place.id),
                place,
            ))
        });
        heads.min_by_key(|(key, _)| *key).map(|(_, place)| place)
    }

    /// A sequence waits no longer, because it starts or goes.
    pub(super) fn take(&mut self, tenant: Tenant, place: Place) {
        if let Some(account) = self.accounts.get_mut(&tenant)
            && account.waiting.remove(&place)
        {
            self.waiting -= 1;
            self.floor = self.floor.max(account.served);
        }
    }

    /// Something was computed for a tenant.
    pub(super) fn charge(&mut self, tenant: Tenant, service: u64) {
        if let Some(account) = self.accounts.get_mut(&tenant) {
            account.served = account.served.saturating_add(service);
        }
    }

    /// A sequence of a tenant is gone; it waits no longer.
    pub(super) fn leave(&mut self, tenant: Tenant) {
        if let Some(account) = self.accounts.get_mut(&tenant) {
            account.sequences = account.sequences.saturating_sub(1);
        }
        self.forget_idle();
    }

    /// Drops the counters that say nothing any more: all once nobody is here, and those
    /// that a returning tenant would be lifted above anyhow.
    fn forget_idle(&mut self) {
        if self.accounts.values().all(|a| a.sequences == 0) {
            *self = Self::default();
            return;
        }
        let lift = self.lift();
        self.accounts
            .retain(|_, a| a.sequences > 0 || a.served > lift);
        let idle = self.accounts.values().filter(|a| a.sequences == 0);
        if idle.count() > IDLE_ACCOUNTS_MAX {
            let idle = self.accounts.iter().filter(|(_, a)| a.sequences == 0);
            if let Some((tenant, _)) = idle.min_by_key(|(_, a)| a.served) {
                let tenant = *tenant;
                self.accounts.remove(&tenant);
            }
        }
    }

    /// All that wait, with their tenants.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Tenant, Place)> {
        let of = |(tenant, account): (&Tenant, &Account)| {
            let tenant = *tenant;
            let places: Vec<Place> = account.waiting.iter().copied().collect();
            places.into_iter().map(move |place| (tenant, place))
        };
        self.accounts.iter().flat_map(of)
    }
}
