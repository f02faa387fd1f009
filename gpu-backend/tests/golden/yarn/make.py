#!/usr/bin/env python3
"""Makes golden.json: the angles and the factor on cosines and sines that transformers
computes for `rope_type` yarn, for the configurations below.

    python3 -m venv venv && venv/bin/pip install transformers numpy
    venv/bin/python gpu-backend/tests/golden/yarn/make.py

transformers computes them with six functions of PyTorch's, for which numpy stands in
here, in f32 as there.
"""

import json
import pathlib
import types

import numpy
from transformers import LlamaConfig, modeling_rope_utils

HERE = pathlib.Path(__file__).parent


class Tensor(numpy.ndarray):
    def to(self, device=None, dtype=None):
        return self.astype(dtype)


def arange(*bounds, dtype=numpy.int64):
    return numpy.arange(*bounds).astype(dtype).view(Tensor)


modeling_rope_utils.torch = types.SimpleNamespace(
    arange=arange, clamp=numpy.clip, float=numpy.float32, float32=numpy.float32)

# Head size, longest position, and rope_parameters less their type.
CASES = [
    # Qwen 2.5 and Qwen 3, as their model cards say for long texts.
    (128, 32768, {"rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}),
    (128, 40960, {"rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}),
    (64, 4096, {"rope_theta": 1e4, "factor": 16.0}),
    (64, 4096, {"rope_theta": 1e4, "factor": 1.0}),
    (64, 4096, {"rope_theta": 1e4, "factor": 0.5}),
    # DeepSeek's spelling.
    (64, 163840, {"rope_theta": 1e4, "factor": 40.0, "original_max_position_embeddings": 4096,
                  "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.707}),
    (64, 163840, {"rope_theta": 1e4, "factor": 40.0, "original_max_position_embeddings": 4096,
                  "mscale": 0.707}),
    (64, 163840, {"rope_theta": 1e4, "factor": None, "original_max_position_embeddings": 4096}),
    # gpt-oss's: the blend does not begin at a whole dimension.
    (64, 131072, {"rope_theta": 150000.0, "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                  "original_max_position_embeddings": 4096, "truncate": False}),
    (96, 8192, {"rope_theta": 5e5, "factor": 8.0, "attention_factor": 1.25, "beta_fast": 16,
                "beta_slow": 2}),
    (96, 8192, {"rope_theta": 5e5, "factor": 8.0, "beta_fast": 0, "beta_slow": 0}),
    # The blend is cut at both ends, and of no width.
    (8, 100000, {"rope_theta": 1e4, "factor": 2.0, "beta_fast": 100000, "beta_slow": 1e-6}),
    (8, 6, {"rope_theta": 1e4, "factor": 2.0}),
]


def main():
    cases = []
    for head_dim, positions, parameters in CASES:
        config = LlamaConfig(
            hidden_size=2 * head_dim, num_attention_heads=2, head_dim=head_dim,
            max_position_embeddings=positions,
            rope_parameters={"rope_type": "yarn"} | parameters)
        angles, attention = modeling_rope_utils._compute_yarn_parameters(config)
        cases.append({
            "head_dim": head_dim, "max_position_embeddings": positions,
            "rope_parameters": parameters, "attention": attention,
            "angles": [float(angle) for angle in angles],
        })
    (HERE / "golden.json").write_text(json.dumps(cases, indent=1) + "\n")
    print(f"{len(cases)} cases")


main()
