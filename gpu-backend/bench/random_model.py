"""Models of random weights and known shapes, as a Hugging Face directory for our engine
and as a GGUF file for llama.cpp, with one tokenizer and one chat template for both.

Needs Python's standard library; a GGUF also numpy and PyPI's `gguf`.
"""

import json
import os
import struct

# As src/bench.rs has them.
SHAPES = {
    "smollm2-135m": dict(
        arch="llama", vocab=49152, hidden=576, inner=1536, layers=30, heads=9, kv_heads=3,
        head_dim=64, theta=100_000.0, tied=True, bias=False,
    ),
    "qwen2.5-0.5b": dict(
        arch="qwen2", vocab=151936, hidden=896, inner=4864, layers=24, heads=14, kv_heads=2,
        head_dim=64, theta=1_000_000.0, tied=True, bias=True,
    ),
    "llama-3.2-1b": dict(
        arch="llama", vocab=128256, hidden=2048, inner=8192, layers=16, heads=32, kv_heads=8,
        head_dim=64, theta=500_000.0, tied=True, bias=False,
    ),
}
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
CONTEXT = 8192
EPS = 1e-5
SPECIAL = ("<|im_start|>", "<|im_end|>")
END = 1
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def tokenizer(size):
    """A byte-level BPE of so many tokens: their texts in order, and the merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    letters = [chr(b) if b in printable else chr(next(spare)) for b in range(256)]
    vocab = dict.fromkeys([*SPECIAL, *letters])
    merges = []
    words = [*letters]
    for word in words:
        for letter in letters[97:123]:
            if len(vocab) == size:
                return [*vocab], merges
            if word + letter not in vocab:
                vocab[word + letter] = None
                words.append(word + letter)
                merges.append([word, letter])
    raise AssertionError("words never end")


def write_directory(folder, shape):
    """A Hugging Face directory, its weights in bf16."""
    _write_weights(folder / "model.safetensors", shape)
    _write_tokenizer(folder / "tokenizer.json", shape["vocab"])
    (folder / "config.json").write_text(json.dumps({
        "architectures": [ARCHITECTURES[shape["arch"]]],
        "vocab_size": shape["vocab"], "hidden_size": shape["hidden"],
        "intermediate_size": shape["inner"], "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"], "num_key_value_heads": shape["kv_heads"],
        "head_dim": shape["head_dim"], "rms_norm_eps": EPS, "rope_theta": shape["theta"],
        "max_position_embeddings": CONTEXT, "tie_word_embeddings": shape["tied"],
        "eos_token_id": END,
    }))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def _write_tokenizer(path, size):
    tokens, merges = tokenizer(size)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = [
        {"id": i, "content": text, "special": True, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}
        for i, text in enumerate(SPECIAL)
    ]
    path.write_text(json.dumps({
        "version": "1.0", "added_tokens": special, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {
            "type": "BPE", "vocab": {text: i for i, text in enumerate(tokens)},
            "merges": merges, "unk_token": None,
        },
    }))


def _widths(shape):
    return shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]


def _tensors(shape):
    hidden, inner = shape["hidden"], shape["inner"]
    q, kv = _widths(shape)
    yield "model.embed_tokens.weight", [shape["vocab"], hidden]
    yield "model.norm.weight", [hidden]
    for i in range(shape["layers"]):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", [hidden]
        yield f"{layer}.post_attention_layernorm.weight", [hidden]
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            yield f"{layer}.self_attn.{name}_proj.weight", [rows, hidden]
            if shape["bias"]:
                yield f"{layer}.self_attn.{name}_proj.bias", [rows]
        yield f"{layer}.self_attn.o_proj.weight", [hidden, q]
        yield f"{layer}.mlp.gate_proj.weight", [inner, hidden]
        yield f"{layer}.mlp.up_proj.weight", [inner, hidden]
        yield f"{layer}.mlp.down_proj.weight", [hidden, inner]


def _random_bf16(count):
    """Values of either sign between 2^-9 and 2^-5."""
    data = bytearray(os.urandom(2 * count))
    data[1::2] = bytes(data[1::2]).translate(bytes([0x3B, 0x3C, 0xBB, 0xBC] * 64))
    return bytes(data)


def _write_weights(path, shape):
    header, offset = {}, 0
    for name, dims in _tensors(shape):
        count = dims[0] * (dims[1] if len(dims) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [offset, offset + 2 * count]}
        offset += 2 * count
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in header.values():
            start, end = entry["data_offsets"]
            file.write(_random_bf16((end - start) // 2))


def write_gguf(path, shape, kind):
    """A GGUF file; every matrix is of `kind` ("Q8_0", "BF16", …)."""
    import gguf

    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, shape["arch"])
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape["hidden"])
    writer.add_feed_forward_length(shape["inner"])
    writer.add_block_count(shape["layers"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_rope_dimension_count(shape["head_dim"])
    writer.add_rope_freq_base(shape["theta"])
    writer.add_layer_norm_rms_eps(EPS)
    _gguf_tokenizer(writer, shape["vocab"])
    _gguf_tensors(writer, shape, gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)


def _gguf_tokenizer(writer, size):
    import gguf

    tokens, merges = tokenizer(size)
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if text in SPECIAL else normal for text in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _gguf_tensors(writer, shape, kind):
    import gguf
    import numpy as np

    rng = np.random.default_rng(1)

    def matrix(name, rows, columns):
        values = rng.uniform(-0.04, 0.04, (rows, columns)).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    def vector(name, length, value):
        writer.add_tensor(name, np.full(length, value, np.float32))

    hidden, inner = shape["hidden"], shape["inner"]
    q, kv = _widths(shape)
    matrix("token_embd.weight", shape["vocab"], hidden)
    for layer in range(shape["layers"]):
        at = f"blk.{layer}."
        vector(at + "attn_norm.weight", hidden, 1.0)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            matrix(f"{at}attn_{name}.weight", rows, hidden)
            if shape["bias"]:
                vector(f"{at}attn_{name}.bias", rows, 0.01)
        matrix(at + "attn_output.weight", hidden, q)
        vector(at + "ffn_norm.weight", hidden, 1.0)
        matrix(at + "ffn_gate.weight", inner, hidden)
        matrix(at + "ffn_up.weight", inner, hidden)
        matrix(at + "ffn_down.weight", hidden, inner)
    vector("output_norm.weight", hidden, 1.0)
