//! A chat or a text in, answers out: renders the template, encodes, submits to the
//! engine, and turns token ids back into text, stop strings and tool calls. The server
//! speaks HTTP round it; `local.rs` calls it in process.
//! Knows no HTTP and no wire type.

mod defuse;
pub mod options;

pub mod answer;
pub mod answers;
mod constrain;
pub mod formats;
pub mod scheduling;
mod split;
mod stop;

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::chat_template::{ChatTemplate, Message, TemplateError};
use crate::constraint::compiler::{CompileError, Compiler};
use crate::constraint::grammar::Calls;
use crate::handle::{Generate, Handle, Rejected};
use crate::model::config::{ModelConfig, OneOrMany};
use crate::reasoning::ReasoningFormat;
use crate::sampler::SamplingParams;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::tool_parser::ToolFormat;
use answer::Answer;
use answers::Answers;
use formats::{Formats, Parsers};
use options::{AnswerOptions, Sampling};

/// A chat to be answered, already checked field by field.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    pub messages: Vec<Message>,
    /// OpenAI's tool objects, as the template wants them.
    pub tools: Vec<Json>,
    /// Look for tool calls in the answer.
    pub parse_tools: bool,
    /// Which functions may be called, and whether calls are held to anything. The model's
    /// own format is put in by [`Chat::constrain`].
    pub calls: Option<Calls>,
    /// Adds the tokenizer's own special tokens to what the template wrote.
    pub add_special: bool,
    pub options: AnswerOptions,
}

/// Texts to be continued, as they are.
#[derive(Clone, Debug, Default)]
pub struct CompletionRequest {
    /// At least one.
    pub prompts: Vec<Prompt>,
    /// Adds the tokenizer's own special tokens (a beginning of sequence) to a text.
    pub add_special: bool,
    pub options: AnswerOptions,
}

/// Where an answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

/// Why a chat is not answered.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("The prompt holds no token.")]
    PromptEmpty,
    /// The tokenizer knows more tokens than the model has embeddings.
    #[error("The prompt holds {text:?}, token {id}, for which this model has no embedding.")]
    TokenBeyond { text: String, id: u32 },
    #[error(
        "This model's maximum context length is {context} tokens. However, your prompt \
         resulted in {prompt} tokens. Please reduce its length."
    )]
    PromptTooLong { prompt: usize, context: usize },
    #[error(
        "This model's maximum context length is {context} tokens. However, you requested {} \
         tokens ({prompt} in the prompt, {tokens_max} in the completion). Please reduce the \
         length of either.", prompt.saturating_add(*tokens_max)
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
    /// Tokens of an answer whose length the caller leaves open.
    max_new_tokens: Option<usize>,
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
    formats: Formats,
    suggestions: Vec<String>,
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
    #[error("suggestions.json: {0}")]
    Suggestions(serde_json::Error),
}

