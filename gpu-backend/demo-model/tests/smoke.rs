//! A short training of a tiny network: the loss falls, the exported folder loads again and its
//! logits agree with the trainer's, and the fused kernels agree with burn's own operations. It
//! does not judge the bundled model; `shipped.rs` does.
#![expect(clippy::expect_used, reason = "a test's helper may panic")]

use std::sync::Arc;

use demo_model::config::Config;
use demo_model::export;
use demo_model::infer::Reader;
use demo_model::model::{Batch, Kernels, Network, Parameter, initialise};
use demo_model::tokenizer::{self, Encoder};
use demo_model::train::{self, Batches, Budget, Recipe, normalised};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokenizers::Tokenizer;

const VOCABULARY: usize = 400;

fn tokenizer() -> Tokenizer {
    tokenizer::train(1, VOCABULARY, 300).expect("a tokenizer")
}

fn recipe(tokenizer: &Tokenizer, steps: usize) -> Recipe {
    Recipe {
        config: Config::tiny(tokenizer.get_vocab_size(true)),
        seed: 7,
        budget: Budget::Steps(steps),
        rate: 0.02,
        warm_up_steps: 10,
        flat_part: 0.5,
        batch_tokens: 256,
        out: None,
    }
}

fn batch(tokenizer: &Tokenizer, tokens: usize) -> Batch {
    let encoder = Encoder::new(tokenizer.clone()).expect("an encoder");
    let (batch, total) = Batches::new(3, tokens).next(&encoder).expect("a batch");
    normalised(batch, total)
}

#[test]
fn a_short_training_lowers_the_loss_and_repeats_itself() {
    let tokenizer = tokenizer();
    let recipe = recipe(&tokenizer, 60);
    let trained = train::train(&recipe, tokenizer.clone(), &mut std::io::sink()).unwrap();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&trained.losses[..5]), mean(&trained.losses[55..]));
    assert!(last < first * 0.7, "loss fell from {first} to {last} only");
    let again = train::train(&recipe, tokenizer, &mut std::io::sink()).unwrap();
    assert_eq!(trained.losses, again.losses);
}

#[test]
fn an_exported_model_loads_again_with_the_same_logits() {
    let tokenizer = tokenizer();
    let config = Config::tiny(tokenizer.get_vocab_size(true));
    let mut parameters = initialise(&config, &mut ChaCha8Rng::seed_from_u64(5));
    // The file holds bf16, so the network gets values that bf16 can hold.
    for value in parameters.iter_mut().flat_map(|p| &mut p.values) {
        *value = half::bf16::from_f32(*value).to_f32();
    }
    let folder = tempfile::tempdir().unwrap();
    export::export(folder.path(), &config, &parameters, &tokenizer).unwrap();
    let (read_config, read, _) = export::import(folder.path()).unwrap();
    assert_eq!(read_config, config);
    for (a, b) in read.iter().zip(&parameters) {
        assert_eq!(a.values, b.values);
    }
    let reader = Reader::load(folder.path()).unwrap();
    let tokens = vec![4, 9, 30, 77, 31, 5, 6, 300, 2, 2, 8];
    let n = tokens.len();
    let targets = demo_model::ops::Targets {
        ids: vec![0; n],
        weights: vec![0.0; n],
    };
    let batch = Batch {
        tokens: tokens.clone(),
        starts: vec![0, n],
        targets: Arc::new(targets),
    };
    let expected = Network::new(config, Kernels::Fused).logits_of(&parameters, &batch);
    let logits = reader.logits(&tokens).unwrap();
    assert_eq!(expected.len(), logits.len());
    for (a, b) in expected.iter().zip(&logits) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

#[test]
fn fused_kernels_give_the_gradients_of_burns_own_operations() {
    let tokenizer = tokenizer();
    let config = Config::tiny(tokenizer.get_vocab_size(true));
    let mut parameters = initialise(&config, &mut ChaCha8Rng::seed_from_u64(5));
    spread_norms(&mut parameters);
    let batch = batch(&tokenizer, 200);
    let fused = Network::new(config.clone(), Kernels::Fused);
    let composed = Network::new(config, Kernels::Composed);
    let (loss, gradients) = fused.loss_and_gradients(&parameters, &batch);
    let (expected_loss, expected) = composed.loss_and_gradients(&parameters, &batch);
    assert!(
        (loss - expected_loss).abs() < 1e-4,
        "{loss} and {expected_loss}"
    );
    for (i, (a, b)) in gradients.iter().zip(&expected).enumerate() {
        let size = b.iter().map(|v| v * v).sum::<f32>().sqrt();
        let error = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f32>()
            .sqrt();
        assert!(size > 0.0, "parameter {i} has no gradient");
        assert!(
            error < 1e-3 * size,
            "parameter {i}: error {error} of {size}"
        );
    }
}

/// Norm weights of one hide a wrong gradient; these differ.
fn spread_norms(parameters: &mut [Parameter]) {
    for parameter in parameters.iter_mut().filter(|p| p.shape.len() == 1) {
        for (i, value) in parameter.values.iter_mut().enumerate() {
            *value = 0.5 + (i % 7) as f32 * 0.2;
        }
    }
}
