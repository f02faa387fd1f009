//! Values in spellings that are made from rules: each must be masked, or refused, in a prompt and
//! in an answer that is cut at every place; and those that are not caught, with the reason.

#![expect(clippy::unwrap_used, reason = "a test of its own")]

use std::rc::Rc;

use safety::guard::Guard;
use safety::policy::Policy;
use safety::screen::screen;

const ALL: &str = "email,phone,card,iban,api-key";

/// One spelling, with words around it.
struct Case {
    before: &'static str,
    spelled: String,
    after: &'static str,
}

fn policy(block_list: &str) -> Rc<Policy> {
    Rc::new(Policy::parse(ALL, block_list).unwrap())
}

/// What a prompt becomes; none where it is refused.
fn screened(policy: &Policy, text: &str) -> Option<String> {
    let screened = screen(policy, &[text.to_owned()]).ok()?;
    screened.texts.into_iter().next()
}

/// What an answer in these chunks becomes, and whether it was cut by a refusal.
fn guarded<'a>(policy: &Rc<Policy>, chunks: impl IntoIterator<Item = &'a str>) -> (String, bool) {
    let mut guard = Guard::new(Rc::clone(policy));
    let (mut text, mut refused) = (String::new(), false);
    for chunk in chunks {
        let released = guard.push(chunk);
        text.push_str(&released.text);
        refused |= released.refusal.is_some();
    }
    let released = guard.finish();
    text.push_str(&released.text);
    (text, refused || released.refusal.is_some())
}

/// What an answer becomes, cut at every place and character by character.
fn guarded_at_every_cut(policy: &Rc<Policy>, text: &str) -> (String, bool) {
    let whole = guarded(policy, [text]);
    let chars = text
        .char_indices()
        .map(|(at, char)| &text[at..at + char.len_utf8()]);
    assert_eq!(
        guarded(policy, chars),
        whole,
        "{text:?} character by character"
    );
    for (cut, _) in text.char_indices() {
        let (first, second) = text.split_at(cut);
        assert_eq!(
            guarded(policy, [first, second]),
            whole,
            "{first:?} + {second:?}"
        );
    }
    whole
}

/// Checks that each spelling is replaced as a whole; returns how many there are.
fn check(label: &str, cases: &[Case]) -> usize {
    let policy = policy("");
    let mut missed = Vec::new();
    for case in cases {
        let Case {
            before,
            spelled,
            after,
        } = case;
        let text = format!("{before}{spelled}{after}");
        let expected = format!("{before}[{label}_1]{after}");
        let (answer, refused) = guarded_at_every_cut(&policy, &text);
        assert!(!refused);
        assert_eq!(screened(&policy, &text).as_ref(), Some(&answer), "{text:?}");
        if answer != expected {
            missed.push(format!("{text:?} became {answer:?}"));
        }
    }
    assert!(
        missed.is_empty(),
        "{} of {}:\n{}",
        missed.len(),
        cases.len(),
        missed.join("\n")
    );
    cases.len()
}

fn case(spelled: impl Into<String>) -> Case {
    Case {
        before: "see ",
        spelled: spelled.into(),
        after: " ok",
    }
}

/// Every character but those of a kind, spelled by a rule.
fn each(text: &str, is: fn(char) -> bool, spell: impl Fn(char) -> String) -> String {
    let spelled = text.chars().map(|char| match is(char) {
        true => spell(char),
        false => char.to_string(),
    });
    spelled.collect()
}

/// Ways to write one character, by what undoes them.
fn escapes() -> Vec<fn(char) -> String> {
    vec![
        |c| format!("&#{};", u32::from(c)),
        |c| format!("&#x{:x};", u32::from(c)),
        |c| format!("&#X{:04X};", u32::from(c)),
        |c| format!("&amp;#{};", u32::from(c)),
        |c| format!("\\u{:04x}", u32::from(c)),
        |c| format!("\\\\u{:04x}", u32::from(c)),
        |c| format!("\\u{{{:x}}}", u32::from(c)),
        |c| format!("\\x{:02x}", u32::from(c)),
        |c| format!("\\U{:08x}", u32::from(c)),
        |c| format!("%{:02x}", u32::from(c)),
        |c| format!("%25{:02X}", u32::from(c)),
    ]
}

