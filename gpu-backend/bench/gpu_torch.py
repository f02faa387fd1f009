#!/usr/bin/env python3
"""What torch gets out of the GPU, as a yardstick: its copy, a large product, the products of
Llama 3.1 8B's layers, and its attention. One JSON object a line, as each is measured.

Runs in a Python that has torch; `bench/gpu` finds one.
"""

import json
import sys

import torch
import torch.nn.functional as F

WARM, RUNS = 3, 10
SIDE = 8192
COPY_BYTES = 4 << 30
# Outputs and inputs of qkv, o, gate with up, and down.
SHAPES = {"qkv": (6144, 4096), "o": (4096, 4096), "gate_up": (28672, 4096), "down": (4096, 14336)}
ROWS = (1, 8, 64, 256, 2048)
HEADS, KV_HEADS, HEAD_DIM, PROMPT = 32, 8, 128, 2048


def seconds(run):
    """The mean of some runs on the device's clock, after some that are not timed."""
    for _ in range(WARM):
        run()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(RUNS):
        run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / RUNS


def say(what, **figures):
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"what": what, **rounded}), flush=True)


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def main():
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU")
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}", flush=True)
    source = torch.empty(COPY_BYTES, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    # Each byte is read and written.
    say("copy", gb_s=2 * COPY_BYTES / seconds(lambda: target.copy_(source)) / 1e9)
    del source, target
    a, b = random(SIDE, SIDE), random(SIDE, SIDE)
    say(f"product of {SIDE}", tflops=2 * SIDE**3 / seconds(lambda: a @ b) / 1e12)
    del a, b
    for name, (outputs, inputs) in SHAPES.items():
        # Weights in turn, so that none is met in the cache.
        weights = [random(outputs, inputs) for _ in range(8)]
        for rows in ROWS:
            x, turn = random(rows, inputs), iter(range(1 << 30))
            took = seconds(lambda: F.linear(x, weights[next(turn) % len(weights)]))
            say(f"{name} of {rows} rows", us=took * 1e6, gb_s=2 * outputs * inputs / took / 1e9,
                tflops=2 * rows * outputs * inputs / took / 1e12)
    q, k, v = (random(1, heads, PROMPT, HEAD_DIM) for heads in (HEADS, KV_HEADS, KV_HEADS))
    took = seconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))
    say(f"attention of {PROMPT}", us=took * 1e6, tflops=2 * HEADS * PROMPT**2 * HEAD_DIM / took / 1e12)


if __name__ == "__main__":
    main()
