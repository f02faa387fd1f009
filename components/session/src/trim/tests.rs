//! Turns that go and messages that stay; the invariants over random histories.

use super::*;
use crate::tokens::of_prompt;
use crate::wire::ToolCall;

/// `s`ystem, `u`ser, `a`ssistant, `c`all, `t`ool's answer; the rest is the content. A call and its
/// answer share their content as the id.
fn messages(short: &[&str]) -> Vec<Message> {
    let message = |short: &&str| {
        let (role, content) = short.split_at(1);
        let id = content.to_owned();
        match role {
            "s" => Message::text(Role::System, content),
            "u" => Message::text(Role::User, content),
            "a" => Message::text(Role::Assistant, content),
            "c" => {
                let call = ToolCall {
                    id,
                    name: "clock".into(),
                    arguments: "{}".into(),
                };
                Message {
                    tool_calls: vec![call],
                    ..Message::text(Role::Assistant, "")
                }
            }
            _ => Message {
                tool_call_id: Some(id),
                ..Message::text(Role::Tool, content)
            },
        }
    };
    short.iter().map(message).collect()
}

fn check(given: &[&str], tokens_max: u32, expected: &[&str]) {
    check_own(given, 1, tokens_max, expected);
}

fn check_own(given: &[&str], own: usize, tokens_max: u32, expected: &[&str]) {
    let dropped = (given.len() - expected.len()) as u32;
    let trimmed = trim(messages(given), own, tokens_max).unwrap();
    assert_eq!(
        trimmed,
        Trimmed {
            messages: messages(expected),
            dropped
        }
    );
}

fn tokens(short: &[&str]) -> u32 {
    of_prompt(&messages(short))
}

#[test]
fn what_fits_stays_whole() {
    let all = ["sbe kind", "uhello", "ahi", "uhow?", "c1", "t1", "afine"];
    check(&all, tokens(&all), &all);
    check(&[], 8, &[]);
}

#[test]
fn the_oldest_turns_go_first_and_whole() {
    let all = [
        "sbe kind", "uone", "c1", "t1", "aone", "utwo", "atwo", "uthree",
    ];
    let two = ["sbe kind", "utwo", "atwo", "uthree"];
    check(&all, tokens(&all) - 1, &two);
    check(&all, tokens(&two), &two);
    check(&all, tokens(&two) - 1, &["sbe kind", "uthree"]);
}

#[test]
fn a_greeting_before_the_first_question_goes_first() {
    let all = ["awelcome", "uone", "aone", "utwo"];
    check(&all, tokens(&all) - 1, &["uone", "aone", "utwo"]);
}

#[test]
fn what_the_client_sent_stays_whole() {
    let all = ["uone", "aone", "utwo", "uand", "c1", "t1"];
    let own = ["utwo", "uand", "c1", "t1"];
    check_own(&all, 4, tokens(&own), &own);
    let too_long = |short: &[&str], own, tokens_max| {
        assert_eq!(trim(messages(short), own, tokens_max), Err(TooLong));
    };
    too_long(&all, 4, tokens(&own) - 1);
    too_long(&["sbe kind"], 1, 8);
    // An answer that has no call is the client's to answer for.
    check_own(&["t1", "uone"], 2, 1_000, &["t1", "uone"]);
}

#[test]
fn an_answer_to_a_stored_call_keeps_its_turn() {
    let all = ["uone", "aone", "utwo", "c1", "t1"];
    let last = ["utwo", "c1", "t1"];
    check(&all, tokens(&last), &last);
    assert_eq!(trim(messages(&all), 1, tokens(&last) - 1), Err(TooLong));
}

/// A client may have stored them without a model: each is left out by itself.
#[test]
fn users_messages_in_a_row_go_one_by_one() {
    let all = ["sbe kind", "uone", "utwo", "uthree", "unow"];
    let two = ["sbe kind", "uthree", "unow"];
    check(&all, tokens(&two), &two);
    check(&all, tokens(&["sbe kind", "unow"]), &["sbe kind", "unow"]);
}

#[test]
fn a_stored_answer_without_its_call_never_stays() {
    check(
        &["t1", "uone", "c2", "t2", "t3", "ufour", "t2", "ufive"],
        1_000,
        &["uone", "c2", "t2", "ufour", "ufive"],
    );
}

#[test]
fn random_histories_keep_the_invariants() {
    let mut seed = 11_u64;
    let mut below = |end: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end
    };
    for _ in 0..3_000 {
        let kinds = ["s", "u", "u", "a", "c1", "t1", "c2", "t2"];
        let short: Vec<String> = (0..below(14))
            .map(|_| {
                let kind = kinds[below(8) as usize];
                if kind.len() == 2 {
                    kind.to_owned()
                } else {
                    format!("{kind}{}", "x".repeat(below(40) as usize))
                }
            })
            .collect();
        let short: Vec<&str> = short.iter().map(String::as_str).collect();
        let (given, tokens_max) = (messages(&short), below(300) as u32);
        let own = below(given.len() as u64 + 1) as usize;
        let own_from = given.len() - own;
        let Ok(trimmed) = trim(given.clone(), own, tokens_max) else {
            continue;
        };
        assert!(of_prompt(&trimmed.messages) <= tokens_max);
        assert_eq!(
            trimmed.messages.len() + trimmed.dropped as usize,
            given.len()
        );
        let count = |messages: &[Message], role| messages.iter().filter(|m| m.role == role).count();
        assert_eq!(
            count(&trimmed.messages, Role::System),
            count(&given, Role::System)
        );
        assert!(trimmed.messages.ends_with(&given[own_from..]), "{short:?}");
        let mut calls = Vec::new();
        let stored = trimmed.messages.len() - own;
        for message in &trimmed.messages[..stored] {
            calls.extend(message.tool_calls.iter().map(|call| call.id.clone()));
            if let Some(id) = &message.tool_call_id {
                assert!(calls.contains(id), "{short:?}");
            }
        }
    }
}