/// What may stand behind a character without being read.
const UNSEEN: [&str; 22] = [
    "\u{200b}",
    "\u{200c}",
    "\u{200d}",
    "\u{2060}",
    "\u{feff}",
    "\u{ad}",
    "\u{200e}",
    "\u{200f}",
    "\u{202c}",
    "\u{2069}",
    "\u{fe0f}",
    "\u{34f}",
    "\u{180e}",
    "\u{e0041}",
    "\u{336}",
    "\u{301}",
    "\u{20e3}",
    "&shy;",
    "&zwj;",
    "&#8203;",
    "\\u200b",
    "%E2%80%8B",
];
const MARKUP: [&str; 8] = ["*", "**", "***", "`", "~~", "<b>", "</span>", "<wbr/>"];

const CARDS: [&[&str]; 3] = [
    &["4111", "1111", "1111", "1111"],
    &["5555", "5555", "5555", "4444"],
    &["3782", "822463", "10005"],
];
const SEPARATORS: [&str; 57] = [
    "<br>", "", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u{a0}", "\u{1680}", "\u{2000}",
    "\u{2001}", "\u{2002}", "\u{2003}", "\u{2004}", "\u{2005}", "\u{2006}", "\u{2007}", "\u{2008}",
    "\u{2009}", "\u{200a}", "\u{202f}", "\u{205f}", "\u{3000}", "\u{2028}", "\u{85}", "\u{2800}",
    "&nbsp;", "&#160;", "&thinsp;", ".", "\u{b7}", "\u{2022}", ",", ", ", "\u{3001}", "/", " / ",
    "\u{2215}", "-", "--", " - ", "\u{2010}", "\u{2011}", "\u{2012}", "\u{2013}", "\u{2014}",
    "\u{2212}", "\u{ff0d}", "&ndash;", "_", "|", ":", ";", "\\n", "%20",
];

/// The zero of some scripts.
const ZEROS: [u32; 14] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xe50, 0xf20, 0x1040, 0x17e0, 0xff10, 0x1d7ce, 0x1d7d8,
    0x1d7f6, 0x1fbf0,
];

fn grouped(digits: &str, size: usize, separator: &str) -> String {
    let digits: Vec<char> = digits.chars().collect();
    let groups = digits
        .chunks(size)
        .map(|group| group.iter().collect::<String>());
    groups.collect::<Vec<_>>().join(separator)
}

fn cards() -> Vec<Case> {
    let mut cases = Vec::new();
    for groups in CARDS {
        let digits = groups.concat();
        let is_digit: fn(char) -> bool = |char| char.is_ascii_digit();
        cases.extend(SEPARATORS.map(|separator| case(groups.join(separator))));
        for size in [1, 2, 3, 5, 8] {
            let marks = [" ", "-", ".", "\u{a0}", "\n", "/", ",", "_"];
            cases.extend(marks.map(|mark| case(grouped(&digits, size, mark))));
        }
        for written in [digits.clone(), groups.join(" ")] {
            for escape in escapes() {
                cases.push(case(each(&written, is_digit, escape)));
            }
            for zero in ZEROS {
                let of_script = |char: char| {
                    let value = char.to_digit(10).unwrap_or(0);
                    char::from_u32(zero + value).unwrap().to_string()
                };
                cases.push(case(each(&written, is_digit, of_script)));
            }
            for unseen in UNSEEN {
                let between = written.chars().map(String::from).collect::<Vec<_>>();
                cases.push(case(between.join(unseen)));
            }
            for mark in MARKUP {
                let groups: Vec<_> = written.split(' ').collect();
                cases.push(case(groups.join(mark)));
                let (first, rest) = written.split_at(6);
                cases.push(case(format!("{first}{mark}{rest}")));
            }
        }
        for before in [
            "x",
            "no",
            "1-",
            "card",
            "abc: ",
            "\u{6f22}",
            "#",
            "=",
            "**",
            "Карта",
        ] {
            for after in [" ok", ".", "\u{6f22}", "\"", ")", "-"] {
                cases.push(Case {
                    before,
                    spelled: digits.clone(),
                    after,
                });
            }
        }
    }
    cases
}

const AT_SIGNS: [&str; 32] = [
    "@",
    "\u{ff20}",
    "\u{fe6b}",
    " @ ",
    "  @",
    "@ ",
    "\u{a0}@\u{a0}",
    "[at]",
    " [at] ",
    "(at)",
    " (at) ",
    "{at}",
    " [ at ] ",
    "[AT]",
    "(@)",
    "<at>",
    "&#64;",
    "&#x40;",
    "&commat;",
    "&amp;#64;",
    "%40",
    "%2540",
    "\\u0040",
    "\\x40",
    "\\100",
    "\\@",
    "\u{200b}@\u{200b}",
    "@\u{2060}",
    "*@*",
    "**@**",
    "`@`",
    "&zwj;@",
];

