//! The engine in process, for programs that evaluate or embed a model: load a
//! directory, answer chats. The same path as over HTTP, without the HTTP.
//! Knows no HTTP and no wire type.

use std::path::Path;
use std::thread::JoinHandle;

use crate::backend::{self, DeviceError, DeviceKind, KvCacheDtype, Precision};
use crate::chat::answer::{Failed, Whole};
use crate::chat::{Chat, ChatError, ChatRequest, Sampling, TextSide, TextSideError};
use crate::chat_template::Message;
use crate::engine::{self, EngineConfig, StartError};
use crate::kernels::BLOCK_TOKENS;
use crate::loader::{self, LoadError};
use crate::model::config::ModelConfig;
use crate::scheduler::Limits;

/// How to run a model.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub device: DeviceKind,
    pub precision: Precision,
    pub threads: usize,
    /// Sequences that run at the same time.
    pub sequences_max: usize,
    /// Requests that wait, beyond those that run.
    pub queue_max: usize,
    /// Tokens of one step.
    pub step_tokens_max: usize,
    /// Shorter than the model's own context; absent: the model's own.
    pub context: Option<usize>,
    /// Bytes of the KV cache.
    pub kv_cache_bytes: usize,
    /// How the KV cache keeps its numbers.
    pub kv_cache_dtype: KvCacheDtype,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: DeviceKind::Cpu,
            precision: Precision::F32,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            sequences_max: 256,
            queue_max: 1024,
            step_tokens_max: 512,
            context: None,
            kv_cache_bytes: 512 << 20,
            kv_cache_dtype: KvCacheDtype::Auto,
        }
    }
}

/// Why a model directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Text(#[from] TextSideError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the context of {asked} tokens is longer than the model's {model}")]
    Context { asked: usize, model: usize },
    #[error(
        "a KV cache of {given} bytes holds no sequence of {context} tokens, which takes {needed}"
    )]
    Cache {
        given: usize,
        context: usize,
        needed: usize,
    },
}

/// Why a chat got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// Opens a model directory and starts its engine. The thread ends when the last handle
/// to the chat is dropped.
///
/// # Errors
/// Names what is missing, damaged, unsupported or too small.
pub fn open(dir: &Path, options: &Options) -> Result<(Chat, JoinHandle<()>), OpenError> {
    let device = backend::open(options.device)?;
    // The text side first: it is small, and its mistakes show before weights are read.
    let config = ModelConfig::read(dir).map_err(LoadError::from)?;
    let text = TextSide::load(dir, &config)?;
    let limits = limits(&config, options)?;
    let model =
        loader::load(dir, options.precision, &device)?.with_kv_cache(options.kv_cache_dtype);
    let (handle, thread) = engine::start(
        model,
        EngineConfig {
            scheduler: limits,
            queue_max: options.queue_max,
            threads: options.threads,
        },
    )?;
    Ok((
        Chat::new(text, handle, limits.sequence_tokens_max, config.vocab),
        thread,
    ))
}

fn limits(config: &ModelConfig, options: &Options) -> Result<Limits, OpenError> {
    let context = options.context.unwrap_or(config.context);
    if context > config.context {
        return Err(OpenError::Context {
            asked: context,
            model: config.context,
        });
    }
    let most = options
        .sequences_max
        .saturating_mul(context.div_ceil(BLOCK_TOKENS));
    let afforded = options.kv_cache_bytes / config.block_bytes(options.kv_cache_dtype);
    // No more than all sequences together can ever use.
    let blocks = u32::try_from(afforded.min(most)).unwrap_or(u32::MAX);
    let limits = Limits {
        sequences_max: options.sequences_max,
        step_tokens_max: options.step_tokens_max,
        sequence_tokens_max: context,
        blocks,
    };
    if limits.hold_one_sequence() {
        return Ok(limits);
    }
    let needed = context.div_ceil(BLOCK_TOKENS) * config.block_bytes(options.kv_cache_dtype);
    Err(OpenError::Cache {
        given: options.kv_cache_bytes,
        context,
        needed,
    })
}

/// A model in this process, for callers without an async runtime.
#[derive(Debug)]
pub struct LocalModel {
    chat: Chat,
}

impl LocalModel {
    /// Loads a Hugging Face model directory with default options.
    ///
    /// # Errors
    /// As [`open`].
    pub fn load(dir: &Path) -> Result<Self, OpenError> {
        Self::load_with(dir, &Options::default())
    }

    /// As [`Self::load`], with options.
    ///
    /// # Errors
    /// As [`open`].
    pub fn load_with(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let (chat, _thread) = open(dir, options)?;
        Ok(Self { chat })
    }

    /// The most likely answer to a chat, tool calls parsed where tools are offered.
    ///
    /// # Errors
    /// The chat is refused or the engine failed.
    pub fn greedy(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        tokens_max: usize,
    ) -> Result<Whole, AnswerError> {
        let request = ChatRequest {
            messages: messages.to_vec(),
            tools: tools.to_vec(),
            parse_tools: !tools.is_empty(),
            tokens_max: Some(tokens_max),
            sampling: Sampling {
                temperature: Some(0.0),
                ..Sampling::default()
            },
            ..ChatRequest::default()
        };
        Ok(self.chat.answer(request)?.whole_blocking()?)
    }

    /// Everything else: several answers at a time, sampling, streaming.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }
}
