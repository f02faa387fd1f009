"""What the comparisons with llama.cpp share. Needs Python's standard library only."""

import random
import socket
import statistics

# Ours against llama.cpp's type of about as many bits.
PAIRS = {"int8": "Q8_0", "bf16": "BF16", "int4": "Q4_0", "f32": "F32"}


def interval(ratios):
    """The median's 95 % bootstrap interval."""
    rng = random.Random(1)
    medians = sorted(
        statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(4000)
    )
    return medians[100], medians[-101]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