/// Addresses in letters of many scripts.
const ADDRESSES: [&str; 19] = [
    "иван@пример.рф",
    "ivan@пример.рф",
    "иван.петров@example.com",
    "γιάννης@παράδειγμα.gr",
    "用户@例子.中国",
    "用户@example.com",
    "bob@例子.中国",
    "משה@example.co.il",
    "मोहन@उदाहरण.भारत",
    "jose\u{301}@example.com",
    "b\u{f6}b@m\u{fc}ller.de",
    "bo\u{308}b@mu\u{308}ller.de",
    "a\u{301}\u{308}b@example.com",
    "josé@exámple.com",
    "jos\u{e9}@exa\u{301}mple.com",
    "bob@xn--mller-kva.xn--p1ai",
    "bob__@example.com",
    "bob\\_smith@example.com",
    "bob [dot] smith [at] example [dot] com",
];

fn emails() -> Vec<Case> {
    let mut cases = Vec::new();
    for (local, domain) in [("bob.smith", "example.com"), ("amy", "mail.example.co.uk")] {
        let plain = format!("{local}@{domain}");
        for at in AT_SIGNS {
            cases.push(case(format!("{local}{at}{domain}")));
        }
        for dot in [
            "[dot]", " [dot] ", "(dot)", " dot ", "[.]", "{dot}", " DOT ",
        ] {
            cases.push(case(format!("{local} [at] {}", domain.replace('.', dot))));
        }
        for dot in [
            "\u{ff0e}", "\u{2024}", "\u{3002}", "\u{ff61}", "&period;", "&#46;", "\\.",
        ] {
            cases.push(case(format!("{local}@{}", domain.replace('.', dot))));
        }
        let is_letter: fn(char) -> bool = |char| char.is_ascii_alphabetic();
        for escape in escapes() {
            cases.push(case(each(&plain, is_letter, escape)));
        }
        for unseen in UNSEEN {
            let letters = plain.chars().map(String::from).collect::<Vec<_>>();
            cases.push(case(letters.join(unseen)));
            cases.push(case(plain.replace('@', &format!("{unseen}@"))));
        }
        // Small letters of full width, bold, script, of one width, in discs.
        for first in [0xff41, 0x1d41a, 0x1d4ea, 0x1d68a, 0x24d0] {
            let of_form = |char: char| {
                let index = u32::from(char) - u32::from('a');
                char::from_u32(first + index).unwrap().to_string()
            };
            cases.push(case(each(&plain, is_letter, of_form)));
        }
        let cyrillic = plain
            .replace('o', "\u{43e}")
            .replace('a', "\u{430}")
            .replace('e', "\u{435}");
        cases.push(case(cyrillic));
    }
    let long = format!("{}@example.com", "a1".repeat(60));
    let longer = format!("{}@example.com", "first.last.".repeat(20) + "x");
    for written in ADDRESSES.into_iter().chain([&*long, &*longer]) {
        cases.push(case(written));
    }
    cases
}

fn ibans_and_phones() -> (Vec<Case>, Vec<Case>) {
    let marks = [
        " ", "\u{a0}", "\u{202f}", "\u{2009}", "  ", "-", "\u{2011}", "\u{2013}", ".", "/",
        "&nbsp;", "\\u00a0", "%20", "**", "\u{200b}", "\u{ad}",
    ];
    let mut ibans: Vec<Case> = marks
        .iter()
        .chain(&["\t", "\n", ", ", "_", " - "])
        .map(|mark| case(["DE89", "3704", "0044", "0532", "0130", "00"].join(mark)))
        .collect();
    let iban = "GB29NWBK60161331926819";
    ibans.extend([2, 3, 5].map(|size| case(grouped(iban, size, " "))));
    ibans.extend(
        escapes()
            .iter()
            .map(|escape| case(each(iban, |_| true, escape))),
    );
    ibans.push(case("ＤＥ８９３７０４００４４０５３２０１３０００"));
    ibans.push(case("DЕ89370400440532013000"));

    let mut phones: Vec<Case> = marks
        .iter()
        .map(|mark| case(["+49", "30", "1234567"].join(mark)))
        .collect();
    phones.extend(["\t", "_", "|"].map(|mark| case(["+44", "20", "7946", "0958"].join(mark))));
    for mark in ["-", ".", "\u{2011}", "\u{2013}"] {
        phones.push(case(["555", "234", "5678"].join(mark)));
    }
    for space in ["\u{a0}", "\u{202f}", "&nbsp;"] {
        phones.push(case(format!("(555){space}234-5678")));
        phones.push(case(format!("030{space}1234567")));
    }
    for written in [
        "＋４９ ３０ １２３４５６７",
        "+٤٩ ٣٠ ١٢٣٤٥٦٧",
        "&#43;49 30 1234567",
    ] {
        phones.push(case(written));
    }
    (ibans, phones)
}

