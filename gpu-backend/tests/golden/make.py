#!/usr/bin/env python3
"""Makes the golden files of tests/golden.rs: a small random Llama, and its logits by
`transformers` in f32.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors
    venv/bin/python gpu-backend/tests/golden/make.py

The files are committed, so the tests need neither Python nor PyTorch. The logits are
those of the weights as stored (rounded to bfloat16 first), position by position.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
SEED = 20260101
SEQUENCES = [[1, 5], [70, 9], [40, 3]]  # (length, seed of the tokens)

MODELS = {
    # Grouped queries, Llama 3's rope scaling, an output matrix of its own, biases.
    "llama3": dict(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        attention_bias=True,
        mlp_bias=True,
        rms_norm_eps=1e-5,
        rope={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    # Tied embeddings, a head size that is not hidden / heads, plain rope.
    "tied": dict(
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=12,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        rope={"rope_type": "default", "rope_theta": 100000.0},
    ),
}
VOCAB = 131


def make(name: str, options: dict) -> None:
    torch.manual_seed(SEED)
    options = dict(options)
    rope = options.pop("rope")
    config = LlamaConfig(
        vocab_size=VOCAB,
        max_position_embeddings=128,
        initializer_range=0.2,
        rope_parameters=rope,
        rope_theta=rope["rope_theta"],
        attn_implementation="eager",
        **options,
    )
    model = LlamaForCausalLM(config).eval().float()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1:  # norms and biases start at 1 and 0: move them
                parameter.add_(torch.randn_like(parameter) * 0.1)
            parameter.copy_(parameter.bfloat16().float())

    folder = HERE / name
    folder.mkdir(exist_ok=True)
    state = {k: v.bfloat16().contiguous() for k, v in model.state_dict().items()}
    if options["tie_word_embeddings"]:
        state.pop("lm_head.weight", None)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    written = json.loads(config.to_json_string(use_diff=False))
    keep = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "num_key_value_heads head_dim rms_norm_eps max_position_embeddings tie_word_embeddings "
        "attention_bias mlp_bias hidden_act"
    ).split()
    small = {"architectures": ["LlamaForCausalLM"]} | {k: written[k] for k in keep}
    small["rope_parameters"] = rope
    (folder / "config.json").write_text(json.dumps(small, indent=2) + "\n")

    tensors = {}
    for index, (length, seed) in enumerate(SEQUENCES):
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, VOCAB, (1, length), generator=generator)
        with torch.no_grad():
            logits = model(tokens).logits[0]
        tensors[f"tokens.{index}"] = tokens[0].to(torch.int32)
        tensors[f"logits.{index}"] = logits.float().contiguous()
    save_file(tensors, folder / "golden.safetensors")
    print(name, {k: tuple(v.shape) for k, v in tensors.items()})


for name, options in MODELS.items():
    make(name, options)
