//! The model as a Hugging Face folder: bf16 safetensors under `transformers`' names, config,
//! tokenizer and chat template. It knows no training.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use half::bf16;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use tokenizers::Tokenizer;

use crate::chat::TEMPLATE;
use crate::config::{Config, POSITIONS_MAX};
use crate::model::{PER_LAYER, Parameter, layer_base};
use crate::tokenizer::{END, PAD, id};

/// Most tokens of an answer, as `generation_config.json` recommends.
const NEW_TOKENS_MAX: usize = 128;

/// A named matrix or vector, as `[out, in]` like PyTorch's linear layers.
struct Named {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

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
    let text = tokenizer.to_string(false).map_err(|e| anyhow!("tokenizer: {e}"))?;
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
    let named = named(config, parameters);
    let data: Vec<Vec<u8>> = named
        .iter()
        .map(|n| n.values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect())
        .collect();
    let mut views = BTreeMap::new();
    for (n, bytes) in named.iter().zip(&data) {
        let view = TensorView::new(Dtype::BF16, n.shape.clone(), bytes)?;
        views.insert(n.name.clone(), view);
    }
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    Ok(serialize(views, Some(metadata))?)
}

/// The parameters under their public names, the fused ones taken apart.
fn named(config: &Config, parameters: &[Parameter]) -> Vec<Named> {
    let plain = |name: &str, p: &Parameter| Named {
        name: name.to_owned(),
        shape: p.shape.clone(),
        values: p.values.clone(),
    };
    let mut all = vec![plain("model.embed_tokens.weight", &parameters[0])];
    for layer in 0..config.num_hidden_layers {
        let p = &parameters[layer_base(layer)..layer_base(layer) + PER_LAYER];
        let name = |rest: &str| format!("model.layers.{layer}.{rest}.weight");
        all.push(plain(&name("input_layernorm"), &p[0]));
        for (i, part) in ["q_proj", "k_proj", "v_proj"].iter().enumerate() {
            all.push(transposed(name(&format!("self_attn.{part}")), &p[1], i));
        }
        all.push(transposed(name("self_attn.o_proj"), &p[2], 0));
        all.push(plain(&name("post_attention_layernorm"), &p[3]));
        all.push(transposed(name("mlp.gate_proj"), &p[4], 0));
        all.push(transposed(name("mlp.up_proj"), &p[4], 1));
        all.push(transposed(name("mlp.down_proj"), &p[5], 0));
    }
    all.push(plain("model.norm.weight", &parameters[layer_base(config.num_hidden_layers)]));
    all
}

/// One of the matrices that lie side by side in a parameter, as `[out, in]`.
fn transposed(name: String, parameter: &Parameter, split: usize) -> Named {
    let (rows, columns) = (parameter.shape[0], parameter.shape[1]);
    let (from, to) = (parameter.splits[split], parameter.splits[split + 1]);
    let mut values = Vec::with_capacity(rows * (to - from));
    for column in from..to {
        values.extend((0..rows).map(|row| parameter.values[row * columns + column]));
    }
    Named { name, shape: vec![to - from, rows], values }
}
