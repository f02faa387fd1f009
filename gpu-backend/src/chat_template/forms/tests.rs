//! Chats that a template cannot write as they are, and what it writes instead.

use std::path::Path;

use super::super::{ChatTemplate, Message, PastCall, PastFunction, TemplateError};
use super::*;

/// Mistral's first template, which knows two roles only and wants them to alternate.
const MISTRAL_V1: &str = "{{ bos_token }}{% for message in messages %}\
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
    {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\
    {% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}\
    {% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}\
    {% else %}{{ raise_exception('Only user and assistant roles are supported!') }}\
    {% endif %}{% endfor %}";
/// As templates do that write each argument by itself (Qwen3-Coder, GLM).
const BY_KEYS: &str = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\
    {% for call in message.tool_calls or [] %}{{ call.function.name }}\
    {% for key, value in call.function.arguments.items() %}|{{ key }}={{ value }}{% endfor %}\
    {% endfor %}{% endfor %}";

fn compiled(source: &str) -> ChatTemplate {
    ChatTemplate::compile(source.to_owned(), "<s>".into(), "</s>".into()).unwrap()
}

/// A family's template, as the goldens have it.
fn family(name: &str) -> ChatTemplate {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/templates");
    compiled(&std::fs::read_to_string(path.join(format!("{name}.jinja"))).unwrap())
}

fn call(id: &str, arguments: Json) -> PastCall {
    PastCall {
        id: id.to_owned(),
        kind: "function",
        function: PastFunction {
            name: "f".to_owned(),
            arguments,
        },
    }
}

/// One word a message: `s`ystem, `u`ser, `a`ssistant, its `c`all or `b`oth calls, and the
/// `r`esults of the calls before. The texts are numbered.
fn chat(word: &str) -> Vec<Message> {
    let mut ids = Vec::new();
    let mut messages = Vec::new();
    for (index, letter) in word.chars().enumerate() {
        let text = format!("t{index}.");
        let mut calls = |count: usize| {
            ids = (0..count).map(|n| format!("call_{index}_{n}")).collect();
            let calls = ids.iter().map(|id: &String| call(id, json!({"k": text})));
            Message {
                tool_calls: calls.collect(),
                ..Message::new("assistant", "")
            }
        };
        match letter {
            's' => messages.push(Message::new("system", text)),
            'u' => messages.push(Message::new("user", text)),
            'a' => messages.push(Message::new("assistant", text)),
            'c' => messages.push(calls(1)),
            'b' => messages.push(calls(2)),
            _ => messages.extend(ids.drain(..).map(|id| Message {
                tool_call_id: Some(id),
                ..Message::new("tool", text.clone())
            })),
        }
    }
    messages
}

#[track_caller]
fn check(template: &ChatTemplate, word: &str, want: &str) {
    assert_eq!(template.render(&chat(word), &[]).unwrap(), want, "{word}");
}

#[test]
fn what_a_template_writes_as_it_is_is_not_changed() {
    for name in [
        "gemma2", "gemma3", "llama2", "llama3", "mistral", "qwen2", "qwen3", "smollm2",
    ] {
        let template = family(name);
        for word in ["u", "uau", "su", "suau", "usu", "uu", "ua", "aa"] {
            let messages = chat(word);
            if let Ok(text) = template.render_with(&messages, &[], true) {
                assert_eq!(
                    template.render(&messages, &[]).unwrap(),
                    text,
                    "{name} {word}"
                );
            }
        }
    }
}

#[test]
fn roles_that_must_alternate_are_joined() {
    let mistral = compiled(MISTRAL_V1);
    for (word, want) in [
        ("uu", "<s>[INST] t0.\n\nt1. [/INST]"),
        (
            "uaau",
            "<s>[INST] t0. [/INST]t1.\n\nt2.</s> [INST] t3. [/INST]",
        ),
        ("su", "<s>[INST] t0.\n\nt1. [/INST]"),
        ("ssu", "<s>[INST] t0.\n\nt1.\n\nt2. [/INST]"),
        (
            "uasu",
            "<s>[INST] t0. [/INST]t1.</s> [INST] t2.\n\nt3. [/INST]",
        ),
        ("uas", "<s>[INST] t0. [/INST]t1.</s> [INST] t2. [/INST]"),
        (
            "usau",
            "<s>[INST] t0.\n\nt1. [/INST]t2.</s> [INST] t3. [/INST]",
        ),
        ("au", "<s>[INST]  [/INST]t0.</s> [INST] t1. [/INST]"),
        ("sau", "<s>[INST] t0. [/INST]t1.</s> [INST] t2. [/INST]"),
        ("s", "<s>[INST] t0. [/INST]"),
    ] {
        check(&mistral, word, want);
    }
    let turn = |role: &str, text: &str| format!("<start_of_turn>{role}\n{text}<end_of_turn>\n");
    let open = "<start_of_turn>model\n";
    let gemma = family("gemma2");
    check(
        &gemma,
        "su",
        &format!("<s>{}{open}", turn("user", "t0.\n\nt1.")),
    );
    let call = "```json\n{\"name\":\"f\",\"parameters\":{\"k\":\"t1.\"}}\n```";
    let called = [
        turn("user", "t0."),
        turn("model", call),
        turn("user", "```tool_output\nt2.\n```\n\nt3."),
    ];
    check(&gemma, "ucru", &format!("<s>{}{open}", called.concat()));
    check(
        &family("gemma3"),
        "ssuu",
        &format!("<s>{}{open}", turn("user", "t0.\n\nt1.\n\nt2.\n\nt3.")),
    );
    check(
        &family("llama2"),
        "ssu",
        "        <s>[INST] <<SYS>>\nt0.\n\nt1.\n<</SYS>>\n\nt2. [/INST]\n",
    );
}

#[test]
fn calls_are_made_one_at_a_time_where_a_template_wants_that() {
    let text = family("llama3").render(&chat("ubr"), &[]).unwrap();
    let turn = |role: &str, text: &str| {
        format!("<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>")
    };
    let one = [
        turn("assistant", r#"{"name": "f", "parameters": {"k": "t1."}}"#),
        turn("ipython", "t2."),
    ];
    let open = "<|start_header_id|>assistant<|end_header_id|>\n\n";
    let want = format!("{}{}{open}", turn("user", "t0."), one.concat().repeat(2));
    assert!(text.ends_with(&want), "{text}");
}

#[test]
fn a_result_of_no_known_call_comes_after_the_others() {
    let mut messages = chat("ubr");
    messages[2].tool_call_id = Some("other".to_owned());
    let contents = |messages: &[Message]| -> Vec<(usize, Option<String>)> {
        let one = |m: &Message| (m.tool_calls.len(), m.tool_call_id.clone());
        messages.iter().map(one).collect()
    };
    let result = |id: &str| (0, Some(id.to_owned()));
    assert_eq!(
        contents(&one_call_a_message(&messages)),
        [
            (0, None),
            (1, None),
            (1, None),
            result("call_1_1"),
            result("other")
        ]
    );
}

#[test]
fn ids_are_what_mistrals_template_takes() {
    let mistral = family("mistral");
    let text = mistral.render(&chat("ubr"), &[]).unwrap();
    for id in ["call00000", "call00001"] {
        assert_eq!(text.matches(&format!("\"{id}\"")).count(), 2, "{text}");
    }
    let mut known = chat("ucr");
    known[1].tool_calls[0].id = "abcdefghi".to_owned();
    known[2].tool_call_id = Some("abcdefghi".to_owned());
    assert_eq!(ids_of_nine_letters(&known), known);
}

#[test]
fn arguments_that_are_no_object_are_written_by_every_template() {
    let cut = r#"{"a": "cut"#;
    let answers = [
        json!(cut),
        json!(null),
        json!([1]),
        json!("text"),
        json!(7),
        json!({}),
    ];
    for name in [
        "gemma2", "gemma3", "llama3", "mistral", "qwen2", "qwen3", "smollm2",
    ] {
        for arguments in &answers {
            let mut messages = chat("ucr");
            messages[1].tool_calls[0].function.arguments = arguments.clone();
            let text = family(name).render(&messages, &[]);
            assert!(text.is_ok(), "{name} {arguments}: {text:?}");
        }
    }
    let by_keys = compiled(BY_KEYS);
    for (arguments, want) in [
        (json!({"a": 1}), "f|a=1"),
        (json!(cut), "f|arguments={\"a\": \"cut"),
        (json!([1, "b"]), "f|arguments=[1, 'b']"),
        (json!(null), "f"),
    ] {
        let messages = [Message {
            tool_calls: vec![call("c", arguments)],
            ..Message::new("assistant", "")
        }];
        let text = by_keys.render(&messages, &[]).unwrap();
        assert_eq!(text, format!("<assistant>{want}"));
    }
    // Qwen 3's own template writes a text as it is.
    let mut messages = chat("ucr");
    messages[1].tool_calls[0].function.arguments = json!(cut);
    let text = family("qwen3").render(&messages, &[]).unwrap();
    assert!(
        text.contains(&format!("\"arguments\": {cut}}}\n</tool_call>")),
        "{text}"
    );
}

#[test]
fn reasoning_is_given_to_a_template_that_knows_of_it_and_to_no_other() {
    let thought = |thought: Option<&str>| {
        let mut messages = chat("ucr");
        messages[1].reasoning_content = thought.map(str::to_owned);
        messages
    };
    let qwen3 = family("qwen3").render(&thought(Some("hm")), &[]).unwrap();
    assert!(qwen3.contains("<think>\nhm\n</think>"), "{qwen3}");
    let all = compiled("{{ messages | tojson }}");
    for template in [family("qwen2"), family("llama3"), family("gemma3"), all] {
        assert_eq!(
            template.render(&thought(Some("hm")), &[]).unwrap(),
            template.render(&thought(None), &[]).unwrap()
        );
    }
}

/// Every order of roles up to four messages, under every family: the chat is rendered,
/// and where it had to be changed no text is lost.
#[test]
fn every_order_of_roles_is_rendered_by_every_family() {
    let mut words: Vec<String> = vec![String::new()];
    for _ in 0..4 {
        let longer = words
            .iter()
            .flat_map(|w| "suacbr".chars().map(move |l| format!("{w}{l}")));
        words = std::iter::once(String::new()).chain(longer).collect();
    }
    let mut templates: Vec<(&str, ChatTemplate)> = [
        "gemma2", "gemma3", "llama2", "llama3", "mistral", "qwen2", "qwen3", "smollm2",
    ]
    .map(|name| (name, family(name)))
    .into();
    templates.push(("mistral v1", compiled(MISTRAL_V1)));
    for word in &words {
        let messages = chat(word);
        if messages.is_empty() {
            continue;
        }
        for (name, template) in &templates {
            let text = match template.render(&messages, &[]) {
                Ok(text) => text,
                Err(error) => panic!("{name} {word}: {error}"),
            };
            if template.render_with(&messages, &[], true).is_ok() {
                continue;
            }
            for message in messages.iter().filter(|m| m.role != "system") {
                assert!(text.contains(&message.content), "{name} {word}: {text}");
            }
        }
    }
}

#[test]
fn a_template_that_refuses_every_form_says_why_it_refused_the_first() {
    let source = "{{ raise_exception(messages | length ~ ' messages') }}";
    let refused = compiled(source).render(&chat("susu"), &[]);
    assert!(matches!(refused, Err(TemplateError::Refused(why)) if why == "4 messages"));
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    let endless = compiled(endless).render(&chat("susu"), &[]);
    assert!(matches!(endless, Err(TemplateError::Endless)));
}