impl TextSide {
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Loads tokenizer, template and generation defaults.
    ///
    /// # Errors
    /// A file is missing or malformed.
    pub fn load(dir: &Path, config: &ModelConfig) -> Result<Self, TextSideError> {
        let tokenizer = Tokenizer::load_within(dir, config.vocab)?;
        let template = ChatTemplate::load(dir)?;
        if template.source().is_empty() {
            tracing::warn!("the model has no chat template: it answers completions alone");
        }
        let generation = match std::fs::read(dir.join("generation_config.json")) {
            Err(_) => GenerationConfig::default(),
            Ok(text) => serde_json::from_slice(&text).map_err(TextSideError::Generation)?,
        };
        let suggestions = match std::fs::read(dir.join("suggestions.json")) {
            Err(_) => Vec::new(),
            Ok(text) => serde_json::from_slice(&text).map_err(TextSideError::Suggestions)?,
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
        let formats = Formats::of_template(&template.source());
        Ok(Self {
            tokenizer,
            template,
            generation,
            eos,
            formats,
            suggestions,
        })
    }

    /// Overrides what the chat template says of the model's formats.
    pub fn set_formats(&mut self, tools: Option<ToolFormat>, reasoning: Option<ReasoningFormat>) {
        self.formats.tools = tools.unwrap_or(self.formats.tools);
        self.formats.reasoning = reasoning.or(self.formats.reasoning);
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

    /// Messages to begin a chat with, from the model's `suggestions.json`; empty without one.
    pub fn suggestions(&self) -> &[String] {
        &self.text.suggestions
    }

    pub fn context(&self) -> usize {
        self.context
    }

    pub fn vocab(&self) -> usize {
        self.vocab
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.text.tokenizer
    }

    /// Renders and encodes a chat: the prompt's tokens.
    ///
    /// # Errors
    /// The template refuses the messages, or a file of the model is at fault.
    pub fn prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, ChatError> {
        self.tokens(&self.render(request)?, request.add_special)
    }

    /// A text's tokens, all of which the model knows.
    fn tokens(&self, text: &str, add_special: bool) -> Result<Vec<u32>, ChatError> {
        let tokenizer = &self.text.tokenizer;
        let tokens = tokenizer.encode(text, add_special)?;
        match tokens.iter().find(|id| **id as usize >= self.vocab) {
            None => Ok(tokens),
            Some(&id) => Err(ChatError::TokenBeyond {
                text: tokenizer.token_text(id, true).text,
                id,
            }),
        }
    }

    fn render(&self, request: &ChatRequest) -> Result<String, ChatError> {
        let (messages, tools) = self
            .text
            .tokenizer
            .defused(&request.messages, &request.tools);
        Ok(self.text.template.render(&messages, &tools)?)
    }

    /// The tokens of a text that is continued as it is: here special tokens may be
    /// written out, for the caller writes the whole prompt.
    ///
    /// # Errors
    /// The tokenizer failed, or the model has no embedding for a token.
    pub fn encode(&self, prompt: &Prompt, add_special: bool) -> Result<Vec<u32>, ChatError> {
        match prompt {
            Prompt::Text(text) => self.tokens(text, add_special),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
        }
    }

    /// Starts to answer a chat, once; [`Self::constrain`] comes first.
    ///
    /// # Errors
    /// As [`Self::answers`].
    pub fn answer(&self, mut request: ChatRequest) -> Result<Answer, ChatError> {
        request.options.n = 1;
        let answers = self.answers(request)?;
        answers.into_first().ok_or(ChatError::PromptEmpty)
    }

    /// Starts to answer a chat, `n` times; [`Self::constrain`] comes first.
    ///
    /// # Errors
    /// As [`Self::prompt`]; or the context is too short, or the engine takes no more.
    pub fn answers(&self, request: ChatRequest) -> Result<Answers, ChatError> {
        let text = self.render(&request)?;
        let prompt = self.tokens(&text, request.add_special)?;
        let parsers = self.text.formats.parsers(&request, &text);
        let platform_tokens = self.platform_tokens(&request, &prompt);
        let mut options = request.options;
        options.platform_tokens = platform_tokens;
        self.start(&[prompt], &options, parsers)
    }

    /// Starts to continue texts, each `n` times; [`Self::constrain`] comes first.
    ///
    /// # Errors
    /// A prompt is empty or the context too short for it, the tokenizer failed, or the
    /// engine takes no more.
    pub fn complete(&self, request: &CompletionRequest) -> Result<Answers, ChatError> {
        let encode = |prompt| self.encode(prompt, request.add_special);
        let prompts: Vec<Vec<u32>> = request
            .prompts
            .iter()
            .map(encode)
            .collect::<Result<_, _>>()?;
        self.start(&prompts, &request.options, Parsers::default())
    }

    /// Submits all; if one is refused, those before it are cancelled by being dropped.
    fn start(
        &self,
        prompts: &[Vec<u32>],
        options: &AnswerOptions,
        parsers: Parsers,
    ) -> Result<Answers, ChatError> {
        let mut answers = Vec::with_capacity(prompts.len() * options.n);
        let seed = options.sampling.seed.unwrap_or_else(rand::random);
        for prompt in prompts {
            let skipped = match options.prompt_tokens_kept {
                Some(kept) => prompt.len().saturating_sub(kept),
                None => 0,
            };
            let prompt = &prompt[skipped..];
            let tokens_max = self.room(prompt.len(), options.tokens_max)?;
            for (_, offset) in (0..options.n).zip(0u64..) {
                let seed = seed.wrapping_add(offset);
                let generate = self.generate(prompt, tokens_max, seed, options);
                let generation = self.handle.submit(generate)?;
                let tokenizer = self.text.tokenizer.clone();
                let parsers = parsers.clone();
                answers.push(Answer::new(generation, tokenizer, options, parsers, prompt));
            }
        }
        Ok(Answers::new(answers, options.n))
    }

    /// Tokens that an answer to a prompt may have.
    fn room(&self, prompt: usize, asked: Option<usize>) -> Result<usize, ChatError> {
        let context = self.context;
        if prompt == 0 {
            return Err(ChatError::PromptEmpty);
        }
        let room = context.saturating_sub(prompt);
        if prompt > context || (room == 0 && asked != Some(0)) {
            return Err(ChatError::PromptTooLong { prompt, context });
        }
        let open = self.text.generation.max_new_tokens.unwrap_or(room);
        let tokens_max = asked.unwrap_or(open.max(1).min(room));
        if tokens_max > room {
            return Err(ChatError::AnswerTooLong {
                prompt,
                tokens_max,
                context,
            });
        }
        Ok(tokens_max)
    }

    fn generate(
        &self,
        prompt: &[u32],
        tokens_max: usize,
        seed: u64,
        options: &AnswerOptions,
    ) -> Generate {
        let mut stop_tokens = options.stop_token_ids.clone();
        if !options.ignore_eos {
            stop_tokens.extend(&self.text.eos);
        }
        let mut sampling = self.sampling(&options.sampling, seed);
        if options.min_tokens > 0 {
            sampling.min_tokens = options.min_tokens;
            sampling.ends = stop_tokens.clone();
        }
        let mut generate = Generate {
            prompt: prompt.to_vec(),
            // An answer of no token still computes its prompt, which gives one.
            tokens_max: tokens_max.max(1),
            stop_tokens,
            sampling,
            constraint: options.constraint.clone(),
            prompt_logprobs: options.prompt_logprobs,
            ..Generate::default()
        };
        options
            .scheduling
            .apply(&mut generate, options.platform_tokens);
        generate
    }

    fn sampling(&self, asked: &Sampling, seed: u64) -> SamplingParams {
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
            logit_bias: asked.logit_bias.clone(),
            seed,
            min_tokens: 0,
            ends: Vec::new(),
            logprobs: asked.logprobs,
        }
    }
}
