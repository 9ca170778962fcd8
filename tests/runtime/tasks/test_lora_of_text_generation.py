"""LoRA adapters of a model that writes text: each writes what the model with it merged writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import OpenAI
from slipway_runtime.artifacts.folder import open_adapter
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Loaded
from slipway_runtime.tasks.parameters import convert
from slipway_runtime.tasks.variants import attach

from tests.runtime.conftest import Serve
from tests.support import adapters
from tests.support.asking import load
from tests.support.tiny.generation import chat_decoder

PROMPTS = ["the film was", "paris is the capital of a very big country and"]
TRAINED: dict[str, dict[str, Any]] = {
    "polite": {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]},
    "terse": {"seed": 2, "task_type": "CAUSAL_LM", "target_modules": "all-linear", "use_rslora": True},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_decoder(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def written(base: Path) -> dict[str, list[list[int]]]:
    """Per adapter, what `generate` of the merged model adds to each prompt, greedily."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    merged = {
        name: adapters.trained(base, base.parent / name, auto_class="AutoModelForCausalLM", **how)
        for name, how in TRAINED.items()
    }
    merged[""] = AutoModelForCausalLM.from_pretrained(base)
    found: dict[str, list[list[int]]] = {}
    for name, model in merged.items():
        found[name] = []
        for prompt in PROMPTS:
            ids = tokenizer(prompt, return_tensors="pt")
            with torch.inference_mode():
                whole = model.generate(**ids, max_new_tokens=8, do_sample=False)
            found[name].append(whole[0, ids["input_ids"].shape[1] :].tolist())
    return found


@pytest.fixture(scope="module")
def loaded(base: Path, written: dict[str, Any]) -> Loaded:
    return attach(load(base), [open_adapter(name, str(base.parent / name)) for name in TRAINED])


def tokens(loaded: Loaded, name: str) -> list[list[int]]:
    adapter = loaded.adapters[loaded.task]
    call = adapter.parse(PROMPTS, convert({"max_new_tokens": 8}, adapter.parameters))
    assert loaded.variants is not None
    forward = loaded.variants.forward
    items = [replace(item, forward=forward(name, item.forward)) for item in adapter.preprocess(call)]
    return [[token.id for token in one.tokens] for [one] in adapter.postprocess(call, run_batch(items))]


@pytest.mark.parametrize("name", ["polite", "", "terse", "polite"])
def test_an_adapter_writes_what_the_merged_model_writes(
    loaded: Loaded, written: dict[str, list[list[int]]], name: str
) -> None:
    assert tokens(loaded, name) == written[name]


def test_the_adapters_differ(written: dict[str, list[list[int]]]) -> None:
    assert len({str(found) for found in written.values()}) == 3


def test_openais_client_chooses_by_model(base: Path, written: dict[str, Any], serve: Serve) -> None:
    entries = ",".join(f'{{"name": "{name}", "path": "{base.parent / name}"}}' for name in TRAINED)
    with (
        serve(base, SLIPWAY_ENDPOINT="writer", SLIPWAY_ADAPTERS=f"[{entries}]") as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        texts = {
            name: client.completions.create(model=name, prompt=PROMPTS[0], max_tokens=8, temperature=0).choices[0].text
            for name in ("writer", *TRAINED)
        }
        assert {model.id for model in client.models.list()} == {"writer", *TRAINED}
    assert len(set(texts.values())) == 3
