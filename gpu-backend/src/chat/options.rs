//! What a caller asks of an answer, whatever the prompt is: how long, how many, where it
//! ends, and how its tokens are chosen.
//! Knows neither messages nor the wire.

use super::scheduling::Scheduling;
use crate::constraint::Constraint;
use crate::constraint::grammar::Form;

/// Asked of an answer, already checked field by field.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// Answers to each prompt, at least one. The first is drawn with the seed itself,
    /// the next with the seed plus one, and so on, as under vLLM.
    pub n: usize,
    /// Absent: up to the end of the context. Zero gives no answer: only the prompt is
    /// computed, for its log-probabilities.
    pub tokens_max: Option<usize>,
    /// Tokens before which neither a stop token nor a stop string ends the answer.
    pub min_tokens: usize,
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<u32>,
    /// What ended the answer is shown as its last text.
    pub include_stop: bool,
    pub ignore_eos: bool,
    /// Special tokens are written out.
    pub show_special: bool,
    /// Keeps only so many of the prompt's last tokens.
    pub prompt_tokens_kept: Option<usize>,
    /// The prompt's own log-probabilities, with so many of the best at each place.
    pub prompt_logprobs: Option<usize>,
    /// What the answer's text must be.
    pub form: Option<AskedForm>,
    /// The form, compiled: [`Chat::constrain`] puts it here.
    ///
    /// [`Chat::constrain`]: super::Chat::constrain
    pub constraint: Option<Constraint>,
    pub sampling: Sampling,
    pub scheduling: Scheduling,
    /// Leading tokens of the prompt that are the platform's own: [`Chat::answers`] counts
    /// them.
    ///
    /// [`Chat::answers`]: super::Chat::answers
    pub platform_tokens: usize,
}

/// A form of the answer, and the field that asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedForm {
    pub field: String,
    pub form: Form,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            n: 1,
            tokens_max: None,
            min_tokens: 0,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            include_stop: false,
            ignore_eos: false,
            show_special: false,
            prompt_tokens_kept: None,
            prompt_logprobs: None,
            form: None,
            constraint: None,
            scheduling: Scheduling::default(),
            platform_tokens: 0,
            sampling: Sampling::default(),
        }
    }
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
