"""mask-generation against transformers' pipeline and the direct forward: SAM, HQ-SAM, SAM 2."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Item, Limits, Listener, Loaded
from slipway_runtime.tasks.vision import mask_grid
from transformers import AutoModelForMaskGeneration, SamProcessor, pipeline

from tests.support.asking import ask, load
from tests.support.tiny import vision
from tests.support.tiny.vision import picture, png

PICTURES = [picture(seed=1), picture(50, 90, seed=2), picture(seed=3)]
# Random weights think little of their masks.
ANY: dict[str, Any] = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_crop": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vision.sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def sam(folder: Path) -> Loaded:
    return load(folder)


def masks(answer: dict[str, Any]) -> list[Any]:
    images = [Image.open(io.BytesIO(base64.b64decode(mask))) for mask in answer["masks"]]
    assert {(image.format, image.mode) for image in images} <= {("PNG", "L")}
    return [np.asarray(image) == 255 for image in images]


@pytest.mark.parametrize(("crops", "doubles"), [(0, 1.0), (1, 1.0), (0, 0.7)])
def test_the_answer_is_the_pipelines(folder: Path, sam: Loaded, crops: int, doubles: float) -> None:
    reference = pipeline("mask-generation", model=str(folder))
    for image in PICTURES[:2]:
        parameters = {**ANY, "crops_n_layers": crops, "crops_nms_thresh": doubles}
        expected = reference(image, output_bboxes_mask=True, points_per_batch=5, **parameters)
        answer = ask(sam, png(image), output_bboxes_mask=True, points_per_batch=5, **parameters)
        assert len(answer["scores"]) > (10 if doubles == 1.0 else 0)
        np.testing.assert_allclose(answer["scores"], expected["scores"].numpy(), atol=1e-4)
        for one, other in zip(masks(answer), expected["masks"], strict=True):
            assert (one != np.asarray(other)).mean() < 0.01
        np.testing.assert_allclose(answer["bounding_boxes"], expected["bounding_boxes"].numpy(), atol=1)


def test_points_per_batch_changes_nothing(sam: Loaded) -> None:
    one = ask(sam, png(PICTURES[0]), points_per_batch=1, **ANY)
    all_at_once = ask(sam, png(PICTURES[0]), points_per_batch=16, **ANY)
    assert one["scores"] == pytest.approx(all_at_once["scores"], abs=1e-5)


def test_a_list_of_images_equals_one_by_one(sam: Loaded) -> None:
    together = ask(sam, [png(image) for image in PICTURES], **ANY)
    for image, answer in zip(PICTURES, together, strict=True):
        assert answer["scores"] == pytest.approx(ask(sam, png(image), **ANY)["scores"], abs=1e-5)


def test_nothing_good_enough_is_an_empty_answer(sam: Loaded) -> None:
    answer = ask(sam, png(PICTURES[0]), pred_iou_thresh=1.0, points_per_crop=2, output_bboxes_mask=True)
    assert answer == {"masks": [], "scores": [], "bounding_boxes": []}


def test_objects_named_by_points_and_boxes_are_those_of_a_direct_forward(folder: Path, sam: Loaded) -> None:
    network = AutoModelForMaskGeneration.from_pretrained(folder)
    processor: Any = SamProcessor.from_pretrained(folder)
    image = PICTURES[1]
    prompts: list[dict[str, Any]] = [
        {"input_points": [[[10, 20]]]},
        {"input_points": [[[10, 20], [40, 80]]], "input_labels": [[1, 0]]},
        {"input_boxes": [[5, 5, 40, 60]]},
        {"input_points": [[[10, 20]]], "input_boxes": [[5, 5, 40, 60]]},
    ]
    for prompt in prompts:
        nested = {name: [value] for name, value in prompt.items()}
        inputs = processor(image, return_tensors="pt", **nested)
        with torch.inference_mode():
            output = network(**inputs)
        [full] = processor.post_process_masks(
            output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        best = int(output.iou_scores[0, 0].argmax())
        answer = ask(sam, png(image), **prompt)
        assert answer["scores"] == pytest.approx([float(output.iou_scores[0, 0, best])], abs=1e-4)
        [mask] = masks(answer)
        assert (mask != full[0, best].numpy()).mean() < 0.01


def test_several_objects_are_answered_in_their_order(sam: Loaded) -> None:
    boxes = [[5, 5, 40, 50], [20, 10, 70, 55], [0, 0, 80, 60]]
    answer = ask(sam, png(PICTURES[0]), input_boxes=boxes, output_bboxes_mask=True)
    alone = [ask(sam, png(PICTURES[0]), input_boxes=[box])["scores"][0] for box in boxes]
    assert answer["scores"] == pytest.approx(alone, abs=1e-5)
    for mask, box in zip(masks(answer), answer["bounding_boxes"], strict=True):
        inside = np.argwhere(mask)
        expected = [*inside.min(0)[::-1], *inside.max(0)[::-1]] if len(inside) else [0, 0, 0, 0]
        assert box == expected


def test_huge_images_are_worked_on_smaller_and_their_masks_enlarged(
    sam: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(400, 300, seed=5)
    parameters: dict[str, Any] = {"input_boxes": [[50, 50, 300, 200]], "output_bboxes_mask": True}
    full = ask(sam, png(image), **parameters)
    monkeypatch.setattr(mask_grid, "MOST_PIXELS", 200 * 150)
    small = ask(sam, png(image), **parameters)
    assert masks(small)[0].shape == (300, 400)
    assert (masks(small)[0] != masks(full)[0]).mean() < 0.05
    assert len(ask(sam, png(image), **ANY)["masks"]) > 0


def test_a_caller_who_has_gone_stops_the_search(sam: Loaded) -> None:
    adapter = sam.adapters["mask-generation"]
    [item] = adapter.preprocess(adapter.parse(png(PICTURES[0]), adapter.parameters()))
    listener = Listener()
    listener.gone = True
    [(_, found, scores, boxes)] = item.forward([Item(item.forward, item.length, item.data, listener)])
    assert (found, scores, boxes) == ([], [], [])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"points_per_batch": 0}, r"parameters\.points_per_batch"),
        ({"points_per_crop": 128, "crops_n_layers": 1}, "makes 81920 points, at most 16384 are allowed"),
        ({"pred_iou_thresh": 1.1}, r"parameters\.pred_iou_thresh"),
        ({"input_labels": [[1]]}, r"parameters\.input_labels: label points: give input_points too"),
        ({"input_points": []}, r"parameters\.input_points: is empty"),
        ({"input_points": [[]]}, r"parameters\.input_points\[0\]: is empty"),
        ({"input_points": [[[1, 2]]], "input_labels": [[1, 0]]}, "must have one label for each point"),
        ({"input_points": [[[1, 2]]], "input_labels": [[2]]}, r"parameters\.input_labels"),
        ({"input_points": [[1, 2]]}, r"parameters\.input_points"),
        ({"input_boxes": [[5, 5, 5, 9]]}, r"parameters\.input_boxes\[0\]: must be xmin, ymin, xmax, ymax"),
        ({"input_points": [[[1, 2]]], "input_boxes": [[1, 1, 2, 2]] * 2}, "name 2 objects, input_points 1"),
    ],
)
def test_bad_parameters_are_named(sam: Loaded, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(sam, png(PICTURES[0]), **parameters)


def test_prompts_are_bounded(folder: Path) -> None:
    loaded = load(folder, limits=Limits(max_inputs=3))
    with pytest.raises(InvalidInput, match=r"parameters\.input_boxes: has 4 entries, at most 3 are allowed"):
        ask(loaded, png(PICTURES[0]), input_boxes=[[0, 0, 9, 9]] * 4)


@pytest.mark.parametrize("kind", ["sam_hq", "sam2"])
def test_its_successors_answer_as_the_pipeline_does(tmp_path: Path, kind: str) -> None:
    folder = getattr(vision, kind)(tmp_path)
    parameters = {**ANY, "crops_nms_thresh": 1.0}
    image = picture(64, 64, seed=1)
    expected = pipeline("mask-generation", model=str(folder))(image, **parameters)
    answer = ask(load(folder), png(image), **parameters)
    np.testing.assert_allclose(answer["scores"], expected["scores"].numpy(), atol=1e-4)
    for one, other in zip(masks(answer), expected["masks"], strict=True):
        assert (one != np.asarray(other)).mean() < 0.01


@pytest.mark.parametrize("kind", ["sam", "sam_hq", "sam2"])
def test_the_grid_covers_an_oblong_image(tmp_path: Path, kind: str) -> None:
    # That of transformers' pipeline does not for SAM 2: it takes the image to keep its proportions.
    loaded = load(getattr(vision, kind)(tmp_path))
    image = picture(96, 48, seed=3)
    by_grid = ask(loaded, png(image), crops_nms_thresh=1.0, **ANY)
    places = [[[(x + 0.5) * 96 / 4, (y + 0.5) * 48 / 4]] for y in range(4) for x in range(4)]
    by_point = ask(loaded, png(image), input_points=places)
    assert max(by_grid["scores"]) == pytest.approx(max(by_point["scores"]), abs=1e-4)


def test_sam_2_is_published_as_a_model_for_video(tmp_path: Path) -> None:
    folder = vision.sam2(tmp_path)
    before = ask(load(folder), png(PICTURES[0]), input_boxes=[[5, 5, 40, 40]])
    config = folder / "config.json"
    text = config.read_text().replace('"Sam2Model"', '"Sam2VideoModel"')
    config.write_text(text.replace('"model_type": "sam2"', '"model_type": "sam2_video"'))
    assert ask(load(folder), png(PICTURES[0]), input_boxes=[[5, 5, 40, 40]]) == before
