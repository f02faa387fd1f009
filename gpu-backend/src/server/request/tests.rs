//! Each field of OpenAI's chat completions: honoured as written, or refused by name.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chat::Prompt;

const VOCAB: usize = 100;

/// A body with these fields added to the two that are required.
fn with(extra: Json) -> Result<ValidRequest, Invalid> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    parse(body.to_string().as_bytes(), VOCAB)
}

#[track_caller]
fn refused(extra: Json, param: &str, code: &str) {
    let invalid = with(extra).unwrap_err();
    assert_eq!(
        (invalid.param.as_deref(), invalid.code),
        (Some(param), Some(code)),
        "{invalid:?}"
    );
    assert!(
        invalid
            .message
            .contains(param.split(['[', '.']).next().unwrap()),
        "{invalid:?}"
    );
}

#[test]
fn honoured_fields_arrive() {
    let request = with(json!({
        "stream": true, "stream_options": {"include_usage": true},
        "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
        "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.5,
        "logit_bias": {"5": -100}, "seed": -3, "stop": ["a", "b"], "stop_token_ids": [9],
        "ignore_eos": true, "logprobs": true, "top_logprobs": 4, "user": "u", "n": 1,
        "metadata": {"a": "b"}, "store": false, "service_tier": "auto", "modalities": ["text"],
        "parallel_tool_calls": true, "response_format": {"type": "text"}, "tool_choice": "auto",
    }))
    .unwrap();
    assert_eq!(
        request.stream,
        Some(StreamOptions {
            include_usage: true,
            continuous_usage: false,
        })
    );
    let options = &request.chat.options;
    let s = &options.sampling;
    assert_eq!((options.tokens_max, options.ignore_eos), (Some(7), true));
    assert_eq!(
        (&options.stop[..], &options.stop_token_ids[..]),
        (&["a".into(), "b".into()][..], &[9][..])
    );
    assert_eq!(
        (s.temperature, s.top_p, s.min_p),
        (Some(0.5), Some(0.9), Some(0.1))
    );
    assert_eq!(
        (s.top_k, s.logprobs, s.seed),
        (Some(Some(40)), Some(4), Some(u64::MAX - 2))
    );
    assert_eq!((s.presence_penalty, s.frequency_penalty), (1.0, -1.0));
    assert_eq!(
        (s.repetition_penalty, &s.logit_bias[..]),
        (Some(1.5), &[(5, -100.0)][..])
    );
}

#[test]
fn nulls_count_as_absent() {
    let nulls = json!({"temperature": null, "stop": null, "tools": null, "audio": null,
        "unheard_of": null, "stream": null, "max_tokens": null});
    let request = with(nulls).unwrap();
    assert!(request.stream.is_none() && request.chat.options.tokens_max.is_none());
}

#[test]
fn every_field_of_the_list_is_taken_or_refused_as_it_says() {
    for field in FIELDS {
        let value: Json = serde_json::from_str(field.example).unwrap();
        let parsed = with(json!({field.name: value}));
        let is_taken = !matches!(field.used, Use::Refused | Use::Backend | Use::Gateway);
        assert_eq!(
            parsed.is_ok(),
            is_taken,
            "{}: {:?}",
            field.name,
            parsed.err()
        );
    }
}

#[test]
fn of_top_p_0_the_likeliest_token_is_left() {
    let request = with(json!({"top_p": 0})).unwrap();
    let top_p = request.chat.options.sampling.top_p.unwrap();
    assert!(top_p > 0.0 && top_p < 1e-30, "{top_p}");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for field in FIELDS {
        if matches!(field.used, Use::Refused | Use::Backend | Use::Gateway) {
            let name = field.name;
            refused(json!({name: {"a": 1}}), name, "unsupported_parameter");
        }
    }
    refused(json!({"store": true}), "store", "unsupported_parameter");
    refused(
        json!({"service_tier": "flex"}),
        "service_tier",
        "unsupported_parameter",
    );
    refused(
        json!({"modalities": ["audio"]}),
        "modalities",
        "unsupported_parameter",
    );
    refused(
        json!({"unheard_of": 1}),
        "unheard_of",
        "unsupported_parameter",
    );
    refused(
        json!({"stream": true, "stream_options": {"x": 1}}),
        "stream_options.x",
        "unsupported_parameter",
    );
    refused(
        json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        "messages[0].content[0]",
        "unsupported_parameter",
    );
    refused(
        json!({"messages": [{"role": "user", "content": "a", "audio": {}}]}),
        "messages[0].audio",
        "unsupported_parameter",
    );
}

