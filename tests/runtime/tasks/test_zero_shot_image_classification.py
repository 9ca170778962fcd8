"""zero-shot-image-classification against transformers' pipeline and the direct forward: CLIP, SigLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Limits, Loaded
from slipway_runtime.tasks.parameters import convert
from transformers import AutoImageProcessor, AutoModelForZeroShotImageClassification, AutoTokenizer, pipeline

from tests.support.asking import ask, load
from tests.support.tiny import vision
from tests.support.tiny.vision import picture, png

PICTURES = [picture(seed=1), picture(50, 90, seed=2), picture(33, 47, seed=3)]
LABELS = ["cat", "the big red house of london", "rain"]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = getattr(vision, request.param)(tmp_path_factory.mktemp(request.param))
    return folder, load(folder)


def scores(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in answer}


def test_the_answer_is_the_pipelines(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    reference = pipeline("zero-shot-image-classification", model=str(folder))
    for image in PICTURES:
        answer = ask(loaded, png(image), candidate_labels=LABELS)
        expected = reference(image, candidate_labels=LABELS)
        assert [e["label"] for e in answer] == [e["label"] for e in expected]
        np.testing.assert_allclose([e["score"] for e in answer], [e["score"] for e in expected], atol=1e-4)


def test_scores_are_those_of_a_direct_forward(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    network = AutoModelForZeroShotImageClassification.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    tok = AutoTokenizer.from_pretrained(folder)
    siglip = network.config.model_type == "siglip"
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 64} if siglip else {"padding": True}
    texts = tok([f"a {label} !" for label in LABELS], return_tensors="pt", **padding)
    with torch.inference_mode():
        logits = network(**processor(PICTURES[0], return_tensors="pt"), **texts).logits_per_image[0]
    expected = (logits.sigmoid() if siglip else logits.softmax(-1)).tolist()
    answer = ask(loaded, png(PICTURES[0]), candidate_labels=LABELS, hypothesis_template="a {} !")
    assert scores(answer) == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-4)


def test_requests_with_labels_of_their_own_share_a_batch_and_answer_as_alone(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    adapter = loaded.adapters[loaded.task]
    calls = []
    for image, labels in zip(PICTURES, (LABELS, ["dog"], ["rain", "sun"]), strict=True):
        parameters = convert({"candidate_labels": labels}, adapter.parameters)
        calls.append(adapter.parse(png(image), parameters))
    items = [item for call in calls for item in adapter.preprocess(call)]
    assert len({item.forward for item in items}) == 1
    for call, image, output in zip(calls, PICTURES, run_batch(items), strict=True):
        alone = ask(loaded, png(image), candidate_labels=call.parameters.candidate_labels)
        assert scores(adapter.postprocess(call, [output])) == pytest.approx(scores(alone), abs=1e-5)


def test_a_list_of_images_gives_a_list_each(model: tuple[Path, Loaded]) -> None:
    together = ask(model[1], [png(image) for image in PICTURES], candidate_labels="cat, dog")
    assert [{e["label"] for e in answer} for answer in together] == [{"cat", "dog"}] * 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "parameters.candidate_labels: is missing"),
        ({"candidate_labels": []}, "parameters.candidate_labels: is empty"),
        ({"candidate_labels": " , "}, "parameters.candidate_labels: is empty"),
        ({"candidate_labels": ["cat", " "]}, r"parameters.candidate_labels\[1\]: is empty"),
        ({"candidate_labels": ["cat", 3]}, r"parameters.candidate_labels"),
        ({"candidate_labels": ["cat"] * 9}, "has 9 labels, at most 8 are allowed"),
        (
            {"candidate_labels": ["cat"], "hypothesis_template": "a photo"},
            "parameters.hypothesis_template: must hold {}",
        ),
        (
            {"candidate_labels": ["cat", "rain " * 70]},
            r"parameters.candidate_labels\[1\]: has \d+ tokens, the model takes",
        ),
    ],
)
def test_bad_labels_are_named(model: tuple[Path, Loaded], parameters: dict[str, Any], message: str) -> None:
    loaded = model[1]
    loaded.adapters[loaded.task]._limits = Limits(max_inputs=8)  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match=message):
        ask(loaded, png(PICTURES[0]), **parameters)
