//! What is masked, and what is left alone.

use super::*;
use crate::screen::mask;

const ALL: &str = "email,phone,card,iban,api-key";

fn masked(text: &str) -> String {
    let policy = Policy::parse(ALL, "").unwrap();
    mask(&policy, text, &mut Placeholders::default())
}

/// `<` and `>` stand around what must be masked.
fn check(kind: Kind, marked: &str) {
    let text = marked.replace(['<', '>'], "");
    let mut expected = String::new();
    let mut rest = marked;
    while let Some((before, after)) = rest.split_once('<') {
        let (_, after) = after.split_once('>').unwrap();
        expected.push_str(before);
        expected.push_str(&format!("[{}_1]", kind.label()));
        rest = after;
    }
    expected.push_str(rest);
    assert_eq!(masked(&text), expected);
}

fn unchanged(texts: &[&str]) {
    for text in texts {
        assert_eq!(masked(text), *text);
    }
}

#[test]
fn emails() {
    for text in [
        "<bob@example.com>",
        "write to <bob.smith+list@mail.example.co.uk>.",
        "(<bob@example.com>)",
        "mailto:<bob@example.com>?subject=hi",
        "<BOB_1@EXAMPLE.COM>, please",
        "<jürgen@müller.de>!",
        "联系<bob@example.com>谢谢",
        "bob@localhost or <bob@example.org>",
        "<a@b.cc>",
        "https://user:<pass@example.com>/path",
        "<o'neil@example.ie>",
        "<bob@example.com>-",
        "Ask <bob@example.com>. Then go.",
        "[<bob@example.com>]",
        "{\"to\":\"<bob@example.com>\"}",
        "mailto:<bob@example.com>:",
        "<bob+tag@a.b.c.example.museum>?",
        "<bob@163.com>",
        "<a1@4x.org>",
        "<dev@rust.rs>, <dev@rust.rs>",
        "<x@team.app> <x@team.app>",
        "<x@shop.zip>",
        "<me@studio.photography>",
        "<bob@json.example.com>",
        "<bob@service.example.com>",
        "<bob@example.services>",
        "<bob@targeted.net>",
        "<bob@png.de>",
        "<bob@example.com>: hello",
        "<bob@example.com>:hunter2",
        "<bob@example.com>:443/path",
        "https://user:<pass@example.com>:8443/v1",
        "<bob@example.com>:",
        "<bob@example.com>.pdf",
        "<bob@1.2x.org>",
    ] {
        check(Kind::Email, text);
    }
    unchanged(&[
        "@mention",
        "a @ b.com",
        "bob@localhost",
        "bob@.com",
        "bob@example.c",
        "5@3.1",
        "@",
    ]);
}

#[test]
fn what_only_looks_like_an_email_stays() {
    unchanged(&[
        // Files.
        "icon@2x.png",
        "assets/logo@3x.JPG and Icon-60@2x.webp, photo@night.jpeg.",
        "report@2024.pdf",
        "dump@host.tar.gz",
        "app@dev.config.json",
        "style@dark.css?v=1",
        // Units of systemd, and names of a local network.
        "getty@tty1.service",
        "systemctl start wg-quick@wg0.service.",
        "user@1000.service and foo@bar.socket",
        "openvpn@home.target getty@tty1.service.d",
        "backup@daily.timer",
        "srv@data.mount",
        "pi@raspberry.local",
        // Where to copy from.
        "git@github.com:org/repo.git",
        "git clone git@gitlab.example.com:repo.git",
        "scp user@host:~/dir .",
        "user@host.example.com:~/dir",
        "user@host.example.com:~$ ls",
        "rsync user@host.example.com:/var/www/ .",
        "deploy@host.example.com:./site",
        "deploy@host.example.com:releases/v1",
        // Packages and versions.
        "@types/node@18",
        "@types/node@18.1.2",
        "pkg@1.2.3",
        "pkg@1.2.3-beta.rc",
        "pkg@v1.20.3-alpha.beta",
        "pkg@1.2.x",
        "golang.org/x/tools@v0.1.12",
        "image@sha256:abc",
        "HEAD@{1}",
        "a@b",
    ]);
}