#[test]
fn what_stands_inside_a_message_is_refused_by_name_too() {
    let part = json!({"type": "text", "text": "a", "cache_control": {}});
    refused(
        json!({"messages": [{"role": "user", "content": [part]}]}),
        "messages[0].content[0].cache_control",
        "unsupported_parameter",
    );
    for (call, name) in [
        (json!({"status": "done"}), "status"),
        (
            json!({"function": {"name": "f", "arguments": "{}", "strict": true}}),
            "function.strict",
        ),
    ] {
        let mut whole = json!({"id": "c", "type": "function",
            "function": {"name": "f", "arguments": "{}"}});
        for (key, value) in call.as_object().unwrap() {
            whole[key] = value.clone();
        }
        refused(
            json!({"messages": [{"role": "assistant", "tool_calls": [whole]}]}),
            &format!("messages[0].tool_calls[0].{name}"),
            "unsupported_parameter",
        );
    }
    refused(
        json!({"messages": [{"role": "user", "content": ["a"]}]}),
        "messages[0].content[0]",
        "invalid_value",
    );
}

#[test]
fn malformed_and_out_of_range_values_are_refused_by_name() {
    for (name, value) in [
        ("n", json!(0)),
        ("n", json!(129)),
        ("min_tokens", json!(-1)),
        ("temperature", json!(2.5)),
        ("temperature", json!("hot")),
        ("top_p", json!(-0.1)),
        ("top_p", json!(1.1)),
        ("top_k", json!(-2)),
        ("min_p", json!(-0.1)),
        ("presence_penalty", json!(3)),
        ("frequency_penalty", json!(-3)),
        ("repetition_penalty", json!(0)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(1.5)),
        ("max_completion_tokens", json!(-1)),
        ("stop", json!(5)),
        ("stop", json!([""])),
        ("stop", json!(vec!["a"; 17])),
        ("stop_token_ids", json!([100])),
        ("logit_bias", json!({"100": 1})),
        ("logit_bias", json!({"1": 101})),
        ("seed", json!(1.5)),
        ("top_logprobs", json!(3)),
        ("top_logprobs", json!(21)),
        ("logprobs", json!(3)),
        ("stream", json!("yes")),
        ("stream_options", json!({})),
        ("model", json!(3)),
        ("messages", json!([])),
        ("messages", json!("hi")),
        ("tools", json!({})),
    ] {
        refused(json!({name: value}), name, "invalid_value");
    }
    refused(
        json!({"max_tokens": 1, "max_completion_tokens": 2}),
        "max_tokens",
        "invalid_value",
    );
    refused(
        json!({"tools": [{"type": "x"}]}),
        "tools[0].type",
        "invalid_value",
    );
    refused(
        json!({"tools": [{"type": "function", "function": {}}]}),
        "tools[0].function.name",
        "invalid_value",
    );
    refused(
        json!({"model": null}),
        "model",
        "missing_required_parameter",
    );
    refused(
        json!({"messages": null}),
        "messages",
        "missing_required_parameter",
    );
}

#[test]
fn messages_are_checked_one_by_one() {
    let first = |message: Json| with(json!({"messages": [message]}));
    #[track_caller]
    fn bad(result: Result<ValidRequest, Invalid>, param: &str) {
        assert_eq!(result.unwrap_err().param.as_deref(), Some(param));
    }
    bad(first(json!("hi")), "messages[0]");
    bad(
        first(json!({"role": "king", "content": "a"})),
        "messages[0].role",
    );
    bad(first(json!({"role": "user"})), "messages[0].content");
    bad(
        first(json!({"role": "tool", "content": "a"})),
        "messages[0].tool_call_id",
    );
    let call = |arguments: &str| {
        let function = json!({"name": "f", "arguments": arguments});
        json!({"role": "assistant", "content": null, "refusal": null,
            "tool_calls": [{"id": "c", "type": "function", "function": function}]})
    };
    let good = first(call("{\"x\": 1}")).unwrap();
    assert_eq!(
        good.chat.messages[0].tool_calls[0].function.arguments,
        json!({"x": 1})
    );
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let joined = first(json!({"role": "developer", "content": parts})).unwrap();
    assert_eq!(
        (
            joined.chat.messages[0].role,
            &*joined.chat.messages[0].content
        ),
        ("system", "ab")
    );
}

