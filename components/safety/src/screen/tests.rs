//! Lists of texts: what is masked, how it is numbered throughout a list, what is refused.

use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn placeholders_are_shared_by_all_texts() {
    let policy = Policy::parse("email,card", "").unwrap();
    let given = texts(&["I am bob@x.org", "", "ask amy@x.org or bob@x.org"]);
    let screened = screen(&policy, &given).unwrap();
    assert_eq!(
        screened.texts,
        texts(&["I am [EMAIL_1]", "", "ask [EMAIL_2] or [EMAIL_1]"])
    );
    assert_eq!(
        screened.findings,
        [Finding {
            kind: "email",
            count: 3
        }]
    );
}

#[test]
fn one_blocked_text_refuses_the_whole() {
    let policy = Policy::parse("email", "blue whale").unwrap();
    let given = texts(&["fine", "a Blue  Whale!"]);
    assert_eq!(screen(&policy, &given), Err(Refusal::blocked()));
    // The border between two texts is one between words, and a model reads them as one.
    let given = texts(&["a blue", "whale"]);
    assert_eq!(screen(&policy, &given), Err(Refusal::blocked()));
    for given in [
        ["a blue", "whales"],
        ["a blue.", "whale"],
        ["ablue", "whale"],
    ] {
        assert!(screen(&policy, &texts(&given)).is_ok(), "{given:?}");
    }
}
