//! What is found in a schema before it is compiled: bounds, references, unknown keywords.

use serde_json::json;

use super::*;

/// A chain of references, each inside the subschema that `link` makes of it.
fn chain(links: usize, link: impl Fn(Json) -> Json) -> Json {
    let to = |i: usize| json!({"$ref": format!("#/$defs/d{i}")});
    let mut definitions: Map<String, Json> = (0..links)
        .map(|i| (format!("d{i}"), link(to(i + 1))))
        .collect();
    definitions.insert(format!("d{links}"), json!({"type": "string"}));
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

#[test]
fn a_chain_is_bounded_whatever_its_links_are() {
    let links: [fn(Json) -> Json; 8] = [
        |to| to,
        |to| json!({"allOf": [to]}),
        |to| json!({"anyOf": [to, {"type": "null"}]}),
        |to| json!({"oneOf": [to, {"type": "null"}]}),
        |to| json!({"type": "array", "items": to}),
        |to| json!({"type": "array", "prefixItems": [to]}),
        |to| json!({"type": "object", "properties": {"a": to}}),
        |to| json!({"type": "object", "additionalProperties": to}),
    ];
    for link in links {
        let fine = chain(100, link);
        assert_eq!(check(&fine), Ok(Seen { unsupported: None }), "{fine}");
        let deep = chain(5_000, link);
        assert_eq!(check(&deep), Err(SchemaFault::TooDeep));
    }
}

#[test]
fn what_the_compiler_would_copy_without_end_is_too_large() {
    let twice = |to: Json| {
        let met = json!({"type": "object", "allOf": [to]});
        json!({"type": "object", "properties": {"a": met, "b": met}})
    };
    let ways: Vec<Json> = (0..500).map(|i| json!({"minProperties": i})).collect();
    let large: Map<String, Json> = (0..500).map(|i| (format!("p{i}"), json!({}))).collect();
    let product = json!({"allOf": [{"anyOf": ways}, {"anyOf": [{"properties": large}]}]});
    let long = chain(
        330,
        |to| json!({"type": "object", "properties": {"a": {"type": "object", "allOf": [to]}}}),
    );
    for schema in [chain(40, twice), product, long] {
        assert_eq!(check(&schema), Err(SchemaFault::TooLarge));
    }
    // The same without another keyword beside the reference is not copied.
    let shared = chain(
        40,
        |to| json!({"type": "object", "properties": {"a": to, "b": to}}),
    );
    assert!(check(&shared).is_ok());
}

#[test]
fn patterns_that_one_string_must_meet_are_bounded() {
    let pattern = |i: usize| json!({"pattern": format!("[a{i}]")});
    let all =
        |n: usize| json!({"type": "string", "allOf": (0..n).map(pattern).collect::<Vec<_>>()});
    let apart = |n: usize| json!({"anyOf": (0..n).map(pattern).collect::<Vec<_>>()});
    let inside = |n: usize| {
        let one = |i| json!({"properties": {"a": pattern(i)}});
        json!({"allOf": (0..n).map(one).collect::<Vec<_>>()})
    };
    let chained = |n: usize| {
        let link = |to: Json| json!({"pattern": "a", "allOf": [to]});
        chain(n, link)
    };
    for schema in [all(8), apart(100), inside(8), chained(8)] {
        assert!(check(&schema).is_ok(), "{schema}");
    }
    for schema in [all(9), inside(9), chained(9)] {
        assert_eq!(
            check(&schema),
            Err(SchemaFault::TooManyPatterns),
            "{schema}"
        );
    }
    let names =
        |n: usize| -> Map<String, Json> { (0..n).map(|i| (format!("^{i}$"), json!({}))).collect() };
    assert!(check(&json!({"patternProperties": names(20)})).is_ok());
    let many = check(&json!({"patternProperties": names(40)}));
    assert_eq!(many, Err(SchemaFault::TooLarge));
}

#[test]
fn a_schema_of_which_no_finite_value_is_valid_is_found() {
    let refers = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": refers("b"), "b": refers("a")}}),
        json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}),
        json!({"type": "array", "minItems": 1, "items": {"$ref": "#"}}),
        json!({"type": "array", "minItems": 1, "prefixItems": [{"$ref": "#"}]}),
    ] {
        assert_eq!(check(&schema), Err(SchemaFault::Endless), "{schema}");
    }
    for schema in [
        json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}}),
        json!({"type": "array", "items": {"$ref": "#"}}),
        json!({"type": ["object", "null"], "required": ["a"], "properties": {"a": {"$ref": "#"}}}),
        json!({"type": "string", "$defs": {"unused": {"$ref": "#/$defs/unused"}}}),
    ] {
        assert!(check(&schema).is_ok(), "{schema}");
    }
}

#[test]
fn references_and_keywords_are_looked_at_where_they_count() {
    let dangling = check(&json!({"items": {"$ref": "#/$defs/missing"}}));
    let missing = "#/$defs/missing".to_owned();
    assert_eq!(dangling, Err(SchemaFault::Dangling(missing)));
    for keyword in UNSUPPORTED {
        let within = json!({"type": "object", "properties": {"a": {keyword: {}}}});
        let unsupported = Some(keyword);
        assert_eq!(check(&within), Ok(Seen { unsupported }));
    }
    for schema in [
        json!({"type": "object", "properties": {"not": {}, "if": {"type": "string"}}}),
        json!({"enum": [{"not": 1}], "default": {"if": 1}}),
        json!({"$defs": {"unused": {"not": {}}}}),
    ] {
        assert_eq!(check(&schema), Ok(Seen { unsupported: None }), "{schema}");
    }
}

#[test]
fn arguments_become_objects_and_nothing_else() {
    for (schema, want) in [
        (json!({}), Some(json!({"type": "object"}))),
        (json!(true), Some(json!({"type": "object"}))),
        (
            json!({"properties": {"a": {}}}),
            Some(json!({"properties": {"a": {}}, "type": "object"})),
        ),
        (
            json!({"type": ["object", "null"]}),
            Some(json!({"type": "object"})),
        ),
        (
            json!({"type": "object", "required": ["a"]}),
            Some(json!({"type": "object", "required": ["a"]})),
        ),
        (json!({"type": "string"}), None),
        (json!({"type": ["string", "null"]}), None),
        (json!(false), None),
    ] {
        assert_eq!(of_objects(&schema), want, "{schema}");
    }
}

#[test]
fn patterns_are_left_out_where_they_are_keywords() {
    let schema = json!({"type": "object", "additionalProperties": false,
        "patternProperties": {"^a": {}},
        "properties": {"pattern": {"type": "string", "pattern": "(?=a)", "maxLength": 3}},
        "anyOf": [{"$ref": "http://elsewhere"}, {"$ref": "#/x"}], "const": {"pattern": 1}});
    let want = json!({"type": "object",
        "properties": {"pattern": {"type": "string", "maxLength": 3}},
        "anyOf": [{}, {"$ref": "#/x"}], "const": {"pattern": 1}});
    assert_eq!(without_patterns(&schema), want);
}