fn keys() -> Vec<Case> {
    let keys = [
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
        "GOCSPX-abcdefghijklmnopqrstuvwx",
        "sk-proj-AbCdEf0123456789",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    ];
    let mut cases = Vec::new();
    for key in keys {
        cases.push(case(key));
        cases.push(case(each(
            key,
            |char| char.is_ascii_digit(),
            |c| format!("\\u{:04x}", u32::from(c)),
        )));
        for unseen in ["\u{200b}", "\u{ad}", "**", "&shy;"] {
            cases.push(case(format!("{}{unseen}{}", &key[..9], &key[9..])));
        }
    }
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    for before in [
        "aws_secret_access_key = ",
        "AWS_SECRET_ACCESS_KEY=",
        "{\"SecretAccessKey\": \"",
        "my secret: ",
        "AWS key: `",
        "aws secret access key is **",
    ] {
        cases.push(Case {
            before,
            spelled: secret.to_owned(),
            after: " ok",
        });
    }
    cases
}

#[test]
fn every_spelling_is_masked_at_every_chunking() {
    let (ibans, phones) = ibans_and_phones();
    let count = check("CARD", &cards())
        + check("EMAIL", &emails())
        + check("IBAN", &ibans)
        + check("PHONE", &phones)
        + check("API_KEY", &keys());
    assert!(count >= 300, "{count}");
}

/// Spellings of `blue whale`.
fn phrases() -> Vec<String> {
    let (first, second) = ("blue", "whale");
    let mut phrases = Vec::new();
    for mark in [
        " ",
        "  ",
        "\n",
        "\t",
        "\u{a0}",
        "-",
        "--",
        " - ",
        "\u{2011}",
        "\u{2013}",
        "_",
        "/",
        ".",
        "*",
        "**",
        "`",
        "~~",
        "|",
        "\u{200b}",
        "\u{2060}",
        "&nbsp;",
        "&#32;",
        "%20",
        "\\n",
        "</b> <b>",
        "\u{1f40b}",
        "\u{2800}",
    ] {
        phrases.push(format!("{first}{mark}{second}"));
    }
    let plain = format!("{first} {second}");
    let is_letter: fn(char) -> bool = |char| char.is_ascii_alphabetic();
    for escape in escapes() {
        phrases.push(each(&plain, is_letter, escape));
    }
    for unseen in UNSEEN.iter().chain(&["-", "_", "*", "**", ".", "\u{b7}"]) {
        let spell = |word: &str| {
            word.chars()
                .map(String::from)
                .collect::<Vec<_>>()
                .join(unseen)
        };
        phrases.push(format!("{} {}", spell(first), spell(second)));
    }
    for first in [0xff41, 0x1d41a, 0x1d4ea, 0x1d68a, 0x24d0] {
        let of_form = |char: char| {
            let index = u32::from(char) - u32::from('a');
            char::from_u32(first + index).unwrap().to_string()
        };
        phrases.push(each(&plain, is_letter, of_form));
    }
    for written in [
        "BLUE WHALE",
        "b l u e  w h a l e",
        "b l u e w h a l e",
        "**blue** whale",
        "*b*lue wh*al*e",
        "Вlue whаle",
        "ЬӏυҽWhale".replace("ҽW", "ҽ W").as_str(),
    ] {
        phrases.push(written.to_owned());
    }
    phrases
}

