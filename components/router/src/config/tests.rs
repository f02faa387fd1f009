//! Configurations that are right, and the words about those that are not.

use super::*;

/// Stands wherever a value could be repeated.
const SECRET: &str = "sk-5ecret";

fn values() -> BTreeMap<String, String> {
    let pairs = [
        ("key", SECRET),
        ("key_with_line_end", "sk-5ecret\n"),
        ("empty", " \n"),
        ("broken", "sk-5ecret\u{1}x"),
    ];
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn parse(backends: &str) -> Result<Config, ConfigError> {
    Written::parse(backends)?.resolve(&values(), "", "")
}

/// One backend `a`, with these keys besides.
fn one(keys: &str) -> Result<Backend, ConfigError> {
    let written = format!(r#"[{{"name":"a","url":"http://a"{keys}}}]"#);
    Ok(parse(&written)?.backends.remove(0))
}

fn pairs(headers: &Headers) -> Vec<String> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

#[test]
fn a_whole_configuration() {
    let written = Written::parse(
        r#"[{"name":"b","url":"http://10.0.0.2:8000/","priority":2,"dialect":null},
            {"name":"a","url":"https://a.example/openai/v1","models":{"small":"llama-3.1-8b"},
             "dialect":"vllm","api_key_variable":"key","tools":true,"context_window":8192,
             "headers":{"X-Title":"Skerry","api-key":{"variable":"key"}}}]"#,
    )
    .unwrap();
    assert_eq!(written.variables().collect::<Vec<_>>(), ["key", "key"]);
    let config = written.resolve(&values(), " small ", "").unwrap();
    let [a, b] = &config.backends[..] else {
        panic!("{config:?}");
    };
    let alias = ("small".to_owned(), "llama-3.1-8b".to_owned());
    assert_eq!(
        *a,
        Backend {
            name: "a".into(),
            base_url: "https://a.example/openai/v1".into(),
            offered: Offered::Aliases(vec![alias]),
            priority: 0,
            dialect: Some(Dialect::Vllm),
            headers: a.headers.clone(),
            tools: Some(true),
            context_window: Some(8192),
        }
    );
    assert_eq!(
        pairs(&a.headers),
        [
            "authorization: Bearer sk-5ecret",
            "x-title: Skerry",
            "api-key: sk-5ecret"
        ]
    );
    assert_eq!(
        *b,
        Backend {
            name: "b".into(),
            base_url: "http://10.0.0.2:8000/v1".into(),
            offered: Offered::All,
            priority: 2,
            dialect: None,
            headers: Headers::default(),
            tools: None,
            context_window: None,
        }
    );
    assert_eq!(config.model_simple.as_deref(), Some("small"));
    assert_eq!(config.model_complex, None);
}

#[test]
fn a_url_without_a_path_has_the_usual_one() {
    for (url, base) in [
        ("http://a", "http://a/v1"),
        ("http://a/", "http://a/v1"),
        (" https://a:8443// ", "https://a:8443/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("http://[::1]", "http://[::1]/v1"),
        ("http://a/v1", "http://a/v1"),
        ("http://a/v1/", "http://a/v1"),
        (
            "https://api.groq.com/openai/v1",
            "https://api.groq.com/openai/v1",
        ),
        ("http://a:1//openai/v1", "http://a:1/openai/v1"),
        ("http://a/api", "http://a/api"),
    ] {
        let written = format!(r#"[{{"name":"a","url":"{url}"}}]"#);
        assert_eq!(parse(&written).unwrap().backends[0].base_url, base, "{url}");
    }
    for url in [
        "",
        "a:8000",
        "ftp://a",
        "http://",
        "http:///v1",
        "http://user:pass@a",
        "http://a?key=x",
        "http://a/v1#x",
        "http://a b",
        "http://a:0",
        "http://a:65536",
        "http://a:http",
        "http://::1",
        "http://[::1",
        "http://é",
    ] {
        let written = format!(r#"[{{"name":"a","url":"{url}"}}]"#);
        let error = parse(&written).unwrap_err().to_string();
        assert!(
            error.contains("backend `a`: `url` must be"),
            "{url}: {error}"
        );
    }
    for path in ["/v1/chat/completions", "/v1/models/"] {
        let written = format!(r#"[{{"name":"a","url":"http://a{path}"}}]"#);
        let error = parse(&written).unwrap_err().to_string();
        assert!(error.contains("the API's base"), "{path}: {error}");
    }
}

#[test]
fn a_key_is_a_variable() {
    for (variable, headers) in [
        ("key", &["authorization: Bearer sk-5ecret"][..]),
        ("key_with_line_end", &["authorization: Bearer sk-5ecret"]),
        ("empty", &[]),
    ] {
        let backend = one(&format!(r#","api_key_variable":"{variable}""#)).unwrap();
        assert_eq!(pairs(&backend.headers), headers, "{variable}");
        let backend = one(&format!(
            r#","headers":{{"api-key":{{"variable":"{variable}"}}}}"#
        ));
        let without_scheme: Vec<String> = headers
            .iter()
            .map(|header| header.replace("authorization: Bearer", "api-key:"))
            .collect();
        assert_eq!(
            pairs(&backend.unwrap().headers),
            without_scheme,
            "{variable}"
        );
    }
}

#[test]
fn models_are_names_or_aliases() {
    let names = |names: &[&str]| Offered::Names(names.iter().map(|n| (*n).to_owned()).collect());
    for (keys, offered) in [
        ("", Offered::All),
        (r#","models":null"#, Offered::All),
        (r#","models":["m","n"]"#, names(&["m", "n"])),
        (
            r#","models":{"m":"n"}"#,
            Offered::Aliases(vec![("m".into(), "n".into())]),
        ),
    ] {
        assert_eq!(one(keys).unwrap().offered, offered, "{keys}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (backends, words) in [
        ("", "EOF"),
        ("{}", "must be a list"),
        ("[]", "0 backends"),
        ("[1]", "backend 1: it must be an object"),
        (r#"[{"url":"http://a"}]"#, "backend 1: `name`"),
        (r#"[{"name":"","url":"http://a"}]"#, "backend 1: `name`"),
        (r#"[{"name":7,"url":"http://a"}]"#, "backend 1: `name`"),
        (r#"[{"name":"a"}]"#, "`url` is missing"),
        (
            r#"[{"name":"a","url":"http://a"},{"name":"a","url":"http://b"}]"#,
            "`a` is given twice",
        ),
    ] {
        let error = parse(backends).unwrap_err().to_string();
        assert!(error.contains(words), "{backends}: {error}");
        assert!(error.contains("variable `backends`"), "{backends}: {error}");
    }
}

#[test]
fn what_is_wrong_with_a_backend_is_named_and_no_value_is_repeated() {
    for (keys, words) in wrong_fields().into_iter().chain(wrong_headers()) {
        let error = one(&keys).unwrap_err().to_string();
        assert!(error.contains(words), "{keys}: {error}");
        assert!(error.contains("backend `a`"), "{keys}: {error}");
        assert!(!error.contains("5ecret"), "{keys}: {error}");
    }
}

fn wrong_fields() -> Vec<(String, &'static str)> {
    vec![
        (format!(r#","weight":"{SECRET}""#), "unknown key `weight`"),
        (format!(r#","priority":"{SECRET}""#), "`priority` must be"),
        (r#","priority":-1"#.into(), "`priority` must be"),
        (r#","priority":1.5"#.into(), "`priority` must be"),
        (r#","priority":4294967296"#.into(), "`priority` must be"),
        (format!(r#","dialect":"{SECRET}""#), "`llama-cpp`"),
        (format!(r#","tools":"{SECRET}""#), "`tools` must be"),
        (r#","context_window":0"#.into(), "`context_window` must be"),
        (format!(r#","models":"{SECRET}""#), "`models` must be"),
        (r#","models":[]"#.into(), "`models` is empty"),
        (r#","models":{}"#.into(), "`models` is empty"),
        (r#","models":["m",""]"#.into(), "`models` has a name"),
        (r#","models":{"m":7}"#.into(), "`models` has a name"),
        (r#","models":{"":"m"}"#.into(), "`models` has a name"),
        // The key itself, where the name of its variable belongs.
        (
            format!(r#","api_key_variable":"{SECRET}""#),
            "`api_key_variable` must be",
        ),
        (
            r#","api_key_variable":"""#.into(),
            "`api_key_variable` must be",
        ),
        (
            r#","api_key_variable":7"#.into(),
            "`api_key_variable` must be",
        ),
        (
            r#","api_key_variable":"gone""#.into(),
            "`gone`, which it names, is missing",
        ),
        (
            r#","api_key_variable":"broken""#.into(),
            "`broken` has characters",
        ),
    ]
}

fn wrong_headers() -> Vec<(String, &'static str)> {
    let header = |name: &str| format!(r#","headers":{{"{name}":"{SECRET}"}}"#);
    let mut cases = vec![
        (
            format!(r#","headers":"{SECRET}""#),
            "`headers` must be an object",
        ),
        (
            r#","headers":{"x":{"variable":"gone"}}"#.into(),
            "`gone`, which it names",
        ),
        (
            format!(r#","headers":{{"x":{{"variable":"{SECRET}"}}}}"#),
            "`headers.x.variable`",
        ),
        (
            r#","headers":{"x":{"variable":null}}"#.into(),
            "`x` must be a text",
        ),
        (
            format!(r#","headers":{{"x":{{"value":"{SECRET}"}}}}"#),
            "`x` must be a text",
        ),
        (
            format!(r#","headers":{{"x":["{SECRET}"]}}"#),
            "`x` must be a text",
        ),
        (
            format!(r#","headers":{{"x":"{SECRET}\r\ny: z"}}"#),
            "`x` must be a text",
        ),
        (r#","headers":{"x":"é"}"#.into(), "`x` must be a text"),
        (
            r#","headers":{"X-A":"1","x-a":"2"}"#.into(),
            "`x-a` is given twice",
        ),
        (header("two words"), "no header's name"),
        (header("x:"), "no header's name"),
        (header(""), "no header's name"),
        (header("Authorization"), "use `api_key_variable`"),
        (header("Proxy-Authorization"), "use `api_key_variable`"),
    ];
    for name in [
        "Connection",
        "keep-alive",
        "TE",
        "trailer",
        "Transfer-Encoding",
        "upgrade",
        "proxy-connection",
        "Host",
        "content-length",
        "content-type",
    ] {
        cases.push((header(name), "cannot be set"));
    }
    cases
}

#[test]
fn a_key_is_not_in_what_is_printed() {
    let backend = one(r#","api_key_variable":"key""#).unwrap();
    let printed = format!("{backend:?}");
    assert!(
        printed.contains("authorization") && !printed.contains("5ecret"),
        "{printed}"
    );
}
