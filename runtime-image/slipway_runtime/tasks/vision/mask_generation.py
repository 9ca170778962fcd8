"""mask-generation (SAM, SAM 2, HQ-SAM): an image → {masks: [PNG in base64, …], scores: […]}, as in the pipeline.

Without prompts a grid of points is tried and the masks that are good, steady and no doubles are kept, the best first.
With `input_points` or `input_boxes` the answer has one mask per object that they name, in their order. Masks are of the
image's size, 255 inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForMaskGeneration

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.vision.image_adapter import ImageAdapter
from slipway_runtime.tasks.vision.images import load_image_model, png_base64
from slipway_runtime.tasks.vision.mask_grid import Grid, View, best_of_grid, view_of
from slipway_runtime.tasks.vision.mask_prompts import Prompt, best_of_prompts, prompts_of

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_MOST_POINTS = 2**14
_KINDS = ("sam", "sam2", "sam2_video", "sam_hq")  # of sam2_video its images only: all of SAM 2's checkpoints are such


class MaskGenerationParameters(Parameters, frozen=True, kw_only=True):
    """Those of the grid are the pipeline's, with its defaults; points and boxes are in pixels of the upright image."""

    points_per_batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64
    points_per_crop: Annotated[int, msgspec.Meta(ge=1, le=128)] = 32
    """Per side: 32 are 1024 points."""
    crops_n_layers: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0
    """1: its four quarters as well, each as large to the model as the whole image; so there are no further layers."""
    crop_overlap_ratio: Share = 512 / 1500
    pred_iou_thresh: Share = 0.88
    stability_score_thresh: Share = 0.95
    stability_score_offset: Annotated[float, msgspec.Meta(ge=0, le=100)] = 1
    mask_threshold: Annotated[float, msgspec.Meta(ge=-100, le=100)] = 0
    crops_nms_thresh: Share = 0.7
    output_bboxes_mask: bool = False
    """Add `bounding_boxes`, [xmin, ymin, xmax, ymax] of each mask."""
    input_points: list[list[tuple[float, float]]] | None = None
    """Per object its points."""
    input_labels: list[list[Annotated[int, msgspec.Meta(ge=0, le=1)]]] | None = None
    """Per point 1 for inside the object, 0 for outside; all inside by default."""
    input_boxes: list[tuple[float, float, float, float]] | None = None
    """Per object xmin, ymin, xmax, ymax."""


class MaskGeneration(ImageAdapter):
    """The adapter."""

    task = "mask-generation"
    parameters = MaskGenerationParameters
    outputs = ("pred_masks", "iou_scores")

    def parse(self, inputs: object, parameters: MaskGenerationParameters) -> Call:
        points = parameters.points_per_crop**2 * (1 + 4 * parameters.crops_n_layers)
        if points > _MOST_POINTS:
            raise InvalidInput(
                "parameters.points_per_crop",
                f"with {parameters.crops_n_layers} crops_n_layers makes {points} points, at most {_MOST_POINTS} are "
                "allowed; lower one of them",
            )
        prompts_of(parameters, self._limits)
        return super().parse(inputs, parameters)

    def items(self, image: Image.Image, call: Call) -> list[Item]:
        p: MaskGenerationParameters = call.parameters
        prompts = prompts_of(p, self._limits)
        grid = None if prompts else Grid(p.points_per_crop, p.crops_n_layers, p.crop_overlap_ratio)
        view = view_of(self._model, image, grid)
        return [Item(self.forward, view.length, (view, prompts, p))]

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Per item the masks, the scores and the boxes. One after the other: each has hundreds of prompts to batch."""
        return [self._masks(item) for item in items]

    def _masks(self, item: Item) -> Any:
        data: tuple[View, list[Prompt], MaskGenerationParameters] = item.data
        view, prompts, p = data
        with torch.inference_mode():
            if prompts:
                return view, *best_of_prompts(self._model, view, prompts, p.mask_threshold)
            return view, *best_of_grid(self._model, view, p, item.listener)

    def answer(self, prediction: Any, parameters: MaskGenerationParameters) -> Any:
        view, masks, scores, boxes = prediction
        answer: dict[str, Any] = {"masks": [_png(mask, view) for mask in masks], "scores": [float(s) for s in scores]}
        if parameters.output_bboxes_mask:
            answer["bounding_boxes"] = [[round(side / view.scale) for side in box.tolist()] for box in boxes]
        return answer


def _png(mask: torch.Tensor, view: View) -> str:
    image = Image.fromarray(mask.numpy().astype(np.uint8) * 255)
    size = (view.width, view.height)
    return png_base64(image if image.size == size else image.resize(size, Image.Resampling.NEAREST))


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    kind = artifact.config.get("model_type")
    if kind not in _KINDS:
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id}: masks by {kind} are not served here, but by {', '.join(_KINDS)}",
            "task",
        )
    model = load_image_model(artifact, AutoModelForMaskGeneration)
    return model.loaded(MaskGeneration(model, limits))
