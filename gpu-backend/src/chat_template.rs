//! The model's own chat template (Jinja), rendered with the helpers that Hugging Face
//! gives to templates.
//! Knows nothing of HTTP; a message is already checked when it comes here.

use std::path::Path;

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::Value as Json;

const NAME: &str = "chat";
/// Steps one rendering may take, so that a template cannot run for ever.
const FUEL_MAX: u64 = 5_000_000;

/// One message, in the shape that templates expect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    pub role: &'static str,
    pub content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<PastCall>,
}

impl Message {
    pub fn new(role: &'static str, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            name: None,
            tool_call_id: None,
            tool_calls: Vec::new(),
        }
    }
}

/// A call that the assistant made earlier in the chat.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastCall {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub function: PastFunction,
}

/// Its function; templates write `arguments | tojson`, so it is an object here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastFunction {
    pub name: String,
    pub arguments: Json,
}

/// The template is missing, malformed, or refused the messages.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("{file}: {problem}")]
    File { file: &'static str, problem: String },
    #[error("the model has no chat template (chat_template.jinja or tokenizer_config.json)")]
    Missing,
    /// The template called `raise_exception`: the messages are at fault.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    #[error("the model's chat template failed: {0}")]
    Failed(String),
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Loads `chat_template.jinja`, or `chat_template` of `tokenizer_config.json`.
    ///
    /// # Errors
    /// There is none, or it does not compile.
    pub fn load(dir: &Path) -> Result<Self, TemplateError> {
        let config = read_config(dir)?;
        let token = |key: &str| special_token(config.get(key));
        let source = match std::fs::read_to_string(dir.join("chat_template.jinja")) {
            Ok(source) => source,
            Err(_) => source_of(&config).ok_or(TemplateError::Missing)?,
        };
        Self::compile(source, token("bos_token"), token("eos_token"))
    }

    /// Compiles a template.
    ///
    /// # Errors
    /// It is malformed.
    pub fn compile(source: String, bos: String, eos: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // transformers renders with these two settings.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL_MAX));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment
            .add_template_owned(NAME, source)
            .map_err(|e| TemplateError::File {
                file: "chat template",
                problem: e.to_string(),
            })?;
        Ok(Self {
            environment,
            bos,
            eos,
        })
    }

    /// The text that end-of-sequence is written as, if the configuration says.
    pub fn eos(&self) -> &str {
        &self.eos
    }

    /// Renders a chat up to the point where the assistant speaks.
    ///
    /// # Errors
    /// The template refuses the messages, or fails.
    pub fn render(&self, messages: &[Message], tools: &[Json]) -> Result<String, TemplateError> {
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|e| TemplateError::Failed(e.to_string()))?;
        let tools = if tools.is_empty() {
            Value::from(())
        } else {
            Value::from_serialize(tools)
        };
        let context = context! {
            messages => Value::from_serialize(messages),
            tools => tools,
            documents => Value::from(()),
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
        };
        template
            .render(context)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidOperation
                    if error.detail().is_some_and(|d| d.starts_with(RAISED)) =>
                {
                    let detail = error.detail().unwrap_or_default();
                    TemplateError::Refused(detail.trim_start_matches(RAISED).to_owned())
                }
                _ => TemplateError::Failed(error.to_string()),
            })
    }
}

/// Marks the errors that a template raises itself.
const RAISED: &str = "raised: ";

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("{RAISED}{message}"),
    ))
}

/// The current date as `strftime` writes it; the conversions that templates use.
fn strftime_now(format: String) -> Result<String, Error> {
    let now = time::OffsetDateTime::now_utc();
    strftime(&format, now)
}

fn strftime(format: &str, now: time::OffsetDateTime) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        out.push_str(&match chars.next() {
            Some('Y') => now.year().to_string(),
            Some('m') => format!("{:02}", u8::from(now.month())),
            Some('d') => format!("{:02}", now.day()),
            Some('B') => now.month().to_string(),
            Some('b') => now.month().to_string().chars().take(3).collect(),
            Some('A') => now.weekday().to_string(),
            Some('a') => now.weekday().to_string().chars().take(3).collect(),
            Some('H') => format!("{:02}", now.hour()),
            Some('M') => format!("{:02}", now.minute()),
            Some('S') => format!("{:02}", now.second()),
            Some('%') => "%".to_owned(),
            other => {
                let problem = format!("strftime_now does not know %{}", other.unwrap_or(' '));
                return Err(Error::new(ErrorKind::InvalidOperation, problem));
            }
        });
    }
    Ok(out)
}

/// `tojson` as transformers defines it: Python's `json.dumps` without ASCII escapes,
/// so with a space after commas and colons, and none of Jinja's HTML escapes.
fn tojson(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let bad = |e: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, e.to_string());
    let json: Json = serde_json::to_value(&value).map_err(|e| bad(&e))?;
    let mut out = Vec::new();
    let done = match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            json.serialize(&mut serde_json::Serializer::with_formatter(
                &mut out, pretty,
            ))
        }
        None => json.serialize(&mut serde_json::Serializer::with_formatter(
            &mut out, Spaced,
        )),
    };
    done.map_err(|e| bad(&e))?;
    String::from_utf8(out).map_err(|e| bad(&e))
}

/// Python's default separators.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W>(&mut self, w: &mut W, first: bool) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        w.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W>(&mut self, w: &mut W, first: bool) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        w.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W>(&mut self, w: &mut W) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        w.write_all(b": ")
    }
}

fn read_config(dir: &Path) -> Result<Json, TemplateError> {
    const FILE: &str = "tokenizer_config.json";
    match std::fs::read(dir.join(FILE)) {
        Err(_) => Ok(Json::Null),
        Ok(text) => serde_json::from_slice(&text).map_err(|e| TemplateError::File {
            file: FILE,
            problem: e.to_string(),
        }),
    }
}

/// A token is written as a string, or as an object with its `content`.
fn special_token(value: Option<&Json>) -> String {
    let text = value.and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
    text.unwrap_or_default().to_owned()
}

/// One template, or the one named `default` of several.
fn source_of(config: &Json) -> Option<String> {
    match config.get("chat_template")? {
        Json::String(source) => Some(source.clone()),
        Json::Array(named) => named
            .iter()
            .find(|t| t.get("name").and_then(Json::as_str) == Some("default"))
            .and_then(|t| t.get("template")?.as_str())
            .map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str, messages: &[Message], tools: &[Json]) -> Result<String, TemplateError> {
        ChatTemplate::compile(source.to_owned(), "<s>".into(), "</s>".into())?
            .render(messages, tools)
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
        assert!(matches!(endless, Err(TemplateError::Failed(_))));
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
        assert!(strftime("%Q", then).is_err());
    }

    #[test]
    fn a_template_is_found_in_either_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            ChatTemplate::load(dir.path()),
            Err(TemplateError::Missing)
        ));
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
        std::fs::write(dir.path().join("chat_template.jinja"), "b").unwrap();
        assert_eq!(render(), "b");
    }
}