#[test]
fn every_spelling_of_a_phrase_is_refused_at_every_chunking() {
    let policy = policy("blue whale");
    let mut missed = Vec::new();
    for phrase in phrases() {
        let text = format!("see the {phrase} ok");
        let (answer, refused) = guarded_at_every_cut(&policy, &text);
        assert!(
            "see the ".starts_with(&answer) || !refused,
            "{text:?} showed {answer:?}"
        );
        if !refused || screened(&policy, &text).is_some() {
            missed.push(text);
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// What is deliberately not caught, and why.
const NOT_CAUGHT: [(&str, &str); 24] = [
    (
        "four one one one one one one one one one one one one one one one",
        "digits in words are words",
    ),
    (
        "41, 11, 11, 11, 11, 11, 11, 11",
        "commas and spaces between small numbers: a list",
    ),
    ("0x4111111111111111", "a number to the base of sixteen"),
    (
        "四一一一一一一一一一一一一一一一",
        "ideographs are words; a row of them is no number",
    ),
    (
        "NDExMTExMTExMTExMTExMQ==",
        "base64, rot13 and ciphers: any text may be a code",
    ),
    (
        "1111111111111114",
        "written backwards: each number would be a card in one direction",
    ),
    (
        "4111    1111    1111    1111",
        "four spaces are the columns of a table",
    ),
    (
        "41 11 1111 1111 1111",
        "five groups of several sizes are a row of numbers",
    ),
    (
        "4111 one 1111 two 1111 three 1111",
        "words between: numbers of a text, not one number",
    ),
    (
        "4111111111111111x",
        "letters right behind: a digest, or another code",
    ),
    ("0.4111111111111111", "a fraction's digits"),
    ("4111111111111112", "the check digit is wrong"),
    (
        "\u{202e}1111111111111114\u{202c}",
        "an override of direction, shown backwards",
    ),
    ("4I11111111111111", "a letter for a digit: an identifier"),
    (
        "bob at example dot com",
        "words of a sentence, but in brackets",
    ),
    (
        "bob -at- example -dot- com",
        "the same with other marks than brackets",
    ),
    (
        "bob@example",
        "no dot: a host of a local network, or a handle",
    ),
    (
        "bob @ example.internal",
        "an operator of a language, but before a common domain",
    ),
    (
        "bob@example . com",
        "a sentence's end and the next one, but behind [at]",
    ),
    ("a @ b.de", "one letter with spaces: a formula"),
    ("moc.elpmaxe@bob.", "written backwards"),
    (
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "40 characters, no word of a secret before",
    ),
    ("hunter2", "a password has no form"),
    ("DE89370400440532013001", "the check digits are wrong"),
];

#[test]
fn what_is_not_caught_is_listed_with_its_reason() {
    let policy = policy("blue whale");
    for (text, reason) in NOT_CAUGHT {
        assert!(!reason.is_empty());
        assert_eq!(screened(&policy, text).as_deref(), Some(text));
        assert_eq!(
            guarded_at_every_cut(&policy, text),
            (text.to_owned(), false)
        );
    }
    for (text, reason) in [
        (
            "bl\u{fa}e whale",
            "an accent makes a letter another: año and ano",
        ),
        ("b1ue wha1e", "a digit for a letter"),
        ("blue whales", "another word"),
        ("bluewhale", "another word; the list may have it too"),
        ("blue. Whale", "two sentences"),
        ("elahw eulb", "written backwards"),
    ] {
        assert!(!reason.is_empty());
        assert!(screened(&policy, text).is_some(), "{text:?} is caught");
    }
    // A value that is split over two texts is in none; only phrases are looked for in both.
    let halves = ["4111 1111".to_owned(), "1111 1111".to_owned()];
    assert_eq!(screen(&policy, &halves).unwrap().texts, halves);
}

/// Texts with many digits and marks, and nothing in them to hide.
const HARMLESS: [&str; 60] = [
    "Order 4012-8888-1881 shipped; invoice 2026-000417, ref 5500-0000-0000-0005.",
    "order 100-2345678-9012345",
    "SKU 4005-1234-77, EAN 9783161484100, ISBN 978-3-16-148410-0",
    "tracking 1Z999AA10123456784 and 9400 1000 0000 0000 0000 00",
    "2026-12-01 05:10:51, 01.12.2026, 12/01/2026, 1 December 2026",
    "2026-12-01T05:10:51.123456789Z and 2026-12-01T05:10:51+01:00",
    "20261201051051 1764565851 1764565851123 1764565851123456789",
    "5:30, 17:45:12.123, 2h 45m, 3.5 ms, 4 111 000 people",
    "1.2.3, 1.2.4, 2.0.0-rc.1, 10.15.7, 4.11.111-1111",
    "serde 1.0.228, tokio 1.48.0, http 1.4.0, bytes 1.11.0",
    "| 2021 | 2022 | 2023 | 2024 |\n| 4512 | 3871 | 4019 | 4388 |",
    "4512\t3871\t4019\t4388\n4600\t3901\t4102\t4401",
    "x = [12, 45, 78, 23, 56, 89, 10, 44]",
    "44,  45,  46,  47,  48,  49,  50,  51,",
    "3440904, 13140233, 4751624, 15761673",
    "0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610",
    "3 1 4 1 5 9 2 6 5 3 5 8 9 7 9 3",
    "3.14159265358979323846 2.718281828459045 0.4111111111111111",
    "lotto 4 17 23 31 38 45 superzahl 6",
    "pages 12-15, 101-104, pp. 233-240; lines 4-11",
    "12 345 678,90 EUR; $1,234,567.89; 1.234.567,89",
    "192.168.0.1:8080, 10.0.0.0/8, 255.255.255.255",
    "fe80::1ff:fe23:4567:890a, 2001:db8:85a3::8a2e:370:7334",
    "00:1B:44:11:3A:B7 and 9C-B6-D0-EE-29-01",
    "550e8400-e29b-41d4-a716-446655440000",
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha256:4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "git show 4b825dc..9a0f3e1, HEAD@{1}, v2.1.0-4-g9a0f3e1",
    "#4fc3f7 rgb(79, 195, 247) hsl(199, 92%, 64%)",
    "let data = 0x4008000000000000_u64;",
    "NL80211_CMD_UPDATE_FT_IES = 96, BE32_TO_CPU(x), DE10_NANO",
    "for i in 0..16 { a[i] = b[i] * 4 + 1; } // 4 * 1 ** 2",
    "weights @ self.matrix.T + np.dot(q @ k.transpose, v)",
    "def f(*args, **kwargs): return a * b ** c",
    "@media (max-width: 600px) { .a::before { content: '\\201C'; } }",
    "r\"^\\d{4}-\\d{2}$\" and \"\\u00e9\\x41\\n\"",
    "if a < b && c > d || e <= f { x <<= 2; }",
    "<p>a &lt; b &amp;&amp; c</p> &copy; 2026 &mdash; AT&T R&D",
    "https://example.com/a%20b?c=%2Fd&e=100%25#f",
    "import x from '@scope/pkg@1.2.3'; npm i left-pad@1.3.0",
    "closure@src/main.rs:29:19: 33:6",
    "me @ the office, you @ home, 5 @ 3.10 each, x@y",
    "Meet us @ www.example.com or follow @handle.",
    "5-4-3-2-1, 1-800 flowers, 24/7, 50/50, 9-to-5",
    "Section 4.1.1.1.1, clause 12(3)(a), Art. 5 Abs. 2",
    "+5 degrees, -10 C, 20%, 3/4, 1:1000, 100 x 200 mm",
    "7.45 from pier 3, costs 12.50; wind 4 m/s, 1013 hPa",
    "Psalm 119:105, Joh 3,16; 22.-24. May",
    "aws s3 cp s3://bucket/key . --secret-name my-secret-name",
    "the secret of a good soup; secrets/src/main/java/com/example/Application.java",
    "secret: da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "`code` **bold** _it_ ~~gone~~ ~/dir ~5 <b>x</b> <br> C:\\new\\table",
    "Привет, мир! 2026 год, цена 4 111 рублей.",
    "今天是2026年12月1日，温度4度。价格：1234元。",
    "مرحبا ١٢٣ و ٤٥٦، שלום 2026, नमस्ते १२३",
    "ﬁne ½ ⅓ ² ₃ № ™ … “quotes” ‘x’ — – − × ÷ ①②③",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 e\u{301}a\u{308} ك\u{64e} 한국어 ไทย",
    "a\u{200b}b\u{ad}c \u{200e}d\u{feff} &nbsp;&shy; \\ & % < ~",
];

#[test]
fn harmless_texts_pass_byte_for_byte_at_every_chunking() {
    let policy = policy("blue whale");
    for text in HARMLESS {
        assert_eq!(screened(&policy, text).as_deref(), Some(text));
        assert_eq!(
            guarded_at_every_cut(&policy, text),
            (text.to_owned(), false)
        );
    }
}

#[test]
fn ordinary_words_leave_with_the_next_one() {
    let policy = policy("blue whale");
    let text =
        "The ferry leaves at noon — from the old pier, «as always»; wind: north-west, rain. ";
    let mut guard = Guard::new(Rc::clone(&policy));
    let (mut read, mut shown) = (0, 0);
    for word in text.repeat(3).split_inclusive(' ') {
        let before = read;
        read += word.len();
        shown += guard.push(word).text.len();
        assert!(
            shown >= before.saturating_sub(16),
            "{shown} of {read} at {word:?}"
        );
    }
}
