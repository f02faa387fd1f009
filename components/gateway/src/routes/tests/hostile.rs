//! Requests and answers that would build much from few bytes: what each of them holds at once
//! is bounded, and none is answered by a defect.

use super::script::{Backend, Script, finish, send, usage};
use super::*;
use crate::backend::chunk::Chunk;
use crate::body::{COPIES, bytes_held};
use crate::peak;
use crate::raw_json::Size;

const MIB: usize = 1 << 20;
/// What a small request takes, with what the script writes down.
const BASE_BYTES: usize = MIB;

/// Values that take more than their text, as elements of an array and as members of an object.
const ELEMENTS: [&str; 12] = [
    "0",
    "\"\"",
    "null",
    "[]",
    "{}",
    r#"{"":0}"#,
    r#"{"\u0061":"\n"}"#,
    r#"{"a":{"b":[{"c":{}}]}}"#,
    r#"{"type":"text","text":"a"}"#,
    r#"{"role":"user","content":"a"}"#,
    r#"{"id":"a","function":{"name":"f","arguments":{"":0}}}"#,
    r#"{"type":"function","function":{"name":"f","parameters":{"anyOf":[{}]}}}"#,
];
const MEMBERS: [&str; 4] = [r#""":0"#, r#""a":{}"#, r#""\u0061":[]"#, NUMBERED];
/// A member whose name is its place.
const NUMBERED: &str = "NUMBERED";

/// Whole bodies with a hole where many values go.
const BODIES: [&str; 26] = [
    r#"HOLE"#,
    r#"{"x":HOLE}"#,
    r#"{"model":HOLE,"messages":[{"role":"user","content":"hi"}]}"#,
    r#"{"model":"m","messages":HOLE}"#,
    r#"{"model":"m","messages":[HOLE]}"#,
    r#"{"model":"m","messages":[{"role":HOLE,"content":"hi"}]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":HOLE}]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":[HOLE]}]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi","x":HOLE}]}"#,
    r#"{"model":"m","messages":[{"role":"assistant","content":"hi","audio":HOLE}]}"#,
    r#"{"model":"m","messages":[{"role":"assistant","tool_calls":HOLE}]}"#,
    r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":HOLE}}]}]}"#,
    r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c","x":HOLE,"function":{"name":"f"}}]}]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":HOLE}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"anyOf":HOLE}}}]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","x":HOLE,"function":{"name":"f"}}]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tool_choice":HOLE}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"schema":HOLE}}}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"structured_outputs":{"json":HOLE}}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":HOLE}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"logit_bias":HOLE}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stop":HOLE}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stop_token_ids":HOLE}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"modalities":HOLE}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"skerry":HOLE}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":HOLE}"#,
];

/// Fills of a hole with about so many bytes.
fn fills(bytes: usize) -> impl Iterator<Item = String> {
    let many = move |(open, unit, close): (char, &str, char)| {
        let mut fill = String::from(open);
        let mut place = 0;
        while fill.len() + unit.len() + 8 < bytes {
            if place > 0 {
                fill.push(',');
            }
            match unit {
                NUMBERED => fill.push_str(&format!("\"{place}\":\"\"")),
                _ => fill.push_str(unit),
            }
            place += 1;
        }
        fill.push(close);
        fill
    };
    let elements = ELEMENTS.into_iter().map(|unit| ('[', unit, ']'));
    let members = MEMBERS.into_iter().map(|unit| ('{', unit, '}'));
    let deep = ["[", r#"{"a":"#].into_iter().map(move |open| {
        let close = if open == "[" { "]" } else { "}" };
        let levels = bytes / (open.len() + 1);
        format!("{}0{}", open.repeat(levels), close.repeat(levels))
    });
    elements.chain(members).map(many).chain(deep)
}

/// Sends a body: the status, and what was held at once over what it may.
#[track_caller]
fn check_body(body: &str) -> u16 {
    let backend = Backend::answers([text("ok"), finish("stop"), usage(1, 1)]);
    let script = Script::new([backend]);
    let (got, peak) = peak::of(|| {
        send(
            &script,
            "POST",
            "/v1/chat/completions",
            Some("Bearer key"),
            body.as_bytes(),
        )
    });
    let values = Size::of(body).values.min(1 << 17);
    let may = BASE_BYTES + COPIES * bytes_held(body.len(), values);
    let start: String = body.chars().take(200).collect();
    assert!(
        peak <= may,
        "{peak} bytes of {may} held for {} bytes: {start}",
        body.len()
    );
    assert!(
        matches!(got.status, 200 | 400),
        "{} for {start}: {}",
        got.status,
        got.text()
    );
    assert!(
        got.status == 200 || got.text().len() < 1_000,
        "{start}: {}",
        got.text()
    );
    got.status
}

#[test]
fn a_body_of_small_values_is_bounded_by_what_it_builds() {
    let (mut served, mut refused) = (0, 0);
    // As many values as just fit, and a whole body of them.
    for bytes in [200_000, BODY_BYTES_MAX - 1_000] {
        let fills: Vec<String> = fills(bytes).collect();
        for (place, body) in BODIES.iter().enumerate() {
            for (kind, fill) in fills.iter().enumerate() {
                // Every place and every kind; of the pairs a part, for time's sake.
                let one_of = if bytes < MIB { 5 } else { 52 };
                if (place + kind) % one_of == 0 {
                    match check_body(&body.replace("HOLE", fill)) {
                        200 => served += 1,
                        _ => refused += 1,
                    }
                }
            }
        }
    }
    assert!(
        served > 10 && refused > 60,
        "{served} served, {refused} refused"
    );
}

