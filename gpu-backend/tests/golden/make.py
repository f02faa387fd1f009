#!/usr/bin/env python3
"""Makes the golden files of tests/golden.rs and tests/encoder.rs: a small random model
of every family, and what `transformers` computes with it in f32.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors
    venv/bin/python gpu-backend/tests/golden/make.py  # or some of the names below

The files are committed, so the tests need neither Python nor PyTorch. Directories are
written by `save_pretrained`, in half precision; the goldens are those of the weights as
stored. Decoders: logits position by position, and a greedy continuation. Encoders: the
pooled vectors, or the scores.

Windows are shorter than the sequences, positions go beyond the original context where a
scaling rule stretches it, and bounds are so low that they bite: a model in which one of
these is missing fails.
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers as hf
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
VOCAB = 113
SEQUENCES = [1, 70, 37]  # lengths in tokens
PROMPT, GREEDY = 24, 64
# The best token leads by at least this much everywhere, so that an error below the
# tests' bound of 1e-3 cannot change it.
MARGIN = 4e-3

SHAPE = dict(
    vocab_size=VOCAB,
    hidden_size=48,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=128,
    initializer_range=0.2,
    bos_token_id=None,
    eos_token_id=2,
    pad_token_id=None,
)
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

# name: (configuration class, model class, what differs from SHAPE, type of the weights)
DECODERS = {
    # As many key heads as query heads, linear scaling, in two shards of f16.
    "llama2": (hf.LlamaConfig, hf.LlamaForCausalLM, dict(
        num_key_value_heads=6, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    ), torch.float16),
    # Grouped queries, Llama 3's scaling, an output matrix of its own, biases everywhere.
    "llama3": (hf.LlamaConfig, hf.LlamaForCausalLM, dict(
        attention_bias=True, mlp_bias=True, rms_norm_eps=1e-5, rope_parameters=LLAMA3_ROPE,
    ), torch.bfloat16),
    # Tied embeddings, a head size that is not hidden / heads, plain angles.
    "smollm2": (hf.LlamaConfig, hf.LlamaForCausalLM, dict(
        num_attention_heads=6, num_key_value_heads=3, head_dim=12, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    ), torch.bfloat16),
    # Every layer sees a window only, which does not end on a block of the cache.
    "mistral": (hf.MistralConfig, hf.MistralForCausalLM, dict(
        sliding_window=21, head_dim=8, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ), torch.bfloat16),
    # Biases on queries, keys and values; the second layer sees a window.
    "qwen2": (hf.Qwen2Config, hf.Qwen2ForCausalLM, dict(
        tie_word_embeddings=True, use_sliding_window=True, sliding_window=16,
        max_window_layers=1, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    ), torch.bfloat16),
    # Norms of heads; small, since its weights are f32.
    "qwen3": (hf.Qwen3Config, hf.Qwen3ForCausalLM, dict(
        hidden_size=32, intermediate_size=48, num_attention_heads=4, head_dim=12,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    ), torch.float32),
    # One key head, both bounds, a window on the first layer, an odd factor on the scores.
    "gemma2": (hf.Gemma2Config, hf.Gemma2ForCausalLM, dict(
        num_attention_heads=3, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=24,
        sliding_window=12, attn_logit_softcapping=3.0, final_logit_softcapping=4.0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ), torch.bfloat16),
    # Two layers with a window and angles of their own, one that sees everything, stretched.
    "gemma3": (hf.Gemma3TextConfig, hf.Gemma3ForCausalLM, dict(
        num_hidden_layers=3, intermediate_size=48, head_dim=12, query_pre_attn_scalar=12,
        sliding_window=17,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ), torch.bfloat16),
}


def random_model(config, kind, dtype, seed):
    """A model whose weights are exact in `dtype`; norms and biases are moved off 0 and 1."""
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = kind(config).eval().float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if "post_feedforward" in name or "gemma" in kind.__name__.lower() and "post_att" in name:
                # Or Gemma's scaled embeddings outweigh all that the layers add.
                parameter.add_(3.0)
            parameter.copy_(parameter.to(dtype).float())
    return model


def write(model, folder, dtype, **options):
    """The directory as `save_pretrained` writes it, less what is not read."""
    shutil.rmtree(folder, ignore_errors=True)
    # A copy: the goldens are computed with the f32 model after this.
    stored = type(model)(model.config).to(dtype)
    stored.load_state_dict(model.state_dict())
    stored.save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)


def lead(logits):
    best = logits.topk(2, dim=-1).values
    return (best[..., 0] - best[..., 1]).min().item()


@torch.no_grad()
def decoder_goldens(model, seed):
    """Tensors for the tests, and the smallest lead of a best token."""
    tensors, least = {}, float("inf")
    for index, length in enumerate(SEQUENCES):
        generator = torch.Generator().manual_seed(seed + index)
        tokens = torch.randint(0, VOCAB, (1, length), generator=generator)
        logits = model(tokens, use_cache=False).logits[0].float()
        tensors[f"tokens.{index}"] = tokens[0].to(torch.int32)
        tensors[f"logits.{index}"] = logits.contiguous()
        least = min(least, lead(logits))
    tokens = tensors["tokens.1"][None, :PROMPT].long()
    for _ in range(GREEDY):
        logits = model(tokens, use_cache=False).logits[0, -1].float()
        least = min(least, lead(logits))
        tokens = torch.cat([tokens, logits.argmax()[None, None]], dim=1)
    tensors["greedy"] = tokens[0].to(torch.int32)
    return tensors, least


def make_decoder(name):
    config_class, kind, options, dtype = DECODERS[name]
    for seed in range(60):
        model = random_model(config_class(**(SHAPE | options)), kind, dtype, seed)
        tensors, least = decoder_goldens(model, seed)
        varied = tensors["greedy"][PROMPT:].unique().numel() > 8
        if least > MARGIN and varied:
            break
    else:
        raise SystemExit(f"{name}: no seed gives clear best tokens")
    write(model, HERE / name, dtype, max_shard_size="30KB" if name == "llama2" else "1GB")
    save_file(tensors, HERE / name / "golden.safetensors")
    distinct = tensors["greedy"][PROMPT:].unique().numel()
    print(f"{name}: seed {seed}, lead {least:.4f}, {distinct} distinct greedy tokens")


BERT = dict(
    vocab_size=VOCAB,
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=64,
    initializer_range=0.2,
    pad_token_id=0,
)
CLS, SEP = 1, 2
# name: (how token vectors become one, whether it is normalised); none: a cross-encoder.
ENCODERS = {
    "minilm": ("mean", True),
    "bge": ("cls", True),
    "cross": (None, False),
    "xlmr": (None, False),  # XLM-R: positions start after the padding token's id
}


def sentence_transformers(folder, pooling, normalise, hidden):
    """The files that sentence-transformers adds to a directory."""
    package = "sentence_transformers.models"
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules += [("2_Normalize", "Normalize")] if normalise else []
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"{package}.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed, indent=2) + "\n")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({
        "word_embedding_dimension": hidden,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }, indent=2) + "\n")


@torch.no_grad()
def make_encoder(name):
    pooling, normalise = ENCODERS[name]
    extra = dict(num_labels=1) if pooling is None else {}
    kind = hf.BertModel if pooling else hf.BertForSequenceClassification
    config = hf.BertConfig(**BERT, **extra)
    if name == "xlmr":
        kind = hf.XLMRobertaForSequenceClassification
        shape = BERT | dict(pad_token_id=1, max_position_embeddings=66, type_vocab_size=1)
        config = hf.XLMRobertaConfig(**shape, layer_norm_eps=1e-5, num_labels=1)
    model = random_model(config, kind, torch.bfloat16, 7)
    folder = HERE / name
    write(model, folder, torch.bfloat16)
    tensors = {}
    for index, length in enumerate([3, 64, 17, 18, 40]):
        generator = torch.Generator().manual_seed(index)
        tokens = torch.randint(3, VOCAB, (1, length), generator=generator)
        tokens[0, 0], tokens[0, -1] = (0 if name == "xlmr" else CLS), SEP
        types = torch.zeros_like(tokens)
        if name == "cross":  # [CLS] query [SEP] document [SEP]
            tokens[0, length // 3] = SEP
            types[0, length // 3 + 1 :] = 1
        out = model(tokens, attention_mask=torch.ones_like(tokens), token_type_ids=types)
        tensors[f"tokens.{index}"] = tokens[0].to(torch.int32)
        tensors[f"types.{index}"] = types[0].to(torch.int32)
        if pooling is None:
            result = torch.sigmoid(out.logits[0])
        else:
            states = out.last_hidden_state[0]
            result = states[0] if pooling == "cls" else states.mean(dim=0)
            result = result / result.norm() if normalise else result
        tensors[f"result.{index}"] = result.float().contiguous()
    if pooling:
        sentence_transformers(folder, pooling, normalise, BERT["hidden_size"])
    save_file(tensors, folder / "golden.safetensors")
    scores = [tensors[f"result.{i}"][0].item() for i in range(5)]
    print(f"{name}: {[round(score, 4) for score in scores]}")


for name in sys.argv[1:] or [*DECODERS, *ENCODERS]:
    make_decoder(name) if name in DECODERS else make_encoder(name)
