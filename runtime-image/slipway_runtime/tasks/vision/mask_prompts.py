"""SAM with prompts: per object points or a box, or both; the mask that the model itself thinks the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.texts import checked_list
from slipway_runtime.tasks.vision.images import ImageModel
from slipway_runtime.tasks.vision.mask_grid import View, embedded


@dataclass(frozen=True)
class Prompt:
    """What names one object, in pixels of the image as it was sent."""

    points: list[tuple[float, float]]
    labels: list[int]
    box: tuple[float, float, float, float] | None


def prompts_of(p: Any, limits: Limits) -> list[Prompt]:
    """One per object; none where the parameters name none. Raises InvalidInput where they do not fit together."""
    points, labels, boxes = p.input_points, p.input_labels, p.input_boxes
    if labels is not None and points is None:
        raise InvalidInput("parameters.input_labels", "label points: give input_points too")
    for name, given in (("input_points", points), ("input_boxes", boxes)):
        if given is not None:
            checked_list(given, f"parameters.{name}", limits)
    if points is not None and boxes is not None and len(points) != len(boxes):
        raise InvalidInput(
            "parameters.input_boxes", f"name {len(boxes)} objects, input_points {len(points)}: give one box per object"
        )
    for i, some in enumerate(points or []):
        checked_list(some, f"parameters.input_points[{i}]", limits)
    if labels is not None and [len(some) for some in labels] != [len(some) for some in points]:
        raise InvalidInput("parameters.input_labels", "must have one label for each point of input_points")
    for i, (xmin, ymin, xmax, ymax) in enumerate(boxes or []):
        if xmin >= xmax or ymin >= ymax:
            raise InvalidInput(f"parameters.input_boxes[{i}]", "must be xmin, ymin, xmax, ymax, with min below max")
    return [
        Prompt(
            points[i] if points else [],
            labels[i] if labels else [1] * len(points[i] if points else []),
            boxes[i] if boxes else None,
        )
        for i in range(len(points or boxes or []))
    ]


def best_of_prompts(
    model: ImageModel, view: View, prompts: list[Prompt], mask_threshold: float
) -> tuple[list[Any], list[Any], list[Any]]:
    """Masks (booleans), scores and boxes, one per prompt. Each runs by itself: they have unlike numbers of points."""
    pixels = model.stacked([view.pixel_values[0]])
    image = embedded(model, pixels)
    height, width = view.reshaped_sizes[0]
    factor = torch.tensor([width / view.width, height / view.height], device=pixels.device)
    masks, scores, boxes = [], [], []
    for prompt in prompts:
        given: dict[str, Any] = {}
        if prompt.points:
            points = torch.tensor(prompt.points, device=pixels.device) * factor
            given["input_points"] = points[None, None].to(pixels.dtype)
            given["input_labels"] = torch.tensor(prompt.labels, device=pixels.device)[None, None]
        if prompt.box is not None:
            corners = torch.tensor(prompt.box, device=pixels.device).reshape(2, 2) * factor
            given["input_boxes"] = corners.reshape(1, 1, 4).to(pixels.dtype)
        output = model.model(**image, **given)
        best = int(output.iou_scores[0, 0].argmax())
        [made] = model.processor.post_process_masks(
            output.pred_masks[:, :, best : best + 1].float(),
            view.original_sizes,
            reshaped_input_sizes=view.reshaped_sizes,
            mask_threshold=mask_threshold,
        )
        masks.append(made[0, 0].cpu())
        scores.append(output.iou_scores[0, 0, best].float().cpu())
        boxes.append(_around(masks[-1]))
    return masks, scores, boxes


def _around(mask: torch.Tensor) -> torch.Tensor:
    """xmin, ymin, xmax, ymax of what is inside; zeros where nothing is."""
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if not len(rows):
        return torch.zeros(4)
    return torch.stack([columns[0, 0], rows[0, 0], columns[-1, 0], rows[-1, 0]])
