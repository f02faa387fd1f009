//! The border: a chat request's bytes become a [`ChatRequest`], or an error that
//! names the field. Nothing below checks again.
//!
//! `chat-fields` lists what is honoured; a field that stands not in that list is refused
//! by name, so that a misspelt one is not silently ignored. A value that is handed on
//! stays as the client wrote it.

mod fields;
mod messages;

use chat_fields::{FIELDS, Use};
use serde_json::value::RawValue;

use crate::bindings::skerry::chat::types::Message;
use crate::body::{self, Whole};
use crate::error::ApiError;
use crate::memory::Share;
use crate::raw_json::{RawFields, Size};

/// 4 MiB: a 128k-token prompt in any script, with room.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// Values and names of one body. 2,048 messages in four parts each have 66,000; 128 tools with
/// 100 described properties each 77,000.
const VALUES_MAX: usize = 1 << 17;
/// Objects and arrays within each other: where serde_json stops, and so our engine.
const DEPTH_MAX: usize = 127;
/// Of a question, what is shown to the leaves that decide by it: each keeps a copy.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// Messages that a client may add to a stored conversation at once: with the answer and the
/// rounds of tools they are one turn, which `session` stores whole (200 messages).
const TURN_MESSAGES_MAX: usize = 100;
/// Their bytes: a stored turn has 1 MiB with the answer.
const TURN_BYTES_MAX: usize = 512 << 10;
/// As OpenAI.
pub(crate) const TOOLS_MAX: usize = 128;
/// Answers to one prompt, at most (OpenAI's limit for `n`).
pub(crate) const CHOICES_MAX: usize = 128;

/// A parsed chat completion request.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    /// As the client named it; `auto` lets the router choose.
    pub(crate) model: String,
    /// Never empty.
    pub(crate) messages: Vec<Message>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// The ceiling on the answer's tokens, and the field that set it.
    pub(crate) completion_tokens_max: Option<(u32, &'static str)>,
    /// Answers to the prompt: 1 to [`CHOICES_MAX`].
    pub(crate) choices: usize,
    /// The stored conversation that this turn belongs to.
    pub(crate) conversation: Option<String>,
    /// The client's own tools, as they came.
    pub(crate) tools: Option<Box<RawValue>>,
    pub(crate) tool_choice: ToolChoice,
    pub(crate) logprobs: bool,
    /// The answer's text is to be a JSON document.
    pub(crate) json: bool,
    /// The client wants to see the calls that the platform makes itself.
    pub(crate) events: bool,
    /// Handed on to the backend, in the client's order and as it wrote them.
    pub(crate) fields: Vec<(String, Box<RawValue>)>,
    /// What it takes of the instance's memory, as long as it lives.
    _share: Share,
}

#[derive(Debug, Clone)]
pub(crate) enum ToolChoice {
    /// The client said nothing.
    Default,
    None,
    /// `auto`, `required`, a named function, or `allowed_tools`, as the client wrote it: the
    /// engine enforces it.
    Given(Box<RawValue>),
}

impl ChatRequest {
    pub(crate) fn parse(body: Whole) -> Result<Self, ApiError> {
        let Whole { bytes, share } = body;
        Self::of(&bytes, share)
    }

    fn of(body: &[u8], mut share: Share) -> Result<Self, ApiError> {
        let body = text(body)?;
        let bytes = body::bytes_held(body.len(), size(body)?.values);
        share
            .grow_to(bytes, body::COPIES)
            .map_err(|_| ApiError::too_many_large())?;
        let mut fields = parse_object(body)?;
        for name in fields.names() {
            fields::is_known(name)?;
        }
        let model = fields::model(fields::take(&mut fields, "model")?)?;
        let messages = messages::parse(fields.take("messages"))?;
        let stream = fields::boolean(&mut fields, "stream")?.unwrap_or(false);
        let include_usage =
            fields::stream_options(fields::take(&mut fields, "stream_options")?, stream)?;
        let completion_tokens_max = fields::completion_tokens_max(&mut fields)?;
        let conversation = fields::conversation(fields::take(&mut fields, "conversation")?)?;
        if conversation.is_some() {
            fits_a_turn(&messages)?;
        }
        let tools = fields::tools(fields.take("tools"))?;
        let tool_choice = fields::tool_choice(fields.take("tool_choice"), tools.is_some())?;
        let events = fields::skerry(fields::take(&mut fields, "skerry")?)?;
        fields::only_defaults(&mut fields)?;
        let checked = fields::check(&fields)?;
        if conversation.is_some() && checked.choices > 1 {
            let message = "A 'conversation' goes on with one answer: 'n' can only be 1.";
            return Err(ApiError::invalid("n", message));
        }
        Ok(Self {
            model,
            messages,
            stream,
            include_usage,
            completion_tokens_max,
            choices: checked.choices,
            conversation,
            tools,
            tool_choice,
            logprobs: checked.logprobs,
            json: checked.json,
            events,
            fields: fields.into_owned(),
            _share: share,
        })
    }

    /// The words of the last user message, for rules that look at them: of a long one, those
    /// at its beginning.
    pub(crate) fn query(&self) -> &str {
        use crate::bindings::skerry::chat::types::MessageRole;
        let last = self
            .messages
            .iter()
            .rfind(|message| message.role == MessageRole::User);
        let words = last.map_or("", |message| message.content.as_str());
        let start = words.len().saturating_sub(QUERY_BYTES_MAX);
        words
            .get(words.ceil_char_boundary(start)..)
            .unwrap_or(words)
    }
}

/// What could not be stored is refused before a model is asked.
fn fits_a_turn(messages: &[Message]) -> Result<(), ApiError> {
    let bytes = |message: &Message| {
        let arguments = message.tool_calls.iter().map(|call| call.arguments.len());
        message.content.len() + arguments.sum::<usize>()
    };
    let fits = messages.len() <= TURN_MESSAGES_MAX
        && messages.iter().map(bytes).sum::<usize>() <= TURN_BYTES_MAX;
    if fits {
        return Ok(());
    }
    let message = format!(
        "With a 'conversation', 'messages' may add up to {TURN_MESSAGES_MAX} messages and \
         {TURN_BYTES_MAX} bytes at once."
    );
    Err(ApiError::invalid("messages", message))
}

fn text(body: &[u8]) -> Result<&str, ApiError> {
    let Ok(body) = std::str::from_utf8(body) else {
        return Err(ApiError::malformed(
            "The request's body is not valid UTF-8.",
        ));
    };
    // Windows tools write a byte order mark; RFC 8259 §8.1 lets a parser ignore it.
    Ok(body.strip_prefix('\u{feff}').unwrap_or(body))
}

/// What a body would build, if that is no more than a request may.
fn size(body: &str) -> Result<Size, ApiError> {
    let size = Size::of(body);
    if size.depth > DEPTH_MAX {
        let message = format!("The request's body is nested more than {DEPTH_MAX} levels deep.");
        return Err(ApiError::too_complex(message));
    }
    if size.values > VALUES_MAX {
        let message = format!("The request's body has more than {VALUES_MAX} JSON values.");
        return Err(ApiError::too_complex(message));
    }
    Ok(size)
}

fn parse_object(body: &str) -> Result<RawFields<'_>, ApiError> {
    RawFields::parse(body).map_err(|error| match error.is_data() {
        true => ApiError::malformed("The request's body is not a JSON object."),
        false => ApiError::malformed(format!(
            "We could not parse the JSON body of your request: {error}."
        )),
    })
}

#[cfg(test)]
mod tests;