#[test]
fn a_body_of_one_long_text_is_bounded_too() {
    for text in ["a", "\\u0001", "\\\"", "\\ud83d\\ude00"] {
        for body in [
            r#"{"model":"m","messages":[{"role":"user","content":"HOLE"}]}"#,
            r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"HOLE"}}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","description":"HOLE"}}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"HOLE":0}"#,
        ] {
            let hole = text.repeat((BODY_BYTES_MAX - 1_000) / text.len());
            check_body(&body.replace("HOLE", &hole));
        }
    }
}

/// A token with 20 alternatives, as our engine writes it.
fn logprob(token: &str) -> Value {
    let one = |place: i32| {
        json!({"token": format!("{token}{place}"), "logprob": -0.123_456_789 - f64::from(place),
        "bytes": [112, 104, 105, 110, 103, 32]})
    };
    let mut entry = one(0);
    entry["top_logprobs"] = (0..20).map(one).collect();
    entry
}

fn with_logprobs(token: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {"content": token},
        "logprobs": {"content": [logprob(token)]}, "finish_reason": null}]})
}

fn ask_for_logprobs(tokens: usize) -> (u16, Value, usize, usize) {
    let event = format!("data: {}\n\n", with_logprobs("token "));
    let end = format!("data: {}\n\ndata: [DONE]\n\n", finish("stop"));
    let written = event.len() * tokens;
    let script = Script::new([Backend::says(
        std::iter::repeat_n(event, tokens).chain([end]),
    )]);
    let (got, peak) = peak::of(|| {
        drive_raw(
            &script,
            &ask(json!({"logprobs": true, "top_logprobs": 20})).to_string(),
        )
    });
    (got.status, got.json(), peak, written)
}

fn drive_raw(script: &Script, body: &str) -> super::script::Got {
    send(
        script,
        "POST",
        "/v1/chat/completions",
        Some("Bearer key"),
        body.as_bytes(),
    )
}

#[test]
fn eight_thousand_tokens_with_alternatives_fit_into_one_object() {
    let (status, body, peak, written) = ask_for_logprobs(8_000);
    assert_eq!(status, 200);
    let tokens = body["choices"][0]["logprobs"]["content"].as_array();
    assert_eq!(tokens.map(Vec::len), Some(8_000));
    assert!(written > 10 * MIB, "{written}");
    assert!(peak < 2 * written + 4 * MIB, "{peak} held for {written}");
}

#[test]
fn an_answer_that_does_not_fit_into_one_object_ends_with_words() {
    let (status, body, peak, _) = ask_for_logprobs(30_000);
    assert_eq!(status, 400);
    assert_eq!(body["error"]["code"], "answer_too_large");
    assert!(peak < 2 * 24 * MIB + 4 * MIB, "{peak}");
}

/// Events with a hole where many values go.
const EVENTS: [&str; 14] = [
    r#"HOLE"#,
    r#"{"x":HOLE}"#,
    r#"{"choices":HOLE}"#,
    r#"{"choices":[HOLE]}"#,
    r#"{"choices":[{"index":0,"delta":HOLE}]}"#,
    r#"{"choices":[{"index":HOLE,"delta":{}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":HOLE}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"a","reasoning":HOLE}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":HOLE}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":HOLE}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":HOLE}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":HOLE}}]}"#,
    r#"{"choices":[],"usage":HOLE}"#,
    r#"{"error":HOLE}"#,
];

#[test]
fn an_event_of_small_values_is_bounded_by_what_it_builds() {
    for (kind, fill) in fills(MIB / 2).enumerate() {
        for (place, event) in EVENTS.into_iter().enumerate() {
            if (place + kind) % 3 == 0 {
                let event = event.replace("HOLE", &fill);
                let (_, peak) = peak::of(|| drop(Chunk::parse(event.as_bytes())));
                let start: String = event.chars().take(120).collect();
                assert!(peak < 4 * MIB, "{peak} held for {start}");
            }
        }
    }
}

#[test]
fn a_hostile_backend_is_a_failed_backend_or_says_nothing() {
    for (place, fill) in fills(MIB / 2).enumerate() {
        let event = EVENTS[place % EVENTS.len()].replace("HOLE", &fill);
        let whole = format!("data: {event}\n\n");
        let script = Script::new([Backend::says([whole])]);
        let got = drive_raw(&script, &ask(json!({"logprobs": true})).to_string());
        assert!(matches!(got.status, 200 | 502), "{}", got.text());
    }
    // One event that is longer than any, and a document likewise.
    for start in ["data: ", "{"] {
        let piece = "x".repeat(64 << 10);
        let pieces = std::iter::once(start.to_owned()).chain(std::iter::repeat_n(piece, 256));
        let script = Script::new([Backend::says(pieces)]);
        let ((), peak) = peak::of(|| {
            let got = drive_raw(&script, &ask(json!({})).to_string());
            assert_eq!(got.status, 502);
        });
        assert!(peak < 16 * MIB, "{peak}");
    }
}

#[test]
fn log_probabilities_without_a_text_come_to_an_end() {
    let mut event = with_logprobs("token ");
    event["choices"][0]["delta"] = json!({});
    let event = format!("data: {event}\n\n");
    let count = 16 * MIB / event.len();
    let script = Script::new([Backend::says(std::iter::repeat_n(event, count))]);
    let (got, peak) = peak::of(|| drive_raw(&script, &ask(json!({"logprobs": true})).to_string()));
    assert_eq!(got.status, 502);
    assert!(peak < 8 * MIB, "{peak}");
}