#[test]
fn tools_are_shown_unless_the_choice_is_none() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let auto = with(json!({"tools": tools})).unwrap().chat;
    assert!(auto.parse_tools && auto.tools.len() == 1);
    let none = with(json!({"tools": tools, "tool_choice": "none"}))
        .unwrap()
        .chat;
    assert!(!none.parse_tools && none.tools.is_empty());
}

/// A completion with these fields added to the two that are required.
fn completing(extra: Json) -> Result<completion::ValidCompletion, Invalid> {
    let mut body = json!({"model": "m", "prompt": "hi"});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    completion::parse(body.to_string().as_bytes(), VOCAB)
}

#[test]
fn vllms_fields_of_an_answer_arrive() {
    let fields = json!({"n": 3, "min_tokens": 2, "include_stop_str_in_output": true,
        "skip_special_tokens": false, "spaces_between_special_tokens": true,
        "truncate_prompt_tokens": 9, "add_special_tokens": true, "max_tokens": 5});
    let chat = with(fields.clone()).unwrap().chat;
    let completion = completing(fields).unwrap().completion;
    assert!(chat.add_special && completion.add_special);
    for options in [chat.options, completion.options] {
        assert_eq!((options.n, options.min_tokens), (3, 2));
        assert!(options.include_stop && options.show_special);
        assert_eq!(options.prompt_tokens_kept, Some(9));
    }
    refused(
        json!({"min_tokens": 6, "max_tokens": 5}),
        "min_tokens",
        "invalid_value",
    );
    let held = json!({"min_tokens": 1, "response_format": {"type": "json_object"}});
    refused(held, "min_tokens", "invalid_value");
    let wide = json!({"spaces_between_special_tokens": false});
    refused(
        wide,
        "spaces_between_special_tokens",
        "unsupported_parameter",
    );
    refused(
        json!({"truncate_prompt_tokens": 0}),
        "truncate_prompt_tokens",
        "invalid_value",
    );
    let all = json!({"truncate_prompt_tokens": -1});
    refused(all, "truncate_prompt_tokens", "unsupported_parameter");
    let continuous = |include_usage: bool| {
        json!({"stream": true, "stream_options": {"include_usage": include_usage,
            "continuous_usage_stats": true}})
    };
    let stream = with(continuous(true)).unwrap().stream.unwrap();
    assert!(stream.include_usage && stream.continuous_usage);
    let name = "stream_options.continuous_usage_stats";
    refused(continuous(false), name, "invalid_value");
}

#[test]
fn a_prompt_has_four_forms() {
    let prompts =
        |prompt: Json| completing(json!({"prompt": prompt})).map(|c| c.completion.prompts);
    let text = |text: &str| Prompt::Text(text.into());
    assert_eq!(prompts(json!("")).unwrap(), [text("")]);
    assert_eq!(prompts(json!(["a", "b"])).unwrap(), [text("a"), text("b")]);
    assert_eq!(
        prompts(json!([1, 2])).unwrap(),
        [Prompt::Tokens(vec![1, 2])]
    );
    let lists = [Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 99])];
    assert_eq!(prompts(json!([[1], [2, 99]])).unwrap(), lists);
    let too_many = json!(vec!["a"; 129]);
    for bad in [
        json!([]),
        json!([[]]),
        json!(7),
        json!({}),
        json!([1, "a"]),
        json!([true]),
        json!([100]),
        json!([[1], [-1]]),
        json!([1.5]),
        too_many,
    ] {
        let error = prompts(bad.clone()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("prompt"), "{bad}");
    }
}

