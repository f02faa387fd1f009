//! Encoders: BERT-like models that turn texts into vectors, or a query and a document
//! into a score. A thread of its own owns the model; callers wait for it without
//! blocking, and the queue before it is bounded.
//!
//! Invariant: every call ends exactly once, with its results or an error; a call whose
//! future was dropped is not computed further.
//! Knows no HTTP and no wire type.

pub mod config;
pub mod model;
#[cfg(test)]
mod tests;
mod worker;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::backend;
use crate::loader;
use crate::local::{OpenError, Options};
use crate::tokenizer::{Tokenizer, TokenizerError};
pub use config::is_encoder;
use config::{EncoderConfig, Head};
pub use model::Input;
use worker::Job;

/// What an encoder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// One vector of so many values per input.
    Embed { dimensions: usize },
    /// One score per query and document.
    Score,
}

/// A handle to a loaded encoder; its thread ends with the last of them.
#[derive(Clone, Debug)]
pub struct Encoder {
    config: Arc<EncoderConfig>,
    tokenizer: Tokenizer,
    jobs: mpsc::Sender<Job>,
}

/// Scores, and the tokens that were read for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// One per document, in order; higher is more relevant.
    pub values: Vec<f32>,
    pub prompt_tokens: usize,
}

/// One vector, or a score alone, per input.
type Vectors = Result<Vec<Vec<f32>>, EncodeError>;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("input {index} has {tokens} tokens; the model takes {max}")]
    TooLong {
        index: usize,
        tokens: usize,
        max: usize,
    },
    #[error("input {index} is empty")]
    Empty { index: usize },
    #[error("input {index}: token {token} is not in the model's vocabulary")]
    UnknownToken { index: usize, token: u32 },
    #[error("this model {0}")]
    WrongTask(&'static str),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Waiting helps.
    #[error("too many requests wait for the encoder")]
    Busy,
    #[error("the encoder failed: {0}")]
    Failed(String),
}

impl Encoder {
    /// Loads a directory and starts its thread. Blocks while it loads.
    ///
    /// # Errors
    /// Names what is missing, damaged or unsupported.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let device = backend::open(options.device)?;
        let tokenizer = Tokenizer::load(dir).map_err(crate::chat::TextSideError::from)?;
        let model = loader::load_encoder(dir, options.precision, &device)?;
        let config = Arc::new(model.config().clone());
        let jobs = worker::start(model, options)?;
        Ok(Self {
            config,
            tokenizer,
            jobs,
        })
    }

    pub fn task(&self) -> Task {
        match self.config.head {
            Head::Embedding { .. } => Task::Embed {
                dimensions: self.config.hidden,
            },
            Head::Score { .. } => Task::Score,
        }
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Token ids are below this.
    pub fn vocab(&self) -> usize {
        self.config.vocab
    }

    /// Its thread has ended.
    pub fn is_dead(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Longest input in tokens, special tokens included.
    pub fn tokens_max(&self) -> usize {
        self.config.tokens_max
    }

    /// Tokens of a text with the special tokens that the model expects round it.
    ///
    /// # Errors
    /// The tokenizer failed.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        Ok(self.tokenizer.encode_input(text)?)
    }

    /// One vector per input, in order, pooled and normalised as the directory says.
    ///
    /// # Errors
    /// An input is refused, the queue is full, or the device failed.
    pub async fn embed(&self, inputs: Vec<Vec<u32>>) -> Result<Vec<Vec<f32>>, EncodeError> {
        let reply = self.send(self.embeddings(inputs)?)?;
        reply.await.map_err(|_| stopped())?
    }

    /// As [`Self::embed`], for callers without an async runtime.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_blocking(&self, inputs: Vec<Vec<u32>>) -> Result<Vec<Vec<f32>>, EncodeError> {
        let reply = self.send(self.embeddings(inputs)?)?;
        reply.blocking_recv().map_err(|_| stopped())?
    }

    /// One score per document, in order.
    ///
    /// # Errors
    /// An input is refused, the queue is full, or the device failed.
    pub async fn score(&self, query: &str, documents: &[String]) -> Result<Scores, EncodeError> {
        let inputs = self.pairs(query, documents)?;
        let prompt_tokens = inputs.iter().map(|input| input.tokens.len()).sum();
        let results = self.send(inputs)?.await.map_err(|_| stopped())??;
        Ok(scores(&results, prompt_tokens))
    }

    /// As [`Self::score`], for callers without an async runtime.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn score_blocking(&self, query: &str, documents: &[String]) -> Result<Scores, EncodeError> {
        let inputs = self.pairs(query, documents)?;
        let prompt_tokens = inputs.iter().map(|input| input.tokens.len()).sum();
        let reply = self.send(inputs)?;
        let results = reply.blocking_recv().map_err(|_| stopped())??;
        Ok(scores(&results, prompt_tokens))
    }

    fn embeddings(&self, inputs: Vec<Vec<u32>>) -> Result<Vec<Input>, EncodeError> {
        if self.task() == Task::Score {
            return Err(EncodeError::WrongTask(
                "scores queries with documents; it makes no embeddings",
            ));
        }
        let input = |tokens: Vec<u32>| Input {
            types: vec![0; tokens.len()],
            tokens,
        };
        Ok(inputs.into_iter().map(input).collect())
    }

    fn pairs(&self, query: &str, documents: &[String]) -> Result<Vec<Input>, EncodeError> {
        if self.task() != Task::Score {
            return Err(EncodeError::WrongTask(
                "makes embeddings; it does not score queries with documents",
            ));
        }
        let pair = |document: &String| {
            let (tokens, types) = self.tokenizer.encode_pair(query, document)?;
            Ok(Input { tokens, types })
        };
        documents.iter().map(pair).collect()
    }

    /// Checks the inputs and queues them.
    fn send(&self, inputs: Vec<Input>) -> Result<oneshot::Receiver<Vectors>, EncodeError> {
        for (index, input) in inputs.iter().enumerate() {
            self.check(index, input)?;
        }
        let (reply, result) = oneshot::channel();
        match self.jobs.try_send(Job { inputs, reply }) {
            Ok(()) => Ok(result),
            Err(TrySendError::Full(_)) => Err(EncodeError::Busy),
            Err(TrySendError::Closed(_)) => Err(stopped()),
        }
    }

    fn check(&self, index: usize, input: &Input) -> Result<(), EncodeError> {
        let (tokens, max) = (input.tokens.len(), self.config.tokens_max);
        if tokens == 0 {
            return Err(EncodeError::Empty { index });
        }
        if tokens > max {
            return Err(EncodeError::TooLong { index, tokens, max });
        }
        if input
            .types
            .iter()
            .any(|kind| *kind as usize >= self.config.types)
        {
            let problem = "tokenizer.json gives a token type that the model has not";
            return Err(EncodeError::Failed(problem.to_owned()));
        }
        let unknown = |token: &&u32| **token as usize >= self.config.vocab;
        match input.tokens.iter().find(unknown) {
            Some(token) => Err(EncodeError::UnknownToken {
                index,
                token: *token,
            }),
            None => Ok(()),
        }
    }
}

fn stopped() -> EncodeError {
    EncodeError::Failed("its thread ended".to_owned())
}

fn scores(results: &[Vec<f32>], prompt_tokens: usize) -> Scores {
    Scores {
        values: results.iter().flatten().copied().collect(),
        prompt_tokens,
    }
}
