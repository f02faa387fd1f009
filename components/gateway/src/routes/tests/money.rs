//! What is charged and what counts in the windows, on every way out of a turn.

use serde_json::{Value, json};

use super::script::{Backend, Got, Script, chunk, drive, finish, message, text, tool_call, usage};
use super::{ask, hello};
use crate::bindings::skerry::chat::router::Dialect;
use crate::bindings::skerry::chat::types::MessageRole;
use crate::exchange::meter::STEP_TOKENS;

const CONTINUOUS: [Dialect; 2] = [Dialect::Skerry, Dialect::Vllm];
const FOREIGN: [Dialect; 5] = [
    Dialect::OpenAi,
    Dialect::Ollama,
    Dialect::LlamaCpp,
    Dialect::Mistral,
    Dialect::Other,
];
/// A message, as the script estimates it.
const MESSAGE_TOKENS: u32 = 1;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// An answer as a backend makes it.
struct Made {
    prompt: u32,
    /// Each with the tokens of the answer until then, itself included.
    events: Vec<(Value, u32)>,
}

impl Made {
    /// Of text, reasoning and arguments, in chunks of one to eight tokens.
    fn any(dice: &mut Dice) -> Self {
        let prompt = 1 + dice.below(300) as u32;
        let mut events = vec![(chunk(json!({"role": "assistant", "content": ""})), 0)];
        let mut total = 0;
        for _ in 0..1 + dice.below(12) {
            let tokens = 1 + dice.below(8) as u32;
            total += tokens;
            let words = ["word ", "42 ", "é"][dice.below(3) as usize].repeat(tokens as usize);
            let delta = match dice.below(3) {
                0 => json!({"reasoning_content": words}),
                _ => json!({"content": words}),
            };
            events.push((chunk(delta), total));
        }
        Self { prompt, events }
    }

    fn tokens(&self) -> u32 {
        self.events.last().map_or(0, |(_, tokens)| *tokens)
    }

    /// Its first events; with the usage so far where the dialect can.
    fn first(&self, count: usize, dialect: Dialect) -> Vec<Value> {
        let with_usage = |(event, tokens): &(Value, u32)| {
            let mut event = event.clone();
            if CONTINUOUS.contains(&dialect) {
                event["usage"] = json!({"prompt_tokens": self.prompt, "completion_tokens": tokens,
                    "total_tokens": self.prompt + tokens});
            }
            event
        };
        self.events.iter().take(count).map(with_usage).collect()
    }

    fn whole(&self, dialect: Dialect) -> Backend {
        let events = self.first(usize::MAX, dialect);
        let end = [finish("stop"), usage(self.prompt, self.tokens())];
        Backend::answers(events.into_iter().chain(end))
    }

    /// Writes to the client until the cut.
    fn writes(&self, count: usize) -> usize {
        let is_shown = |(_, tokens): &&(Value, u32)| *tokens > 0;
        self.events.iter().take(count).filter(is_shown).count()
    }
}

/// What was billed and what counts in the windows is the same, and was settled once.
fn check_settled_once(script: &Script, what: &str) {
    assert_eq!(script.settled().len(), 1, "{what}");
    let billed = script.recorded().first().map_or(0, |(p, c)| p + c);
    assert_eq!(script.counted(), [u64::from(billed); 2], "{what}");
}

fn error_code(got: &Got) -> Value {
    let last = got.events().last().cloned().unwrap_or_default();
    serde_json::from_str::<Value>(&last).unwrap_or_default()["error"]["code"].clone()
}

#[test]
fn a_whole_answer_is_charged_as_its_backend_counts() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let made = Made::any(&mut dice);
        for dialect in CONTINUOUS.into_iter().chain(FOREIGN) {
            let stream = dice.below(2) == 0;
            let script = Script::new([made.whole(dialect)])
                .speaking(dialect)
                .with_ceiling(10_000);
            let got = drive(&script, ask(json!({"stream": stream})));
            let what = format!("seed {seed} {dialect:?}");
            assert_eq!(got.status, 200, "{what}");
            assert_eq!(script.recorded(), [(made.prompt, made.tokens())], "{what}");
            assert_eq!(script.estimated(), [false], "{what}");
            check_settled_once(&script, &what);
        }
    }
}