#[test]
fn a_completion_asks_for_at_most_what_it_can_get() {
    let plain = completing(json!({})).unwrap();
    assert_eq!(
        plain.completion.options.tokens_max,
        Some(16),
        "OpenAI's default"
    );
    assert!(plain.completion.add_special && !plain.echo);
    let scored = completing(json!({"echo": true, "logprobs": 1, "max_tokens": 0})).unwrap();
    let options = &scored.completion.options;
    assert_eq!(
        (options.tokens_max, options.prompt_logprobs),
        (Some(0), Some(1))
    );
    let unechoed = completing(json!({"logprobs": 1})).unwrap();
    assert_eq!(unechoed.completion.options.prompt_logprobs, None);
    assert!(completing(json!({"n": 2, "best_of": 2})).is_ok());
    for (extra, param, code) in [
        (json!({"max_tokens": 0}), "max_tokens", "invalid_value"),
        (json!({"logprobs": 21}), "logprobs", "invalid_value"),
        (json!({"logprobs": true}), "logprobs", "invalid_value"),
        (
            json!({"n": 2, "best_of": 3}),
            "best_of",
            "unsupported_parameter",
        ),
        (json!({"n": 65, "prompt": ["a", "b"]}), "n", "invalid_value"),
        (json!({"suffix": "x"}), "suffix", "unsupported_parameter"),
        (json!({"messages": []}), "messages", "unsupported_parameter"),
        (json!({"tools": [1]}), "tools", "unsupported_parameter"),
        (
            json!({"prompt": null}),
            "prompt",
            "missing_required_parameter",
        ),
        (
            json!({"model": null}),
            "model",
            "missing_required_parameter",
        ),
    ] {
        let error = completing(extra).unwrap_err();
        assert_eq!(
            (error.param.as_deref(), error.code),
            (Some(param), Some(code))
        );
    }
}

#[test]
fn tokenization_takes_a_text_or_a_chat() {
    let parse = |body: Json| tokenization::tokenize(body.to_string().as_bytes());
    let text = parse(json!({"prompt": "a", "add_special_tokens": false})).unwrap();
    assert!(matches!(
        text.text,
        tokenization::Text::Prompt {
            add_special: false,
            ..
        }
    ));
    let messages = json!([{"role": "user", "content": "a"}]);
    let chat = parse(json!({"messages": messages, "return_token_strs": true})).unwrap();
    assert!(chat.with_strings);
    assert!(matches!(chat.text, tokenization::Text::Chat(chat) if !chat.add_special));
    for (body, param) in [
        (json!({}), "prompt"),
        (json!({"prompt": "a", "messages": messages}), "prompt"),
        (json!({"prompt": "a", "max_tokens": 1}), "max_tokens"),
        (
            json!({"messages": messages, "add_generation_prompt": false}),
            "add_generation_prompt",
        ),
    ] {
        assert_eq!(parse(body).unwrap_err().param.as_deref(), Some(param));
    }
    let back = |body: Json| tokenization::detokenize(body.to_string().as_bytes(), VOCAB);
    assert_eq!(back(json!({"tokens": []})).unwrap().tokens, [0u32; 0]);
    assert_eq!(
        back(json!({"tokens": [100]})).unwrap_err().param.as_deref(),
        Some("tokens")
    );
    assert_eq!(
        back(json!({})).unwrap_err().param.as_deref(),
        Some("tokens")
    );
}

