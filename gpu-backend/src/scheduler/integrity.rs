//! The scheduler's invariants as a check, which simulations call after each step.

use std::collections::BTreeMap;

use super::{BLOCK_TOKENS, Scheduler, SequenceId};

impl Scheduler {
    /// Checks every invariant.
    ///
    /// # Errors
    /// Says which invariant is broken.
    pub fn check_integrity(&self) -> Result<(), String> {
        self.pool.check(self.entries.values().map(|e| &e.table))?;
        let waiting: BTreeMap<SequenceId, _> = self
            .queue
            .iter()
            .map(|(tenant, place)| (place.id, (tenant, place)))
            .collect();
        if waiting.len() != self.queue.len() {
            return Err("a sequence waits twice".to_owned());
        }
        let mut listed: Vec<SequenceId> = waiting.keys().chain(&self.running).copied().collect();
        listed.sort_unstable();
        if !listed.iter().eq(self.entries.keys()) {
            return Err("a sequence is neither waiting nor running, or both".to_owned());
        }
        if self.running.len() > self.limits.sequences_max {
            return Err("too many sequences run".to_owned());
        }
        if !self.running.is_sorted_by_key(|id| self.priority(*id)) {
            return Err("a less urgent sequence runs before a more urgent one".to_owned());
        }
        for (id, entry) in &self.entries {
            let capacity = entry.table.blocks().len() * BLOCK_TOKENS;
            let full = entry.computed.min(entry.known) / BLOCK_TOKENS;
            if entry.computed > capacity || entry.registered > full {
                return Err(format!("{id:?}: {entry:?}"));
            }
            if let Some(place) = waiting.get(id)
                && (!entry.table.blocks().is_empty() || *place != (entry.tenant, entry.place(*id)))
            {
                return Err(format!(
                    "{id:?} waits and owns blocks, or in the wrong place"
                ));
            }
        }
        Ok(())
    }
}
