//! How long each component had a thread: the time of a thread, cut into turns.
//!
//! wasmtime's handler polls instances in tasks that are its own, so no future of ours goes
//! around such a poll. What is known is where one ends, and where anything else begins or
//! ends: a connection's task, the thread's rest. A turn goes from one such point to the
//! next. The clock is the monotonic one, which costs some 25 ns: where cores are short, a
//! turn includes what the kernel gave to others. It does NOT know what a turn is for.

use crate::metrics::ComponentFigures;
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The turn that a thread is in.
struct Turn {
    since: Option<Instant>,
    /// Whose it is, if that is known already.
    of: Option<Arc<ComponentFigures>>,
}

thread_local! {
    static TURN: RefCell<Turn> = const { RefCell::new(Turn { since: None, of: None }) };
}

/// Ends the turn, which was `otherwise`'s if its owner was not known, and begins one of
/// `next`.
fn pass(otherwise: Option<&Arc<ComponentFigures>>, next: Option<&Arc<ComponentFigures>>) {
    let now = Instant::now();
    TURN.with_borrow_mut(|turn| {
        if let (Some(since), Some(owner)) = (turn.since, turn.of.as_ref().or(otherwise)) {
            owner.busy(now - since);
        }
        turn.since = Some(now);
        turn.of = next.cloned();
    });
}

/// A turn of the component begins.
pub(crate) fn begin(figures: &Arc<ComponentFigures>) {
    pass(None, Some(figures));
}

/// A turn of the component ends, wherever it began; the next is the component's too if it
/// `goes_on`.
pub(crate) fn end(figures: &Arc<ComponentFigures>, goes_on: bool) {
    pass(Some(figures), goes_on.then_some(figures));
}

/// What follows is no component's.
pub(crate) fn none() {
    pass(None, None);
}

pin_project! {
    /// A future whose turns are no component's.
    pub(crate) struct Host<F> {
        #[pin]
        inner: F,
    }
}

/// `inner`, no turn of which is a component's.
pub(crate) fn host<F: Future>(inner: F) -> Host<F> {
    Host { inner }
}

impl<F: Future> Future for Host<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        none();
        let polled = self.project().inner.poll(cx);
        none();
        polled
    }
}

/// Runs the tasks of outbound connections, which are no component's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostExecutor;

impl<F> hyper::rt::Executor<F> for HostExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(host(future));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::time::Duration;

    const TURN: Duration = Duration::from_millis(20);

    /// What `of` has used, in milliseconds.
    fn used(metrics: &Metrics, of: &str) -> f64 {
        let start = format!("edge_component_cpu_seconds_total{{component=\"{of}\"}} ");
        let text = metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap().parse::<f64>().unwrap() * 1e3
    }

    #[test]
    fn each_turn_is_one_components_or_nobodys() {
        let metrics = Metrics::default();
        let (a, b) = (metrics.component("a"), metrics.component("b"));
        let work = || std::thread::sleep(TURN);
        let start = Instant::now();
        none();
        begin(&a);
        work();
        end(&a, false);
        work(); // Nobody's: another task of the host begins after it.
        none();
        work(); // b's, although nobody saw it begin.
        end(&b, true);
        work(); // Still b's.
        begin(&a);
        work();
        none();
        work();
        begin(&b);
        let turns = |of: &str| used(&metrics, of) / TURN.as_secs_f64() / 1e3;
        // A sleep is never too short; it is too long where the machine is busy.
        assert!(turns("a") >= 2.0, "{}", turns("a"));
        assert!(turns("b") >= 2.0, "{}", turns("b"));
        let all = start.elapsed().as_secs_f64() / TURN.as_secs_f64();
        assert!(turns("a") + turns("b") <= all - 2.0, "two were nobody's");
    }
}
