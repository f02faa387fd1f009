//! Each parameter by its definition.

use super::*;
use crate::constraint::TokenConstraint;

fn params() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        ..SamplingParams::greedy()
    }
}

/// How often each of `n` tokens is drawn in 4,000 draws.
fn histogram(params: &SamplingParams, logits: &[f32]) -> Vec<f64> {
    let mut sampler = Sampler::new(params.clone(), None, &[]);
    let mut counts = vec![0f64; logits.len()];
    for _ in 0..4_000 {
        sampler.answered.clear();
        counts[sampler.sample(&mut logits.to_vec()).unwrap().token as usize] += 1.0 / 4_000.0;
    }
    counts
}

#[track_caller]
fn near(got: &[f64], want: &[f64]) {
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 0.03, "{got:?} against {want:?}");
    }
}

/// Logits whose probabilities are these.
fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

#[test]
fn greedy_takes_the_first_of_the_best() {
    let mut sampler = Sampler::new(SamplingParams::greedy(), None, &[]);
    assert_eq!(sampler.sample(&mut [0.0, 2.0, 2.0, -1.0]).unwrap().token, 1);
    assert_eq!(sampler.sample(&mut [f32::NAN, -5.0]).unwrap().token, 1);
    assert_eq!(
        sampler.sample(&mut [f32::NAN, f32::NAN]),
        Err(NotFinite.into())
    );
    assert_eq!(
        Sampler::new(params(), None, &[]).sample(&mut [f32::NAN]),
        Err(NotFinite.into())
    );
}

#[test]
fn plain_sampling_follows_the_distribution() {
    near(
        &histogram(&params(), &logits(&[0.5, 0.3, 0.2])),
        &[0.5, 0.3, 0.2],
    );
}

#[test]
fn temperature_sharpens_and_flattens() {
    let cold = SamplingParams {
        temperature: 0.5,
        ..params()
    };
    near(
        &histogram(&cold, &logits(&[0.6, 0.4])),
        &[0.36 / 0.52, 0.16 / 0.52],
    );
    let hot = SamplingParams {
        temperature: 100.0,
        ..params()
    };
    near(&histogram(&hot, &logits(&[0.9, 0.1])), &[0.5, 0.5]);
}

