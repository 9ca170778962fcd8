"""Checkpoints that transformers loads quantised, and those for which this image has no package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from slipway_runtime.artifacts.quantised import check_quantisation
from slipway_runtime.errors import ModelFault

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.asking import ask, load
from tests.support.runtime_server import serving
from tests.support.tiny import quantised

TEXTS = ["the film was great", "an awful movie"]


def scores(answers: Any) -> torch.Tensor:
    rows = [{entry["label"]: entry["score"] for entry in answer} for answer in answers]
    return torch.tensor([[row[label] for label in ("sadness", "joy", "anger")] for row in rows])


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_compressed_tensors_answer_as_their_weights_times_their_scales(tmp_path: Path, kind: str) -> None:
    folder = quantised.compressed(tmp_path / kind, kind)
    found = scores(ask(load(folder), TEXTS))
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), quantised.unpacked(folder)
    with torch.inference_mode():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS]
    torch.testing.assert_close(found, torch.stack(logits).softmax(-1), atol=1e-4, rtol=0)
    plain = scores(ask(load(tmp_path / f"{kind}-plain"), TEXTS))
    assert not torch.allclose(found, plain, atol=1e-6)


def test_blocks_of_fp8_are_unpacked_on_a_processor(tmp_path: Path) -> None:
    """To the weights times their blocks' scales, in bfloat16: 8 bits, so a part in 256."""
    folder = quantised.fine_grained_fp8(tmp_path / "fp8")
    loaded = load(folder)
    stored = load_file(folder / "model.safetensors")
    packed = [name.removesuffix("_scale_inv") for name in stored if name.endswith("_scale_inv")]
    assert len(packed) == 12
    for name in packed:
        scale = stored[f"{name}_scale_inv"].repeat_interleave(128, 0).repeat_interleave(128, 1)
        wanted = stored[name].float() * scale
        torch.testing.assert_close(loaded.model.get_parameter(name).float(), wanted, rtol=1 / 128, atol=1e-6)
    for answer in ask(loaded, TEXTS):
        assert sum(entry["score"] for entry in answer) == pytest.approx(1, abs=1e-2)


def test_a_server_serves_one(tmp_path: Path, serve: Serve) -> None:
    with serve(quantised.compressed(tmp_path / "int8")) as server:
        assert server.post({"inputs": TEXTS[0]}).status_code == 200


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            "'bitsandbytes', which needs the package bitsandbytes",
        ),
        ({"load_in_8bit": True}, "'bitsandbytes', which needs the package bitsandbytes"),
        ({"quant_method": "torchao"}, "'torchao', which needs the package torchao"),
        ({"quant_method": "gptq", "bits": 4}, "'gptq', which needs the package gptqmodel"),
        ({"quant_method": "newest"}, "'newest'; this image loads compressed-tensors, fp8"),
        ({"bits": 4}, "''; this image loads"),
    ],
)
def test_methods_without_a_package_are_refused_with_those_that_have_one(config: dict[str, Any], words: str) -> None:
    for place in ({"quantization_config": config}, {"text_config": {"quantization_config": config}}):
        with pytest.raises(ModelFault) as caught:
            check_quantisation(place, "org/name", installed=lambda package: package == "compressed_tensors")
        assert caught.value.reason == "TaskNotSupported"
        assert words in caught.value.message
        assert "this image loads compressed-tensors, fp8" in caught.value.message


def test_a_model_that_is_not_quantised_passes() -> None:
    configs: tuple[dict[str, Any], ...] = (
        {},
        {"quantization_config": None},
        {"quantization_config": {}},
        {"text_config": {}},
    )
    for config in configs:
        check_quantisation(config, "org/name", installed=lambda _: False)


def test_it_is_refused_before_the_weights_are_looked_at(tmp_path: Path) -> None:
    import json

    folder = models.classifier(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {
        "quantization_config": {"quant_method": "bitsandbytes"}
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"not looked at")
    with serving(tmp_path / "server", True, SLIPWAY_MODEL_PATH=str(folder)) as server:
        error = server.wait_for_fault("TaskNotSupported")
        assert error["code"] == 64
        assert "is quantised by 'bitsandbytes', which needs the package bitsandbytes" in error["message"]
