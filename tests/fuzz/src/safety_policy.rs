//! A safety policy and a text under it: a line of kinds to mask, a line of phrases to block,
//! and the text, cut as often as the first byte says. A policy is taken or refused in words.
//! Under one that is taken a prompt and an answer come out alike, and an answer comes out
//! alike wherever it is cut.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use safety::guard::Guard;
use safety::policy::Policy;
use safety::screen::screen;

fuzz_target!(|data: &[u8]| {
    let Some((cuts, rest)) = data.split_first() else {
        return;
    };
    let Ok(rest) = std::str::from_utf8(rest) else {
        return;
    };
    let mut lines = rest.splitn(3, '\n');
    let (mask, block_list) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let text = lines.next().unwrap_or_default();
    let policy = match Policy::parse(mask, block_list) {
        Ok(policy) => Rc::new(policy),
        Err(refusal) => {
            assert!(!refusal.message.is_empty() && refusal.findings.is_empty());
            return;
        }
    };
    let whole = released(&policy, &[text]);
    let parts = cut(text, usize::from(*cuts % 16) + 1);
    assert_eq!(released(&policy, &parts), whole);
    match screen(&policy, &[text.to_owned()]) {
        Ok(screened) => assert_eq!((screened.texts.concat(), false), whole),
        Err(refusal) => assert!(whole.1 && !refusal.message.is_empty()),
    }
});

/// All that a guard lets through, and whether it refused.
fn released(policy: &Rc<Policy>, parts: &[&str]) -> (String, bool) {
    let mut guard = Guard::new(Rc::clone(policy));
    let mut text = String::new();
    let mut refusals = 0;
    for part in parts {
        let released = guard.push(part);
        text.push_str(&released.text);
        refusals += usize::from(released.refusal.is_some());
    }
    let released = guard.finish();
    text.push_str(&released.text);
    refusals += usize::from(released.refusal.is_some());
    assert!(refusals <= 1);
    (text, refusals == 1)
}

/// Parts of about `len` bytes.
fn cut(mut text: &str, len: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let (part, rest) = text.split_at(text.ceil_char_boundary(len.min(text.len())));
        parts.push(part);
        text = rest;
    }
    parts
}