#[test]
fn embeddings_and_reranking_take_their_fields() {
    let embed = |body: Json| encoding::embeddings(body.to_string().as_bytes(), VOCAB, 32);
    let base = json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64",
        "dimensions": 8, "user": "u"});
    let asked = embed(base.clone()).unwrap();
    assert_eq!(asked.inputs.len(), 2);
    assert_eq!(
        (asked.encoding, asked.dimensions),
        (encoding::Encoding::Base64, Some(8))
    );
    for (name, value) in [
        ("dimensions", json!(33)),
        ("dimensions", json!(0)),
        ("encoding_format", json!("hex")),
        ("input", json!([])),
        ("input", json!([[100]])),
        ("truncate_prompt_tokens", json!(3)),
    ] {
        let mut body = base.clone();
        body[name] = value;
        assert_eq!(embed(body).unwrap_err().param.as_deref(), Some(name));
    }
    let rerank = |body: Json| encoding::rerank(body.to_string().as_bytes());
    let base = json!({"model": "m", "query": "q", "documents": ["a", {"text": "b"}]});
    let asked = rerank(base.clone()).unwrap();
    assert_eq!(asked.documents, ["a", "b"]);
    assert!(asked.return_documents && asked.top_n.is_none());
    for (name, value, param) in [
        ("documents", json!([]), "documents"),
        ("documents", Json::Null, "documents"),
        ("documents", json!("a"), "documents"),
        ("documents", json!(["a", 1]), "documents[1]"),
        ("documents", json!([{"text": 1}]), "documents[0].text"),
        ("documents", json!([{"title": "a"}]), "documents[0].title"),
        ("query", Json::Null, "query"),
        ("top_n", json!(0), "top_n"),
        ("banana", json!(0), "banana"),
    ] {
        let mut body = base.clone();
        body[name] = value;
        assert_eq!(rerank(body).unwrap_err().param.as_deref(), Some(param));
    }
}

/// Any JSON of a few levels, with the numbers that parsers trip over.
fn any_json() -> impl Strategy<Value = Json> {
    let edges = [0i64, 1, -1, 2, 100, i64::MAX, i64::MIN];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        prop::sample::select(edges.to_vec()).prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "[a-zé\\u{0}<]{0,8}".prop_map(Json::from),
        prop::sample::select(vec![
            "user",
            "tool",
            "auto",
            "text",
            "function",
            "json_schema"
        ])
        .prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

/// Names that some part of a request has, and one that none has.
const NAMES: [&str; 44] = [
    "model",
    "messages",
    "prompt",
    "role",
    "content",
    "type",
    "text",
    "tools",
    "function",
    "name",
    "arguments",
    "tool_calls",
    "tool_call_id",
    "id",
    "stream",
    "stream_options",
    "include_usage",
    "continuous_usage_stats",
    "n",
    "best_of",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "stop",
    "stop_token_ids",
    "logit_bias",
    "5",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "logprobs",
    "top_logprobs",
    "echo",
    "response_format",
    "tool_choice",
    "tokens",
    "truncate_prompt_tokens",
    "input",
    "query",
    "documents",
    "dimensions",
    "banana",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_body_is_a_valid_request_or_an_error_that_names_the_field(
        fields in prop::collection::vec((prop::sample::select(NAMES.to_vec()), any_json()), 0..8),
        whole in any::<bool>(),
    ) {
        let mut body = serde_json::Map::new();
        if whole {
            body.insert("model".into(), "m".into());
            body.insert("prompt".into(), "a".into());
            body.insert("messages".into(), json!([{"role": "user", "content": "hi"}]));
        }
        body.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let bytes = |without: &str| {
            let mut body = body.clone();
            body.remove(without);
            Json::Object(body).to_string().into_bytes()
        };
        let errors = [
            parse(&bytes("prompt"), VOCAB).err(),
            completion::parse(&bytes("messages"), VOCAB).err(),
            tokenization::tokenize(&bytes("")).err(),
            tokenization::detokenize(&bytes(""), VOCAB).err(),
            encoding::embeddings(&bytes(""), VOCAB, 32).err(),
            encoding::rerank(&bytes("")).err(),
        ];
        for error in errors.into_iter().flatten() {
            prop_assert!(error.param.is_some_and(|param| !param.is_empty()), "{}", error.message);
            prop_assert!(!error.message.is_empty() && error.code.is_some());
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&bytes, VOCAB).is_err());
        prop_assert!(completion::parse(&bytes, VOCAB).is_err());
    }
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    for body in [
        &b"{"[..],
        b"[]",
        b"",
        b"\"a\"",
        b"{\"a\":\xff}",
        &b"[".repeat(10_000),
    ] {
        assert_eq!(parse(body, VOCAB).unwrap_err().code, Some("invalid_json"));
    }
}
