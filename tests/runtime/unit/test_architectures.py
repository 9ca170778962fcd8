"""Encoders other than BERT, each against its own forward: no token types, positions that begin later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from slipway_runtime.artifacts.folder import open_folder
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.parameters import convert
from slipway_runtime.tasks.text import text_classification

from tests.support.models import tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.5,
    "num_labels": 3,
}
# Name and what its config needs beside the sizes.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "DistilBert": {"max_position_embeddings": 64},
    "Roberta": {"max_position_embeddings": 66, "pad_token_id": 1},  # two rows of its table are not for tokens
    "Electra": {"max_position_embeddings": 64, "embedding_size": 32},
    "Albert": {"max_position_embeddings": 64, "embedding_size": 16},
    "MPNet": {"max_position_embeddings": 66, "pad_token_id": 1},
}


@pytest.fixture(params=ARCHITECTURES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any, Any]:
    """A saved classifier, the model and its tokenizer."""
    torch.manual_seed(0)
    tok = tokenizer()
    special = ARCHITECTURES[request.param]
    if special.get("pad_token_id") == 1:  # as RoBERTa's own vocabulary has it
        tok.pad_token = "[UNK]"
    config = getattr(transformers, f"{request.param}Config")(vocab_size=len(tok), **SIZES, **special)
    model = getattr(transformers, f"{request.param}ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path / "model")
    tok.save_pretrained(tmp_path / "model")
    return tmp_path, model, tok


def test_a_batch_equals_the_direct_forward_one_by_one(saved: tuple[Path, Any, Any]) -> None:
    folder, model, tok = saved
    loaded = text_classification.load(open_folder(str(folder / "model"), folder / "cache", lambda *_: None), Limits())
    adapter: Any = loaded.adapters["text-classification"]
    texts = ["rain", "the film was great , i love it .", "the sun " * 25]
    call = adapter.parse(texts, convert({"function_to_apply": "none", "top_k": 3}, adapter.parameters))
    items = adapter.preprocess(call)
    answers = adapter.postprocess(call, items[0].forward(items))
    for text, answer in zip(texts, answers, strict=True):
        ids = torch.tensor([tok(text)["input_ids"]])
        with torch.inference_mode():
            expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].tolist()
        found = {entry["label"]: entry["score"] for entry in answer}
        np.testing.assert_allclose([found[f"LABEL_{i}"] for i in range(3)], expected, atol=1e-4)


def test_the_limit_is_64_tokens_and_64_tokens_work(saved: tuple[Path, Any, Any]) -> None:
    folder, _, _ = saved
    loaded = text_classification.load(open_folder(str(folder / "model"), folder / "cache", lambda *_: None), Limits())
    assert loaded.max_input_tokens == 64
    adapter: Any = loaded.adapters["text-classification"]
    items = adapter.preprocess(adapter.parse("rain " * 62, convert({}, adapter.parameters)))
    assert items[0].length == 64
    assert np.isfinite(items[0].forward(items)[0]).all()
    with pytest.raises(InvalidInput, match="has 65 tokens, the model takes 64"):
        adapter.preprocess(adapter.parse("rain " * 63, convert({}, adapter.parameters)))
