"""Models that really fail on some inputs."""

from __future__ import annotations

import json
from pathlib import Path


def spoil(folder: Path, word: str = "awful") -> Path:
    """Make the model's embedding of a word NaN, as a broken checkpoint or an overflow in half precision would."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    [token] = AutoTokenizer.from_pretrained(folder)(word, add_special_tokens=False)["input_ids"]
    file = folder / "model.safetensors"
    weights = load_file(file)
    [name] = [name for name in weights if name.endswith(("word_embeddings.weight", "embed_tokens.weight"))]
    weights[name][token] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def add_word(folder: Path, word: str) -> Path:
    """Let the tokenizer know a word that the model has no embedding of: an index out of range, raised by torch."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary[word] = max(vocabulary.values()) + 50
    file.write_text(json.dumps(content))
    return folder
