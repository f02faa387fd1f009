//! The breaker's life, with a clock of the test's own.

use super::*;

/// Failures that are none but their own; the last at `now_ms`.
fn failed(times: u32, now_ms: u64) -> Health {
    let mut health = Health::default();
    let instants = (0..u64::from(times))
        .rev()
        .map(|ago| now_ms - ago * BURST_MS);
    instants.for_each(|now_ms| health.report(Outcome::Failed, now_ms));
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
    let mut health = failed(2, 1_000);
    health.report(Outcome::Answered(5), 1_001);
    health.report(Outcome::Failed, 1_002);
    assert_eq!(health.state(1_003), State::Doubtful);
}

#[test]
fn one_call_tries_and_the_others_wait() {
    let mut health = failed(3, 1_000);
    health.try_now(1_500);
    let until_ms = 1_500 + TRIAL_MS;
    assert_eq!(health.state(1_501), State::Open { until_ms });
    // A try that was never reported does not block for ever.
    assert_eq!(health.state(until_ms), State::HalfOpen);
    health.report(Outcome::Failed, 1_600);
    assert_eq!(health.state(1_601), State::Open { until_ms: 2_600 });
}

#[test]
fn a_sign_of_life_lets_a_call_through_but_does_not_close_it() {
    let mut health = failed(8, 1_000);
    health.is_alive();
    assert_eq!(health.state(1_001), State::HalfOpen);
    health.report(Outcome::Failed, 1_200);
    let until_ms = 1_200 + AWAY_MS_MAX;
    assert_eq!(health.state(1_201), State::Open { until_ms });
}

#[test]
fn failures_side_by_side_are_one() {
    for (instants, expected) in [
        (&[1_000; 20][..], State::Doubtful),
        (&[1_000, 1_050, 1_099], State::Doubtful),
        (&[1_000, 1_100, 1_150], State::Doubtful),
        (&[1_000, 1_100, 1_200], State::Open { until_ms: 1_700 }),
        // Stragglers do not keep it away for longer, nor does a clock that goes back.
        (
            &[1_000, 1_100, 1_200, 1_210, 1_299],
            State::Open { until_ms: 1_700 },
        ),
        (&[1_000, 1_100, 1_200, 900], State::Open { until_ms: 1_700 }),
    ] {
        let mut health = Health::default();
        for now_ms in instants {
            health.report(Outcome::Failed, *now_ms);
        }
        assert_eq!(health.state(1_300), expected, "{instants:?}");
    }
}

#[test]
fn a_try_that_fails_beside_another_failure_ends() {
    let mut health = failed(3, 1_000);
    health.is_alive();
    health.try_now(1_010);
    health.report(Outcome::Failed, 1_020);
    assert_eq!(health.state(1_021), State::HalfOpen);
}

#[test]
fn busy_passes_by_itself_and_is_no_failure() {
    let mut health = failed(2, 1_000);
    health.report(Outcome::Busy(1_000), 1_000);
    assert_eq!(health.state(1_999), State::Busy);
    assert_eq!(health.state(2_000), State::Ready);
    health.report(Outcome::Busy(u32::MAX), 1_000);
    assert_eq!(health.state(1_000 + BUSY_MS_MAX), State::Ready);
}
