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
    /// Shorter than the model's own context; absent: the model's own, or as much of it as
    /// the cache affords.
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
    let afforded = options.kv_cache_bytes / config.block_bytes(options.kv_cache_dtype);
    let context = context(config, options.context, afforded)?;
    let most = options
        .sequences_max
        .saturating_mul(context.div_ceil(BLOCK_TOKENS));
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

/// Tokens that a sequence may have. A context that was asked for is taken as it is; the
/// model's own is cut to a cache of so many blocks.
fn context(config: &ModelConfig, asked: Option<usize>, blocks: usize) -> Result<usize, OpenError> {
    let (model, afforded) = (config.context, blocks.saturating_mul(BLOCK_TOKENS));
    match asked {
        Some(asked) if asked > model => Err(OpenError::Context { asked, model }),
        Some(asked) => Ok(asked),
        None if (1..model).contains(&afforded) => {
            tracing::warn!(
                tokens = afforded,
                model_tokens = model,
                "the KV cache affords a shorter context than the model has"
            );
            Ok(afforded)
        }
        None => Ok(model),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama-3.2-1B: 64 KiB of cache a token, so 8 GiB for its whole context.
    fn llama_3_2_1b() -> ModelConfig {
        ModelConfig::parse(
            br#"{"architectures": ["LlamaForCausalLM"], "vocab_size": 128256,
                "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
                "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
                "max_position_embeddings": 131072, "tie_word_embeddings": true}"#,
        )
        .unwrap()
    }

    fn limits_with(kv_cache_bytes: usize, context: Option<usize>) -> Result<Limits, OpenError> {
        let options = Options {
            context,
            kv_cache_bytes,
            ..Options::default()
        };
        limits(&llama_3_2_1b(), &options)
    }

    #[test]
    fn a_long_context_is_cut_to_what_the_cache_affords() {
        let half_gib = limits_with(512 << 20, None).unwrap();
        assert_eq!((half_gib.sequence_tokens_max, half_gib.blocks), (8192, 512));
        assert!(half_gib.hold_one_sequence());
        let enough = limits_with(8 << 30, None).unwrap();
        assert_eq!(enough.sequence_tokens_max, 131_072);
    }

    #[test]
    fn a_context_that_was_asked_for_is_held_or_refused() {
        let short = limits_with(512 << 20, Some(4096)).unwrap();
        assert_eq!(short.sequence_tokens_max, 4096);
        let long = limits_with(512 << 20, Some(16_384));
        assert!(
            matches!(long, Err(OpenError::Cache { context: 16_384, needed, .. }) if needed == 1 << 30)
        );
        let longer = limits_with(512 << 20, Some(200_000));
        assert!(matches!(
            longer,
            Err(OpenError::Context { model: 131_072, .. })
        ));
    }

    #[test]
    fn a_cache_without_a_block_is_refused() {
        let none = limits_with(1000, None);
        assert!(matches!(none, Err(OpenError::Cache { given: 1000, .. })));
    }
}
