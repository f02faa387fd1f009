//! A chat in, an answer out: renders the template, encodes, submits to the engine, and
//! turns token ids back into text, stop strings and tool calls. The server speaks HTTP
//! round it; `local.rs` calls it in process.
//! Knows no HTTP and no wire type.

pub mod answer;
mod stop;

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::chat_template::{ChatTemplate, Message, TemplateError};
use crate::constraint::Constraint;
use crate::constraint::compiler::{CompileError, Compiler};
use crate::constraint::grammar::Form;
use crate::handle::{Generate, Handle, Rejected};
use crate::model::config::{ModelConfig, OneOrMany};
use crate::sampler::SamplingParams;
use crate::tokenizer::{Tokenizer, TokenizerError};
use answer::Answer;

/// What a caller asks for, already checked field by field.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    pub messages: Vec<Message>,
    /// OpenAI's tool objects, as the template wants them.
    pub tools: Vec<Json>,
    /// Look for tool calls in the answer.
    pub parse_tools: bool,
    /// Absent: up to the end of the context.
    pub tokens_max: Option<usize>,
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<u32>,
    pub ignore_eos: bool,
    pub sampling: Sampling,
    /// What the answer's text must be.
    pub form: Option<AskedForm>,
    /// The form, compiled: [`Chat::constrain`] puts it here.
    pub constraint: Option<Constraint>,
}

/// A form of the answer, and the field that asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedForm {
    pub field: String,
    pub form: Form,
}

/// Sampling as asked for; what is absent comes from the model's `generation_config.json`.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    /// `Some(None)` turns the model's own limit off.
    pub top_k: Option<Option<usize>>,
    pub min_p: Option<f32>,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub repetition_penalty: Option<f32>,
    pub logit_bias: Vec<(u32, f32)>,
    pub seed: Option<u64>,
    pub logprobs: Option<usize>,
}

/// Why a chat is not answered.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(
        "This model's maximum context length is {context} tokens. However, your messages \
         resulted in {prompt} tokens. Please reduce the length of the messages."
    )]
    PromptTooLong { prompt: usize, context: usize },
    #[error(
        "This model's maximum context length is {context} tokens. However, you requested {} \
         tokens ({prompt} in the messages, {tokens_max} in the completion). Please reduce the \
         length of the messages or completion.", prompt.saturating_add(*tokens_max)
    )]
    AnswerTooLong {
        prompt: usize,
        tokens_max: usize,
        context: usize,
    },
    #[error("'{field}' cannot be honoured: {error}")]
    Form { field: String, error: CompileError },
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

/// What the model's own files say of generation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    eos_token_id: Option<OneOrMany>,
}

/// A model that chats: its text side, and the way to its engine.
#[derive(Debug)]
pub struct Chat {
    text: TextSide,
    compiler: Arc<Compiler>,
    handle: Handle,
    /// Longest prompt and answer together, in tokens.
    context: usize,
    vocab: usize,
}

/// The files of a model that concern text.
#[derive(Debug)]
pub struct TextSide {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    generation: GenerationConfig,
    eos: Vec<u32>,
}

/// The text side of a model directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextSideError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("generation_config.json: {0}")]
    Generation(serde_json::Error),
    #[error("tokenizer.json knows {tokenizer} tokens, config.json's `vocab_size` is {model}")]
    Vocab { tokenizer: usize, model: usize },
}

impl TextSide {
    /// Loads tokenizer, template and generation defaults.
    ///
    /// # Errors
    /// A file is missing or malformed, or the tokenizer is not this model's.
    pub fn load(dir: &Path, config: &ModelConfig) -> Result<Self, TextSideError> {
        let tokenizer = Tokenizer::load(dir)?;
        if tokenizer.vocab() > config.vocab {
            let (tokenizer, model) = (tokenizer.vocab(), config.vocab);
            return Err(TextSideError::Vocab { tokenizer, model });
        }
        let template = ChatTemplate::load(dir)?;
        let generation = match std::fs::read(dir.join("generation_config.json")) {
            Err(_) => GenerationConfig::default(),
            Ok(text) => serde_json::from_slice(&text).map_err(TextSideError::Generation)?,
        };
        let mut eos = config.eos.clone();
        eos.extend(
            generation
                .eos_token_id
                .clone()
                .map(OneOrMany::into_vec)
                .unwrap_or_default(),
        );
        eos.extend(tokenizer.id(template.eos()));
        eos.sort_unstable();
        eos.dedup();
        Ok(Self {
            tokenizer,
            template,
            generation,
            eos,
        })
    }
}

