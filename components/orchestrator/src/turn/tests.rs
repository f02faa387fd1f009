//! The turn's cases, its replay, and its bounds over thousands of seeded event sequences.

use super::*;

fn options() -> Options {
    Options {
        tool_rounds_max: 4,
        query: "why?".into(),
        ..Options::default()
    }
}

fn call(id: &str) -> ToolCall {
    ToolCall {
        id: id.into(),
        name: "calculator".into(),
        arguments: "{}".into(),
    }
}

fn finished(reason: FinishReason, calls: &[&str]) -> Event {
    Event::ModelFinished(Outcome {
        reason,
        tool_calls: calls.iter().map(|id| call(id)).collect(),
    })
}

/// Feeds the events and expects these actions.
fn check(options: Options, steps: &[(Event, Action)]) {
    let mut turn = Turn::new(options);
    for (number, (event, expected)) in steps.iter().enumerate() {
        assert_eq!(
            &turn.next(event.clone()),
            expected,
            "step {number}: {event:?}"
        );
    }
}

const ALLOWED: Action = Action::CallModel(ToolUse::Allowed);
const FORBIDDEN: Action = Action::CallModel(ToolUse::Forbidden);

#[test]
fn a_direct_answer_is_one_call_of_the_model() {
    check(
        options(),
        &[
            (Event::Start, ALLOWED),
            (
                finished(FinishReason::Stop, &[]),
                Action::Finish(FinishReason::Stop),
            ),
        ],
    );
}

#[test]
fn a_cut_answer_keeps_its_reason() {
    for reason in [FinishReason::Length, FinishReason::ContentFilter] {
        check(
            options(),
            &[
                (Event::Start, ALLOWED),
                (finished(reason, &[]), Action::Finish(reason)),
            ],
        );
    }
}

#[test]
fn passages_are_looked_up_first_with_the_users_words() {
    let options = Options {
        retrieval: true,
        ..options()
    };
    check(
        options,
        &[
            (Event::Start, Action::Retrieve("why?".into())),
            (Event::Retrieved(0), ALLOWED),
            (
                finished(FinishReason::Stop, &[]),
                Action::Finish(FinishReason::Stop),
            ),
        ],
    );
}

#[test]
fn platform_tools_run_until_the_rounds_are_used_up() {
    let options = Options {
        platform_tools: true,
        tool_rounds_max: 2,
        ..options()
    };
    let calls = Action::CallTools(vec![call("a"), call("b")]);
    check(
        options,
        &[
            (Event::Start, ALLOWED),
            (
                finished(FinishReason::ToolCalls, &["a", "b"]),
                calls.clone(),
            ),
            (Event::ToolsFinished, ALLOWED),
            (finished(FinishReason::ToolCalls, &["a", "b"]), calls),
            (Event::ToolsFinished, FORBIDDEN),
            (
                finished(FinishReason::ToolCalls, &["c"]),
                Action::Finish(FinishReason::Stop),
            ),
        ],
    );
}

#[test]
fn no_rounds_at_all_forbids_tools_from_the_start() {
    let options = Options {
        platform_tools: true,
        tool_rounds_max: 0,
        ..options()
    };
    check(options, &[(Event::Start, FORBIDDEN)]);
}

#[test]
fn the_clients_calls_are_handed_to_the_client() {
    for platform_tools in [false, true] {
        let options = Options {
            client_tools: true,
            platform_tools,
            tool_rounds_max: 0,
            ..options()
        };
        check(
            options,
            &[
                (Event::Start, ALLOWED),
                (
                    finished(FinishReason::ToolCalls, &["a"]),
                    Action::Finish(FinishReason::ToolCalls),
                ),
            ],
        );
    }
}

#[test]
fn calls_under_another_reason_and_reasons_without_calls() {
    let platform = Options {
        platform_tools: true,
        ..options()
    };
    let cases = [
        (
            finished(FinishReason::Stop, &["a"]),
            Action::CallTools(vec![call("a")]),
        ),
        (
            finished(FinishReason::ToolCalls, &[]),
            Action::Finish(FinishReason::Stop),
        ),
        // The arguments may be incomplete.
        (
            finished(FinishReason::Length, &["a"]),
            Action::Finish(FinishReason::Length),
        ),
        (
            finished(FinishReason::ContentFilter, &["a"]),
            Action::Finish(FinishReason::ContentFilter),
        ),
    ];
    for (event, action) in cases {
        check(
            platform.clone(),
            &[(Event::Start, ALLOWED), (event, action)],
        );
    }
}

#[test]
fn calls_that_nobody_offered_end_the_turn() {
    check(
        options(),
        &[
            (Event::Start, ALLOWED),
            (
                finished(FinishReason::ToolCalls, &["a"]),
                Action::Finish(FinishReason::Stop),
            ),
        ],
    );
}

