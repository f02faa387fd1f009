//! A smaller model with the same vocabulary that runs ahead of the large one, with a
//! paged cache of its own.
//!
//! Invariant: where it has no room, it proposes nothing; it never holds anybody up.
//! Knows nothing of the large model or its cache.

use std::collections::BTreeMap;

use super::{Asked, Proposed};
use crate::kv_cache::{BlockPool, BlockTable};
use crate::model::Model;
use crate::runner::{DeviceFailed, Runner};
use crate::scheduler::{Chunk, Plan, SequenceId};

/// The draft model and what it has computed.
#[derive(Debug)]
pub struct DraftModel {
    runner: Runner,
    pool: BlockPool,
    sequences: BTreeMap<SequenceId, Computed>,
    /// Tokens of one pass.
    step_tokens_max: usize,
}

/// What the cache holds of a sequence.
#[derive(Debug)]
struct Computed {
    table: BlockTable,
    tokens: Vec<u32>,
}

/// A sequence while it is proposed for: its known tokens, and drafts after them.
struct Ahead {
    id: SequenceId,
    tokens: Vec<u32>,
    known: usize,
    drafts_max: usize,
}

impl DraftModel {
    pub fn new(model: Model, blocks: u32, step_tokens_max: usize) -> Self {
        Self {
            runner: Runner::new(model, blocks),
            pool: BlockPool::new(blocks),
            sequences: BTreeMap::new(),
            step_tokens_max,
        }
    }

    /// The most likely next tokens of each sequence whose prompt is computed here.
    pub(super) fn propose(&mut self, asked: &[Asked<'_>]) -> Result<Proposed, DeviceFailed> {
        let mut ahead: Vec<Ahead> = asked
            .iter()
            .map(|asked| Ahead {
                id: asked.id,
                tokens: asked.known.to_vec(),
                known: asked.known.len(),
                drafts_max: asked.drafts_max,
            })
            .collect();
        for one in &ahead {
            self.keep_what_held(one);
        }
        let passes = asked.iter().map(|asked| asked.drafts_max).max();
        for _ in 0..passes.unwrap_or(0) {
            let plan = self.plan(&ahead);
            if plan.chunks.is_empty() {
                break;
            }
            self.pass(&plan, &mut ahead)?;
        }
        let drafts = |one: Ahead| (one.id, one.tokens[one.known..].to_vec());
        let proposed = ahead.into_iter().map(drafts);
        Ok(proposed.filter(|(_, drafts)| !drafts.is_empty()).collect())
    }

    pub(super) fn forget(&mut self, id: SequenceId) {
        self.sequences.remove(&id);
    }

    /// Forgets the drafts of before that did not hold.
    fn keep_what_held(&mut self, one: &Ahead) {
        let pool = &self.pool;
        let computed = self.sequences.entry(one.id).or_insert_with(|| Computed {
            table: pool.table(),
            tokens: Vec::new(),
        });
        let pairs = computed.tokens.iter().zip(&one.tokens);
        let held = pairs.take_while(|(a, b)| a == b).count();
        // The last known token is computed again: it gives the first draft.
        computed.tokens.truncate(held.min(one.known - 1));
        computed.table.truncate(computed.tokens.len());
    }

    /// What is not computed yet of those that want more drafts, within the budget.
    fn plan(&mut self, ahead: &[Ahead]) -> Plan {
        let mut plan = Plan::default();
        let mut budget = self.step_tokens_max;
        for one in ahead {
            let Some(computed) = self.sequences.get_mut(&one.id) else {
                continue;
            };
            let start = computed.tokens.len();
            let tokens = (one.tokens.len() - start).min(budget);
            let wanted = one.tokens.len() - one.known < one.drafts_max;
            if !wanted || tokens == 0 || !computed.table.grow(start + tokens) {
                continue;
            }
            budget -= tokens;
            plan.chunks.push(Chunk {
                sequence: one.id,
                start,
                tokens,
                samples: start + tokens == one.tokens.len(),
                drafts: 0,
                blocks: computed.table.blocks().to_vec(),
            });
        }
        plan
    }

    fn pass(&mut self, plan: &Plan, ahead: &mut [Ahead]) -> Result<(), DeviceFailed> {
        let find = |id: SequenceId| ahead.iter().find(|one| one.id == id);
        let tokens = |id| find(id).map_or(&[][..], |one| &one.tokens);
        let logits = self.runner.forward(plan, tokens)?;
        for (chunk, rows) in plan.chunks.iter().zip(&logits.rows) {
            let one = ahead.iter_mut().find(|one| one.id == chunk.sequence);
            let (Some(one), Some(computed)) = (one, self.sequences.get_mut(&chunk.sequence)) else {
                continue;
            };
            let end = chunk.start + chunk.tokens;
            computed.tokens.extend(&one.tokens[chunk.start..end]);
            let row = &logits.values[rows.start * logits.vocab..rows.end * logits.vocab];
            if let (true, Some(token)) = (chunk.samples, most_likely(row)) {
                one.tokens.push(token);
            }
        }
        Ok(())
    }
}

fn most_likely(row: &[f32]) -> Option<u32> {
    let best = row.iter().zip(0u32..).max_by(|a, b| a.0.total_cmp(b.0));
    best.map(|(_, token)| token)
}
