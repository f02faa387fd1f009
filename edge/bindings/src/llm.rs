//! `fermyon:spin/llm` on the port of language models. It does NOT know a model or an engine.

use crate::generated::fermyon::spin::llm;
use crate::port::{Inference, LlmError};
use crate::state::State;

/// What Spin uses where a component gives no parameters.
const DEFAULTS: llm::InferencingParams = llm::InferencingParams {
    max_tokens: 100,
    repeat_penalty: 1.1,
    repeat_penalty_last_n_token_count: 64,
    temperature: 0.8,
    top_k: 40,
    top_p: 0.9,
};

impl llm::Host for State {
    async fn infer(
        &mut self,
        model: String,
        prompt: String,
        params: Option<llm::InferencingParams>,
    ) -> wasmtime::Result<Result<llm::InferencingResult, llm::Error>> {
        let params = params.unwrap_or(DEFAULTS);
        let asked = Inference {
            model,
            prompt,
            tokens_max: params.max_tokens,
            repeat_penalty: params.repeat_penalty,
            repeat_penalty_tokens: params.repeat_penalty_last_n_token_count,
            temperature: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
        };
        let inferred = self.grants.llm.infer(asked).await;
        self.progress.made();
        Ok(inferred
            .map(|inferred| llm::InferencingResult {
                text: inferred.text,
                usage: llm::InferencingUsage {
                    prompt_token_count: inferred.prompt_tokens,
                    generated_token_count: inferred.generated_tokens,
                },
            })
            .map_err(Into::into))
    }

    async fn generate_embeddings(
        &mut self,
        model: String,
        text: Vec<String>,
    ) -> wasmtime::Result<Result<llm::EmbeddingsResult, llm::Error>> {
        let embedded = self.grants.llm.embed(model, text).await;
        self.progress.made();
        Ok(embedded
            .map(|embedded| llm::EmbeddingsResult {
                embeddings: embedded.embeddings,
                usage: llm::EmbeddingsUsage {
                    prompt_token_count: embedded.prompt_tokens,
                },
            })
            .map_err(Into::into))
    }
}

impl From<LlmError> for llm::Error {
    fn from(error: LlmError) -> Self {
        match error {
            LlmError::ModelNotSupported => Self::ModelNotSupported,
            LlmError::RuntimeError(text) => Self::RuntimeError(text),
            LlmError::InvalidInput(text) => Self::InvalidInput(text),
        }
    }
}
