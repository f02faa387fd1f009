//! Our encoders' vectors and scores against those of `transformers`, for small random
//! models (`golden/make.py`): alone and in a batch.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::{Path, PathBuf};

use gpu_backend::backend::{self, DeviceKind, Precision};
use gpu_backend::encoder::Input;
use gpu_backend::encoder::model::EncoderModel;
use gpu_backend::loader;
use safetensors::SafeTensors;

/// Of a vector: one less the cosine of the angle between ours and theirs.
const COSINE_ERROR_MAX: f32 = 1e-4;
/// Of each value of a vector or score.
const ERROR_MAX: f32 = 1e-4;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// The inputs, and what each should become.
fn goldens(name: &str) -> (Vec<Input>, Vec<Vec<f32>>) {
    let bytes = std::fs::read(folder(name).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: String| -> Vec<[u8; 4]> {
        file.tensor(&name)
            .unwrap()
            .data()
            .as_chunks::<4>()
            .0
            .to_vec()
    };
    let ids = |name: String| words(name).into_iter().map(u32::from_le_bytes).collect();
    let floats = |name: String| words(name).into_iter().map(f32::from_le_bytes).collect();
    (0..file.len() / 3)
        .map(|i| {
            let input = Input {
                tokens: ids(format!("tokens.{i}")),
                types: ids(format!("types.{i}")),
            };
            (input, floats(format!("result.{i}")))
        })
        .unzip()
}

/// On the CPU, or on the device that `SKERRY_TEST_DEVICE` names.
fn model(name: &str, precision: Precision) -> EncoderModel {
    let kind = std::env::var("SKERRY_TEST_DEVICE");
    let kind = kind.map_or(DeviceKind::Cpu, |name| name.parse().unwrap());
    let device = backend::open(kind).unwrap();
    loader::load_encoder(&folder(name), precision, &device).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[track_caller]
fn compare(got: &[f32], want: &[f32], place: &str) {
    assert_eq!(got.len(), want.len(), "{place}");
    assert!(
        1.0 - cosine(got, want) <= COSINE_ERROR_MAX,
        "{place}: {got:?} {want:?}"
    );
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= ERROR_MAX, "{place}: {g} against {w}");
    }
}

#[test]
fn vectors_and_scores_agree_alone_and_in_a_batch() {
    for name in ["minilm", "bge", "cross", "xlmr"] {
        let (inputs, wants) = goldens(name);
        assert_eq!(inputs.len(), 5);
        let model = model(name, Precision::F32);
        let together = model.run(&inputs).unwrap();
        for (i, want) in wants.iter().enumerate() {
            let alone = model.run(&inputs[i..=i]).unwrap();
            compare(&alone[0], want, &format!("{name} {i} alone"));
            compare(&together[i], want, &format!("{name} {i} in a batch"));
        }
    }
}

#[test]
fn int8_weights_keep_the_direction_of_vectors() {
    for name in ["minilm", "bge"] {
        let (inputs, wants) = goldens(name);
        let vectors = model(name, Precision::Int8).run(&inputs).unwrap();
        for (got, want) in vectors.iter().zip(&wants) {
            assert!(cosine(got, want) > 0.999, "{name}: {}", cosine(got, want));
        }
    }
}
