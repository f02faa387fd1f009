//! Greedy answers of an exported folder, one token after the other with a key/value cache. It
//! is the evaluation's own small reader, separate from training, so that the files that are
//! shipped are what is judged. It knows no batch and no sampling.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use half::bf16;
use safetensors::SafeTensors;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::chat::Chat;
use crate::config::{Config, POSITIONS_MAX};
use crate::data::Turn;
use crate::ops::RMS_NORM_EPS;
use crate::ops::kernels::{Rotary, dot, exp, rms_norm};
use crate::tokenizer::{self, END};

/// Most tokens of one answer.
const ANSWER_TOKENS_MAX: usize = 96;

struct Layer {
    input_norm: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    output: Vec<f32>,
    post_norm: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
}

/// A loaded model.
pub struct Reader {
    config: Config,
    embedding: Vec<f32>,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    rotary: Rotary,
    chat: Chat,
    tokenizer: Tokenizer,
    end: u32,
}

/// Keys and values of the tokens read so far, per layer.
#[derive(Debug, Default)]
struct Cache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    length: usize,
}

impl Reader {
    /// Loads a folder that `export` wrote.
    pub fn load(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).with_context(|| path.display().to_string())
        };
        let config: Config = serde_json::from_slice(&read("config.json")?)?;
        let tokenizer_config: Value = serde_json::from_slice(&read("tokenizer_config.json")?)?;
        let template = tokenizer_config["chat_template"]
            .as_str()
            .context("no chat_template")?;
        let bytes = read("model.safetensors")?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        let get = |name: &str| -> Result<Vec<f32>> {
            let view = tensors.tensor(name).with_context(|| name.to_owned())?;
            let pairs = view.data().chunks_exact(2);
            Ok(pairs
                .map(|p| bf16::from_le_bytes([p[0], p[1]]).to_f32())
                .collect())
        };
        let layer = |i: usize| -> Result<Layer> {
            let get = |name: &str| get(&format!("model.layers.{i}.{name}.weight"));
            Ok(Layer {
                input_norm: get("input_layernorm")?,
                query: get("self_attn.q_proj")?,
                key: get("self_attn.k_proj")?,
                value: get("self_attn.v_proj")?,
                output: get("self_attn.o_proj")?,
                post_norm: get("post_attention_layernorm")?,
                gate: get("mlp.gate_proj")?,
                up: get("mlp.up_proj")?,
                down: get("mlp.down_proj")?,
            })
        };
        let tokenizer = tokenizer::load(&folder.join("tokenizer.json"))?;
        Ok(Self {
            embedding: get("model.embed_tokens.weight")?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_>>()?,
            norm: get("model.norm.weight")?,
            rotary: Rotary::new(POSITIONS_MAX, config.head_dim, config.rope_theta),
            chat: Chat::new(template)?,
            end: tokenizer::id(&tokenizer, END)?,
            tokenizer,
            config,
        })
    }

    /// What the model says next in this conversation, at temperature zero.
    pub fn answer(&self, tools: &[String], turns: &[Turn]) -> Result<String> {
        let text = self.chat.render(tools, turns, true)?;
        let encoding = self
            .tokenizer
            .encode(text, false)
            .map_err(|e| anyhow!("encode: {e}"))?;
        let mut cache = self.cache();
        let mut logits = Vec::new();
        for token in encoding.get_ids() {
            logits = self.step(*token, &mut cache)?;
        }
        let mut said = Vec::new();
        while said.len() < ANSWER_TOKENS_MAX {
            let next = highest(&logits);
            if next == self.end {
                break;
            }
            said.push(next);
            logits = self.step(next, &mut cache)?;
        }
        self.tokenizer
            .decode(&said, true)
            .map_err(|e| anyhow!("decode: {e}"))
    }

    /// Logits after each of these tokens, one row behind the other.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut cache = self.cache();
        let mut all = Vec::new();
        for token in tokens {
            all.extend(self.step(*token, &mut cache)?);
        }
        Ok(all)
    }

    fn cache(&self) -> Cache {
        let empty = || vec![Vec::new(); self.layers.len()];
        Cache {
            keys: empty(),
            values: empty(),
            length: 0,
        }
    }

    fn step(&self, token: u32, cache: &mut Cache) -> Result<Vec<f32>> {
        let (h, position) = (self.config.hidden_size, cache.length);
        ensure!(
            position < POSITIONS_MAX,
            "the conversation is longer than {POSITIONS_MAX} tokens"
        );
        let mut x = self.embedding[token as usize * h..(token as usize + 1) * h].to_vec();
        for (i, layer) in self.layers.iter().enumerate() {
            let normed = rms_norm(&x, &layer.input_norm, RMS_NORM_EPS);
            let mut query = product(&layer.query, &normed);
            let mut key = product(&layer.key, &normed);
            for head in query.chunks_exact_mut(self.config.head_dim) {
                self.rotary.rotate(head, position, 1.0);
            }
            for head in key.chunks_exact_mut(self.config.head_dim) {
                self.rotary.rotate(head, position, 1.0);
            }
            cache.keys[i].extend(key);
            cache.values[i].extend(product(&layer.value, &normed));
            let attended = self.attend(&query, &cache.keys[i], &cache.values[i]);
            add(&mut x, &product(&layer.output, &attended));
            let normed = rms_norm(&x, &layer.post_norm, RMS_NORM_EPS);
            let (gate, up) = (product(&layer.gate, &normed), product(&layer.up, &normed));
            let inner: Vec<f32> = gate
                .iter()
                .zip(&up)
                .map(|(g, u)| g / (1.0 + exp(-g)) * u)
                .collect();
            add(&mut x, &product(&layer.down, &inner));
        }
        cache.length += 1;
        Ok(product(
            &self.embedding,
            &rms_norm(&x, &self.norm, RMS_NORM_EPS),
        ))
    }

    fn attend(&self, query: &[f32], keys: &[f32], values: &[f32]) -> Vec<f32> {
        let (hd, width) = (self.config.head_dim, self.config.key_width());
        let share = self.config.num_attention_heads / self.config.num_key_value_heads;
        let mut out = vec![0f32; query.len()];
        for (head, (q, o)) in query
            .chunks_exact(hd)
            .zip(out.chunks_exact_mut(hd))
            .enumerate()
        {
            let at = head / share * hd;
            let mut scores: Vec<f32> = keys
                .chunks_exact(width)
                .map(|key| dot(q, &key[at..at + hd]) / (hd as f32).sqrt())
                .collect();
            let highest = scores.iter().copied().fold(f32::MIN, f32::max);
            scores.iter_mut().for_each(|s| *s = exp(*s - highest));
            let sum: f32 = scores.iter().sum();
            for (score, value) in scores.iter().zip(values.chunks_exact(width)) {
                for (o, v) in o.iter_mut().zip(&value[at..at + hd]) {
                    *o += score / sum * v;
                }
            }
        }
        out
    }
}

/// `matrix · x`, the matrix as rows of the length of `x`.
fn product(matrix: &[f32], x: &[f32]) -> Vec<f32> {
    matrix
        .chunks_exact(x.len())
        .map(|row| dot(row, x))
        .collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// The first of the highest logits.
fn highest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best as u32
}
