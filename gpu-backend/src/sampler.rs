//! From one row of logits to one token: the constraint's mask, bias, penalties,
//! temperature, top-k, top-p, min-p, a seeded draw, and log-probabilities.
//!
//! Invariant: the draw depends on the row, the parameters and the sequence's own
//! state alone; with a seed, a sequence's tokens are the same whatever else runs.
//! Knows nothing of text, requests or devices.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::constraint::{Constraint, ConstraintError};

/// Below this a temperature means the most likely token.
const GREEDY_BELOW: f32 = 1e-5;
/// Candidates ordered at first when only top-p limits them; grows as needed.
const TOP_P_FIRST: usize = 512;

/// How a sequence's tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    pub temperature: f32,
    /// 1 keeps all.
    pub top_p: f32,
    pub top_k: Option<usize>,
    /// Least probability, relative to the most likely token's; 0 keeps all.
    pub min_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    /// 1 changes nothing (Keskar et al., 2019); counts the prompt's tokens too.
    pub repetition_penalty: f32,
    pub logit_bias: Vec<(u32, f32)>,
    pub seed: u64,
    /// Tokens of the answer before which none of `ends` is chosen.
    pub min_tokens: usize,
    /// Tokens that end the answer.
    pub ends: Vec<u32>,
    /// Log-probabilities wanted: `Some(n)` for the chosen token and the `n` best.
    pub logprobs: Option<usize>,
}

impl SamplingParams {
    /// The most likely token each time.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: None,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: 0,
            min_tokens: 0,
            ends: Vec::new(),
            logprobs: None,
        }
    }
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self::greedy()
    }
}

/// Log-probabilities of one step, of the model's own distribution before any
/// bias, penalty or temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    pub chosen: f32,
    /// The best tokens, most likely first.
    pub top: Vec<(u32, f32)>,
}

impl Logprobs {
    /// Of `token` in a row of logits, and of the `top` best.
    pub fn of(logits: &[f32], token: u32, top: usize) -> Self {
        let log_sum = log_sum(logits);
        let chosen = logits.get(token as usize).copied();
        let mut best: Vec<Candidate> = match top {
            0 => Vec::new(),
            _ => candidates_of(logits),
        };
        keep_best(&mut best, top);
        Self {
            chosen: chosen.unwrap_or(f32::NEG_INFINITY) - log_sum,
            top: best
                .into_iter()
                .map(|c| (c.token, c.weight - log_sum))
                .collect(),
        }
    }
}

/// One sampled token.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    pub token: u32,
    pub logprobs: Option<Logprobs>,
}

/// The model gave no finite logit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's output holds no finite number")]
pub struct NotFinite;

/// No token could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
}

/// What a sequence's sampling remembers between its tokens.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    /// Which tokens may come next; absent: all.
    constraint: Option<Constraint>,
    rng: ChaCha8Rng,
    /// Tokens chosen so far.
    chosen: usize,
    /// Tokens of the answer so far; kept only where a penalty needs them.
    answered: HashMap<u32, u32>,
    /// Tokens of prompt and answer; kept only for the repetition penalty.
    seen: HashSet<u32>,
}