#[test]
fn top_k_top_p_and_min_p_cut_the_tail() {
    let row = logits(&[0.4, 0.3, 0.2, 0.1]);
    let top_k = SamplingParams {
        top_k: Some(2),
        ..params()
    };
    near(&histogram(&top_k, &row), &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
    let top_p = SamplingParams {
        top_p: 0.65,
        ..params()
    };
    near(&histogram(&top_p, &row), &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
    let min_p = SamplingParams {
        min_p: 0.45,
        ..params()
    };
    near(
        &histogram(&min_p, &row),
        &[4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0],
    );
    let tiny = SamplingParams {
        top_p: 1e-6,
        ..params()
    };
    near(&histogram(&tiny, &row), &[1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_nucleus_larger_than_the_first_guess_is_found() {
    let row = vec![0f32; 5_000];
    let mut candidates: Vec<Candidate> = row
        .iter()
        .zip(0..)
        .map(|(_, token)| Candidate { weight: 1.0, token })
        .collect();
    keep_nucleus(&mut candidates, 0.5);
    assert_eq!(candidates.len(), 2_500);
    assert_eq!(candidates[2_499].token, 2_499);
}

#[test]
fn penalties_and_bias_change_the_choice() {
    let choose = |params: SamplingParams, prompt: &[u32], rows: &[[f32; 3]]| -> Vec<u32> {
        let mut sampler = Sampler::new(params, None, prompt);
        rows.iter()
            .map(|row| sampler.sample(&mut row.clone()).unwrap().token)
            .collect()
    };
    let row = [[1.0, 0.9, 0.1]; 3];
    let greedy = SamplingParams::greedy;
    assert_eq!(choose(greedy(), &[], &row), [0, 0, 0]);
    let presence = SamplingParams {
        presence_penalty: 0.5,
        ..greedy()
    };
    assert_eq!(
        choose(presence, &[], &row),
        [0, 1, 0],
        "once present, no more is taken off"
    );
    let frequency = SamplingParams {
        frequency_penalty: 0.3,
        ..greedy()
    };
    assert_eq!(
        choose(frequency, &[], &[[1.0, 0.9, 0.55]; 5]),
        [0, 1, 0, 1, 2]
    );
    let repetition = SamplingParams {
        repetition_penalty: 2.0,
        ..greedy()
    };
    assert_eq!(
        choose(repetition, &[0], &row),
        [1, 0, 0],
        "the prompt counts"
    );
    let negative = SamplingParams {
        repetition_penalty: 2.0,
        ..greedy()
    };
    assert_eq!(choose(negative, &[0], &[[-1.0, -1.5, -9.0]]), [1]);
    let bias = SamplingParams {
        logit_bias: vec![(2, 100.0), (9, 1.0)],
        ..greedy()
    };
    assert_eq!(
        choose(bias, &[], &row),
        [2, 2, 2],
        "a token outside the vocabulary is ignored"
    );
}

#[test]
fn a_seed_gives_the_same_tokens_and_another_gives_others() {
    let draw = |seed| -> Vec<u32> {
        let mut sampler = Sampler::new(SamplingParams { seed, ..params() }, None, &[]);
        (0..20)
            .map(|_| sampler.sample(&mut [0.0; 50]).unwrap().token)
            .collect()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn logprobs_are_of_the_models_own_distribution() {
    let mut sampler = Sampler::new(
        SamplingParams {
            logprobs: Some(2),
            logit_bias: vec![(2, 50.0)],
            ..SamplingParams::greedy()
        },
        None,
        &[],
    );
    let sampled = sampler.sample(&mut logits(&[0.5, 0.3, 0.2])).unwrap();
    let got = sampled.logprobs.unwrap();
    assert_eq!(sampled.token, 2);
    assert!((got.chosen - 0.2f32.ln()).abs() < 1e-5);
    assert_eq!(got.top.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1]);
    assert!((got.top[1].1 - 0.3f32.ln()).abs() < 1e-5);
}

/// Allows the tokens of a list, one step after the other.
#[derive(Debug)]
struct Only(Vec<u32>);

impl TokenConstraint for Only {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        let next = *self.0.first().ok_or(ConstraintError("no more".into()))?;
        for (logit, token) in logits.iter_mut().zip(0..) {
            if token != next {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn advance(&mut self, token: u32) -> Result<(), ConstraintError> {
        assert_eq!(self.0.remove(0), token);
        Ok(())
    }

    fn fork(&self) -> Box<dyn TokenConstraint> {
        Box::new(Self(self.0.clone()))
    }
}

#[test]
fn a_constraint_stands_above_bias_penalties_and_temperature() {
    for temperature in [0.0, 2.0] {
        let params = SamplingParams {
            temperature,
            logit_bias: vec![(0, 100.0), (1, -100.0)],
            repetition_penalty: 2.0,
            presence_penalty: 2.0,
            logprobs: Some(1),
            ..SamplingParams::greedy()
        };
        let constraint = Constraint::new(Only(vec![1, 1, 2]));
        let mut sampler = Sampler::new(params, Some(constraint.clone()), &[1, 1]);
        let mut next = || sampler.sample(&mut logits(&[0.7, 0.1, 0.2]));
        for want in [1, 1, 2] {
            let sampled = next().unwrap();
            assert_eq!(sampled.token, want);
            let logprobs = sampled.logprobs.unwrap();
            assert_eq!(logprobs.top[0].0, 0, "of the model's own distribution");
        }
        assert_eq!(
            next().unwrap_err(),
            SampleError::Constraint(ConstraintError("no more".into()))
        );
        let mut copy = Sampler::new(SamplingParams::greedy(), Some(constraint), &[]);
        let first = copy.sample(&mut logits(&[0.7, 0.1, 0.2])).unwrap();
        assert_eq!(first.token, 1, "a copy is where it was copied");
    }
}
