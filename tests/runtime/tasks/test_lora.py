"""LoRA adapters: each equals its merged model, the base stays as it was, and concurrent requests never mix."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from slipway_runtime.artifacts.folder import open_adapter
from slipway_runtime.errors import ModelFault
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Item, Loaded
from slipway_runtime.tasks.parameters import convert
from slipway_runtime.tasks.variants import attach

from tests.runtime.conftest import Serve
from tests.support import adapters, models
from tests.support.asking import ask, load
from tests.support.runtime_server import RuntimeServer, serving

TEXTS = ["the film was great", "an awful , awful movie", "paris is the capital of france and it was very big"]
# Name → how it was trained: plain, every layer with a head and its own ranks, rslora, DoRA.
TRAINED: dict[str, dict[str, Any]] = {
    "plain": {"task_type": "SEQ_CLS"},
    "heads/all.v1": {
        "seed": 2, "target_modules": "all-linear", "modules_to_save": ["classifier"], "r": 2,
        "rank_pattern": {"query": 6}, "alpha_pattern": {"layer.0.attention.self.query": 3},
    },
    "rs": {"seed": 3, "use_rslora": True, "task_type": "SEQ_CLS"},
    "dora": {"seed": 4, "use_dora": True, "target_modules": ["query", "dense"], "task_type": "SEQ_CLS"},
    "words": {"seed": 5, "target_modules": ["word_embeddings", "key"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.classifier(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def merged(base: Path) -> dict[str, Any]:
    return {name: adapters.trained(base, folder(base, name), **how) for name, how in TRAINED.items()}


def folder(base: Path, name: str) -> Path:
    return base.parent / "adapters" / name.replace("/", "-")


@pytest.fixture(scope="module")
def loaded(base: Path, merged: dict[str, Any]) -> Loaded:
    return attach(load(base), [open_adapter(name, str(folder(base, name))) for name in merged])


def items_of(loaded: Loaded, texts: list[str], name: str) -> tuple[Any, list[Item]]:
    adapter = loaded.adapters[loaded.task]
    call = adapter.parse(texts, convert({"function_to_apply": "none"}, adapter.parameters))
    assert loaded.variants is not None
    forward = loaded.variants.forward
    return call, [replace(item, forward=forward(name, item.forward)) for item in adapter.preprocess(call)]


def logits(loaded: Loaded, texts: list[str], name: str) -> list[list[float]]:
    return [list(output) for output in run_batch(items_of(loaded, texts, name)[1])]


def direct(model: Any, base: Path, texts: list[str]) -> list[list[float]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    with torch.inference_mode():
        return [model(**tokenizer(text, return_tensors="pt")).logits[0].tolist() for text in texts]


def test_the_base_answers_as_if_there_were_no_adapters(base: Path, loaded: Loaded) -> None:
    alone = ask(load(base), TEXTS, function_to_apply="none")
    adapter = loaded.adapters[loaded.task]
    for name in ("plain", "heads/all.v1", "dora"):
        logits(loaded, TEXTS, name)  # on, then off again
        call, items = items_of(loaded, TEXTS, "")
        for answer, expected in zip(adapter.postprocess(call, run_batch(items)), alone, strict=True):
            for found, wanted in zip(answer, expected, strict=True):
                assert found["label"] == wanted["label"]
                assert found["score"] == pytest.approx(wanted["score"], abs=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_an_adapter_equals_the_model_with_it_merged(
    base: Path, loaded: Loaded, merged: dict[str, Any], name: str
) -> None:
    found = logits(loaded, TEXTS, name)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(direct(merged[name], base, TEXTS)), atol=1e-4, rtol=0)
    assert max(abs(a - b) for a, b in zip(found[0], logits(loaded, TEXTS, "")[0], strict=True)) > 1e-2


def test_forwards_are_equal_for_equal_adapters_alone(loaded: Loaded) -> None:
    [one] = items_of(loaded, TEXTS[:1], "plain")[1]
    [same] = items_of(loaded, TEXTS[1:2], "plain")[1]
    [other] = items_of(loaded, TEXTS[:1], "rs")[1]
    [none] = items_of(loaded, TEXTS[:1], "")[1]
    assert one.forward == same.forward
    assert len({one.forward, same.forward, other.forward, none.forward}) == 3


def refused(path: Path, base: Path) -> ModelFault:
    with pytest.raises(ModelFault) as caught:
        attach(load(base), [open_adapter("mine", str(path))])
    return caught.value


def test_an_adapter_of_another_model_does_not_fit(tmp_path: Path, base: Path) -> None:
    wide = models.classifier(tmp_path / "wide", hidden_size=64)
    adapters.trained(wide, tmp_path / "adapter", task_type="SEQ_CLS")
    fault = refused(tmp_path / "adapter", base)
    assert fault.reason == "ModelCorrupt"
    assert "adapter mine" in fault.message
    assert "does not fit the model: the shapes differ" in fault.message
    deep = models.classifier(tmp_path / "deep", num_hidden_layers=4)
    adapters.trained(deep, tmp_path / "deeper", task_type="SEQ_CLS")
    assert "BertForSequenceClassification has no bert.encoder.layer.2" in refused(tmp_path / "deeper", base).message


def test_a_head_of_another_size_does_not_fit(tmp_path: Path, base: Path) -> None:
    five = models.classifier(tmp_path / "five", labels=[str(i) for i in range(5)])
    adapters.trained(five, tmp_path / "adapter", modules_to_save=["classifier"], task_type="SEQ_CLS")
    assert "the shapes differ" in refused(tmp_path / "adapter", base).message


@pytest.fixture
def good(tmp_path: Path, base: Path, merged: dict[str, Any]) -> Path:
    import shutil

    return Path(shutil.copytree(folder(base, "plain"), tmp_path / "adapter"))


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "BadConfiguration", "its peft_type is 'PREFIX_TUNING'; LORA is served"),
        ({"bias": "all"}, "BadConfiguration", "bias is 'all', which changes the base model's answers"),
        ({"layer_replication": [[0, 2]]}, "BadConfiguration", "it uses layer_replication"),
        ({"target_parameters": ["x"]}, "BadConfiguration", "it uses target_parameters"),
        (
            {"auto_mapping": {"parent_library": "evil"}},
            "UnsafeFormat",
            "code of its own (auto_mapping in adapter_config",
        ),
        ({"auto_mapping": {"parent_library": "transformers.models.x;evil"}}, "UnsafeFormat", "auto_mapping"),
        ({"megatron_core": "evil.core"}, "UnsafeFormat", "code of its own (megatron_core"),
        ({"megatron_config": {"a": 1}}, "UnsafeFormat", "code of its own (megatron_config"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "BadConfiguration", "alpha_pattern has the key '(a+)+$'"),
        ({"lora_alpha": "x"}, "ModelCorrupt", "lora_alpha and the values of alpha_pattern must be numbers"),
    ],
)
def test_what_an_adapter_may_not_ask_for(
    good: Path, base: Path, changes: dict[str, Any], reason: str, words: str
) -> None:
    config = json.loads((good / "adapter_config.json").read_text()) | changes
    (good / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFault) as caught:
        open_adapter("mine", str(good))
    assert caught.value.reason == reason
    assert words in caught.value.message


def test_pickled_and_missing_weights_are_refused(good: Path, tmp_path: Path) -> None:
    (good / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelFault, match=r"has no adapter_model\.safetensors"):
        open_adapter("mine", str(good))
    models._write_pickle(good / "adapter_model.bin", tmp_path / "canary")
    with pytest.raises(ModelFault, match=r"only as pickle \(adapter_model\.bin\)"):
        open_adapter("mine", str(good))
    assert not (tmp_path / "canary").exists()


def test_weights_that_lack_or_add_a_tensor_do_not_fit(good: Path, base: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(good / "adapter_model.safetensors")
    lacking = {k: v for k, v in tensors.items() if "layer.1.attention.self.query.lora_B" not in k}
    save_file(lacking, good / "adapter_model.safetensors")
    assert "is missing" in refused(good, base).message
    save_file(tensors | {"base_model.model.other.weight": torch.zeros(2)}, good / "adapter_model.safetensors")
    assert "no place for" in refused(good, base).message


@pytest.fixture(scope="module")
def server(serve: Serve, base: Path, merged: dict[str, Any]) -> Iterator[RuntimeServer]:
    entries = json.dumps([{"name": name, "path": str(folder(base, name))} for name in TRAINED])
    with serve(base, SLIPWAY_ADAPTERS=entries, SLIPWAY_ENDPOINT="emotions") as found:
        yield found


def test_requests_of_all_adapters_at_once_never_mix(server: RuntimeServer, base: Path, merged: dict[str, Any]) -> None:
    """Many at once, in an order that changes adapters all the time; each is compared with its own merged model."""
    alone = models_direct(base)
    names = ["emotions", *TRAINED] * 20
    expected = {name: direct(merged.get(name, alone), base, TEXTS[:1])[0] for name in set(names)}

    async def all_of_them() -> list[dict[str, float]]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            bodies = [{"inputs": TEXTS[0], "parameters": {"function_to_apply": "none"}} for _ in names]
            answers = await asyncio.gather(
                *(client.post(f"/models/{name}", json=body) for name, body in zip(names, bodies, strict=True))
            )
        return [{label["label"]: label["score"] for label in answer.json()[0]} for answer in answers]

    for name, found in zip(names, asyncio.run(all_of_them()), strict=True):
        wanted = dict(zip(("sadness", "joy", "anger"), expected[name], strict=True))
        assert found == pytest.approx(wanted, abs=1e-3), name


def models_direct(base: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(base).eval()


def test_an_unknown_adapter_is_404_with_those_that_are_here(server: RuntimeServer) -> None:
    answer = server.post({"inputs": TEXTS[0]}, "/models/rude")
    assert answer.status_code == 404
    assert "model 'rude' is not served here; this is emotions" in answer.json()["error"]
    assert "heads/all.v1" in answer.json()["error"]


def test_an_adapter_that_does_not_fit_is_said_by_name_in_the_status(
    tmp_path: Path, base: Path, merged: dict[str, Any]
) -> None:
    entries = json.dumps([{"name": "plain", "path": str(folder(base, "plain"))}, {"name": "absent", "path": "/mnt/no"}])
    with serving(tmp_path, True, SLIPWAY_MODEL_PATH=str(base), SLIPWAY_ADAPTERS=entries) as server:
        error = server.wait_for_fault("ModelNotFound")
        assert error["message"] == "adapter absent: '/mnt/no' is not a folder"
        assert error["param"] == "model.adapters"


def test_threads_that_switch_between_adapters_see_their_own(loaded: Loaded) -> None:
    """The inference thread is one; this holds its promise: what is switched on is what runs."""
    with ThreadPoolExecutor(1) as inference:
        futures = [inference.submit(logits, loaded, TEXTS[:1], name) for name in ["", *TRAINED] * 5]
        found = [future.result()[0] for future in futures]
    for i, row in enumerate(found):
        assert row == pytest.approx(found[i % (len(TRAINED) + 1)], abs=1e-6)
