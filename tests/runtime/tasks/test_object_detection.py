"""object-detection against transformers' pipeline and the direct forward: DETR, YOLOS, RT-DETR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Loaded
from transformers import AutoImageProcessor, AutoModelForObjectDetection, pipeline

from tests.support.asking import ask, load
from tests.support.tiny import vision
from tests.support.tiny.vision import picture, png

# Of the first, second and last the model sees 64 x 48 pixels, of the third other shapes.
PICTURES = [picture(seed=1), picture(seed=2), picture(50, 90, seed=3), picture(120, 90, seed=4)]


@pytest.fixture(scope="module", params=["detr", "yolos", "rt_detr"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = getattr(vision, request.param)(tmp_path_factory.mktemp(request.param))
    return folder, load(folder)


def close(answer: list[dict[str, Any]], expected: list[dict[str, Any]], score: float = 1e-4) -> None:
    assert [e["label"] for e in answer] == [e["label"] for e in expected]
    assert [e["score"] for e in answer] == pytest.approx([e["score"] for e in expected], abs=score)
    for one, other in zip(answer, expected, strict=True):
        assert one["box"] == pytest.approx(other["box"], abs=1)


def test_the_answer_is_the_pipelines_best_first(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    reference = pipeline("object-detection", model=str(folder))
    for image in PICTURES:
        expected = sorted(reference(image, threshold=0.1), key=lambda e: -e["score"])
        assert expected
        close(ask(loaded, png(image), threshold=0.1), expected)


def test_boxes_and_scores_are_those_of_a_direct_forward(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    network = AutoModelForObjectDetection.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    image = PICTURES[2]
    with torch.inference_mode():
        output = network(**processor(image, return_tensors="pt"))
    [expected] = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(90, 50)])
    answer = ask(loaded, png(image), threshold=0.0)
    best = int(expected["scores"].argmax())
    assert len(answer) == len(expected["scores"])
    assert answer[0]["score"] == pytest.approx(float(expected["scores"][best]), abs=1e-4)
    assert list(answer[0]["box"].values()) == pytest.approx(expected["boxes"][best].int().tolist(), abs=1)
    assert all(isinstance(side, int) for side in answer[0]["box"].values())


def test_a_batch_of_mixed_shapes_equals_one_by_one(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    together = ask(loaded, [png(image) for image in PICTURES], threshold=0.1)
    for image, answer in zip(PICTURES, together, strict=True):
        close(answer, ask(loaded, png(image), threshold=0.1), score=1e-5)


def test_images_that_the_model_sees_in_other_shapes_never_share_a_batch(tmp_path: Path) -> None:
    adapter = load(vision.yolos(tmp_path)).adapters["object-detection"]
    items = adapter.preprocess(adapter.parse([png(image) for image in PICTURES], adapter.parameters()))
    assert items[0].forward == items[1].forward == items[3].forward != items[2].forward


def test_nothing_above_the_threshold_is_an_empty_list(model: tuple[Path, Loaded]) -> None:
    assert ask(model[1], png(PICTURES[0]), threshold=1.0) == []


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "high"])
def test_a_threshold_is_a_share(model: tuple[Path, Loaded], threshold: Any) -> None:
    with pytest.raises(InvalidInput, match=r"parameters\.threshold"):
        ask(model[1], png(PICTURES[0]), threshold=threshold)