#[test]
fn one_round_runs_a_bounded_number_of_calls() {
    let ids: Vec<String> = (0..TOOL_CALLS_MAX + 5).map(|id| id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut turn = Turn::new(Options {
        platform_tools: true,
        ..options()
    });
    turn.next(Event::Start);
    let Action::CallTools(calls) = turn.next(finished(FinishReason::ToolCalls, &ids)) else {
        panic!("tools were not called");
    };
    assert_eq!(
        calls,
        ids[..TOOL_CALLS_MAX]
            .iter()
            .map(|id| call(id))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_refusal_ends_the_turn_in_every_state() {
    let blocked = || (Event::Blocked("no".into()), Action::Refuse("no".into()));
    let platform = Options {
        platform_tools: true,
        ..options()
    };
    let retrieving = (Event::Start, Action::Retrieve("why?".into()));
    check(options(), &[blocked()]);
    check(options(), &[(Event::Start, ALLOWED), blocked()]);
    check(
        Options {
            retrieval: true,
            ..options()
        },
        &[retrieving, blocked()],
    );
    check(
        platform,
        &[
            (Event::Start, ALLOWED),
            (
                finished(FinishReason::ToolCalls, &["a"]),
                Action::CallTools(vec![call("a")]),
            ),
            blocked(),
        ],
    );
}

#[test]
fn an_answer_that_safety_cut_ends_with_content_filter() {
    check(
        options(),
        &[
            (Event::Start, ALLOWED),
            (Event::Cut, Action::Finish(FinishReason::ContentFilter)),
        ],
    );
}

#[test]
fn an_event_out_of_place_changes_nothing() {
    let invalid = |words: &str| Action::Invalid(words.into());
    check(
        options(),
        &[
            (Event::Cut, invalid("`cut` came before `start`")),
            (Event::Start, ALLOWED),
            (
                Event::Start,
                invalid("`start` came while the model answers"),
            ),
            (
                Event::ToolsFinished,
                invalid("`tools-finished` came while the model answers"),
            ),
            (
                finished(FinishReason::Stop, &[]),
                Action::Finish(FinishReason::Stop),
            ),
            (
                Event::Start,
                invalid("`start` came after the end of the turn"),
            ),
            (
                Event::Blocked("no".into()),
                invalid("`blocked` came after the end of the turn"),
            ),
        ],
    );
}

/// xorshift64*: seeded, so that a failing sequence can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % end
    }

    fn options(&mut self) -> Options {
        Options {
            platform_tools: self.below(2) == 0,
            client_tools: self.below(4) == 0,
            retrieval: self.below(3) == 0,
            tool_rounds_max: [0, 1, 4, u32::MAX][self.below(4) as usize],
            query: "why?".into(),
        }
    }

    fn event(&mut self) -> Event {
        let reasons = [
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ToolCalls,
            FinishReason::ToolCalls,
            FinishReason::ContentFilter,
        ];
        match self.below(12) {
            0..2 => Event::Start,
            2 => Event::Blocked("no".into()),
            3..5 => Event::Retrieved(3),
            5..8 => finished(
                reasons[self.below(5) as usize],
                &["a", "b", "c"][..self.below(4) as usize],
            ),
            8..11 => Event::ToolsFinished,
            _ => Event::Cut,
        }
    }

    /// An event that belongs to the action before it, and never ends the turn by itself: a model
    /// that calls tools for ever.
    fn longest(action: &Action) -> Event {
        match action {
            Action::Retrieve(_) => Event::Retrieved(1),
            Action::CallModel(_) => finished(FinishReason::ToolCalls, &["a"]),
            Action::CallTools(_) => Event::ToolsFinished,
            other => panic!("no event belongs to {other:?}"),
        }
    }
}

#[test]
fn every_sequence_is_bounded_and_ends_once() {
    for seed in 1..2_000 {
        let mut random = Random(seed);
        let options = random.options();
        let rounds = options.tool_rounds_max.min(TOOL_ROUNDS_CEILING);
        let (mut turn, mut actions, mut ended) = (Turn::new(options), 0, false);
        for _ in 0..400 {
            let before = turn.clone();
            let action = turn.next(random.event());
            match action {
                Action::Invalid(_) => assert_eq!(before, turn, "seed {seed}"),
                _ if ended => panic!("seed {seed}: {action:?} after the end"),
                _ => actions += 1,
            }
            ended |= action.is_last();
        }
        assert!(ended, "seed {seed} did not end: {turn:?}");
        // A retrieval, a call of the model, two steps for each round, and the end.
        assert!(actions <= 2 * rounds + 3, "seed {seed}: {actions} actions");
    }
}

#[test]
fn a_model_that_calls_tools_for_ever_is_stopped() {
    for seed in 1..500 {
        let options = Random(seed).options();
        let bound = 2 * options.tool_rounds_max.min(TOOL_ROUNDS_CEILING) + 3;
        let mut turn = Turn::new(options);
        let mut action = turn.next(Event::Start);
        let mut steps = 1;
        while !action.is_last() {
            action = turn.next(Random::longest(&action));
            steps += 1;
            assert!(steps <= bound, "seed {seed}");
        }
    }
}

#[test]
fn the_same_events_give_the_same_actions() {
    for seed in 1..500 {
        let mut random = Random(seed);
        let options = random.options();
        let log: Vec<Event> = (0..60).map(|_| random.event()).collect();
        let replay = || {
            let mut turn = Turn::new(options.clone());
            log.iter()
                .cloned()
                .map(|event| turn.next(event))
                .collect::<Vec<_>>()
        };
        assert_eq!(replay(), replay(), "seed {seed}");
    }
}
