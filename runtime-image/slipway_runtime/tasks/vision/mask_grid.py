"""SAM without prompts: try a grid of points, keep the masks that are good, steady, and no doubles of a better one.

The steps and their order are those of transformers' MaskGenerationPipeline, with its processor's own functions. Unlike
there, memory is bounded whatever the image: it is worked on at a few megapixels at most, and a mask is made of its
run lengths one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from slipway_runtime.tasks.adapter import Listener
from slipway_runtime.tasks.vision.images import ImageModel, tokens_of

# Masks of 256 x 256 are enlarged to the image's size, 3 for each point of a batch: 64 points at 12 megapixels are 9 GB.
MOST_PIXELS = 2**21
_MOST_NUMBERS = 2**27


@dataclass(frozen=True)
class Grid:
    """Where to look: points per side, in the image and, with a layer, in four overlapping parts of it."""

    points: int
    layers: int
    overlap: float


@dataclass(frozen=True)
class View:
    """An image as SAM gets it, whole or in crops: one of each per crop."""

    pixel_values: torch.Tensor
    original_sizes: list[tuple[int, int]]
    """Height and width of the crop, at the size that is worked at."""
    reshaped_sizes: list[tuple[int, int]]
    """The same of what the model sees, without its padding."""
    crops: torch.Tensor
    """xmin, ymin, xmax, ymax."""
    points: torch.Tensor
    """[points, 2]: x and y of the grid, 0 to 1."""
    height: int
    """Of the image as it was sent."""
    width: int
    scale: float
    """What it was multiplied with for `original_sizes`."""

    @property
    def length(self) -> int:
        return tokens_of(self.pixel_values) * len(self.pixel_values)


def view_of(model: ImageModel, image: Image.Image, grid: Grid | None) -> View:
    """Scale, cut into crops and normalize. No grid: the whole image, no points."""
    processor = model.processor
    scale = min(1.0, (MOST_PIXELS / (image.width * image.height)) ** 0.5)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    worked = image if scale == 1.0 else image.resize(size, Image.Resampling.BILINEAR)
    crops, images = torch.tensor([[0, 0, *size]], dtype=torch.float32), [worked]
    if grid is not None:
        side = processor.size["longest_edge"] or processor.size["height"]
        crops, _, images, _ = processor.generate_crop_boxes(worked, side, grid.layers, grid.overlap, grid.points)
    made = processor(images=images, return_tensors="pt")
    pixels = made["pixel_values"]
    sizes = np.asarray(made["original_sizes"]).tolist()
    reshaped = made.get("reshaped_input_sizes")  # SAM 2 pads nothing: it sees a square
    seen = [pixels.shape[-2:]] * len(pixels) if reshaped is None else np.asarray(reshaped).tolist()
    return View(
        pixels,
        [tuple(one) for one in sizes],
        [tuple(one) for one in seen],
        crops,
        _unit_grid(grid.points if grid else 0),
        image.height,
        image.width,
        scale,
    )


def _unit_grid(side: int) -> torch.Tensor:
    # Not that of generate_crop_boxes, which for SAM 2 leaves the lower or the right part of an oblong image out.
    line = (torch.arange(side) + 0.5) / side
    return torch.cartesian_prod(line, line).flip(-1)


def embedded(model: ImageModel, pixels: torch.Tensor) -> dict[str, Any]:
    """What the prompts of one image have in common: the model's arguments for it."""
    made = model.model.get_image_embeddings(pixels)
    if isinstance(made, tuple):  # HQ-SAM
        return {"image_embeddings": made[0], "intermediate_embeddings": made[1]}
    return {"image_embeddings": made}


def best_of_grid(model: ImageModel, view: View, p: Any, listener: Listener) -> tuple[list[Any], list[Any], list[Any]]:
    """Masks (booleans), scores and boxes, the best first. Stops early when nobody waits any more."""
    processor = model.processor
    kept: tuple[list[Any], list[Any], list[Any]] = [], [], []  # run lengths, scores, boxes
    for crop, box in enumerate(view.crops):
        pixels = model.stacked([view.pixel_values[crop]])
        image = embedded(model, pixels)
        height, width = view.original_sizes[crop]
        on_image = view.points * torch.tensor(view.reshaped_sizes[crop]).flip(0)
        at_once = max(1, min(p.points_per_batch, _MOST_NUMBERS // (3 * height * width)))
        for points in torch.split(on_image[None, :, None], at_once, dim=1):
            if listener.gone:
                return [], [], []
            output = model.model(
                **image,
                input_points=points.to(pixels.device, pixels.dtype),
                input_labels=torch.ones(points.shape[:3], dtype=torch.int64, device=pixels.device),
            )
            [masks] = processor.post_process_masks(
                output.pred_masks.float(),
                [(height, width)],
                reshaped_input_sizes=[view.reshaped_sizes[crop]],
                binarize=False,
            )
            found = processor.filter_masks(
                masks,
                output.iou_scores.float()[0],
                view.original_sizes[0],
                box,
                p.pred_iou_thresh,
                p.stability_score_thresh,
                p.mask_threshold,
                p.stability_score_offset,
            )
            for all_of, some in zip(kept, found, strict=True):
                all_of.extend(some if isinstance(some, list) else some.cpu())
    if not kept[0]:
        return [], [], []
    masks, scores, _, boxes = processor.post_process_for_mask_generation(
        kept[0], torch.stack(kept[1]), torch.stack(kept[2]), p.crops_nms_thresh
    )
    return masks, list(scores), list(boxes)