/// Cuts an answer after so many events: its client leaves a stream, or waits for a whole object.
fn cut(made: &Made, count: usize, dialect: Dialect, stream: bool) -> Script {
    let first = made.first(count, dialect);
    let backend = match stream {
        true => Backend::pausing(first, 9, hello()),
        false => Backend::left(first),
    };
    let script = Script::new([backend])
        .speaking(dialect)
        .with_ceiling(10_000)
        .leaving_after(made.writes(count));
    drive(&script, ask(json!({"stream": stream})));
    script
}

#[test]
fn an_answer_that_is_cut_anywhere_is_charged_what_was_generated() {
    for seed in 0..300 {
        let made = Made::any(&mut Dice(seed));
        for count in 1..=made.events.len() {
            let generated = made.events[count - 1].1;
            for (dialect, stream) in CONTINUOUS.map(|dialect| (dialect, true)) {
                let what = format!("seed {seed} cut after {count} of {dialect:?}");
                let script = cut(&made, count, dialect, stream);
                assert_eq!(script.recorded(), [(made.prompt, generated)], "{what}");
                assert_eq!(script.estimated(), [true], "{what}");
                check_settled_once(&script, &what);
                let collected = cut(&made, count, dialect, false);
                assert_eq!(collected.recorded(), script.recorded(), "{what}");
            }
        }
    }
}

#[test]
fn where_a_backend_counts_at_the_end_only_a_cut_is_never_charged_too_little() {
    for seed in 0..100 {
        let made = Made::any(&mut Dice(seed));
        for count in 1..=made.events.len() {
            let generated = made.events[count - 1].1;
            for dialect in FOREIGN {
                let what = format!("seed {seed} cut after {count} of {dialect:?}");
                let script = cut(&made, count, dialect, false);
                let (_, charged) = script.recorded()[0];
                assert!(charged >= generated, "{what}: {charged} of {generated}");
                assert!(charged <= generated * 3, "{what}: {charged} of {generated}");
                assert_eq!(script.estimated(), [true], "{what}");
                check_settled_once(&script, &what);
            }
        }
    }
}

#[test]
fn what_a_backend_had_sent_when_its_client_left_is_counted_whoever_reads_it() {
    let words = (0..1_000).map(|_| text("word "));
    let whole = Backend::answers(words.chain([finish("stop"), usage(7, 1_000)]));
    let script = Script::new([whole]).leaving_after(3).with_ceiling(10_000);
    drive(&script, ask(json!({"stream": true})));
    assert_eq!(script.recorded(), [(7, 1_000)]);
    assert_eq!(script.estimated(), [false], "the backend's own count came");
    check_settled_once(&script, "an answer that nobody read");
}

#[test]
fn what_is_under_way_when_a_backend_is_stopped_is_charged_too() {
    let events = |count| {
        let made = Made {
            prompt: 5,
            events: (1..=count).map(|n| (text("word "), n)).collect(),
        };
        made.first(usize::MAX, Dialect::Skerry)
    };
    // After the second event the client is gone; thirty more come while it is drained.
    let backend = Backend::ready_until(events(62), 32);
    let script = Script::new([backend]).leaving_after(1).with_ceiling(10_000);
    drive(&script, ask(json!({"stream": true})));
    assert_eq!(script.recorded(), [(5, 32 + 15)]);
    assert_eq!(script.estimated(), [true]);
    check_settled_once(&script, "a backend at work");
}

