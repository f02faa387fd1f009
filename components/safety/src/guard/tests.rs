//! Chunks in every way, against the text in one piece.

use super::*;
use crate::screen::mask;

const ALL: &str = "email,phone,card,iban,api-key";

fn policy(block_list: &str) -> Rc<Policy> {
    Rc::new(Policy::parse(ALL, block_list).unwrap())
}

/// What is released by each push, and at the end; whether it ended in a refusal.
fn release(policy: &Rc<Policy>, chunks: &[&str]) -> (Vec<String>, bool) {
    let mut guard = Guard::new(Rc::clone(policy));
    let mut texts = Vec::new();
    let mut refusals = 0;
    for chunk in chunks {
        let released = guard.push(chunk);
        assert!(refusals == 0 || released == Released::default());
        refusals += usize::from(released.refusal.is_some());
        texts.push(released.text);
    }
    let released = guard.finish();
    refusals += usize::from(released.refusal.is_some());
    texts.push(released.text);
    assert!(refusals <= 1);
    assert_eq!(guard.push("more"), Released::default());
    assert_eq!(guard.finish(), Released::default());
    (texts, refusals == 1)
}

#[test]
fn plain_words_flow_at_once_but_for_the_last() {
    let chunks = [
        "The", " answer", " is", " 84", ".", " Done", "!\n", "- a", " (b)",
    ];
    let (texts, _) = release(&policy("blue whale"), &chunks);
    let expected = [
        "", "The ", "answer ", "is ", "", "84. ", "Done!\n", "- ", "a (b)", "",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn a_word_longer_than_any_pattern_is_released() {
    let mut guard = Guard::new(policy(""));
    let mut released = 0;
    for pushed in 1..1000 {
        released += guard.push("a").text.len();
        assert!(pushed - released <= 257, "{released} of {pushed}");
    }
}

#[test]
fn a_split_secret_never_shows() {
    let secret = "sk-abcdefghijklmnop1234";
    let text = format!("key {secret} ok");
    for first in 0..text.len() {
        for second in first..text.len() {
            let chunks = [&text[..first], &text[first..second], &text[second..]];
            let (texts, _) = release(&policy(""), &chunks);
            assert_eq!(texts.concat(), "key [API_KEY_1] ok");
        }
    }
}

#[test]
fn what_is_no_email_is_none_at_every_cut() {
    for (text, expected) in [
        ("see icon@2x.png now", "see icon@2x.png now"),
        ("a getty@tty1.service b", "a getty@tty1.service b"),
        ("git@github.com:org/repo.git", "git@github.com:org/repo.git"),
        ("me@a.org:~$ ls", "me@a.org:~$ ls"),
        ("me@a.org: hi", "[EMAIL_1]: hi"),
        ("me@a.org:443/x", "[EMAIL_1]:443/x"),
        ("me@a.com.pdf.", "[EMAIL_1].pdf."),
        ("p@v1.2.3-a.beta c", "p@v1.2.3-a.beta c"),
    ] {
        for first in 0..text.len() {
            for second in first..text.len() {
                let chunks = [&text[..first], &text[first..second], &text[second..]];
                let (texts, _) = release(&policy(""), &chunks);
                assert_eq!(texts.concat(), expected, "{chunks:?}");
            }
        }
    }
}

#[test]
fn a_blocked_answer_ends_before_the_phrase() {
    let chunks = ["I saw a bl", "ue wh", "ale today", " and more"];
    let (texts, refused) = release(&policy("blue whale"), &chunks);
    assert_eq!((texts.concat().as_str(), refused), ("I saw ", true));
    // At the very end of the answer too.
    let (texts, refused) = release(&policy("blue whale"), &["a blue whale"]);
    assert_eq!((texts.concat().as_str(), refused), ("", true));
}

#[test]
fn a_guard_without_a_policy_lets_nothing_through() {
    let mut guard = Guard::refusing(Refusal::misconfigured("mask"));
    let released = guard.push("hello");
    assert_eq!(released.text, "");
    assert!(released.refusal.is_some());
    assert_eq!(guard.push("hello"), Released::default());
    assert_eq!(guard.finish(), Released::default());
}

/// xorshift64*: seeded, so that a failing text can be made again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn chunks<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        let longest = [1, 3, 8, 40][self.below(4)];
        let (mut chunks, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let cut = rest.ceil_char_boundary(1 + self.below(longest).min(rest.len() - 1));
            let (chunk, after) = rest.split_at(cut);
            chunks.push(chunk);
            rest = after;
        }
        chunks
    }
}

