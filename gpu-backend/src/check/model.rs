//! Whole models of random weights: a prompt in two pieces, then tokens one by one.
//! Knows nothing of requests.

use burn::tensor::Device;

use super::{CheckError, Pair, matrix};
use crate::backend::Precision;
use crate::loader;
use crate::model::ModelConfig;
use crate::runner::Runner;
use crate::scheduler::{Limits, Scheduler, SequenceId};

/// Tokens of the prompt, of a step, and in all.
const PROMPT: usize = 40;
const STEP: usize = 33;
const TOKENS: usize = 48;
const BLOCKS: u32 = 8;

pub(super) fn models(pair: &mut Pair<'_>) -> Result<(), CheckError> {
    for (name, config) in [("Llama", small_llama()), ("Gemma", small_gemma())] {
        for precision in [
            Precision::F32,
            Precision::Bf16,
            Precision::Int8,
            Precision::Int4,
        ] {
            let name = format!("a small {name}, {precision}");
            let want = logits(&name, config.clone(), precision, &pair.cpu)?;
            let got = logits(&name, config.clone(), precision, &pair.other)?;
            // Twice what one product may be off: errors of layers after one another add up
            // as the root of their number, and the norms between them keep their share.
            let bound = match precision {
                Precision::F32 => 2e-3,
                Precision::Bf16 => 8e-3,
                Precision::Int8 | Precision::Int4 => 2e-2,
            };
            let rows = want.len() / config.vocab;
            let place = |values: &[f32]| matrix(values, rows, &pair.cpu);
            let (want, got) = (place(&want), place(&got));
            pair.push(name, bound, want, got)?;
        }
    }
    Ok(())
}

/// Grouped heads, a head's width that is not the model's over their number.
fn small_llama() -> ModelConfig {
    ModelConfig {
        vocab: 300,
        hidden: 96,
        inner: 200,
        layers: 3,
        heads: 6,
        kv_heads: 2,
        head_dim: 32,
        context: 128,
        ..ModelConfig::smollm2_135m()
    }
}

/// What Gemma 2 and Qwen add: caps, norms of heads and after each half, biases.
fn small_gemma() -> ModelConfig {
    ModelConfig {
        qkv_bias: true,
        qk_norm: true,
        post_norms: true,
        embedding_scale: Some(9.8),
        attention_softcap: Some(20.0),
        logit_softcap: Some(30.0),
        ..small_llama()
    }
}

/// The logits of every token from the prompt's last.
fn logits(
    name: &str,
    config: ModelConfig,
    precision: Precision,
    device: &Device,
) -> Result<Vec<f32>, CheckError> {
    let failed = |problem: String| CheckError::Failed(name.to_owned(), problem);
    let vocab = super::small(config.vocab);
    let model = loader::random(config, precision, device, 7).map_err(|e| failed(e.to_string()))?;
    let mut runner = Runner::new(model, BLOCKS);
    let tokens: Vec<u32> = (0u32..)
        .map(|i| (i * 37 + 11) % vocab)
        .take(TOKENS)
        .collect();
    let mut scheduler = Scheduler::new(Limits {
        sequences_max: 1,
        step_tokens_max: STEP,
        sequence_tokens_max: 128,
        blocks: BLOCKS,
    });
    let admitted = scheduler.admit(SequenceId(0), PROMPT, TOKENS - PROMPT + 1);
    admitted.map_err(|e| failed(format!("{e:?}")))?;
    let mut logits = Vec::new();
    let mut known = PROMPT;
    while known <= TOKENS {
        let plan = scheduler.schedule();
        let step = runner.forward(&plan, |_| &tokens[..known.min(TOKENS)]);
        let step = step.map_err(|e| failed(e.to_string()))?;
        if plan.chunks.iter().any(|chunk| chunk.samples) {
            logits.extend(step.values);
            known += 1;
            if known <= TOKENS {
                scheduler.push_token(SequenceId(0));
            }
        }
    }
    Ok(logits)
}
