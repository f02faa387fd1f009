#!/usr/bin/env python3
"""Time from `gpu-backend serve` to a ready `/health`, for random weights of SmolLM2-135M's
shape (bf16 on disk, a tokenizer of its size) in a temporary directory.

    cargo build --release -p gpu-backend
    python3 gpu-backend/bench/startup.py target/release/gpu-backend [float32 bfloat16 int8 int4]

Prints one JSON object a precision: the best of the starts, all of them, and what was
seen of `loading` meanwhile. Needs Python's standard library only.
"""

import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, VOCAB = 576, 1536, 30, 9, 3, 49152
STARTS = 5


def tensors():
    head = HIDDEN // HEADS
    yield "model.embed_tokens.weight", [VOCAB, HIDDEN]
    yield "model.norm.weight", [HIDDEN]
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", [HIDDEN]
        yield f"{layer}.post_attention_layernorm.weight", [HIDDEN]
        yield f"{layer}.self_attn.q_proj.weight", [HEADS * head, HIDDEN]
        yield f"{layer}.self_attn.k_proj.weight", [KV_HEADS * head, HIDDEN]
        yield f"{layer}.self_attn.v_proj.weight", [KV_HEADS * head, HIDDEN]
        yield f"{layer}.self_attn.o_proj.weight", [HIDDEN, HEADS * head]
        yield f"{layer}.mlp.gate_proj.weight", [INNER, HIDDEN]
        yield f"{layer}.mlp.up_proj.weight", [INNER, HIDDEN]
        yield f"{layer}.mlp.down_proj.weight", [HIDDEN, INNER]


def random_bf16(count):
    """Values of either sign between 2^-9 and 2^-5."""
    data = bytearray(os.urandom(2 * count))
    data[1::2] = bytes(data[1::2]).translate(bytes([0x3B, 0x3C, 0xBB, 0xBC] * 64))
    return bytes(data)


def write_weights(folder):
    header, offset = {}, 0
    for name, shape in tensors():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + 2 * count]}
        offset += 2 * count
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in header.values():
            start, end = entry["data_offsets"]
            file.write(random_bf16((end - start) // 2))


def write_tokenizer(folder):
    """A byte-level BPE with as many tokens and merges as the model's own has."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    letters = [chr(b) if b in printable else chr(next(spare)) for b in range(256)]
    vocab = {"<|im_start|>": 0, "<|im_end|>": 1}
    for letter in letters:
        vocab[letter] = len(vocab)
    merges = []
    words = [*letters]
    for word in words:
        for letter in letters[97:123]:
            if len(vocab) == VOCAB:
                break
            if word + letter not in vocab:
                vocab[word + letter] = len(vocab)
                words.append(word + letter)
                merges.append([word, letter])
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = [
        {"id": i, "content": text, "special": True, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}
        for text, i in list(vocab.items())[:2]
    ]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": special, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": None},
    }))


def write_model(folder):
    write_weights(folder)
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "rms_norm_eps": 1e-5, "rope_theta": 100000.0,
        "max_position_embeddings": 8192, "tie_word_embeddings": True, "eos_token_id": 1,
    }))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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
        write_model(folder)
        for precision in sys.argv[2:] or ["float32", "int8"]:
            runs = [start(binary, folder, precision) for _ in range(STARTS)]
            seconds = [round(run[0], 3) for run in runs]
            print(json.dumps({
                "shape": "smollm2-135m", "precision": precision, "ready_s": min(seconds),
                "all_s": seconds, "states": sorted({s for run in runs for s in run[1]}),
            }), flush=True)


main()
