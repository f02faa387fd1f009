//! Documents cut at every byte, against the document in one piece.

use std::cell::RefCell;

use super::*;

/// Masks `SECRET` and `42`, refuses `FORBIDDEN`, and holds back a word until it is whole.
#[derive(Default)]
struct Words(RefCell<String>);

impl Words {
    fn judge(&self, whole: &str) -> Released {
        let refusal = whole.contains("FORBIDDEN").then(|| Refusal {
            message: "Not this.".into(),
            findings: Vec::new(),
        });
        let text = if refusal.is_some() {
            String::new()
        } else {
            whole
                .replace("SECRET", "[\"MASK\"]")
                .replace("42", "[\"N\"]")
        };
        Released { text, refusal }
    }
}

impl Guard for Words {
    fn push(&self, delta: &str) -> Released {
        let mut held = self.0.borrow_mut();
        held.push_str(delta);
        let whole = held.rfind(' ').map_or(0, |at| at + 1);
        let whole: String = held.drain(..whole).collect();
        self.judge(&whole)
    }

    fn boundary(&self) -> Released {
        self.finish()
    }

    fn finish(&self) -> Released {
        let rest = std::mem::take(&mut *self.0.borrow_mut());
        self.judge(&rest)
    }
}

/// The document as it leaves, and whether it was refused.
fn guarded(pieces: &[&str]) -> (String, bool) {
    let mut guard = JsonGuard::new(Words::default());
    let mut text = String::new();
    for piece in pieces {
        let released = guard.push(piece);
        text.push_str(&released.text);
        if released.refusal.is_some() {
            return (text, true);
        }
    }
    let released = guard.finish();
    text.push_str(&released.text);
    (text, released.refusal.is_some())
}

fn check(document: &str, expected: &str) {
    let (whole, is_refused) = guarded(&[document]);
    assert_eq!(whole, expected, "{document}");
    for first in (0..=document.len()).filter(|at| document.is_char_boundary(*at)) {
        for second in (first..=document.len()).filter(|at| document.is_char_boundary(*at)) {
            let pieces = [
                &document[..first],
                &document[first..second],
                &document[second..],
            ];
            let cut = guarded(&pieces);
            assert_eq!(cut, (whole.clone(), is_refused), "{pieces:?}");
        }
    }
}

#[test]
fn what_has_nothing_to_hide_passes_byte_for_byte() {
    for document in [
        r#"{"a": "b c", "n": 4111111111111111, "l": [true,false , null,-1.5e+3]}"#,
        r#" [ ] "#,
        "{}\n",
        r#"{"\u0053ECRE": "x\u0041\/\ud83d\ude00 é\n\"\\ y", "\u00e9": {"b": []}}"#,
        "[\"a raw\nbreak \"]",
        r#"["\ud800 lone", 1]"#,
        r#"{"cut": "in mid"#,
        r#"{"cut": "\u00"#,
        r#"{"a": tru, "b": 1}"#,
        "Sure! {\"a\": 1}",
        "",
        "43",
    ] {
        check(document, document);
    }
}

#[test]
fn texts_are_masked_and_structure_stays_valid() {
    for (document, expected) in [
        (
            r#"{"a": "my SECRET x", "SECRET": 1}"#,
            r#"{"a": "my [\"MASK\"] x", "[\"MASK\"]": 1}"#,
        ),
        (
            r#"{"\u0053ECRET" : [42, 43 , 42.0, -42, 7e42 ]}"#,
            r#"{"[\"MASK\"]" : ["[\"N\"]", 43 , "[\"N\"].0", "-[\"N\"]", "7e[\"N\"]" ]}"#,
        ),
        (r#"["SECRET", "SECRET"]"#, r#"["[\"MASK\"]", "[\"MASK\"]"]"#),
        (r#"["S\u0045CRET"]"#, r#"["[\"MASK\"]"]"#),
        // After a mask a value is spelled in the shortest way.
        (r#"["SECRET \u0041\n"]"#, r#"["[\"MASK\"] A\n"]"#),
        // No text spans two values.
        (r#"["SEC", "RET"]"#, r#"["SEC", "RET"]"#),
        (r#"{"a": "SECRET"#, r#"{"a": "[\"MASK\"]"#),
    ] {
        check(document, expected);
    }
}

#[test]
fn from_the_first_byte_that_is_no_json_on_all_is_text() {
    for (document, expected) in [
        (
            "Here: \"SECRET\" {\"a\": 1}",
            "Here: \"[\"MASK\"]\" {\"a\": 1}",
        ),
        ("{\"a\": 1} SECRET", "{\"a\": 1} [\"MASK\"]"),
        ("{a: SECRET}", "{a: [\"MASK\"]}"),
        ("{\"a\": nul SECRET", "{\"a\": nul [\"MASK\"]"),
        ("[4 2 SECRET]", "[4 2 [\"MASK\"]]"),
        ("[42x]", "[[\"N\"]x]"),
        ("[1] [\"SECRET\"]", "[1] [\"[\"MASK\"]\"]"),
    ] {
        check(document, expected);
    }
}

#[test]
fn a_refusal_ends_the_document() {
    let (text, is_refused) = guarded(&[r#"{"a": "fine", "b": "FORBID"#, r#"DEN", "c": 1}"#]);
    assert!(is_refused);
    assert_eq!(text, r#"{"a": "fine", "b": ""#);
}