#[test]
fn hidden_reasoning_is_charged_by_its_time() {
    for dialect in FOREIGN {
        let hidden = Backend::pausing([chunk(json!({"role": "assistant"}))], 20, hello());
        let script = Script::new([hidden]).speaking(dialect).leaving_after(8);
        drive(&script, ask(json!({"stream": true})));
        let (_, charged) = script.recorded()[0];
        assert!((700..=1_000).contains(&charged), "{charged} of {dialect:?}");
        assert_eq!(script.estimated(), [true]);
        // A backend that ends says itself how much it was.
        let hidden = Backend::pausing([], 3, hello());
        let script = Script::new([hidden]).speaking(dialect);
        drive(&script, ask(json!({"stream": true})));
        assert_eq!(script.recorded(), [(7, 2)]);
    }
}

#[test]
fn a_count_that_the_text_contradicts_is_not_believed() {
    let words = || (0..100).map(|_| text("word "));
    for (told, expected, estimated) in [
        (usage(7, 0), (7, 250), true),
        (usage(7, 1), (7, 250), true),
        (usage(0, 100), (MESSAGE_TOKENS, 100), true),
        (usage(0, 0), (MESSAGE_TOKENS, 250), true),
        (json!({"choices": []}), (MESSAGE_TOKENS, 250), true),
        (usage(7, 100), (7, 100), false),
        (usage(7, 40), (7, 40), false),
    ] {
        for dialect in [Dialect::Skerry, Dialect::Other] {
            let answer = Backend::answers(words().chain([finish("stop"), told.clone()]));
            let script = Script::new([answer]).speaking(dialect);
            drive(&script, ask(json!({})));
            assert_eq!(script.recorded(), [expected], "{told} {dialect:?}");
            assert_eq!(script.estimated(), [estimated], "{told} {dialect:?}");
        }
    }
    // No more than what was asked for is estimated.
    let script = Script::new([Backend::answers(words().chain([finish("length")]))]);
    drive(&script, ask(json!({"max_tokens": 120})));
    assert_eq!(script.recorded(), [(MESSAGE_TOKENS, 120)]);
}