#[test]
fn cards() {
    for text in [
        "<4111111111111111>",
        "<4111 1111 1111 1111> 12/27",
        "<4111-1111-1111-1111>.",
        "Amex <3782 822463 10005>, yes",
        "pay <5555555555554444> now",
        "<6011111111111117>",
        "5 <4111 1111 1111 1111>",
    ] {
        check(Kind::Card, text);
    }
    unchanged(&[
        "4111111111111112",
        "4111 1111 1111 1112",
        "order 1234567890123452",
        "41111111111111111111111",
        "0.4111111111111111",
        "4111111111111111x",
    ]);
}

#[test]
fn cards_however_they_are_spelled() {
    for between in [
        "\u{a0}",
        "\u{2009}",
        "\u{202f}",
        "\u{3000}",
        "  ",
        "   ",
        "\t",
        "\n",
        "\r\n",
        ".",
        "/",
        ",",
        ", ",
        " - ",
        "--",
        "\u{2010}",
        "\u{2011}",
        "\u{2013}",
        "\u{2014}",
        "\u{2212}",
        "\u{ff0d}",
        "\u{2013} ",
        "\u{b7}",
        "\u{200b} ",
        " \u{ad}",
        "\u{200b}",
        "\u{ad}",
        "\u{feff}",
        "\u{2060}",
        "\u{200d}\u{200c}",
    ] {
        for groups in [
            &["4111", "1111", "1111", "1111"][..],
            &["3782", "822463", "10005"],
        ] {
            check(Kind::Card, &format!("card <{}>; ok", groups.join(between)));
        }
    }
    let unseen = "\u{200b}".repeat(20);
    check(
        Kind::Card,
        &format!("<4111{unseen}1111{unseen}1111{unseen}1111>"),
    );
}

#[test]
fn cards_in_digits_of_any_script() {
    for (text, expected) in [
        ("４１１１１１１１１１１１１１１１", "[CARD_1]"),
        ("４１１１ １１１１ １１１１ １１１１!", "[CARD_1]!"),
        ("٤١١١١١١١١١١١١١١١", "[CARD_1]"),
        ("۴۱۱۱ ۱۱۱۱ ۱۱۱۱ ۱۱۱۱", "[CARD_1]"),
        ("4１1١1۱11 11111111", "[CARD_1]"),
        ("4１1١ 1۱11 1111 1111", "[CARD_1]"),
        ("4\u{200b}1\u{ad}1\u{2060}1111111111111", "[CARD_1]"),
        (
            "4111111111111111 = ４１１１ １１１１ １１１１ １１１１",
            "[CARD_1] = [CARD_1]",
        ),
        ("4111111111111111\u{200b}x", "[CARD_1]\u{200b}x"),
    ] {
        assert_eq!(masked(text), expected);
    }
}

#[test]
fn other_numbers_that_are_grouped_like_cards_stay() {
    unchanged(&[
        "4111    1111    1111    1111",
        "4111,1111,1111,1112",
        "2021, 2022, 2023, 2024",
        "41 11 1111 1111 1111",
        "４１１１１１１１１１１１１１１２",
        "４",
        "漢字 ﬁ ؟",
    ]);
}

#[test]
fn ibans() {
    for text in [
        "<DE89370400440532013000>",
        "<DE89 3704 0044 0532 0130 00>.",
        "IBAN: <gb29 nwbk 6016 1331 9268 19>",
        "<NO9386011117947>, Oslo",
        "<FR1420041010050500013M02606>",
        "<MT84MALT011000012345MTLCAST001S>",
    ] {
        check(Kind::Iban, text);
    }
    unchanged(&[
        "DE89370400440532013001",
        "DE89 3704 1044 0532 0130",
        "XX89370400440532013000",
        "DE89370400440532013000A",
        "DEAR friend",
        "in IT27 room",
    ]);
}