const SECRETS: [&str; 15] = [
    "bob.smith@mail.example.com",
    "jürgen@müller.de",
    "+49 (0) 30 1234567",
    "0171/1234567",
    "(555) 234-5678",
    "4111 1111 1111 1111",
    "5555555555554444",
    "4111\u{2013}1111\u{2013}1111\u{2013}1111",
    "4\u{200b}111, 1111,\n1111, 1111",
    "４１１１ ۱۱۱۱ ١١١١ 1111",
    "DE89 3704 0044 0532 0130 00",
    "sk-abcdefghijklmnop1234",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nAb9=\n-----END PRIVATE KEY-----",
];

const NOISE: [&str; 63] = [
    "&",
    "&#64;",
    "*",
    "~~",
    "\\u0034",
    "\\",
    "[at]",
    " @ ",
    "%4",
    "secret",
    "\u{301}",
    "a1b",
    "<b",
    "Кс",
    "hello",
    "World",
    "sk-",
    "blue",
    "whal",
    "eyJ",
    "eyJhbGciOiJI.",
    "DE89",
    "AKIA",
    "bob@",
    "@",
    ".",
    "-",
    "+",
    "(",
    ")",
    "0",
    "4111",
    "3704",
    "12",
    "2026",
    "01.02.",
    "-----",
    "BEGIN ",
    "PRIVATE KEY-----",
    "\n",
    "\\n",
    "é",
    "漢",
    "\u{200b}",
    " ",
    " ",
    ",",
    "ghp_",
    ":",
    "/",
    "~",
    ".git",
    ".com",
    ".org",
    ".png",
    ".service",
    "v1",
    "x@",
    "１",
    "١١١١",
    "\u{ad}",
    "\u{a0}",
    "1111",
];

#[test]
fn any_cuts_release_what_one_piece_does() {
    let phrases = "blue whale, blue whales swim, 漢漢";
    let masks = [ALL, "card", "phone,api-key", "email", "iban,card", ""];
    let policies = masks.map(|mask| Rc::new(Policy::parse(mask, phrases).unwrap()));
    for seed in 1..3_000 {
        let policy = &policies[(seed % policies.len() as u64) as usize];
        let mut random = Random(seed);
        let mut text = String::new();
        for _ in 0..random.below(40) {
            let part = if random.below(8) == 0 {
                random.pick(&SECRETS)
            } else {
                random.pick(&NOISE)
            };
            text.push_str(part);
        }
        let chunks = random.chunks(&text);
        let (in_chunks, refused_in_chunks) = release(policy, &chunks);
        let (in_one, refused) = release(policy, &[&text]);
        assert_eq!(
            in_chunks.concat(),
            in_one.concat(),
            "seed {seed}: {chunks:?}"
        );
        assert_eq!(refused_in_chunks, refused, "seed {seed}: {chunks:?}");
        if !refused {
            let whole = mask(policy, &text, &mut Placeholders::default());
            assert_eq!(in_one.concat(), whole, "seed {seed}");
        }
    }
}

#[test]
fn planted_secrets_never_leave() {
    let policy = policy("");
    for seed in 1..800 {
        let mut random = Random(seed);
        let secret = random.pick(&SECRETS);
        let before = random.pick(&["", "see ", "Contact: ", "\"", "漢", "(a) "]);
        let after = random.pick(&["", " then", ".", ", or", "\n\nBest, friend", "\"", "漢"]);
        let text = format!("{before}{secret}{after}");
        let chunks = random.chunks(&text);
        let (texts, _) = release(&policy, &chunks);
        let released = texts.concat();
        assert!(
            released.starts_with(before) && released.ends_with(after),
            "{text:?}: {released:?}"
        );
        let placeholder = &released[before.len()..released.len() - after.len()];
        assert!(
            placeholder.starts_with('[') && placeholder.ends_with("_1]") && placeholder.len() < 12,
            "seed {seed}: {text:?} became {released:?}"
        );
    }
}

#[test]
fn a_boundary_ends_one_text_and_keeps_the_placeholders() {
    let mut guard = Guard::new(policy("blue whale"));
    let mut next = |text: &str| {
        let pushed = guard.push(text);
        let rest = guard.boundary();
        assert!(pushed.refusal.is_none() && rest.refusal.is_none(), "{text}");
        pushed.text + &rest.text
    };
    assert_eq!(next("a@example.com"), "[EMAIL_1]");
    assert_eq!(next("b@example.com"), "[EMAIL_2]");
    assert_eq!(next("a@example.com"), "[EMAIL_1]");
    // A pattern does not span two texts.
    assert_eq!(
        (next("blue "), next("whale")),
        ("blue ".into(), "whale".into())
    );
    let pushed = guard.push("a blue whale");
    let ended = guard.boundary();
    assert_eq!(pushed.text + &ended.text, "");
    assert!(pushed.refusal.or(ended.refusal).is_some());
    assert_eq!(guard.boundary(), Released::default());
}
