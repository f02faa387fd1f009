#!/usr/bin/env python3
"""Time from `gpu-backend serve` to a ready `/health`, for random weights of SmolLM2-135M's
shape (bf16 on disk, a tokenizer of its size) in a temporary directory.

    cargo build --release -p gpu-backend
    python3 gpu-backend/bench/startup.py target/release/gpu-backend [float32 bfloat16 int8 int4]

Prints one JSON object a precision: the best of the starts, all of them, and what was
seen of `loading` meanwhile. Needs Python's standard library only.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import random_model
from compare import free_port

STARTS = 5
SHAPE = "smollm2-135m"


def status(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return json.load(answer)["status"]
    except urllib.error.HTTPError as error:
        return json.load(error)["status"]
    except (urllib.error.URLError, ConnectionError):
        return None


def start(binary, folder, precision):
    """Seconds until ready, and the states seen before it."""
    port = free_port()
    wide = precision in ("float32", "bfloat16")
    flags = ["--dtype" if wide else "--quantize", precision]
    began = time.monotonic()
    server = subprocess.Popen(
        [binary, "serve", "--model", folder, "--listen", f"127.0.0.1:{port}",
         *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen = []
    try:
        while (state := status(port)) != "ready":
            if server.poll() is not None:
                raise SystemExit(f"the server ended with {server.returncode}")
            if state and state not in seen:
                seen.append(state)
            time.sleep(0.01)
        return time.monotonic() - began, seen
    finally:
        server.terminate()
        server.wait()


def main():
    binary = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        random_model.write_directory(folder, random_model.SHAPES[SHAPE])
        for precision in sys.argv[2:] or ["float32", "int8"]:
            runs = [start(binary, folder, precision) for _ in range(STARTS)]
            seconds = [round(run[0], 3) for run in runs]
            print(json.dumps({
                "shape": SHAPE, "precision": precision, "ready_s": min(seconds),
                "all_s": seconds, "states": sorted({s for run in runs for s in run[1]}),
            }), flush=True)


main()