impl Chat {
    /// `context` is the engine's limit on one sequence.
    pub fn new(text: TextSide, handle: Handle, context: usize, vocab: usize) -> Self {
        let compiler = Compiler::new(text.tokenizer.clone(), vocab, text.eos.clone());
        Self {
            text,
            compiler: Arc::new(compiler),
            handle,
            context,
            vocab,
        }
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn context(&self) -> usize {
        self.context
    }

    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Renders and encodes a chat: the prompt's tokens.
    ///
    /// # Errors
    /// The template refuses the messages, or a file of the model is at fault.
    pub fn prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, ChatError> {
        let messages: Vec<Message> = request.messages.iter().map(|m| self.defuse(m)).collect();
        let text = self.text.template.render(&messages, &request.tools)?;
        Ok(self.text.tokenizer.encode(&text)?)
    }

    /// Compiles what the request holds its answer to, on a thread of its own.
    ///
    /// # Errors
    /// Names the field whose form is malformed, unsupported or too large.
    pub async fn constrain(&self, request: &mut ChatRequest) -> Result<(), ChatError> {
        if let Some(AskedForm { field, form }) = request.form.clone() {
            let made = self.compiler.compile(form).await;
            request.constraint = Some(made.map_err(|error| ChatError::Form { field, error })?);
        }
        Ok(())
    }

    /// As [`Self::constrain`], on the caller's thread.
    ///
    /// # Errors
    /// As there.
    pub fn constrain_blocking(&self, request: &mut ChatRequest) -> Result<(), ChatError> {
        if let Some(AskedForm { field, form }) = request.form.clone() {
            let made = self.compiler.compile_blocking(&form);
            request.constraint = Some(made.map_err(|error| ChatError::Form { field, error })?);
        }
        Ok(())
    }

    /// Starts to answer a chat; [`Self::constrain`] comes first.
    ///
    /// # Errors
    /// As [`Self::prompt`]; or the context is too short, or the engine takes no more.
    pub fn answer(&self, request: ChatRequest) -> Result<Answer, ChatError> {
        let prompt = self.prompt(&request)?;
        let (context, prompt_tokens) = (self.context, prompt.len());
        if prompt_tokens >= context {
            return Err(ChatError::PromptTooLong {
                prompt: prompt_tokens,
                context,
            });
        }
        let room = context - prompt_tokens;
        let tokens_max = request.tokens_max.unwrap_or(room);
        if tokens_max > room {
            let prompt = prompt_tokens;
            return Err(ChatError::AnswerTooLong {
                prompt,
                tokens_max,
                context,
            });
        }
        let mut stop_tokens = request.stop_token_ids;
        if !request.ignore_eos {
            stop_tokens.extend(&self.text.eos);
        }
        let sampling = self.sampling(request.sampling);
        let generation = self.handle.submit(Generate {
            prompt,
            tokens_max,
            stop_tokens,
            sampling,
            constraint: request.constraint,
        })?;
        let tokenizer = self.text.tokenizer.clone();
        Ok(Answer::new(
            generation,
            tokenizer,
            request.stop,
            request.parse_tools,
            prompt_tokens,
        ))
    }

    fn sampling(&self, asked: Sampling) -> SamplingParams {
        let model = &self.text.generation;
        let temperature = match model.do_sample {
            Some(false) => 0.0,
            _ => model.temperature.unwrap_or(1.0),
        };
        SamplingParams {
            temperature: asked.temperature.unwrap_or(temperature),
            top_p: asked.top_p.or(model.top_p).unwrap_or(1.0),
            top_k: asked.top_k.unwrap_or(model.top_k).filter(|k| *k > 0),
            min_p: asked.min_p.or(model.min_p).unwrap_or(0.0),
            presence_penalty: asked.presence_penalty,
            frequency_penalty: asked.frequency_penalty,
            repetition_penalty: asked
                .repetition_penalty
                .or(model.repetition_penalty)
                .unwrap_or(1.0),
            logit_bias: asked.logit_bias,
            seed: asked.seed.unwrap_or_else(rand::random),
            logprobs: asked.logprobs,
        }
    }

    /// The message with no special token written out in what a client sent.
    fn defuse(&self, message: &Message) -> Message {
        let defuse = |text: &str| self.text.tokenizer.defuse(text).into_owned();
        Message {
            content: defuse(&message.content),
            name: message.name.as_deref().map(defuse),
            ..message.clone()
        }
    }
}
