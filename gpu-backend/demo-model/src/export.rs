//! The model as a Hugging Face folder: bf16 safetensors under `transformers`' names, config,
//! tokenizer and chat template. It knows no training.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use half::bf16;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use tokenizers::Tokenizer;

use crate::chat::TEMPLATE;
use crate::config::{Config, POSITIONS_MAX};
use crate::model::{self, Parameter, layer_base};
use crate::tokenizer::{self, END, PAD, id};

/// Most tokens of an answer, as `generation_config.json` recommends.
const NEW_TOKENS_MAX: usize = 128;

/// Writes the folder; each file is replaced in one piece.
pub fn export(
    out: &Path,
    config: &Config,
    parameters: &[Parameter],
    tokenizer: &Tokenizer,
) -> Result<()> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let (end, pad) = (id(tokenizer, END)?, id(tokenizer, PAD)?);
    let mut config_json = config.to_hugging_face(end, pad);
    config_json["torch_dtype"] = json!("bfloat16");
    write_json(out, "config.json", &config_json)?;
    let generation = json!({
        "do_sample": false,
        "eos_token_id": end,
        "max_new_tokens": NEW_TOKENS_MAX,
        "pad_token_id": pad,
    });
    write_json(out, "generation_config.json", &generation)?;
    let tokenizer_config = json!({
        "add_bos_token": false,
        "add_prefix_space": false,
        "bos_token": null,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "eos_token": END,
        "model_max_length": POSITIONS_MAX,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": null,
    });
    write_json(out, "tokenizer_config.json", &tokenizer_config)?;
    let text = tokenizer
        .to_string(false)
        .map_err(|e| anyhow!("tokenizer: {e}"))?;
    write(out, "tokenizer.json", text.as_bytes())?;
    write(out, "model.safetensors", &weights(config, parameters)?)
}

fn write_json(out: &Path, name: &str, value: &serde_json::Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(out, name, text.as_bytes())
}

fn write(out: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (part, whole) = (out.join(format!("{name}.part")), out.join(name));
    fs::write(&part, bytes).with_context(|| part.display().to_string())?;
    fs::rename(&part, &whole).with_context(|| whole.display().to_string())
}

fn weights(config: &Config, parameters: &[Parameter]) -> Result<Vec<u8>> {
    let mut all = BTreeMap::new();
    for place in places(config) {
        let (shape, values) = taken(&parameters[place.parameter], place.split);
        let bytes = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes());
        all.insert(place.name, (shape, bytes.collect::<Vec<u8>>()));
    }
    let mut views = BTreeMap::new();
    for (name, part) in &all {
        views.insert(name, TensorView::new(Dtype::BF16, part.0.clone(), &part.1)?);
    }
    let metadata = [("format".to_owned(), "pt".to_owned())]
        .into_iter()
        .collect();
    Ok(serialize(views, Some(metadata))?)
}

/// Reads a folder that [`export`] wrote, to train it further.
pub fn import(folder: &Path) -> Result<(Config, Vec<Parameter>, Tokenizer)> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| path.display().to_string())
    };
    let config: Config = serde_json::from_slice(&read("config.json")?)?;
    let tokenizer = tokenizer::load(&folder.join("tokenizer.json"))?;
    let bytes = read("model.safetensors")?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let mut parameters = model::initialise(&config, &mut ChaCha8Rng::seed_from_u64(0));
    for place in places(&config) {
        let view = tensors
            .tensor(&place.name)
            .with_context(|| place.name.clone())?;
        let values = view.data().chunks_exact(2);
        let values: Vec<f32> = values
            .map(|v| bf16::from_le_bytes([v[0], v[1]]).to_f32())
            .collect();
        put(&mut parameters[place.parameter], place.split, &values)
            .with_context(|| place.name.clone())?;
    }
    Ok((config, parameters, tokenizer))
}

/// The inverse of [`taken`].
fn put(parameter: &mut Parameter, split: Option<usize>, values: &[f32]) -> Result<()> {
    let Some(split) = split else {
        ensure!(
            values.len() == parameter.values.len(),
            "a tensor of another size"
        );
        parameter.values.copy_from_slice(values);
        return Ok(());
    };
    let (rows, columns) = (parameter.shape[0], parameter.shape[1]);
    let (from, to) = (parameter.splits[split], parameter.splits[split + 1]);
    ensure!(
        values.len() == rows * (to - from),
        "a tensor of another size"
    );
    for (i, value) in values.iter().enumerate() {
        parameter.values[i % rows * columns + from + i / rows] = *value;
    }
    Ok(())
}

/// Where a public tensor lives among the parameters: the whole of one, or one of the matrices
/// that lie side by side in it.
struct Place {
    name: String,
    parameter: usize,
    split: Option<usize>,
}

fn places(config: &Config) -> Vec<Place> {
    let place = |name: String, parameter, split| Place {
        name,
        parameter,
        split,
    };
    let mut all = vec![place("model.embed_tokens.weight".to_owned(), 0, None)];
    for layer in 0..config.num_hidden_layers {
        let base = layer_base(layer);
        let mut add = |name: &str, parameter, split| {
            let name = format!("model.layers.{layer}.{name}.weight");
            all.push(place(name, base + parameter, split));
        };
        add("input_layernorm", 0, None);
        add("self_attn.q_proj", 1, Some(0));
        add("self_attn.k_proj", 1, Some(1));
        add("self_attn.v_proj", 1, Some(2));
        add("self_attn.o_proj", 2, Some(0));
        add("post_attention_layernorm", 3, None);
        add("mlp.gate_proj", 4, Some(0));
        add("mlp.up_proj", 4, Some(1));
        add("mlp.down_proj", 5, Some(0));
    }
    let last = layer_base(config.num_hidden_layers);
    all.push(place("model.norm.weight".to_owned(), last, None));
    all
}

/// The shape and values of a public tensor; a matrix becomes `[out, in]`.
fn taken(parameter: &Parameter, split: Option<usize>) -> (Vec<usize>, Vec<f32>) {
    let Some(split) = split else {
        return (parameter.shape.clone(), parameter.values.clone());
    };
    let (rows, columns) = (parameter.shape[0], parameter.shape[1]);
    let (from, to) = (parameter.splits[split], parameter.splits[split + 1]);
    let mut values = Vec::with_capacity(rows * (to - from));
    for column in from..to {
        values.extend((0..rows).map(|row| parameter.values[row * columns + column]));
    }
    (vec![to - from, rows], values)
}
