//! The engine in process, for programs that evaluate or embed a model: load a
//! directory, answer chats. The same path as over HTTP, without the HTTP.
//! Knows no HTTP and no wire type.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use burn::tensor::Device;

use crate::backend::{self, DeviceError, DeviceKind, KvCacheDtype, Precision};
use crate::chat::answer::{Failed, Whole};
use crate::chat::options::{AnswerOptions, Sampling};
use crate::chat::{Chat, ChatError, ChatRequest, TextSide, TextSideError};
use crate::chat_template::Message;
use crate::engine::{self, EngineConfig, StartError};
use crate::kernels::BLOCK_TOKENS;
use crate::loader::{self, LoadError};
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::reasoning::ReasoningFormat;
use crate::scheduler::Limits;
use crate::speculation::{DraftModel, Proposer, Speculation, SpeculativeConfig};
use crate::tokenizer::Tokenizer;
use crate::tool_parser::ToolFormat;

/// How to run a model.
#[derive(Clone, Debug)]
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
    pub kv_cache: KvMemory,
    /// How the KV cache keeps its numbers.
    pub kv_cache_dtype: KvCacheDtype,
    /// Prefixes that were computed once are taken from the cache.
    pub prefix_caching: bool,
    pub speculative: Option<SpeculativeConfig>,
    /// How the model writes tool calls; absent: as its chat template says.
    pub tool_format: Option<ToolFormat>,
    /// How the model marks its reasoning; absent: as its chat template says.
    pub reasoning_format: Option<ReasoningFormat>,
}

/// How much memory the KV cache may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KvMemory {
    Bytes(usize),
    /// Of what the device has available once the weights are loaded, above 0 and at
    /// most 1.
    Share(f64),
}

/// Half: the rest is for activations, files in memory and whatever else runs here.
pub const MEMORY_UTILIZATION: f64 = 0.5;
/// Where the machine does not tell what it has.
const KV_BYTES_UNKNOWN: usize = 512 << 20;

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
            kv_cache: KvMemory::Share(MEMORY_UTILIZATION),
            kv_cache_dtype: KvCacheDtype::Auto,
            prefix_caching: true,
            speculative: None,
            tool_format: None,
            reasoning_format: None,
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
    #[error("the draft model {}: {problem}", .dir.display())]
    Draft { dir: PathBuf, problem: String },
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
    loader::check_layout(dir)?;
    // The text side first: it is small, and its mistakes show before weights are read.
    let config = ModelConfig::read(dir).map_err(LoadError::from)?;
    let mut text = TextSide::load(dir, &config)?;
    text.set_formats(options.tool_format, options.reasoning_format);
    if let Some(asked) = options.context.filter(|asked| *asked > config.context) {
        let model = config.context;
        return Err(OpenError::Context { asked, model });
    }
    let kept = options.kv_cache_dtype;
    let model = loader::load(dir, options.precision, &device)?.with_kv_cache(kept);
    let draft = draft_model(options, &text, &config, &device)?;
    let (mut block_bytes, mut longest) = (config.block_bytes(kept), config.context);
    if let Some(draft) = draft.as_ref().map(Model::config) {
        block_bytes += draft.block_bytes(kept);
        longest = longest.min(draft.context);
    }
    // Measured when the weights are in memory.
    let given = options.kv_cache.bytes(options.device, &device);
    let limits = limits(block_bytes, given, options, longest)?;
    let context = limits.sequence_tokens_max;
    let speculative = options.speculative.clone();
    let speculation = move || {
        speculative.map(|speculative| Speculation {
            proposer: match draft {
                Some(draft) => Proposer::Model(Box::new(DraftModel::new(
                    draft,
                    limits.blocks,
                    limits.step_tokens_max,
                ))),
                None => Proposer::Lookup(speculative.prompt_lookup()),
            },
            tokens_max: speculative.num_speculative_tokens,
        })
    };
    let (handle, thread) = engine::start_speculative(
        model,
        EngineConfig {
            scheduler: limits,
            queue_max: options.queue_max,
            threads: options.threads,
            prefix_caching: options.prefix_caching,
        },
        speculation,
    )?;
    Ok((Chat::new(text, handle, context, config.vocab), thread))
}

