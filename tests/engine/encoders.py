"""Small random encoders with tokenizers of letters: what a directory from the model hub
holds, in a hundredth of a second.

Knows nothing of what is asked of them.
"""

import json
import shutil
import string
from pathlib import Path

from harness import ROOT

GOLDEN = ROOT / "gpu-backend" / "tests" / "golden"
# Named as the models whose form they have.
EMBEDDER = "all-MiniLM-L6-v2"
RERANKER = "ms-marco-MiniLM-L6-v2"


def write(folder: Path) -> dict[str, Path]:
    """The directories, by the route that each serves."""
    made = {}
    for route, golden, name in [
        ("/v1/embeddings", "minilm", EMBEDDER),
        ("/v1/rerank", "cross", RERANKER),
    ]:
        made[route] = folder / name
        shutil.copytree(GOLDEN / golden, made[route])
        (made[route] / "tokenizer.json").write_text(json.dumps(tokenizer()))
    return made


def tokenizer() -> dict:
    """WordPiece with a token for each letter, as BERT's tokenizers are built."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = list(string.ascii_lowercase + string.digits + ".,?")
    words = special + letters + [f"##{letter}" for letter in string.ascii_lowercase]
    vocab = {word: id for id, word in enumerate(words)}
    added = [
        {
            "id": vocab[word],
            "content": word,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for word in special
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", vocab["[SEP]"]],
            "cls": ["[CLS]", vocab["[CLS]"]],
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }
