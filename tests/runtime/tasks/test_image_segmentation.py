"""image-segmentation against transformers' pipeline: SegFormer (semantic), DETR, MaskFormer and Mask2Former (all)."""

from __future__ import annotations

import base64
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Loaded
from slipway_runtime.tasks.vision import image_segmentation
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline

from tests.support.asking import ask, load
from tests.support.tiny import vision
from tests.support.tiny.vision import picture, png

PICTURES = [picture(seed=1), picture(50, 90, seed=2), picture(seed=3)]
LOW: dict[str, Any] = {"threshold": 0.1, "mask_threshold": 0.1, "overlap_mask_area_threshold": 0.0}
HAS_SCIPY = importlib.util.find_spec("scipy") is not None
WITH_SCIPY = pytest.mark.skipif(not HAS_SCIPY, reason="transformers makes their loss with scipy, even for a forward")


@pytest.fixture(
    scope="module",
    params=[
        "segformer",
        "detr_segmentation",
        pytest.param("maskformer", marks=WITH_SCIPY),
        pytest.param("mask2former", marks=WITH_SCIPY),
    ],
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = getattr(vision, request.param)(tmp_path_factory.mktemp(request.param))
    return folder, load(folder)


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = vision.segformer(tmp_path_factory.mktemp("segformer"))
    return folder, load(folder)


def mask(entry: dict[str, Any]) -> Any:
    image = Image.open(io.BytesIO(base64.b64decode(entry["mask"])))
    assert (image.format, image.mode) == ("PNG", "L")
    return np.asarray(image)


def close(answer: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [e["label"] for e in answer] == [e["label"] for e in expected]
    assert [e["score"] for e in answer] == pytest.approx([e["score"] or 1.0 for e in expected], abs=1e-4)
    for one, other in zip(answer, expected, strict=True):
        seen = mask(one)
        assert set(np.unique(seen)) <= {0, 255}
        assert (seen != np.asarray(other["mask"])).mean() < 0.01


def subtasks(loaded: Loaded) -> list[str]:
    adapter = loaded.adapters["image-segmentation"]
    assert isinstance(adapter, image_segmentation.ImageSegmentation)
    return list(adapter.subtasks)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")  # pipeline's own call of Pillow
def test_every_subtask_is_the_pipelines(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    reference = pipeline("image-segmentation", model=str(folder))
    for subtask in (None, *subtasks(loaded)):
        wanted = {} if subtask is None else {"subtask": subtask}
        for image in PICTURES:
            expected = reference(image, **LOW, **wanted)
            assert expected, subtask
            close(ask(loaded, png(image), **LOW, **wanted), expected)


def test_the_masks_of_a_direct_forward(segformer: tuple[Path, Loaded]) -> None:
    folder, loaded = segformer
    network = AutoModelForSemanticSegmentation.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    image = PICTURES[1]
    with torch.inference_mode():
        logits = network(**processor(image, return_tensors="pt")).logits
    full = torch.nn.functional.interpolate(logits, size=(90, 50), mode="bilinear", align_corners=False)
    classes = full[0].argmax(0).numpy()
    answer = ask(loaded, png(image))
    assert len(answer) > 2
    assert [e["score"] for e in answer] == [1.0] * len(answer)
    for entry in answer:
        np.testing.assert_array_equal(mask(entry) == 255, classes == vision.LABELS.index(entry["label"]))


def test_a_batch_of_mixed_shapes_equals_one_by_one(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    together = ask(loaded, [png(image) for image in PICTURES], **LOW)
    for image, answer in zip(PICTURES, together, strict=True):
        alone = ask(loaded, png(image), **LOW)
        assert [e["label"] for e in answer] == [e["label"] for e in alone]
        for one, other in zip(answer, alone, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)
            assert (mask(one) != mask(other)).mean() < 0.01


def test_huge_images_are_decided_at_a_smaller_size_and_enlarged(
    segformer: tuple[Path, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(400, 300, seed=5)
    full = {e["label"]: mask(e) for e in ask(segformer[1], png(image))}
    monkeypatch.setattr(image_segmentation, "_MOST_NUMBERS", 7 * 200 * 150)
    small = {e["label"]: mask(e) for e in ask(segformer[1], png(image))}
    for label, seen in small.items():
        assert seen.shape == (300, 400)
        assert (seen != full[label]).mean() < 0.02


def test_a_subtask_that_the_model_does_not_do_is_refused_with_those_that_it_does(
    segformer: tuple[Path, Loaded],
) -> None:
    with pytest.raises(
        InvalidInput, match=r"parameters\.subtask: panoptic is not what this model does; it does semantic"
    ):
        ask(segformer[1], png(PICTURES[0]), subtask="panoptic")


@pytest.mark.parametrize("name", ["threshold", "mask_threshold", "overlap_mask_area_threshold"])
def test_thresholds_are_shares(segformer: tuple[Path, Loaded], name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"parameters\.{name}"):
        ask(segformer[1], png(PICTURES[0]), "", **{name: 1.5})


def test_a_model_that_needs_a_library_which_is_not_here_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_pretrained(*_: Any, **__: Any) -> None:
        raise ImportError("\nMask2FormerLoss requires the scipy library but it was not found in your environment.\n…")

    monkeypatch.setattr(AutoModelForSemanticSegmentation, "from_pretrained", from_pretrained)
    with pytest.raises(ModelFault, match=r"needs a library that this image does not have .*scipy"):
        load(vision.segformer(tmp_path))


def test_a_config_of_another_architecture_is_a_fault_of_the_model(tmp_path: Path) -> None:
    config = vision.segformer(tmp_path) / "config.json"
    config.write_text(config.read_text().replace('"segformer"', '"mask2former"'))
    with pytest.raises(ModelFault, match=r"config\.json .*num_attention_heads"):
        load(tmp_path)
