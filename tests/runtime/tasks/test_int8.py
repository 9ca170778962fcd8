"""SLIPWAY_QUANTIZATION=int8: answers near those of the weights as they are, and what is refused."""

from __future__ import annotations

import gc
import logging
import math
import weakref
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from slipway_runtime.artifacts.quantised import check_quantising
from slipway_runtime.errors import ModelFault
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.settings import Settings, SettingsError
from slipway_runtime.tasks import int8
from slipway_runtime.tasks.adapter import Loaded
from slipway_runtime.tasks.compared import apart

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.asking import ask, load
from tests.support.runtime_server import serving
from tests.support.tiny import MAKERS, generation, quantised

TEXTS = ["the film was great", "an awful movie", "paris is the capital of france ."]
# One of each kind; the others take their way, and come with the long tests.
SAMPLE = ("fill-mask", "text-generation", "automatic-speech-recognition", "image-classification")
# Its sounds are drawn as long as its text is spoken, and that is rounded: no two lengths are alike.
OTHERS = ("text-to-image", "text-to-speech")
LABELS = [f"label-{i}" for i in range(4)]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "classifier"
    return models.classifier(folder, labels=LABELS, initializer_range=0.1, **quantised.WIDE)


def in_int8(folder: Path) -> tuple[Loaded, int8.Quantised]:
    """As the server loads it."""
    loaded = load(folder, quantization="int8")
    return loaded, int8.check(loaded, folder.name)


def scores(answers: Any) -> Any:
    return np.array([[{e["label"]: e["score"] for e in answer}[name] for name in LABELS] for answer in answers])


def test_scores_are_near_those_of_the_weights_as_they_are(classifier: Path) -> None:
    loaded, made = in_int8(classifier)
    found, exact = scores(ask(loaded, TEXTS)), scores(ask(load(classifier), TEXTS))
    np.testing.assert_allclose(found, exact, atol=0.03)
    assert not np.array_equal(found, exact)
    assert made.layers == 2 * 6 + 1  # the head of four labels is too small
    assert 0 < made.apart < 0.1


def test_weights_take_a_quarter_and_what_they_were_is_let_go(classifier: Path) -> None:
    loaded = load(classifier, quantization="int8")
    layers = [module for module in loaded.model.modules() if isinstance(module, int8.Int8Linear)]
    before = [weakref.ref(layer.was[0]) for layer in layers]
    made = int8.check(loaded, "a model")
    gc.collect()
    assert not [one for one in before if one() is not None]
    plain = sum(weight.nbytes for weight in load(classifier).model.parameters())
    now = sum(tensor.nbytes for tensor in (*loaded.model.parameters(), *loaded.model.buffers()))
    assert now / plain == pytest.approx(1 - 0.75 * made.share, abs=0.02)
    assert loaded.parameters == load(classifier).parameters


@pytest.fixture(scope="module")
def layer() -> int8.Int8Linear:
    torch.manual_seed(0)
    return int8.Int8Linear(torch.nn.Linear(256, 128))


def test_a_row_is_the_same_to_the_bit_whatever_stands_beside_it(layer: int8.Int8Linear) -> None:
    rows = torch.randn(40, 256)
    rows[7] *= 1e6  # one scale for all of them would leave nothing of the others
    with torch.inference_mode():
        together = layer(rows)
        assert all(torch.equal(together[i], layer(rows[i : i + 1])[0]) for i in range(40))
        exact = layer.was[0](rows)
    assert float((together - exact).norm(dim=1).div(exact.norm(dim=1)).max()) < 0.02


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_does_not_become_one_and_stays_where_it_is(layer: int8.Int8Linear, value: float) -> None:
    rows = torch.randn(3, 256)
    rows[1, 5] = value
    with torch.inference_mode():
        made = layer(rows)
    assert not made[1].isfinite().any()
    assert made[[0, 2]].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(256,), (0, 256), (2, 0, 256), (2, 3, 5, 256)])
def test_shapes_and_types_are_those_of_a_linear_layer(
    layer: int8.Int8Linear, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    with torch.inference_mode():
        made = layer(torch.ones(shape, dtype=dtype))
    assert made.shape == (*shape[:-1], 128)
    assert made.dtype == dtype


@pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=[] if task in SAMPLE else [pytest.mark.full]) for task in MAKERS if task not in OTHERS],
)
def test_every_task_answers_in_int8(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "SMALLEST", 8)  # the models of tests are smaller than any that gains by it
    loaded, made = in_int8(MAKERS[task](tmp_path / "model"))
    assert made.layers
    for adapter in loaded.adapters.values():
        assert not [outcome for outcome in run_batch(adapter.warmup()) if isinstance(outcome, Exception)]


def test_text_is_written_in_continuous_batches(tmp_path: Path) -> None:
    loaded, made = in_int8(generation.decoder(tmp_path / "model", **quantised.WIDE, initializer_range=0.1))
    assert [adapter.mode for adapter in loaded.adapters.values()] == ["continuous"]  # type: ignore[attr-defined]
    assert made.layers == 2 * 7 + 1  # with the one that makes logits of a vocabulary
    assert ask(loaded, "the film was", max_new_tokens=8)


