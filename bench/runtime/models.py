"""The models that are measured, made once into .cache/bench: `python -m bench.runtime.models`.

A: a BERT of 6 layers, 384 wide, with 4 labels and MiniLM's vocabulary. B: the real MiniLM. C: a Llama of 6 layers, 256
wide, with 32,000 tokens. A and C have random weights from a fixed seed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.runtime.inputs import FOLDERS, ROOT
from tests.support.models import MINILM, real_minilm
from tests.support.tiny.generation import SPECIAL, byte_tokenizer

SITE = ROOT / ".cache/minilm"
LABELS = ("billing", "delivery", "returns", "other")
VOCABULARY = 32_000


def make() -> None:
    """All of them. Each folder is complete or absent."""
    for name, maker in (("embeddings", _embeddings), ("classification", _classification), ("generation", _generation)):
        folder = FOLDERS[name]
        if (folder / "words.txt").exists():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        words = maker(folder)
        (folder / "words.txt").write_text("\n".join(words))


def _embeddings(folder: Path) -> list[str]:
    real_minilm(folder, SITE)
    return _whole_words(folder)


def _whole_words(folder: Path) -> list[str]:
    """Entries of a WordPiece vocabulary that are words: each is one token."""
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [word for word in vocabulary if word.isascii() and word.isalpha() and word.islower() and len(word) > 2]


def _classification(folder: Path) -> list[str]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDERS["embeddings"])
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
        initializer_range=0.1,  # so that scores differ from text to text
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    return _whole_words(FOLDERS["embeddings"])


def _generation(folder: Path) -> list[str]:
    words = _whole_words(FOLDERS["embeddings"])
    # Said as they are: a chat and a plain prompt are then the same tokens.
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer = byte_tokenizer(
        model_max_length=2048, chat_template=template, words=[f"Ġ{word}" for word in words], most=VOCABULARY
    )
    known = tokenizer.get_vocab()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        initializer_range=0.1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.LlamaForCausalLM(config)
    _only_text(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return [word for word in words if f"Ġ{word}" in known]


def _only_text(model: Any, tokenizer: Any) -> None:
    """Special tokens and single bytes of no ASCII get logit 0, which the likeliest of 32,000 never has: no answer ends
    early, and none waits for the rest of a character."""
    alphabet = [i for piece, i in tokenizer.get_vocab().items() if len(piece) == 1 and not piece.isascii()]
    special = tokenizer.convert_tokens_to_ids(list(SPECIAL))
    model.lm_head.weight.data[[*alphabet, *special, *range(len(tokenizer), VOCABULARY)]] = 0.0


if __name__ == "__main__":
    if not (SITE / ".done").exists():
        sys.exit(f"{SITE.relative_to(ROOT)}: there is no {MINILM}; run make minilm")
    make()
