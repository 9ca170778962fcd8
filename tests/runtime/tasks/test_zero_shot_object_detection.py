"""zero-shot-object-detection against transformers' pipeline and the direct forward: OWL-ViT, OWLv2, Grounding DINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Loaded
from slipway_runtime.tasks.parameters import convert
from transformers import AutoImageProcessor, AutoModelForZeroShotObjectDetection, AutoTokenizer, pipeline

from tests.support.asking import ask, load
from tests.support.tiny import vision
from tests.support.tiny.vision import picture, png

PICTURES = [picture(seed=1), picture(50, 90, seed=2), picture(33, 47, seed=3)]
LABELS = ["cat", "the big red house", "rain"]


@pytest.fixture(scope="module", params=["owlvit", "owlv2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = getattr(vision, request.param)(tmp_path_factory.mktemp(request.param))
    return folder, load(folder)


@pytest.fixture(scope="module")
def grounding(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = vision.grounding_dino(tmp_path_factory.mktemp("grounding_dino"))
    return folder, load(folder)


def close(answer: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [e["score"] for e in answer] == pytest.approx([e["score"] for e in expected], abs=1e-4)

    def key(one: dict[str, Any]) -> tuple[Any, ...]:
        return (round(one["score"], 3), one["label"], *one["box"].values())

    for one, other in zip(sorted(answer, key=key), sorted(expected, key=key), strict=True):
        assert one["label"] == other["label"]
        assert one["box"] == pytest.approx(other["box"], abs=1)


def test_the_answer_is_the_pipelines(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    reference = pipeline("zero-shot-object-detection", model=str(folder))
    for image in PICTURES:
        expected = reference(image, candidate_labels=LABELS)
        assert len(expected) > 3
        close(ask(loaded, png(image), candidate_labels=LABELS), expected)


def test_scores_are_those_of_a_direct_forward(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    network = AutoModelForZeroShotObjectDetection.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    tok = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = network(
            **processor(PICTURES[0], return_tensors="pt"), **tok(LABELS, return_tensors="pt", padding=True)
        ).logits[0]
    answer = ask(loaded, png(PICTURES[0]), candidate_labels=LABELS, threshold=0)
    for i, label in enumerate(LABELS):
        found = [e["score"] for e in answer if e["label"] == label]
        assert found == pytest.approx(sorted(logits[:, i].sigmoid().tolist(), reverse=True), abs=1e-4)


def test_requests_with_labels_of_their_own_share_a_batch_and_answer_as_alone(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    adapter = loaded.adapters[loaded.task]
    calls = []
    for image, labels in zip(PICTURES, (LABELS, ["dog"], ["rain", "sun"]), strict=True):
        parameters = convert({"candidate_labels": labels, "threshold": 0.2}, adapter.parameters)
        calls.append(adapter.parse(png(image), parameters))
    items = [item for call in calls for item in adapter.preprocess(call)]
    assert len({item.forward for item in items}) == 1
    for call, image, output in zip(calls, PICTURES, run_batch(items), strict=True):
        alone = ask(loaded, png(image), candidate_labels=call.parameters.candidate_labels, threshold=0.2)
        close(adapter.postprocess(call, [output]), alone)


def test_top_k_gives_the_best_of_all_labels(model: tuple[Path, Loaded]) -> None:
    every = ask(model[1], png(PICTURES[0]), candidate_labels=LABELS)
    assert ask(model[1], png(PICTURES[0]), candidate_labels=LABELS, top_k=2) == every[:2]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "parameters.candidate_labels: is missing"),
        (
            {"candidate_labels": ["cat", "rain " * 20]},
            r"parameters.candidate_labels\[1\]: has 22 tokens, the model takes 16",
        ),
        ({"candidate_labels": ["cat"], "threshold": 2}, "parameters.threshold"),
        ({"candidate_labels": ["cat"], "top_k": 0}, "parameters.top_k"),
    ],
)
def test_bad_parameters_are_named(model: tuple[Path, Loaded], parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(model[1], png(PICTURES[0]), **parameters)


def test_grounding_dino_reads_each_label_as_its_processor_writes_it(grounding: tuple[Path, Loaded]) -> None:
    folder, loaded = grounding
    reference = pipeline("zero-shot-object-detection", model=str(folder))
    for image in PICTURES:
        for label, text in (("Cat", "cat."), ("the big red house.", "the big red house."), ("rain", "rain.")):
            expected = [entry | {"label": label} for entry in reference(image, candidate_labels=[text])]
            assert len(expected) > 3
            close(ask(loaded, png(image), candidate_labels=[label]), expected)


def test_grounding_dino_answers_several_labels_and_images_as_each_by_itself(grounding: tuple[Path, Loaded]) -> None:
    _, loaded = grounding
    together = ask(loaded, [png(image) for image in PICTURES], candidate_labels=LABELS)
    for image, answer in zip(PICTURES, together, strict=True):
        alone = [entry for label in LABELS for entry in ask(loaded, png(image), candidate_labels=[label])]
        close(answer, sorted(alone, key=lambda entry: -entry["score"]))