def far_apart(folder: Path) -> Path:
    """One number of each token is so large that, counted in steps of it, the others are nothing; and it is not read."""
    models.classifier(folder, labels=LABELS, initializer_range=0.1, **quantised.WIDE)
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.encoder.layer.1.output.LayerNorm.bias"][3] = 1e4
    tensors["bert.pooler.dense.weight"][:, 3] = 0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_model_that_would_answer_something_else_is_refused(tmp_path: Path) -> None:
    with serving(
        tmp_path / "server", True, SLIPWAY_MODEL_PATH=str(far_apart(tmp_path / "model")), SLIPWAY_QUANTIZATION="int8"
    ) as server:
        error = server.wait_for_fault("BadConfiguration")
        assert "in int8 the outputs of model are" in error["message"]
        assert "more than 30%" in error["message"]
        assert "Leave the variable out" in error["message"]
        assert server.probe("readyz") == 503


def test_a_model_without_layers_to_gain_by_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="has no linear layers of 64 by 64 or more") as caught:
        load(models.classifier(tmp_path / "model"), quantization="int8")
    assert caught.value.reason == "BadConfiguration"


def test_a_checkpoint_that_is_quantised_already_is_refused_before_its_weights_are_looked_at(tmp_path: Path) -> None:
    folder = quantised.compressed(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"not looked at")
    with serving(tmp_path / "server", True, SLIPWAY_MODEL_PATH=str(folder), SLIPWAY_QUANTIZATION="int8") as server:
        error = server.wait_for_fault("BadConfiguration")
        assert "its weights are quantised by 'compressed-tensors'" in error["message"]


def test_diffusion_is_refused() -> None:
    with pytest.raises(ModelFault, match="text-to-image is not quantised here"):
        check_quantising("int8", {}, "text-to-image", "org/name")
    check_quantising("", {}, "text-to-image", "org/name")
    check_quantising("int8", {}, "fill-mask", "org/name")


def test_lora_adapters_beside_it_and_other_names_are_refused() -> None:
    adapters = '[{"name": "a", "id": "org/a"}]'
    with pytest.raises(
        SettingsError, match=r"SLIPWAY_QUANTIZATION='int8' and SLIPWAY_ADAPTERS: .* leave one of them out"
    ):
        Settings.from_env({"SLIPWAY_MODEL_ID": "o/n", "SLIPWAY_QUANTIZATION": "int8", "SLIPWAY_ADAPTERS": adapters})
    with pytest.raises(SettingsError, match="SLIPWAY_QUANTIZATION='int4': must be one of int8"):
        Settings.from_env({"SLIPWAY_MODEL_ID": "o/n", "SLIPWAY_QUANTIZATION": "int4"})


def test_the_log_warns_where_the_processor_is_slow_with_it(
    classifier: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_vnni": True})
    with caplog.at_level(logging.WARNING, "slipway_runtime"):
        load(classifier, quantization="int8")
        assert caplog.messages == []
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_vnni": False})
        load(classifier, quantization="int8")
    [message] = caplog.messages
    assert "slow with int8, and less exact: it has none of avx512_vnni, avx_vnni, amx_int8" in message


def test_outputs_that_cannot_be_compared_are_infinitely_far_apart() -> None:
    one = {"[0]": torch.ones(2, 100)}
    assert apart({"[0]": torch.ones(2, 100) * 1.5}, one) == pytest.approx(0.5)
    assert apart({"[0]": torch.ones(2, 99)}, one) == math.inf
    far = torch.cat([torch.full((2, 1), 1e6), torch.ones(2, 99)], dim=1)
    assert apart({"": far * torch.tensor([1.0] + [0.5] * 99)}, {"": far}) == pytest.approx(0.5)
    assert apart({"[0]": torch.full((2, 100), math.nan)}, one) == math.inf
    assert apart({}, one) == math.inf
    assert apart({}, {}) == math.inf
    # A mask's infinities are no distance, and a score near to 0 is as good as another.
    assert apart({"": torch.tensor([0.0, -math.inf])}, {"": torch.tensor([0.0, -math.inf])}) == 0
    assert apart({"": torch.tensor([[0.02]])}, {"": torch.tensor([[0.01]])}) == pytest.approx(0.01)


def test_a_server_says_so_and_answers(classifier: Path, serve: Serve) -> None:
    with serve(classifier, SLIPWAY_QUANTIZATION="INT8", SLIPWAY_DTYPE="bfloat16") as server:
        info = httpx.get(f"{server.url}/info", timeout=60).json()
        assert (info["quantization"], info["model_dtype"]) == ("int8", "bfloat16")
        found = scores(server.post({"inputs": TEXTS}).json())
        np.testing.assert_allclose(found, scores(ask(load(classifier), TEXTS)), atol=0.04)
        [line] = [line for line in server.lines() if line["message"] == "linear layers are int8"]
        assert line["layers"] == 13
        assert 0 < line["outputsMovedBy"] < 0.1


def test_a_server_without_it_says_so_too(classifier: Path, serve: Serve) -> None:
    with serve(classifier) as server:
        assert httpx.get(f"{server.url}/info", timeout=60).json()["quantization"] is None
