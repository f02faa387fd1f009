"""What the comparisons with llama.cpp share. Needs Python's standard library only."""

import random
import socket
import statistics

# Ours against llama.cpp's type of about as many bits.
PAIRS = {"int8": "Q8_0", "bf16": "BF16", "int4": "Q4_0", "f32": "F32"}


# Rounds from which on an interval is called one of 95 %. A bootstrap lies within the rounds'
# range, and even the whole range of n of them misses the true median in 2^(1-n) of all cases.
INTERVAL_ROUNDS_MIN = 7


def spread(ratios):
    """How far the rounds' ratios lie apart, in words: the median's 95 % bootstrap interval, or
    of too few rounds the lowest and the highest of them."""
    if len(ratios) < INTERVAL_ROUNDS_MIN:
        return f"{min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds"
    rng = random.Random(1)
    medians = sorted(
        statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(4000)
    )
    return f"95 % interval {medians[100]:.2f} to {medians[-101]:.2f}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