/// The model that speculates, if one does.
fn draft_model(
    options: &Options,
    text: &TextSide,
    config: &ModelConfig,
    device: &Device,
) -> Result<Option<Model>, OpenError> {
    let speculative = options.speculative.as_ref();
    let Some(dir) = speculative.and_then(|speculative| speculative.model.as_deref()) else {
        return Ok(None);
    };
    let wrong = |problem: String| OpenError::Draft {
        dir: dir.to_owned(),
        problem,
    };
    let draft = ModelConfig::read(dir).map_err(|e| wrong(e.to_string()))?;
    let asked = options.context.unwrap_or(0);
    if draft.context < asked {
        return Err(wrong(format!(
            "its context of {} tokens is shorter than {asked}",
            draft.context
        )));
    }
    let tokenizer = Tokenizer::load_within(dir, config.vocab).map_err(|e| wrong(e.to_string()))?;
    if draft.vocab > config.vocab || !tokenizer.is_like(text.tokenizer()) {
        return Err(wrong("its tokenizer is another one".to_owned()));
    }
    let model = loader::load(dir, options.precision, device).map_err(|e| wrong(e.to_string()))?;
    Ok(Some(model.with_kv_cache(options.kv_cache_dtype)))
}

/// What the scheduler may use of a cache of `given` bytes, for sequences of `context`
/// tokens or, where none was asked for, of as many as the model has and the cache affords.
fn limits(
    block_bytes: usize,
    given: usize,
    options: &Options,
    model_context: usize,
) -> Result<Limits, OpenError> {
    let afforded = given / block_bytes;
    let context = options
        .context
        .unwrap_or_else(|| affordable(model_context, afforded));
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
    if !limits.hold_one_sequence() {
        let needed = context.div_ceil(BLOCK_TOKENS) * block_bytes;
        return Err(OpenError::Cache {
            given,
            context,
            needed,
        });
    }
    tracing::info!(
        mib = (blocks as usize * block_bytes) >> 20,
        tokens = blocks as usize * BLOCK_TOKENS,
        available_mib = given >> 20,
        "KV cache"
    );
    Ok(limits)
}

impl KvMemory {
    fn bytes(self, kind: DeviceKind, device: &Device) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(share) => match backend::memory_available_bytes(kind, device) {
                Some(bytes) => share_of(bytes, share),
                None => {
                    tracing::warn!("this device does not tell how much memory is available");
                    KV_BYTES_UNKNOWN
                }
            },
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a machine's memory, between 0 and all of it"
)]
fn share_of(bytes: u64, share: f64) -> usize {
    (bytes as f64 * share.clamp(0.0, 1.0)) as usize
}

/// The model's own context, cut to what a cache of so many blocks holds.
fn affordable(model_context: usize, blocks: usize) -> usize {
    let tokens = blocks.saturating_mul(BLOCK_TOKENS);
    if !(1..model_context).contains(&tokens) {
        return model_context;
    }
    tracing::warn!(
        tokens,
        model_tokens = model_context,
        "the KV cache affords a shorter context than the model has"
    );
    tokens
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
            options: AnswerOptions {
                tokens_max: Some(tokens_max),
                sampling: Sampling {
                    temperature: Some(0.0),
                    ..Sampling::default()
                },
                ..AnswerOptions::default()
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
            ..Options::default()
        };
        let config = llama_3_2_1b();
        let block_bytes = config.block_bytes(KvCacheDtype::Auto);
        limits(block_bytes, kv_cache_bytes, &options, config.context)
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
    }

    #[test]
    fn a_cache_without_a_block_is_refused() {
        let none = limits_with(1000, None);
        assert!(matches!(none, Err(OpenError::Cache { given: 1000, .. })));
    }
}
