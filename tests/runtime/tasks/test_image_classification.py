"""image-classification against the model's own forward and transformers' pipeline: a transformer and a ResNet."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Loaded
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from tests.support.asking import ask, load
from tests.support.tiny import vision
from tests.support.tiny.vision import picture, png

PICTURES = [picture(seed=1), picture(50, 90, seed=2), picture(200, 40, seed=3), picture(32, 32, seed=4)]


@pytest.fixture(scope="module", params=["vit", "resnet"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = getattr(vision, request.param)(tmp_path_factory.mktemp(request.param))
    return folder, load(folder)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(vision.vit(tmp_path_factory.mktemp("vit")))


def scores(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in answer}


def test_scores_are_those_of_a_direct_forward(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    network = AutoModelForImageClassification.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    for image in PICTURES:
        with torch.inference_mode():
            expected = network(**processor(image, return_tensors="pt")).logits[0].softmax(-1).tolist()
        answer = ask(loaded, png(image), top_k=7)
        assert scores(answer) == pytest.approx(dict(zip(vision.LABELS, expected, strict=True)), abs=1e-4)
        assert [e["score"] for e in answer] == sorted((e["score"] for e in answer), reverse=True)


def test_the_answer_is_the_pipelines(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    reference = pipeline("image-classification", model=str(folder))
    for image in PICTURES:
        answer = ask(loaded, png(image))
        expected = reference(image)
        assert len(answer) == 5
        assert [e["label"] for e in answer] == [e["label"] for e in expected]
        np.testing.assert_allclose([e["score"] for e in answer], [e["score"] for e in expected], atol=1e-4)


@pytest.mark.parametrize("function", ["sigmoid", "softmax", "none"])
def test_function_to_apply(model: tuple[Path, Loaded], function: str) -> None:
    folder, loaded = model
    expected = pipeline("image-classification", model=str(folder))(PICTURES[0], top_k=7, function_to_apply=function)
    answer = ask(loaded, png(PICTURES[0]), top_k=7, function_to_apply=function)
    assert scores(answer) == pytest.approx(scores(expected), abs=1e-4)


def test_a_batch_of_mixed_sizes_equals_one_by_one(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    together = ask(loaded, [base64.b64encode(png(image)).decode() for image in PICTURES])
    for image, answer in zip(PICTURES, together, strict=True):
        assert scores(answer) == pytest.approx(scores(ask(loaded, png(image))), abs=1e-5)


def test_images_differ() -> None:
    assert png(PICTURES[0]) != png(PICTURES[1])


def test_equal_images_share_a_batch_whatever_size_they_came_in(vit: Loaded) -> None:
    adapter = vit.adapters["image-classification"]
    call = adapter.parse([png(image) for image in PICTURES], adapter.parameters())
    items = adapter.preprocess(call)
    assert len({item.forward for item in items}) == 1
    assert [item.length for item in items] == [4] * 4  # 32 x 32 pixels, one token per 16 x 16


def test_several_labels_may_be_true_where_the_config_says_so(tmp_path: Path) -> None:
    loaded = load(vision.vit(tmp_path, problem_type="multi_label_classification"))
    every = ask(loaded, png(PICTURES[0]), top_k=7)
    assert scores(every) == pytest.approx(
        scores(ask(loaded, png(PICTURES[0]), top_k=7, function_to_apply="sigmoid")), abs=1e-6
    )


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        (None, {}, "inputs: must be a file's bytes, or base64"),
        ({"image": "x"}, {}, "inputs: must be a file's bytes, or base64 of them in JSON; got an object"),
        (b"", {}, "inputs: is empty"),
        ([], {}, "inputs: is empty"),
        ([png(PICTURES[0]), "https://example.com/cat.png"], {}, r"inputs\[1\]: is a URL"),
        (b"%PDF-1.7", {}, "inputs: is no image: .* it is a PDF"),
        (png(PICTURES[0])[:200], {}, "inputs: is a png of 200 bytes that cannot be decoded"),
        (png(PICTURES[0]), {"top_k": 0}, "parameters.top_k: .*>= 1"),
        (png(PICTURES[0]), {"function_to_apply": "tanh"}, "parameters.function_to_apply"),
        (png(PICTURES[0]), {"topk": 3}, r"parameters.topk: unknown parameter \(did you mean top_k"),
    ],
)
def test_bad_input_is_named(vit: Loaded, inputs: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(vit, inputs, **parameters)


def test_a_model_without_an_image_processor_is_refused_with_the_file_that_is_missing(tmp_path: Path) -> None:
    folder = vision.vit(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelFault, match=r"preprocessor_config\.json"):
        load(folder)