#[test]
fn phones() {
    for text in [
        "<+49 30 1234567>",
        "call <+49 (0) 30 1234567>!",
        "<+1 (555) 234-5678>",
        "<+442079460958> now",
        "<+33 6 12 34 56 78>",
        "<+49301234567> 5 times",
        "<0049 30 1234567>",
        "<030 1234567>",
        "<030/1234567>",
        "<(030) 1234567>, Berlin",
        "<01711234567>",
        "<0171-1234567>",
        "<06 12 34 56 78>",
        "<555-234-5678>",
        "(<555-234-5678>)",
        "<(555) 234-5678>",
        "<1-555-234-5678>",
        "Tel:<030 1234567>",
        "电话<01711234567>",
    ] {
        check(Kind::Phone, text);
    }
    unchanged(&[
        "01.02.2026",
        "01.02.2026 12:30",
        "01.02.2026 1030",
        "2026-01-02 03:04:05",
        "2026-01-02T03:04:05+01:00",
        "12/31/2026",
        "1 000 000 000",
        "1,234,567.89",
        "1234567890",
        "$1234567.00",
        "0.123456789",
        "3.0123456789",
        "5 - 3 + 12",
        "3+12345678901",
        "192.168.100.100",
        "10 20 30 40 50 60",
        "555 234 5678 901",
        "pages 100-200, 300-4000",
        "version 1.2.3-4",
        "007",
        "9780306406157",
        "+5 degrees",
        "x+1234567890",
    ]);
}

#[test]
fn keys() {
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEowIBAAKCAQEA\nAb+/9=\n\
               -----END RSA PRIVATE KEY-----";
    let line = pem
        .replace("Proc-Type: 4,ENCRYPTED\n\n", "")
        .replace('\n', "\\n");
    for text in [
        "<sk-abcdefghijklmnop1234>".to_owned(),
        "key=<sk-proj-AbCdEf0123456789_-xyz>; next".into(),
        "Bearer <sk-ant-a1b2c3d4e5f6g7h8>".into(),
        "<AKIAIOSFODNN7EXAMPLE>, then".into(),
        "\"<ghp_abcdefghijklmnopqrstuvwxyz0123456789>\"".into(),
        "<xoxb-123456789012-abcdef>".into(),
        "<eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl>.".into(),
        "<eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0>. Next".into(),
        format!("<{pem}>\nBest wishes"),
        format!("{{\"key\": \"<{line}>\\n\"}}"),
        format!(
            "<-----BEGIN PRIVATE KEY----- {} -----END PRIVATE KEY-----> ok",
            "M".repeat(64)
        ),
        "<-----BEGIN PRIVATE KEY-----> is the first line".into(),
        "<-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nAb9=>".into(),
        "<-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA>\n, friend".into(),
    ] {
        check(Kind::ApiKey, &text);
    }
    unchanged(&[
        "sk-learn-tutorial-for-advanced-readers",
        "task-abcdefghijklmnop1234",
        "sk-short1",
        "AKIA",
        "eyJ",
        "eyJhbGciOiJIUzI1NiJ9",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "----- BEGIN -----",
        "---",
    ]);
}

#[test]
fn a_key_longer_than_any_leaves_nothing_behind() {
    let long = format!("a sk-{} b", "Ab1-".repeat(KEY_BYTES_MAX));
    assert_eq!(masked(&long), "a [API_KEY_1] b");
}

#[test]
fn the_same_value_has_the_same_placeholder() {
    assert_eq!(
        masked("bob@x.org, amy@x.org, BOB@x.org and 4111 1111 1111 1111 = 4111111111111111"),
        "[EMAIL_1], [EMAIL_2], [EMAIL_1] and [CARD_1] = [CARD_1]"
    );
}

