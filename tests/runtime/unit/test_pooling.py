"""Every pooling mode against its definition, whatever the padding side; Dense; prompts that do not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slipway_runtime.artifacts.folder import open_folder
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.text.pooling import pool
from slipway_runtime.tasks.text.sentence_encoder import load_encoder

from tests.support import models

TOKENS = np.array([[1.0, -2.0], [3.0, 4.0], [5.0, 0.0]], dtype=np.float32)
EXPECTED: dict[str, list[float]] = {
    "cls": [1, -2],
    "max": [5, 4],
    "mean": [3, 2 / 3],
    "mean_sqrt_len": [9 / 3**0.5, 2 / 3**0.5],
    "weightedmean": [(1 + 6 + 15) / 6, (-2 + 8 + 0) / 6],
    "lasttoken": [5, 0],
}


@pytest.mark.parametrize("mode", EXPECTED)
def test_modes(mode: str) -> None:
    padded = np.concatenate([TOKENS, np.full((2, 2), 99.0, dtype=np.float32)])
    vector = pool(torch.from_numpy(padded)[None], torch.tensor([[1, 1, 1, 0, 0]]), [mode])[0]
    np.testing.assert_allclose(vector.numpy(), EXPECTED[mode], rtol=1e-6)


@pytest.mark.parametrize("mode", ["cls", "max", "mean", "lasttoken"])
def test_left_padding(mode: str) -> None:
    padded = np.concatenate([np.full((2, 2), 99.0, dtype=np.float32), TOKENS])
    vector = pool(torch.from_numpy(padded)[None], torch.tensor([[0, 0, 1, 1, 1]]), [mode])[0]
    np.testing.assert_allclose(vector.numpy(), EXPECTED[mode], rtol=1e-6)


def test_several_modes_are_concatenated() -> None:
    vector = pool(torch.from_numpy(TOKENS)[None], torch.ones(1, 3, dtype=torch.int64), ["cls", "mean"])[0]
    np.testing.assert_allclose(vector.numpy(), EXPECTED["cls"] + EXPECTED["mean"], rtol=1e-6)


def encoder_of(folder: Path, tmp_path: Path) -> Any:
    return load_encoder(open_folder(str(folder), tmp_path / "cache", lambda *_: None), Limits())


def test_a_dense_module_comes_after_the_pooling(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = models.sentence_transformer(tmp_path / "m", normalize=False)
    plain = encoder_of(folder, tmp_path)
    [pooled] = plain.forward([plain.item("the cat", field="inputs")])
    dense_folder = models.sentence_transformer(tmp_path / "d", normalize=False, dense=12)
    encoder = encoder_of(dense_folder, tmp_path)
    [vector] = encoder.forward([encoder.item("the cat", field="inputs")])
    state = load_file(dense_folder / "2_Dense/model.safetensors")
    expected = np.tanh(state["linear.weight"].numpy() @ pooled + state["linear.bias"].numpy())
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_the_prompts_tokens_do_not_count_where_the_config_says_so(tmp_path: Path) -> None:
    folder = models.sentence_transformer(tmp_path / "m", prompts={"q": "the city of "}, include_prompt=False)
    encoder = encoder_of(folder, tmp_path)
    [vector] = encoder.forward([encoder.item("paris", field="inputs", prompt_name="q")])
    tokenizer = encoder.text_model.tokenizer.tokenizer
    batch = tokenizer("the city of paris", return_tensors="pt")
    with torch.inference_mode():
        hidden = encoder.text_model.model(**batch).last_hidden_state[0]
    prompt = len(tokenizer("the city of ")["input_ids"]) - 1
    np.testing.assert_allclose(vector, hidden[prompt:].mean(0).numpy(), atol=1e-5)
