//! The breaker's life, with a clock of the test's own.

use super::*;

fn failed(times: u32, now_ms: u64) -> Health {
    let mut health = Health::default();
    (0..times).for_each(|_| health.report(Outcome::Failed, now_ms));
    health
}

#[test]
fn it_opens_after_failures_in_a_row_and_stays_away_longer_each_time() {
    assert_eq!(Health::default().state(0), State::Ready);
    assert_eq!(failed(2, 100).state(100), State::Doubtful);
    let mut health = failed(3, 1_000);
    let mut now_ms = 1_000;
    for away_ms in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
        let until_ms = now_ms + away_ms;
        assert_eq!(health.state(until_ms - 1), State::Open { until_ms });
        assert_eq!(health.state(until_ms), State::HalfOpen);
        now_ms = until_ms;
        health.report(Outcome::Failed, now_ms);
    }
    health.report(Outcome::Answered(20), now_ms);
    assert_eq!(health, Health::default());
}

#[test]
fn a_success_between_failures_keeps_it_closed() {
    let mut health = failed(2, 0);
    health.report(Outcome::Answered(5), 1);
    health.report(Outcome::Failed, 2);
    assert_eq!(health.state(3), State::Doubtful);
}

#[test]
fn one_call_tries_and_the_others_wait() {
    let mut health = failed(3, 0);
    health.try_now(500);
    assert_eq!(
        health.state(501),
        State::Open {
            until_ms: 500 + TRIAL_MS
        }
    );
    // A try that was never reported does not block for ever.
    assert_eq!(health.state(500 + TRIAL_MS), State::HalfOpen);
    health.report(Outcome::Failed, 600);
    assert_eq!(health.state(601), State::Open { until_ms: 1_600 });
}

#[test]
fn a_sign_of_life_lets_a_call_through_but_does_not_close_it() {
    let mut health = failed(8, 0);
    health.is_alive();
    assert_eq!(health.state(1), State::HalfOpen);
    health.report(Outcome::Failed, 2);
    assert_eq!(
        health.state(3),
        State::Open {
            until_ms: 2 + AWAY_MS_MAX
        }
    );
}

#[test]
fn busy_passes_by_itself_and_is_no_failure() {
    let mut health = failed(2, 0);
    health.report(Outcome::Busy(1_000), 0);
    assert_eq!(health.state(999), State::Busy);
    assert_eq!(health.state(1_000), State::Ready);
    health.report(Outcome::Busy(u32::MAX), 0);
    assert_eq!(health.state(BUSY_MS_MAX), State::Ready);
}