#[test]
fn several_choices_are_each_counted_where_they_are_cut() {
    let piece = |index: u32, tokens: u32| {
        json!({"choices": [{"index": index, "delta": {"content": "word "}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": tokens}})
    };
    let script = Script::new([Backend::left([piece(0, 1), piece(1, 3), piece(0, 4)])]);
    drive(&script, ask(json!({"n": 2})));
    assert_eq!(script.recorded(), [(9, 7)]);
}

#[test]
fn only_the_try_that_answered_is_charged() {
    let reasoned = || json!({"error": {"message": "boom"}});
    for broken in [
        Backend::Unreachable,
        Backend::status(500, ""),
        Backend::cut([]),
        Backend::cut([chunk(json!({"role": "assistant", "content": ""}))]),
        Backend::answers([reasoned()]),
    ] {
        let script = Script::new([broken, hello()]).with_ceiling(10_000);
        assert_eq!(drive(&script, ask(json!({}))).status, 200);
        assert_eq!(script.recorded(), [(7, 2)]);
        check_settled_once(&script, "a second try");
    }
    let script = Script::new([Backend::cut([]), Backend::cut([])]).with_ceiling(10_000);
    assert_eq!(drive(&script, ask(json!({}))).status, 502);
    assert!(script.recorded().is_empty(), "nothing was answered");
    check_settled_once(&script, "no try answered");
}

#[test]
fn a_client_that_leaves_before_the_backends_head_is_charged_its_prompt() {
    for stream in [false, true] {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let body = ask(json!({"stream": stream, "tools": tools, "max_tokens": 50}));
        let script = Script::new([Backend::Left]).with_ceiling(10_000);
        drive(&script, body.clone());
        let charged = script.recorded();
        assert!(matches!(charged[..], [(21.., 0)]), "{charged:?}");
        assert_eq!(script.estimated(), [true]);
        check_settled_once(&script, "left before the head");
        // It is no second request's way around the ceiling.
        let script = Script::new([]).with_ceiling(1_000);
        for _ in 0..60 {
            script.then([Backend::Left]);
            drive(&script, body.clone());
        }
        let most = 1_000 - u64::from(MESSAGE_TOKENS) - 50 - 100;
        assert!(script.counted()[0] >= most, "{:?}", script.counted());
        script.then([hello()]);
        assert_eq!(drive(&script, body).status, 429);
    }
}

/// Chunks of eight tokens, with or without the usage so far.
fn long(tokens: u32, dialect: Dialect) -> Vec<Value> {
    let made = Made {
        prompt: 20,
        events: (1..=tokens / 8)
            .map(|n| (text("one two three four five six "), n * 8))
            .collect(),
    };
    made.first(usize::MAX, dialect)
}

#[test]
fn a_stream_stops_where_its_windows_are_empty() {
    for dialect in CONTINUOUS.into_iter().chain(FOREIGN) {
        let script = Script::new([])
            .speaking(dialect)
            .with_ceiling(2_000)
            .after([]);
        let mut charged = 0;
        let mut errors = Vec::new();
        for _ in 0..3 {
            script.then([Backend::answers(long(20_000, dialect))]);
            let body = ask(json!({"stream": true, "conversation": "conv_1"}));
            let got = drive(&script, body);
            errors.push((got.status, error_code(&got)));
        }
        for (prompt, completion) in script.recorded() {
            charged += prompt + completion;
        }
        // What was sent beyond the last step lay ready, and was generated.
        let counted = script.counted();
        assert_eq!(counted, [u64::from(charged); 2], "{dialect:?}");
        let limited = json!("rate_limit_exceeded");
        assert_eq!(errors[0], (200, limited), "{dialect:?}");
        assert_eq!(errors[2].0, 429, "{dialect:?}");
        assert!(script.stored()[1].starts_with("one two"), "what was said");
    }
}

#[test]
fn no_more_than_one_event_is_taken_over_the_ceiling() {
    for dialect in CONTINUOUS.into_iter().chain(FOREIGN) {
        for ceiling in [600, 1_000, 2_000, 5_000] {
            // Each chunk comes when it is asked for, and no other lies ready behind it.
            let events = long(20_000, dialect);
            let script = Script::new([Backend::one_by_one(events)])
                .speaking(dialect)
                .with_ceiling(ceiling);
            let got = drive(&script, ask(json!({"stream": true})));
            assert_eq!(error_code(&got), "rate_limit_exceeded", "{dialect:?}");
            let (least, most) = (u64::from(ceiling), u64::from(ceiling) + 28);
            for counted in script.counted() {
                assert!((least..=most).contains(&counted), "{counted} {dialect:?}");
            }
            check_settled_once(&script, &format!("{dialect:?}"));
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_counted_and_stopped_all_the_same() {
    for dialect in [Dialect::Skerry, Dialect::Other] {
        let events = long(20_000, dialect);
        let script = Script::new([Backend::one_by_one(events)])
            .speaking(dialect)
            .with_ceiling(2_000)
            .reading_late(100_000);
        let got = drive(&script, ask(json!({"stream": true})));
        assert_eq!(error_code(&got), "rate_limit_exceeded");
        for counted in script.counted() {
            assert!((2_000..=2_028).contains(&counted), "{counted} {dialect:?}");
        }
        check_settled_once(&script, "a client that reads late");
        let said = said(&got);
        assert!(
            said.len() > 1_000
                && "one two three four five six "
                    .repeat(500)
                    .starts_with(&said)
        );
        // Also where it leaves without having taken anything.
        let script = Script::new([Backend::one_by_one(long(20_000, dialect))])
            .speaking(dialect)
            .with_ceiling(2_000)
            .reading_late(100_000)
            .leaving_after(0);
        drive(&script, ask(json!({"stream": true})));
        for counted in script.counted() {
            assert!((2_000..=2_028).contains(&counted), "{counted} {dialect:?}");
        }
        // One that fits comes whole.
        let made = Made::any(&mut Dice(7));
        let script = Script::new([made.whole(dialect)])
            .speaking(dialect)
            .reading_late(100);
        let late = drive(&script, ask(json!({"stream": true})));
        let script = Script::new([made.whole(dialect)]).speaking(dialect);
        let soon = drive(&script, ask(json!({"stream": true})));
        assert_eq!(late.text(), soon.text());
        assert_eq!(script.recorded(), [(made.prompt, made.tokens())]);
    }
}

/// The text of a stream.
fn said(got: &Got) -> String {
    let text = |event: &String| {
        let event: Value = serde_json::from_str(event).unwrap();
        event["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    got.events().iter().map(text).collect()
}

#[test]
fn a_collected_answer_is_cut_at_its_length_where_its_windows_are_empty() {
    let events = long(20_000, Dialect::Skerry);
    let script = Script::new([Backend::one_by_one(events)]).with_ceiling(1_000);
    let got = drive(&script, ask(json!({"conversation": "conv_1"})));
    assert_eq!(got.status, 200);
    let choice = &got.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    let said = choice["message"]["content"].as_str().unwrap();
    assert!(said.starts_with("one two") && script.stored()[1] == said);
    assert_eq!(got.header("x-ratelimit-remaining-tokens"), "0");
    check_settled_once(&script, "a collected answer");
}

fn check_last_minute(script: &Script, extra: &Value) {
    let mut body = ask(extra.clone());
    body["stream"] = true.into();
    let got = drive(script, body);
    assert!(got.text().ends_with("data: [DONE]\n\n"), "{}", got.text());
    assert_eq!(script.recorded(), [(20, 2_400)]);
    let last_minute = script.counted()[0];
    assert!((50..=110).contains(&last_minute), "{last_minute}");
    script.pass_ms(62_000);
    assert_eq!(script.counted(), [0, 0]);
}

#[test]
fn a_stream_that_outlives_its_minute_counts_in_each_minute() {
    // A chunk of eight tokens at each third heartbeat: 80 tokens a minute, for half an hour.
    for (extra, ceiling) in [(json!({}), 700), (json!({"max_tokens": 2_400}), 3_000)] {
        let events = long(2_400, Dialect::Skerry);
        let end = [finish("stop"), usage(20, 2_400)];
        let backend = Backend::slowly(events.into_iter().chain(end), 3);
        let script = Script::new([backend]).with_ceiling(ceiling);
        check_last_minute(&script, &extra);
        // Also where the client takes nothing until all is said.
        let events = long(2_400, Dialect::Skerry);
        let backend = Backend::slowly(
            events.into_iter().chain([finish("stop"), usage(20, 2_400)]),
            3,
        );
        let script = Script::new([backend])
            .with_ceiling(ceiling)
            .reading_late(1_800);
        check_last_minute(&script, &extra);
    }
}

#[test]
fn the_estimate_has_tools_forms_and_history_in_it() {
    let long_text = "word ".repeat(2_000);
    let tool = json!([{"type": "function",
        "function": {"name": "f", "description": long_text}}]);
    let form = json!({"type": "json_schema", "json_schema": {"name": "x",
        "schema": {"type": "object", "description": long_text}}});
    for extra in [json!({"tools": tool}), json!({"response_format": form})] {
        let script = Script::new([hello()]).with_ceiling(2_000);
        let got = drive(&script, ask(extra));
        assert_eq!(got.status, 429, "{}", got.text());
        assert!(script.requests().is_empty());
    }
    // The script's estimate of a message is a token.
    let history = |count| (0..count).map(|_| message(MessageRole::User, "before"));
    for (count, status) in [(100, 200), (1_500, 200), (2_500, 429)] {
        let script = Script::new([hello()])
            .with_ceiling(2_000)
            .after(history(count));
        let got = drive(&script, ask(json!({"conversation": "conv_1"})));
        assert_eq!(got.status, status, "{}", got.text());
        assert_eq!(script.requests().len(), usize::from(status == 200));
        check_settled_once(&script, "with a history");
    }
}

#[test]
fn each_round_of_tools_is_drawn_for_itself() {
    let call = |prompt| {
        Backend::answers([
            tool_call("calculator", "{}"),
            finish("tool_calls"),
            usage(prompt, 10),
        ])
    };
    let rounds = || [call(300), call(300), call(300), hello()];
    let script = Script::new(rounds())
        .with_platform_tool()
        .with_ceiling(2_000);
    assert_eq!(drive(&script, ask(json!({}))).status, 200);
    assert_eq!(script.recorded(), [(907, 32)]);
    check_settled_once(&script, "rounds that fit");
    let script = Script::new(rounds())
        .with_platform_tool()
        .with_ceiling(STEP_TOKENS + 100);
    let got = drive(&script, ask(json!({"stream": true})));
    assert_eq!(error_code(&got), "rate_limit_exceeded", "{}", got.text());
    assert_eq!(script.requests().len(), 2, "no third round is begun");
    check_settled_once(&script, "rounds that do not fit");
}

#[test]
fn counters_that_cannot_be_read_cut_no_answer_that_has_begun() {
    let end = [finish("stop"), usage(20, 4_000)];
    let events = long(4_000, Dialect::Skerry).into_iter().chain(end);
    let script = Script::new([Backend::one_by_one(events)])
        .with_ceiling(2_000)
        .with_broken_counters();
    let got = drive(&script, ask(json!({"stream": true})));
    assert!(got.text().ends_with("data: [DONE]\n\n"), "{}", got.text());
    assert_eq!(script.recorded(), [(20, 4_000)]);
    check_settled_once(&script, "with broken counters");
}

#[test]
fn a_short_chat_takes_and_settles_and_asks_the_counters_no_more() {
    for extra in [
        json!({}),
        json!({"max_tokens": 50}),
        json!({"stream": true}),
    ] {
        let script = Script::new([hello()])
            .with_platform_tool()
            .with_ceiling(10_000);
        drive(&script, ask(extra));
        // Two windows, each read and written, twice.
        assert_eq!(script.store_calls(), 8);
    }
}

#[test]
fn every_way_out_settles_once() {
    let mut drawn = 0;
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let dialect = [Dialect::Skerry, Dialect::Vllm, Dialect::Other][dice.below(3) as usize];
        let backends: Vec<Backend> = (0..2).map(|_| any_backend(&mut dice, dialect)).collect();
        let mut script = Script::new(backends)
            .speaking(dialect)
            .with_ceiling(600 + dice.below(3_000) as u32);
        if dice.below(2) == 0 {
            script = script.with_platform_tool();
        }
        if dice.below(3) == 0 {
            script = script.leaving_after(dice.below(12) as usize);
        }
        let mut body = ask(json!({"stream": dice.below(2) == 0}));
        match dice.below(3) {
            0 => body["max_tokens"] = (1 + dice.below(400)).into(),
            1 => body["conversation"] = "conv_1".into(),
            _ => {}
        }
        drive(&script, body);
        assert!(script.recorded().len() <= 1, "seed {seed}");
        // What was drawn by an estimate stays counted for its minute, where it proves too high.
        match script.store_calls() {
            0..=8 => check_settled_once(&script, &format!("seed {seed}")),
            _ => {
                let billed = script.recorded().first().map_or(0, |(p, c)| p + c);
                assert!(script.counted()[0] >= u64::from(billed), "seed {seed}");
                assert_eq!(script.settled().len(), 1, "seed {seed}");
                drawn += 1;
            }
        }
    }
    assert!(drawn > 100, "{drawn} drew");
}

fn any_backend(dice: &mut Dice, dialect: Dialect) -> Backend {
    let made = Made::any(dice);
    let first = made.first(1 + dice.below(12) as usize, dialect);
    match dice.below(9) {
        0 => Backend::Unreachable,
        1 => Backend::Left,
        2 => Backend::status([400, 429, 500, 503][dice.below(4) as usize], ""),
        3 => Backend::cut(first),
        4 => Backend::left(first),
        5 => Backend::answers([
            tool_call("calculator", "{}"),
            finish("tool_calls"),
            usage(9, 9),
        ]),
        6 => Backend::answers([text("FORBIDDEN "), finish("stop"), usage(9, 3)]),
        7 => Backend::one_by_one(long(3_000, dialect)),
        _ => made.whole(dialect),
    }
}
