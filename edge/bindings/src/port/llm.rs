//! The port of language models.

use async_trait::async_trait;

/// Why a model gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LlmError {
    /// The component was not granted the model, or the engine has none of that name.
    #[error("model not supported")]
    ModelNotSupported,
    /// The engine or the way to it failed.
    #[error("{0}")]
    RuntimeError(String),
    /// The engine refused what was asked.
    #[error("{0}")]
    InvalidInput(String),
}

/// A text to be continued.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// The model's name.
    pub model: String,
    /// The text.
    pub prompt: String,
    /// The most tokens that are generated.
    pub tokens_max: u32,
    /// How much repetition is avoided; 1 is not at all.
    pub repeat_penalty: f32,
    /// Over how many of the last tokens.
    pub repeat_penalty_tokens: u32,
    /// How random the choice of a token is.
    pub temperature: f32,
    /// Among how many tokens it is made.
    pub top_k: u32,
    /// Among tokens of how much probability in all.
    pub top_p: f32,
}

/// A continued text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inferred {
    /// What was generated.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens that were generated.
    pub generated_tokens: u32,
}

/// Texts as vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// One for each text, in their order.
    pub embeddings: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub prompt_tokens: u32,
}

/// The language models that one component may use.
#[async_trait]
pub trait LanguageModels: Send + Sync {
    /// Continues a text.
    async fn infer(&self, asked: Inference) -> Result<Inferred, LlmError>;
    /// Turns texts into vectors.
    async fn embed(&self, model: String, texts: Vec<String>) -> Result<Embedded, LlmError>;
}
