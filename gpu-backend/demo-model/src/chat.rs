//! Conversations as text: OpenAI messages rendered by the chat template that is shipped with
//! the model. Training and evaluation both go through it, as the engine does. It knows no token.

use anyhow::{Context, Result};
use minijinja::{Environment, context};
use serde_json::{Value, json};

use crate::data::{Dialogue, Turn};

/// The template, as shipped in `tokenizer_config.json`.
pub const TEMPLATE: &str = include_str!("chat_template.jinja");

/// Renders conversations.
#[derive(Debug)]
pub struct Chat {
    environment: Environment<'static>,
}

impl Chat {
    /// A renderer of the template given (our own, or the one of a shipped folder).
    pub fn new(template: &str) -> Result<Self> {
        let mut environment = Environment::new();
        environment
            .add_template_owned("chat", template.to_owned())
            .context("the chat template does not parse")?;
        Ok(Self { environment })
    }

    /// The text of a conversation; with `prompt`, it ends where the model has to go on.
    pub fn render(&self, tools: &[String], turns: &[Turn], prompt: bool) -> Result<String> {
        let messages: Vec<Value> = turns.iter().map(message).collect();
        let tools: Vec<Value> = tools
            .iter()
            .map(|name| json!({"type": "function", "function": {"name": name}}))
            .collect();
        let template = self.environment.get_template("chat")?;
        let text = template
            .render(context! { messages, tools, add_generation_prompt => prompt })
            .context("the chat template does not render")?;
        Ok(text)
    }

    /// The text of a whole training dialogue.
    pub fn render_dialogue(&self, dialogue: &Dialogue) -> Result<String> {
        self.render(&dialogue.tools, &dialogue.turns, false)
    }
}

fn message(turn: &Turn) -> Value {
    match turn {
        Turn::System(text) => json!({"role": "system", "content": text}),
        Turn::User(text) => json!({"role": "user", "content": text}),
        Turn::Assistant(text) => json!({"role": "assistant", "content": text}),
        Turn::Call { name, arguments } => json!({
            "role": "assistant",
            "content": null,
            "tool_calls": [{
                "id": "call_0",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }],
        }),
        Turn::Tool(text) => json!({"role": "tool", "tool_call_id": "call_0", "content": text}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tools: &[&str], turns: &[Turn], expect: &str) {
        let chat = Chat::new(TEMPLATE).unwrap();
        let tools: Vec<String> = tools.iter().map(|t| (*t).to_owned()).collect();
        assert_eq!(chat.render(&tools, turns, true).unwrap(), expect);
    }

    #[test]
    fn a_plain_question() {
        check(
            &[],
            &[Turn::User("hi".into())],
            "<|user|>hi<|end|><|assistant|>",
        );
    }

    #[test]
    fn tools_stand_in_the_system_block_by_name() {
        let question = Turn::User("hi".into());
        check(
            &["calculator", "clock"],
            std::slice::from_ref(&question),
            "<|system|>tools: calculator, clock<|end|><|user|>hi<|end|><|assistant|>",
        );
        check(
            &["clock"],
            &[Turn::System("Be brief.".into()), question],
            "<|system|>Be brief.\ntools: clock<|end|><|user|>hi<|end|><|assistant|>",
        );
    }

    #[test]
    fn a_tool_call_and_its_result() {
        let arguments = r#"{"expression": "12*7"}"#.to_owned();
        check(
            &[],
            &[
                Turn::User("12*7".into()),
                Turn::Call {
                    name: "calculator",
                    arguments,
                },
                Turn::Tool("84".into()),
            ],
            "<|user|>12*7<|end|><|assistant|><tool_call>\n{\"name\": \"calculator\", \
             \"arguments\": {\"expression\": \"12*7\"}}\n</tool_call><|end|><|tool|>84<|end|><|assistant|>",
        );
    }

    #[test]
    fn arguments_as_an_object_render_like_the_models_own_text() {
        let chat = Chat::new(TEMPLATE).unwrap();
        let template = chat.environment.get_template("chat").unwrap();
        let messages = json!([{"role": "assistant", "tool_calls": [
            {"function": {"name": "calculator", "arguments": {"expression": "1<2"}}}]}]);
        let text = template.render(context! { messages }).unwrap();
        assert!(
            text.contains("{\"expression\": \"1<2\"}}\n</tool_call>"),
            "{text}"
        );
    }
}