#[test]
fn only_the_chosen_kinds_are_masked() {
    let policy = Policy::parse("email", "").unwrap();
    let text = "bob@example.com 4111111111111111";
    let mut placeholders = Placeholders::default();
    assert_eq!(
        mask(&policy, text, &mut placeholders),
        "[EMAIL_1] 4111111111111111"
    );
    assert_eq!(
        placeholders.findings(),
        [Finding {
            kind: "email",
            count: 1
        }]
    );
    let none = Policy::parse("", "").unwrap();
    assert_eq!(mask(&none, text, &mut Placeholders::default()), text);
}

#[test]
fn every_prefix_of_hostile_text_is_read_in_linear_time() {
    // A scanner that is quadratic in the text would need minutes for these.
    for pattern in [
        "a.",
        "a",
        "sk-",
        "eyJ-",
        "eyJ.",
        "0 ",
        "4111 ",
        "DE89 ",
        "-",
        "-----BEGIN ",
        "ü",
        "4\u{200b}",
        "4111\u{200b}\u{ad}",
        "４",
        "4111,\n",
        "4 ",
        "漢",
        "e\u{301}",
        "\u{301}",
        "\u{200b}",
        "*",
        "&",
        "&amp;",
        "&#",
        "%25",
        "%F0%9F",
        "\\",
        "\\ud835",
        "<b>",
        "<",
        "a@",
        "a @ ",
        "a [dot] ",
        "a [at] b [dot] ",
        "secret ",
        "secretAa1/",
        "+1 2 ",
    ] {
        let text = pattern.repeat(20_000 / pattern.len());
        let whole = masked(&text);
        assert!(!whole.is_empty());
        let policy = std::rc::Rc::new(Policy::parse(ALL, "blue whale").unwrap());
        let mut guard = crate::guard::Guard::new(policy);
        let mut pieces = String::new();
        for (at, char) in text.char_indices() {
            pieces += &guard.push(&text[at..at + char.len_utf8()]).text;
        }
        pieces += &guard.finish().text;
        assert_eq!(pieces, whole, "{pattern:?}");
    }
}

#[test]
fn a_text_of_which_every_character_is_an_edit_takes_little_memory() {
    let policy = Policy::parse(ALL, "").unwrap();
    for odd in ["~", "\u{301}", "é", "\u{200b}", "&#64;", "**"] {
        let text = odd.repeat((4 << 20) / odd.len());
        let mut masker = Masker::default();
        let (mut placeholders, mut out) = (Placeholders::default(), String::new());
        masker.push(&policy, &text, &mut placeholders, &mut out);
        let bytes = masker.view.capacity_bytes();
        assert!(bytes < 8 << 20, "{bytes} bytes for {odd:?}");
        masker.finish(&policy, &mut placeholders, &mut out);
        assert_eq!(out, text);
    }
}

#[test]
fn whole_characters_are_replaced_and_the_rest_stays() {
    for (text, expected) in [
        ("bob@x.org\u{301} ok", "[EMAIL_1] ok"),
        ("e\u{301} o\u{308}bo@x.org.", "e\u{301} [EMAIL_1]."),
        ("4111111111111111\u{fe0f}\u{20e3}, ok", "[CARD_1], ok"),
        (
            "👩\u{200d}👧 4111111111111111 👩\u{200d}👧",
            "👩\u{200d}👧 [CARD_1] 👩\u{200d}👧",
        ),
        ("&lt;bob@x.org&gt;", "&lt;[EMAIL_1]&gt;"),
        ("**4111** *1111 1111 1111*", "**[CARD_1]*"),
        (
            "\u{200b}4111111111111111\u{200b}",
            "\u{200b}[CARD_1]\u{200b}",
        ),
        ("ﬀ@x.org ﬀ", "[EMAIL_1] ﬀ"),
        ("…4111111111111111…", "…[CARD_1]…"),
    ] {
        assert_eq!(masked(text), expected);
    }
}

#[test]
fn one_value_in_two_spellings_has_one_placeholder() {
    assert_eq!(
        masked("bob@x.org = bob&#64;X.ORG; 4111111111111111 = ４１１１*1111*1111 1111"),
        "[EMAIL_1] = [EMAIL_1]; [CARD_1] = [CARD_1]"
    );
}
