//! Lists as servers write them, and the age of an entry.

use super::*;

fn model(id: &str) -> Model {
    Model {
        id: id.into(),
        created: 0,
        owned_by: "unknown".into(),
        context_window: None,
        suggestions: Vec::new(),
    }
}

/// The models of a list with this entry between two plain ones.
fn between(entry: &str) -> Vec<Model> {
    let body = format!(r#"{{"object":"list","data":[{{"id":"first"}},{entry},{{"id":"last"}}]}}"#);
    parse(body.as_bytes()).unwrap_or_else(|| panic!("{entry}"))
}

#[test]
fn a_list_of_our_engine() {
    let body = br#"{"object":"list","data":[
        {"id":"skerry-demo","object":"model","created":1700000000,"owned_by":"skerry",
         "root":"/models/x","max_model_len":2048,"permission":[],
         "suggestions":["What is 2*3?",7,""]}]}"#;
    let expected = Model {
        created: 1_700_000_000,
        owned_by: "skerry".into(),
        context_window: Some(2048),
        suggestions: vec!["What is 2*3?".into()],
        ..model("skerry-demo")
    };
    assert_eq!(parse(body).unwrap(), [expected]);
}

#[test]
fn an_odd_field_takes_no_entry_away() {
    for (field, created, owned_by, window) in [
        (r#""created":null"#, 0, "unknown", None),
        (r#""created":1700000000.75"#, 1_700_000_000, "unknown", None),
        (r#""created":1.7e9"#, 1_700_000_000, "unknown", None),
        (r#""created":"1700000000""#, 1_700_000_000, "unknown", None),
        (r#""created":"2023-11-14T22:13:20Z""#, 0, "unknown", None),
        (r#""created":-5"#, 0, "unknown", None),
        (r#""created":-0.5"#, 0, "unknown", None),
        (r#""created":1e300"#, 0, "unknown", None),
        (r#""created":[1]"#, 0, "unknown", None),
        (r#""owned_by":null"#, 0, "unknown", None),
        (r#""owned_by":"""#, 0, "unknown", None),
        (r#""owned_by":{"name":"acme"}"#, 0, "unknown", None),
        (r#""owned_by":"acme""#, 0, "acme", None),
        (r#""max_model_len":4096"#, 0, "unknown", Some(4096)),
        (r#""max_model_len":4096.0"#, 0, "unknown", Some(4096)),
        (r#""max_model_len":"4096""#, 0, "unknown", Some(4096)),
        (r#""max_model_len":null"#, 0, "unknown", None),
        (r#""max_model_len":0"#, 0, "unknown", None),
        (r#""max_model_len":-1"#, 0, "unknown", None),
        (r#""max_model_len":4294967296"#, 0, "unknown", None),
        (r#""max_model_len":{}"#, 0, "unknown", None),
        (r#""context_window":131072"#, 0, "unknown", Some(131_072)),
        (r#""context_length":32768"#, 0, "unknown", Some(32_768)),
        (r#""max_context_length":32768"#, 0, "unknown", Some(32_768)),
        (r#""meta":{"n_ctx_train":8192}"#, 0, "unknown", Some(8192)),
        (
            r#""meta":{"n_ctx":4096,"n_ctx_train":8192}"#,
            0,
            "unknown",
            Some(4096),
        ),
        (r#""meta":null"#, 0, "unknown", None),
        (r#""meta":"n_ctx_train""#, 0, "unknown", None),
        (
            r#""max_model_len":0,"context_length":512"#,
            0,
            "unknown",
            Some(512),
        ),
    ] {
        let expected = Model {
            created,
            owned_by: owned_by.into(),
            context_window: window,
            ..model("odd")
        };
        assert_eq!(
            between(&format!(r#"{{"id":"odd",{field}}}"#)),
            [model("first"), expected, model("last")],
            "{field}"
        );
    }
}

#[test]
fn an_entry_without_a_name_takes_no_other_away() {
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(257));
    for entry in [
        "{}",
        "null",
        "7",
        "[]",
        r#""""#,
        r#"{"id":null}"#,
        r#"{"id":7}"#,
        r#"{"id":""}"#,
        r#"{"id":"a\nb"}"#,
        r#"{"id":"odd","size":1e999}"#,
        r#"{"id":"odd","description":"\ud800"}"#,
        // A second of the same name.
        r#"{"id":"first","created":7}"#,
        &long,
    ] {
        assert_eq!(between(entry), [model("first"), model("last")], "{entry}");
    }
}

#[test]
fn a_name_stands_in_several_places() {
    for entry in [
        r#"{"id":"odd"}"#,
        r#"{"name":"odd"}"#,
        r#"{"model":"odd"}"#,
        r#"{"id":null,"name":"odd"}"#,
        r#"{"id":"odd","name":"Odd One","model":"x"}"#,
        r#""odd""#,
    ] {
        assert_eq!(
            between(entry),
            [model("first"), model("odd"), model("last")],
            "{entry}"
        );
    }
}

#[test]
fn shapes_of_lists() {
    let m = || Some(vec![model("m")]);
    for (body, models) in [
        (r#"{"data":[{"id":"m"}]}"#, m()),
        (r#"[{"id":"m"}]"#, m()),
        (r#" ["m"]"#, m()),
        ("\u{feff}[\"m\"]", m()),
        (r#"{"models":[{"name":"m"}]}"#, m()),
        (r#"{"models":["x"],"data":["m"]}"#, m()),
        (r#"{"data":null,"models":["m"]}"#, m()),
        (r#"{"data":{},"models":["m"]}"#, m()),
        (r#"{"object":"list","data":null}"#, Some(Vec::new())),
        (r#"{"models":null}"#, Some(Vec::new())),
        (r#"{"data":[]}"#, Some(Vec::new())),
        ("[]", Some(Vec::new())),
        (r#"{"data":"m"}"#, None),
        (r#"{"error":{}}"#, None),
        ("<html>", None),
        ("null", None),
        ("", None),
        (r#"{"data":[{"id":"m"}"#, None),
    ] {
        assert_eq!(parse(body.as_bytes()), models, "{body}");
    }
    let not_utf8 = b"{\"data\":[{\"id\":\"m\",\"note\":\"\xff\"}]}";
    assert_eq!(parse(not_utf8), m());
}

#[test]
fn a_long_list_is_cut() {
    let ids: Vec<String> = (0..MODELS_MAX + 7).map(|n| format!("\"m{n}\"")).collect();
    let models = parse(format!("[{}]", ids.join(",")).as_bytes()).unwrap();
    assert_eq!(models.len(), MODELS_MAX);
}

#[test]
fn when_to_ask_again() {
    let mut served = Served::default();
    assert!(served.is_due(50_000, false, false));
    served.heard(Answer::Absent, 50_000);
    assert!(!served.is_due(50_999, false, false));
    assert!(served.is_due(51_000, false, false));
    served.heard(Answer::Models(Vec::new()), 51_000);
    assert!(!served.is_due(60_999, false, false));
    assert!(served.is_due(61_000, false, false));
    // Thought to be down: sooner.
    assert!(!served.is_due(51_999, true, false));
    assert!(served.is_due(52_000, true, false));
    served.heard(Answer::Absent, 61_000);
    assert!(served.is_known);
}

#[test]
fn a_backend_that_keeps_its_list_is_asked_seldom_where_its_models_are_configured() {
    let mut served = Served::default();
    served.heard(Answer::Status(404), 50_000);
    assert!(served.is_due(51_000, true, false));
    assert!(!served.is_due(59_999, true, true));
    assert!(served.is_due(60_000, false, true));
}

#[test]
fn a_refusal_is_news_once() {
    let mut served = Served::default();
    let status = |status| Some(Refused::Status(status));
    for (answer, news) in [
        (Answer::Absent, None),
        (Answer::Status(401), status(401)),
        (Answer::Status(401), None),
        // What is away in between has not changed its mind.
        (Answer::Absent, None),
        (Answer::Status(401), None),
        (Answer::Status(403), status(403)),
        (Answer::Unreadable, Some(Refused::Unreadable)),
        (Answer::Models(vec![model("m")]), None),
        (Answer::Status(403), status(403)),
    ] {
        assert_eq!(served.heard(answer.clone(), 1), news, "{answer:?}");
    }
    assert_eq!(served.models, [model("m")], "names that are known stay");
}

#[test]
fn a_long_list_of_small_values_takes_no_model_away_and_no_more_than_its_first_entries() {
    let many = |unit: &str| vec![unit; 400_000].join(",");
    let model = r#"{"id": "m"}"#;
    for (body, found) in [
        (format!(r#"{{"data": [{model}, {}]}}"#, many("0")), 1),
        (format!("[{model}, {}]", many("{}")), 1),
        (format!(r#"{{{}, "data": [{model}]}}"#, many(r#""":0"#)), 1),
        (
            format!(r#"{{"data": [{{"x": [{}]}}, {model}]}}"#, many("{}")),
            1,
        ),
        (format!(r#"{{"data": {}}}"#, "[".repeat(400_000)), 0),
        (format!(r#"{{"data": [{}]}}"#, many(r#""a""#)), 1),
    ] {
        let models = parse(body.as_bytes()).unwrap_or_default();
        let start: String = body.chars().take(60).collect();
        assert_eq!(models.len(), found, "{start}");
    }
    let names: Vec<String> = (0..100_000).map(|name| format!("\"m{name}\"")).collect();
    let models = parse(format!("[{}]", names.join(",")).as_bytes()).unwrap();
    assert_eq!(models.len(), MODELS_MAX);
}
