//! What the engine tells its metrics of a step.

use super::{Engine, Plan};

impl Engine {
    /// Nothing is to be done for a while.
    pub(super) fn rest(&mut self) {
        self.last_left = None;
        self.measure(&Plan::default());
    }

    pub(super) fn measure(&self, plan: &Plan) {
        let m = &self.metrics;
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        m.running.set(gauge(self.scheduler.running()));
        m.waiting.set(gauge(self.scheduler.waiting()));
        let pool = self.scheduler.pool();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share; block counts are below 2^32"
        )]
        m.kv_cache_usage
            .set(pool.used() as f64 / pool.total() as f64);
        m.preemptions.inc_by(plan.preempted as u64);
        if !plan.chunks.is_empty() {
            m.steps.inc();
            let drafts = plan.chunks.iter().map(|chunk| chunk.drafts);
            m.drafts
                .inc_by(drafts.clone().filter(|n| *n > 0).count() as u64);
            m.draft_tokens.inc_by(drafts.sum::<usize>() as u64);
        }
    }
}
