//! Phrases that must be found, and words that must not be taken for them.

use super::*;

/// Where the text is cut: in one piece, and character by character.
fn find(list: &str, text: &str) -> Option<usize> {
    let list = BlockList::parse(list).unwrap();
    let mut whole = Detector::default();
    let in_one = whole.push(&list, text).or_else(|| whole.finish(&list));
    let mut pieces = Detector::default();
    let mut buffer = [0; 4];
    let in_pieces = text
        .chars()
        .find_map(|char| pieces.push(&list, char.encode_utf8(&mut buffer)))
        .or_else(|| pieces.finish(&list));
    assert_eq!(in_one, in_pieces, "{text:?}");
    in_one.map(|found| found.cut_at)
}

#[test]
fn phrases_are_found_at_word_borders() {
    let list = "blue whale, secret , c++";
    assert_eq!(find(list, "a blue whale swims"), Some(2));
    assert_eq!(find(list, "the secret"), Some(4));
    assert_eq!(find(list, "(Secret)"), Some(1));
    assert_eq!(find(list, "use C++, please"), Some(4));
    assert_eq!(find(list, "secretary"), None);
    assert_eq!(find(list, "topsecret"), None);
    assert_eq!(find(list, "a blue  blue\twhale"), Some(8));
    assert_eq!(find(list, "blue"), None);
    assert_eq!(find("", "anything"), None);
}

#[test]
fn evasions() {
    let list = "blue whale";
    for text in [
        "BLUE WHALE",
        "blue     whale",
        "blue\n\twhale",
        "blue\u{a0}whale",
        "bl\u{200b}ue wh\u{ad}ale",
        "blue \u{200b} whale",
        "ｂｌｕｅ　ｗｈａｌｅ",
        "𝐛𝐥𝐮𝐞 𝐰𝐡𝐚𝐥𝐞",
        "\u{feff}blue whale\u{200d}",
    ] {
        assert!(find(list, text).is_some(), "{text:?}");
    }
    let spaces = " ".repeat(5000);
    assert!(find(list, &format!("blue{spaces}whale")).is_some());
}

#[test]
fn accents_and_scripts() {
    assert_eq!(find("café", "ein CAFE\u{301}!"), Some(4));
    assert_eq!(find("cafe\u{301}", "ein Café!"), Some(4));
    assert_eq!(find("cafe", "ein Café!"), None);
    assert_eq!(find("größe", "die GRÖSSE"), None);
    assert_eq!(find("größe", "die GRÖßE"), Some(4));
    assert_eq!(find("секрет", "Мой СЕКРЕТ."), Some(7));
    assert_eq!(find("секрет", "секретарь"), None);
    // No spaces between words.
    assert_eq!(find("禁止", "这是禁止的"), Some(6));
}

#[test]
fn what_may_still_become_a_phrase_is_held_back() {
    let list = BlockList::parse("blue whale").unwrap();
    let mut detector = Detector::default();
    let mut clear = |text: &str| {
        assert_eq!(detector.push(&list, text), None);
        detector.clear_until()
    };
    assert_eq!(clear("a red"), 5);
    assert_eq!(clear(" b"), 6);
    assert_eq!(clear("lue"), 6);
    assert_eq!(clear("s "), 12);
    // Not for ever: white space flows on, and the phrase is found all the same.
    assert_eq!(clear("blue"), 12);
    assert_eq!(clear(&" ".repeat(HOLD_BYTES_MAX - 4)), 12);
    assert_eq!(clear(" "), 12 + HOLD_BYTES_MAX + 1);
    assert_eq!(detector.push(&list, "whale"), None);
    assert_eq!(
        detector.finish(&list),
        Some(Found {
            cut_at: 12 + HOLD_BYTES_MAX + 1
        })
    );
}

#[test]
fn lists_are_bounded() {
    assert!(BlockList::parse(&vec!["x"; PHRASES_MAX].join(",")).is_some());
    assert!(BlockList::parse(&vec!["x"; PHRASES_MAX + 1].join(",")).is_none());
    assert!(BlockList::parse(&"x".repeat(PHRASE_CHARS_MAX)).is_some());
    assert!(BlockList::parse(&"x".repeat(PHRASE_CHARS_MAX + 1)).is_none());
}

#[test]
fn a_text_of_half_phrases_is_read_in_linear_time() {
    let list = format!("{}b, a-a-b", "a ".repeat(90));
    for pattern in ["a ", "a-", "a\u{200b}", "a\u{301}", "a**", "a.", "\u{430}"] {
        let text = pattern.repeat(2_000);
        assert_eq!(find(&list, &text), None, "{pattern:?}");
    }
}
