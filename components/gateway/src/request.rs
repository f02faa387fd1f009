//! The border: a chat request's bytes become a [`ChatRequest`], or an error that
//! names the field. Nothing below checks again.
//!
//! Each of OpenAI's fields is honoured or refused by name; a field that nobody
//! knows is refused too, so that a misspelt one is not silently ignored.

mod fields;
mod messages;

pub(crate) use fields::KNOWN;

use serde_json::{Map, Value};

use crate::bindings::skerry::chat::types::Message;
use crate::error::ApiError;

/// 4 MiB: a 128k-token prompt in any script, with room.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// Messages that a client may add to a stored conversation at once: with the answer and the
/// rounds of tools they are one turn, which `session` stores whole (200 messages).
const TURN_MESSAGES_MAX: usize = 100;
/// Their bytes: a stored turn has 1 MiB with the answer.
const TURN_BYTES_MAX: usize = 512 << 10;
/// As OpenAI.
pub(crate) const TOOLS_MAX: usize = 128;

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
    /// The stored conversation that this turn belongs to.
    pub(crate) conversation: Option<String>,
    /// The client's own tools, as they came.
    pub(crate) tools: Option<Value>,
    pub(crate) tool_choice: ToolChoice,
    pub(crate) logprobs: bool,
    /// The client wants to see the calls that the platform makes itself.
    pub(crate) events: bool,
    /// Sampling fields, checked, as the backend takes them.
    pub(crate) sampling: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ToolChoice {
    Auto,
    None,
    /// `required`, a named function, or `allowed_tools`: the engine enforces it.
    Forced(Value),
}

impl ChatRequest {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        if let Some(unknown) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(fields::refuse(unknown));
        }
        let model = fields::model(fields.remove("model"))?;
        let messages = messages::parse(fields.remove("messages"))?;
        let stream = fields::boolean(&mut fields, "stream")?.unwrap_or(false);
        let include_usage = fields::stream_options(fields.remove("stream_options"), stream)?;
        let completion_tokens_max = fields::completion_tokens_max(&mut fields)?;
        let conversation = fields::conversation(fields.remove("conversation"))?;
        if conversation.is_some() {
            fits_a_turn(&messages)?;
        }
        let tools = fields::tools(fields.remove("tools"))?;
        let tool_choice = fields::tool_choice(fields.remove("tool_choice"), tools.is_some())?;
        let events = fields::skerry(fields.remove("skerry"))?;
        fields::only_defaults(&mut fields)?;
        fields::check_sampling(&fields)?;
        let logprobs = fields
            .get("logprobs")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        fields.retain(|_, value| !value.is_null());
        Ok(Self {
            model,
            messages,
            stream,
            include_usage,
            completion_tokens_max,
            conversation,
            tools,
            tool_choice,
            logprobs,
            events,
            sampling: fields,
        })
    }

    /// The words of the last user message, for rules that look at them.
    pub(crate) fn query(&self) -> &str {
        use crate::bindings::skerry::chat::types::MessageRole;
        let last = self
            .messages
            .iter()
            .rfind(|message| message.role == MessageRole::User);
        last.map_or("", |message| message.content.as_str())
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

fn parse_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if std::str::from_utf8(body).is_err() {
        return Err(ApiError::malformed(
            "The request's body is not valid UTF-8.",
        ));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(ApiError::malformed(
            "The request's body is not a JSON object.",
        )),
        Err(error) => Err(ApiError::malformed(format!(
            "We could not parse the JSON body of your request: {error}."
        ))),
    }
}

#[cfg(test)]
mod tests;
