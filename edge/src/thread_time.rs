//! How long each component had a thread: the time of a thread, cut into stretches.
//!
//! wasmtime's handler polls instances in tasks that are its own, so no future of ours goes
//! around such a poll. What is known is where one ends, and where anything else begins or
//! ends: a connection's task, the thread's rest. A stretch goes from one such point to the
//! next. The clock is the monotonic one, which costs some 25 ns: where cores are short, a
//! stretch includes what the kernel gave to others. It does NOT know what a stretch is for.

use crate::lanes;
use crate::metrics::ComponentFigures;
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The stretch that a thread is in.
struct Stretch {
    since: Option<Instant>,
    /// Whose it is, if that is known already.
    of: Option<Arc<ComponentFigures>>,
}

thread_local! {
    static STRETCH: RefCell<Stretch> = const { RefCell::new(Stretch { since: None, of: None }) };
}

/// Ends the stretch, which was `otherwise`'s if its owner was not known, and begins one of
/// `next`.
fn pass(otherwise: Option<&Arc<ComponentFigures>>, next: Option<&Arc<ComponentFigures>>) {
    let now = Instant::now();
    STRETCH.with_borrow_mut(|stretch| {
        if let (Some(since), Some(owner)) = (stretch.since, stretch.of.as_ref().or(otherwise)) {
            owner.busy(now - since);
        }
        stretch.since = Some(now);
        stretch.of = next.cloned();
    });
}

/// A stretch of the component begins.
pub(crate) fn begin(figures: &Arc<ComponentFigures>) {
    pass(None, Some(figures));
}

/// A stretch of the component ends, wherever it began; the next is the component's too if it
/// `goes_on`.
pub(crate) fn end(figures: &Arc<ComponentFigures>, goes_on: bool) {
    pass(Some(figures), goes_on.then_some(figures));
}

/// What follows is no component's.
pub(crate) fn none() {
    pass(None, None);
}

pin_project! {
    /// A future whose stretches are no component's.
    pub(crate) struct Host<F> {
        #[pin]
        inner: F,
    }
}

/// `inner`, no stretch of which is a component's.
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
        lanes::home().spawn(host(future));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::time::Duration;

    const STRETCH: Duration = Duration::from_millis(20);

    /// What `of` has used, in milliseconds.
    fn used(metrics: &Metrics, of: &str) -> f64 {
        let start = format!("edge_component_cpu_seconds_total{{component=\"{of}\"}} ");
        let text = metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap().parse::<f64>().unwrap() * 1e3
    }

    #[test]
    fn each_stretch_is_one_components_or_nobodys() {
        let metrics = Metrics::default();
        let (a, b) = (metrics.component("a"), metrics.component("b"));
        let work = || std::thread::sleep(STRETCH);
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
        let stretches = |of: &str| used(&metrics, of) / STRETCH.as_secs_f64() / 1e3;
        // A sleep is never too short; it is too long where the machine is busy.
        assert!(stretches("a") >= 2.0, "{}", stretches("a"));
        assert!(stretches("b") >= 2.0, "{}", stretches("b"));
        let all = start.elapsed().as_secs_f64() / STRETCH.as_secs_f64();
        assert!(
            stretches("a") + stretches("b") <= all - 2.0,
            "two were nobody's"
        );
    }
}
