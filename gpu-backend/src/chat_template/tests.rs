//! Templates as under transformers: helpers, refusals, files, and every family's goldens.

use serde_json::json;

use super::globals::strftime;
use super::*;

fn render(source: &str, messages: &[Message], tools: &[Json]) -> Result<String, TemplateError> {
    ChatTemplate::compile(source.to_owned(), "<s>".into(), "</s>".into())?.render(messages, tools)
}

#[test]
fn a_chatml_template_renders_as_under_transformers() {
    let source = "{{ bos_token }}{% for m in messages %}\n    {% if m.role == 'user' %}\n\
        <|user|>{{ m['content'].strip() }}\n    {%- elif m.tool_calls %}\n\
        {% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}\n    {% endif %}\n\
        {% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    let call = PastCall {
        id: "call_1".into(),
        kind: "function",
        function: PastFunction {
            name: "f".into(),
            arguments: json!({"z": "<é>", "a": [1, 2]}),
        },
    };
    let assistant = Message {
        tool_calls: vec![call],
        ..Message::new("assistant", "")
    };
    let got = render(source, &[Message::new("user", " hi "), assistant], &[]).unwrap();
    assert_eq!(
        got,
        "<s><|user|>hi{\"z\": \"<é>\", \"a\": [1, 2]}<|assistant|>"
    );
}

#[test]
fn tools_are_none_or_listed() {
    let source = "{% if tools %}{% for t in tools %}{{ t | tojson(indent=2) }}{% endfor %}{% else %}-{% endif %}";
    assert_eq!(render(source, &[], &[]).unwrap(), "-");
    assert_eq!(
        render(source, &[], &[json!({"a": 1})]).unwrap(),
        "{\n  \"a\": 1\n}"
    );
}

#[test]
fn raised_exceptions_are_the_clients_and_other_failures_the_templates() {
    let raised = render("{{ raise_exception('roles must alternate') }}", &[], &[]);
    assert!(matches!(raised, Err(TemplateError::Refused(m)) if m == "roles must alternate"));
    let failed = render("{{ messages.nope() }}", &[], &[]);
    assert!(matches!(failed, Err(TemplateError::Failed(_))));
    let endless = render(
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        &[],
        &[],
    );
    assert!(matches!(endless, Err(TemplateError::Endless)));
    assert!(matches!(
        render("{% if %}", &[], &[]),
        Err(TemplateError::File { .. })
    ));
}

#[test]
fn dates_are_written_as_strftime_does() {
    let then = time::macros::datetime!(2026-03-05 04:09:07 UTC);
    assert_eq!(
        strftime("%d %b %Y %H:%M:%S %A %%", then).unwrap(),
        "05 Mar 2026 04:09:07 Thursday %"
    );
    assert_eq!(
        strftime("%-d.%-m.%y %j %-I%p", then).unwrap(),
        "5.3.26 064 4AM"
    );
    assert!(strftime("%Q", then).is_err());
}

#[test]
fn a_template_is_found_in_each_file_and_its_own_file_decides() {
    let dir = tempfile::tempdir().unwrap();
    let none = ChatTemplate::load(dir.path()).unwrap();
    assert!(matches!(none.render(&[], &[]), Err(TemplateError::Missing)));
    assert_eq!(none.source(), "");
    let config = json!({"eos_token": {"content": "<e>"}, "chat_template": [
        {"name": "tool_use", "template": "no"}, {"name": "default", "template": "a{{ eos_token }}"}]});
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let render = || {
        ChatTemplate::load(dir.path())
            .unwrap()
            .render(&[], &[])
            .unwrap()
    };
    assert_eq!(render(), "a<e>");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "chat_template.json",
        r#"{"chat_template": "j{{ eos_token }}"}"#,
    );
    assert_eq!(render(), "j<e>");
    write("chat_template.json", "{");
    let broken = ChatTemplate::load(dir.path()).unwrap_err().to_string();
    assert!(broken.starts_with("chat_template.json: "), "{broken}");
    std::fs::write(dir.path().join("chat_template.jinja"), "b").unwrap();
    assert_eq!(render(), "b");
}

/// What transformers made of each template and conversation; `tests/golden/templates/make.py`
/// says how. Our messages have no field that is not in theirs.
#[test]
fn every_familys_template_renders_as_under_transformers() {
    let folder = Path::new("tests/golden/templates");
    let text = std::fs::read(folder.join("golden.json")).unwrap();
    let golden: Json = serde_json::from_slice(&text).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    let mut wrong = Vec::new();
    for case in cases {
        let file = format!("{}.jinja", case["template"].as_str().unwrap());
        let source = std::fs::read_to_string(folder.join(file)).unwrap();
        let clock = || time::macros::datetime!(2026-03-05 04:09:07 UTC);
        let template =
            ChatTemplate::compile_at(clock, source, "<s>".into(), "</s>".into()).unwrap();
        let conversation = &golden["conversations"][case["conversation"].as_str().unwrap()];
        let messages: Vec<Message> = conversation
            .as_array()
            .unwrap()
            .iter()
            .map(message)
            .collect();
        let tools = match case["tools"] == true {
            true => golden["tools"].as_array().unwrap().clone(),
            false => Vec::new(),
        };
        let got = template.render_with(&messages, &tools, case["prompt"] == true);
        let same = match (&got, &case["text"], &case["refused"]) {
            (Ok(text), Json::String(want), _) => text == want,
            (Err(TemplateError::Refused(got)), _, Json::String(want)) => got == want,
            _ => false,
        };
        if !same {
            wrong.push(format!("{case:#}\ngot {got:#?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong; {}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn message(json: &Json) -> Message {
    let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
    let role = ["system", "user", "assistant", "tool"];
    let role = role.into_iter().find(|role| json["role"] == *role);
    let call = |call: &Json| PastCall {
        id: call["id"].as_str().unwrap().to_owned(),
        kind: "function",
        function: PastFunction {
            name: call["function"]["name"].as_str().unwrap().to_owned(),
            arguments: call["function"]["arguments"].clone(),
        },
    };
    let calls = json.get("tool_calls").and_then(Json::as_array);
    Message {
        name: text("name"),
        tool_call_id: text("tool_call_id"),
        tool_calls: calls.into_iter().flatten().map(call).collect(),
        ..Message::new(role.unwrap(), text("content").unwrap())
    }
}

#[test]
fn trainings_tags_are_conditions_that_hold() {
    assert_eq!(
        without_generation_tags("a{%- generation -%}b{% endgeneration %}{% if x %}{{ '{%' }}"),
        "a{%- if true -%}b{% endif %}{% if x %}{{ '{%' }}"
    );
}