impl Sampler {
    pub fn new(params: SamplingParams, constraint: Option<Constraint>, prompt: &[u32]) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(params.seed);
        let seen = match params.repetition_penalty {
            1.0 => HashSet::new(),
            _ => prompt.iter().copied().collect(),
        };
        Self {
            params,
            constraint,
            rng,
            chosen: 0,
            answered: HashMap::new(),
            seen,
        }
    }

    /// Chooses the next token; `logits` is changed in place.
    ///
    /// # Errors
    /// No logit is finite, or the constraint cannot go on.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<Sampled, SampleError> {
        // The model's own row, kept while `logits` is changed.
        let raw = self.params.logprobs.map(|top| (logits.to_vec(), top));
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(logits)?;
        }
        self.bias_and_penalise(logits);
        let token = if self.params.temperature < GREEDY_BELOW {
            best(logits).ok_or(NotFinite)?
        } else {
            self.draw(logits)?
        };
        if let Some(constraint) = &mut self.constraint {
            constraint.advance(token)?;
        }
        let logprobs = raw.map(|(row, top)| Logprobs::of(&row, token, top));
        self.remember(token);
        Ok(Sampled { token, logprobs })
    }

    fn remember(&mut self, token: u32) {
        self.chosen += 1;
        if self.params.presence_penalty != 0.0 || self.params.frequency_penalty != 0.0 {
            *self.answered.entry(token).or_default() += 1;
        }
        if self.params.repetition_penalty != 1.0 {
            self.seen.insert(token);
        }
    }

    fn bias_and_penalise(&self, logits: &mut [f32]) {
        let p = &self.params;
        for (token, bias) in &p.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        for token in &self.seen {
            if let Some(logit) = logits.get_mut(*token as usize) {
                let factor = p.repetition_penalty;
                *logit = if *logit > 0.0 {
                    *logit / factor
                } else {
                    *logit * factor
                };
            }
        }
        for (token, count) in &self.answered {
            if let Some(logit) = logits.get_mut(*token as usize) {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^24")]
                let count = *count as f32;
                *logit -= p.presence_penalty + p.frequency_penalty * count;
            }
        }
        if self.chosen < p.min_tokens {
            for token in &p.ends {
                if let Some(logit) = logits.get_mut(*token as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> Result<u32, NotFinite> {
        let max = logits
            .iter()
            .copied()
            .filter(|l| l.is_finite())
            .fold(f32::NEG_INFINITY, f32::max);
        if !max.is_finite() {
            return Err(NotFinite);
        }
        let scale = 1.0 / self.params.temperature;
        let floor = self.params.min_p;
        let mut candidates: Vec<Candidate> = logits
            .iter()
            .zip(0u32..)
            .filter(|(l, _)| l.is_finite())
            .map(|(l, token)| Candidate {
                weight: ((l - max) * scale).exp(),
                token,
            })
            .filter(|c| c.weight >= floor && c.weight > 0.0)
            .collect();
        if let Some(k) = self.params.top_k {
            keep_best(&mut candidates, k);
        }
        if self.params.top_p < 1.0 {
            keep_nucleus(&mut candidates, self.params.top_p);
        }
        Ok(self.pick(&candidates))
    }

    fn pick(&mut self, candidates: &[Candidate]) -> u32 {
        let total: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
        let mut left = self.rng.random::<f64>() * total;
        for candidate in candidates {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return candidate.token;
            }
        }
        // Rounding can leave a sliver; the last candidate takes it. The most likely
        // token always has weight 1, so there is at least one candidate.
        candidates.last().map_or(0, |c| c.token)
    }
}

/// A token and its probability relative to the most likely one's.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    weight: f32,
    token: u32,
}

impl Candidate {
    /// Most likely first; equal ones by token, so that the order is always the same.
    fn order(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
    }
}

fn keep_best(candidates: &mut Vec<Candidate>, k: usize) {
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k, Candidate::order);
        candidates.truncate(k);
    }
    candidates.sort_unstable_by(Candidate::order);
}

/// The smallest set of most likely tokens whose probability reaches `p` (Holtzman et al., 2020).
fn keep_nucleus(candidates: &mut Vec<Candidate>, p: f32) {
    let total: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
    let wanted = total * f64::from(p);
    let mut ordered = TOP_P_FIRST;
    loop {
        let part = ordered.min(candidates.len());
        if part < candidates.len() {
            candidates.select_nth_unstable_by(part, Candidate::order);
        }
        candidates[..part].sort_unstable_by(Candidate::order);
        let mut sum = 0.0;
        let nucleus = candidates[..part].iter().position(|c| {
            sum += f64::from(c.weight);
            sum >= wanted
        });
        match nucleus {
            Some(last) => return candidates.truncate(last + 1),
            None if part == candidates.len() => return,
            None => ordered *= 8,
        }
    }
}

/// The most likely token; of equal ones the first.
fn best(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (logit, token) in logits.iter().zip(0u32..) {
        if logit.is_finite() && best.is_none_or(|(_, most)| *logit > most) {
            best = Some((token, *logit));
        }
    }
    best.map(|(token, _)| token)
}

fn candidates_of(logits: &[f32]) -> Vec<Candidate> {
    logits
        .iter()
        .zip(0u32..)
        .map(|(l, token)| Candidate { weight: *l, token })
        .collect()
}

/// The logarithm of the sum of the exponentials, summed in f64.
fn log_sum(logits: &[f32]) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a logarithm of a small sum"
    )]
    let log_sum = sum.ln() as f32 + max;
    log_sum
}
