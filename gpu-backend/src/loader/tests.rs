//! Loading: what is missing or damaged is named; sharded and single files agree.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::*;
use crate::backend::DeviceKind;

const CONFIG: &str = r#"{"architectures":["LlamaForCausalLM"],"vocab_size":5,"hidden_size":8,
"intermediate_size":4,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
"max_position_embeddings":32,"attention_bias":true}"#;

fn shapes() -> Vec<(&'static str, Vec<usize>)> {
    let layer = "model.layers.0";
    let names = [
        ("model.embed_tokens.weight".to_owned(), vec![5, 8]),
        (format!("{layer}.input_layernorm.weight"), vec![8]),
        (format!("{layer}.self_attn.q_proj.weight"), vec![8, 8]),
        (format!("{layer}.self_attn.k_proj.weight"), vec![4, 8]),
        (format!("{layer}.self_attn.v_proj.weight"), vec![4, 8]),
        (format!("{layer}.self_attn.o_proj.weight"), vec![8, 8]),
        (format!("{layer}.self_attn.q_proj.bias"), vec![8]),
        (format!("{layer}.self_attn.k_proj.bias"), vec![4]),
        (format!("{layer}.self_attn.v_proj.bias"), vec![4]),
        (format!("{layer}.self_attn.o_proj.bias"), vec![8]),
        (format!("{layer}.post_attention_layernorm.weight"), vec![8]),
        (format!("{layer}.mlp.gate_proj.weight"), vec![4, 8]),
        (format!("{layer}.mlp.up_proj.weight"), vec![4, 8]),
        (format!("{layer}.mlp.down_proj.weight"), vec![8, 4]),
        ("model.norm.weight".to_owned(), vec![8]),
    ];
    names
        .into_iter()
        .map(|(name, shape)| (&*Box::leak(name.into_boxed_str()), shape))
        .collect()
}

fn write(path: &Path, tensors: &[(&str, Vec<usize>)], dtype: Dtype, value: &[u8]) {
    let data: HashMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, shape)| (*name, value.repeat(shape.iter().product())))
        .collect();
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(n, s)| (*n, TensorView::new(dtype, s.clone(), &data[n]).unwrap()))
        .collect();
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    dir
}

fn try_load(dir: &Path) -> Result<Model, String> {
    let device = crate::backend::open(DeviceKind::Cpu).unwrap();
    load(dir, Precision::F32, &device).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(dir: &Path, says: &str) {
    let error = try_load(dir).unwrap_err();
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_whole_checkpoint_loads_in_each_type_and_without_an_output_matrix_is_tied() {
    for (dtype, one) in [
        (Dtype::F32, 1f32.to_le_bytes().to_vec()),
        (Dtype::F16, half::f16::ONE.to_le_bytes().to_vec()),
        (Dtype::BF16, half::bf16::ONE.to_le_bytes().to_vec()),
    ] {
        let dir = directory();
        write(
            &dir.path().join("model.safetensors"),
            &shapes(),
            dtype,
            &one,
        );
        let model = try_load(dir.path()).unwrap();
        assert!(model.config.tied && model.output.is_none());
        let row: Vec<f32> = model.embedding.rows(&[4]).into_data().try_to_vec().unwrap();
        assert_eq!(row, [1.0; 8]);
    }
}

#[test]
fn a_sharded_checkpoint_loads_by_its_index() {
    let dir = directory();
    let all = shapes();
    let (a, b) = all.split_at(6);
    let one = 1f32.to_le_bytes();
    write(&dir.path().join("a.safetensors"), a, Dtype::F32, &one);
    write(&dir.path().join("b.safetensors"), b, Dtype::F32, &one);
    let place = |names: &[(&str, Vec<usize>)], file: &str| -> Vec<String> {
        names
            .iter()
            .map(|(n, _)| format!(r#""{n}":"{file}""#))
            .collect()
    };
    let map = [place(a, "a.safetensors"), place(b, "b.safetensors")]
        .concat()
        .join(",");
    let index = dir.path().join("model.safetensors.index.json");
    fs::write(&index, format!(r#"{{"weight_map":{{{map}}}}}"#)).unwrap();
    try_load(dir.path()).unwrap();

    fs::remove_file(dir.path().join("b.safetensors")).unwrap();
    refused(dir.path(), "b.safetensors: cannot be read");
    fs::write(&index, r#"{"weight_map":{"x":"../../b.safetensors"}}"#).unwrap();
    refused(dir.path(), "is not a plain file name");
}

#[test]
fn each_missing_tensor_is_named() {
    for (name, _) in shapes() {
        let dir = directory();
        let rest: Vec<_> = shapes().into_iter().filter(|(n, _)| *n != name).collect();
        write(
            &dir.path().join("model.safetensors"),
            &rest,
            Dtype::F32,
            &1f32.to_le_bytes(),
        );
        refused(dir.path(), &format!("tensor `{name}` is missing"));
    }
}

#[test]
fn wrong_shapes_types_values_and_cut_files_are_named() {
    let dir = directory();
    let path = dir.path().join("model.safetensors");
    refused(dir.path(), "model.safetensors: cannot be read");

    let mut all = shapes();
    all[2].1 = vec![4, 16];
    write(&path, &all, Dtype::F32, &1f32.to_le_bytes());
    refused(
        dir.path(),
        "q_proj.weight` has shape [4, 16], the configuration needs [8, 8]",
    );

    write(&path, &shapes(), Dtype::I64, &1i64.to_le_bytes());
    refused(dir.path(), "has type I64");

    write(&path, &shapes(), Dtype::F32, &f32::NAN.to_le_bytes());
    refused(dir.path(), "not a finite number");

    write(&path, &shapes(), Dtype::F32, &1f32.to_le_bytes());
    let whole = fs::read(&path).unwrap();
    for len in [0, 7, 20, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        let error = try_load(dir.path()).unwrap_err();
        assert!(error.contains("model.safetensors"), "{len}: {error}");
    }
}
