//! The model's own chat template (Jinja), rendered with the helpers that Hugging Face
//! gives to templates.
//! Knows nothing of HTTP; a message is already checked when it comes here.

mod forms;
mod globals;
mod python;

use std::borrow::Cow;
use std::path::Path;

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::Value as Json;
use time::OffsetDateTime;

const NAME: &str = "chat";
/// Steps one rendering may take, so that a template cannot run for ever.
const FUEL_MAX: u64 = 5_000_000;

/// One message, in the shape that templates expect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    pub role: &'static str,
    pub content: String,
    /// The assistant's reasoning before its answer, for templates that know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
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
            reasoning_content: None,
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

/// Its function; templates write `arguments | tojson`, so that they are an object here
/// where the model wrote one, and else its text.
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
    #[error("the model has no chat template")]
    Missing,
    /// The template called `raise_exception`: the messages are at fault.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    #[error("the model's chat template failed: {0}")]
    Failed(String),
    #[error("the model's chat template takes too many steps for these messages")]
    Endless,
}

/// A compiled chat template, or the lack of one: a base model has none.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Loads `chat_template.jinja`, or else `chat_template` of `chat_template.json` or of
    /// `tokenizer_config.json`. A directory without any has a template that renders
    /// nothing.
    ///
    /// # Errors
    /// A file is malformed, or the template does not compile.
    pub fn load(dir: &Path) -> Result<Self, TemplateError> {
        let config = read_json(dir, "tokenizer_config.json")?;
        let token = |key: &str| special_token(config.get(key));
        let (bos, eos) = (token("bos_token"), token("eos_token"));
        let source = match std::fs::read_to_string(dir.join("chat_template.jinja")) {
            Ok(source) => Some(source),
            Err(_) => source_of(&read_json(dir, "chat_template.json")?).or(source_of(&config)),
        };
        match source {
            Some(source) => Self::compile(source, bos, eos),
            None => Ok(Self {
                environment: Environment::new(),
                bos,
                eos,
            }),
        }
    }

    /// Compiles a template.
    ///
    /// # Errors
    /// It is malformed.
    pub fn compile(source: String, bos: String, eos: String) -> Result<Self, TemplateError> {
        Self::compile_at(OffsetDateTime::now_utc, source, bos, eos)
    }

    /// As [`Self::compile`], with a clock for `strftime_now`.
    fn compile_at(
        clock: fn() -> OffsetDateTime,
        source: String,
        bos: String,
        eos: String,
    ) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // transformers renders with these two settings.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL_MAX));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(python::write);
        environment.add_function("raise_exception", globals::raise_exception);
        environment.add_function("strftime_now", move |format: String| {
            globals::strftime(&format, clock())
        });
        environment.add_filter("tojson", globals::tojson);
        environment
            .add_template_owned(NAME, without_generation_tags(&source))
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

    /// The template itself, as the model's files have it; empty if there is none.
    pub fn source(&self) -> String {
        let template = self.environment.get_template(NAME);
        template.map_or_else(|_| String::new(), |template| template.source().to_owned())
    }

    /// The text that end-of-sequence is written as, if the configuration says.
    pub fn eos(&self) -> &str {
        &self.eos
    }

    /// Renders a chat up to the point where the assistant speaks. Messages that the
    /// template cannot write as they are come in the next form that it can write.
    ///
    /// # Errors
    /// There is no template; or it refuses the messages in every form, or fails.
    pub fn render(&self, messages: &[Message], tools: &[Json]) -> Result<String, TemplateError> {
        let messages = &self.known(messages);
        let first = match self.render_with(messages, tools, true) {
            Err(error @ (TemplateError::Refused(_) | TemplateError::Failed(_))) => error,
            done => return done,
        };
        let knows_tools = self.source().contains("tool");
        for messages in forms::of(messages, knows_tools) {
            match self.render_with(&messages, tools, true) {
                Err(TemplateError::Refused(_) | TemplateError::Failed(_)) => {}
                done => return done,
            }
        }
        Err(first)
    }

    /// Messages without the reasoning, where the template does not speak of it: it may
    /// write out all that a message has.
    fn known<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        let reasoned = messages.iter().any(|m| m.reasoning_content.is_some());
        if !reasoned || self.source().contains("reasoning_content") {
            return Cow::Borrowed(messages);
        }
        let mut messages = messages.to_vec();
        for message in &mut messages {
            message.reasoning_content = None;
        }
        Cow::Owned(messages)
    }

    /// As [`Self::render`]; the assistant's turn is opened if `generation_prompt`.
    fn render_with(
        &self,
        messages: &[Message],
        tools: &[Json],
        generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|_| TemplateError::Missing)?;
        let tools = if tools.is_empty() {
            Value::from(())
        } else {
            Value::from_serialize(tools)
        };
        let context = context! {
            messages => Value::from_serialize(messages),
            tools => tools,
            documents => Value::from(()),
            add_generation_prompt => generation_prompt,
            bos_token => self.bos,
            eos_token => self.eos,
        };
        template.render(context).map_err(|error| {
            let raised = error.detail().and_then(|d| d.strip_prefix(globals::RAISED));
            match (error.kind(), raised) {
                (ErrorKind::InvalidOperation, Some(words)) => {
                    TemplateError::Refused(words.to_owned())
                }
                (ErrorKind::OutOfFuel, _) => TemplateError::Endless,
                _ => TemplateError::Failed(error.to_string()),
            }
        })
    }
}

/// A file's JSON; null if there is no such file.
fn read_json(dir: &Path, file: &'static str) -> Result<Json, TemplateError> {
    match std::fs::read(dir.join(file)) {
        Err(_) => Ok(Json::Null),
        Ok(text) => serde_json::from_slice(&text).map_err(|e| TemplateError::File {
            file,
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

/// transformers has tags of its own round what the assistant says, to mark it for
/// training; here they are conditions that always hold.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inner = &tag[2..end];
        let name = inner.trim_matches(['-', '+']).trim();
        match name {
            "generation" => out.push_str(&tag[..end].replacen(name, "if true", 1)),
            "endgeneration" => out.push_str(&tag[..end].replacen(name, "endif", 1)),
            _ => out.push_str(&tag[..end]),
        }
        rest = &tag[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
