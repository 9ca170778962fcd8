"""image-segmentation: an image → [{label, score, mask}, …]; a mask is a PNG in base64, of the image's size, 255 inside.

`subtask` as in transformers' pipeline: by default the first of panoptic, instance, semantic that the model's processor
does. Semantic segmentation knows no scores: 1.0, as the Hub's servers put it, since clients want a number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoModelForImageSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Call, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import load_config
from slipway_runtime.tasks.vision.image_adapter import ImageAdapter, Prediction
from slipway_runtime.tasks.vision.images import load_image_model, png_base64

Subtask = Literal["panoptic", "instance", "semantic"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_AUTO = (
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForImageSegmentation,
)
# They want more than pixels (a text that names the task, frames), or cut an image into several.
_OTHERWISE = ("oneformer", "eomt", "eomt_dinov3", "videomt")
# transformers enlarges one plane per class or query to the image's size before it decides: 150 classes over 12
# megapixels are 7 GB. Beyond this many numbers it decides at a smaller size, and the result is enlarged.
_MOST_NUMBERS = 2**27


class ImageSegmentationParameters(Parameters, frozen=True, kw_only=True):
    """The thresholds are of panoptic and instance segmentation; semantic segmentation has none."""

    subtask: Subtask | None = None
    threshold: Share = 0.9
    mask_threshold: Share = 0.5
    overlap_mask_area_threshold: Share = 0.5


class ImageSegmentation(ImageAdapter):
    """The adapter."""

    task = "image-segmentation"
    parameters = ImageSegmentationParameters
    outputs = ("logits", "pred_masks", "class_queries_logits", "masks_queries_logits")

    @property
    def subtasks(self) -> list[Subtask]:
        """Those that the model does, the default first."""
        every: tuple[Subtask, ...] = ("panoptic", "instance", "semantic")
        return [name for name in every if hasattr(self._model.processor, f"post_process_{name}_segmentation")]

    def parse(self, inputs: object, parameters: ImageSegmentationParameters) -> Call:
        if parameters.subtask is not None and parameters.subtask not in self.subtasks:
            raise InvalidInput(
                "parameters.subtask",
                f"{parameters.subtask} is not what this model does; it does {', '.join(self.subtasks)}",
            )
        return super().parse(inputs, parameters)

    def answer(self, prediction: Prediction, parameters: ImageSegmentationParameters) -> Any:
        subtask = parameters.subtask or self.subtasks[0]
        sizes = [_bounded(prediction)]
        process = getattr(self._model.processor, f"post_process_{subtask}_segmentation")
        if subtask == "semantic":
            [classes] = process(prediction.output, target_sizes=sizes)
            segments = [(int(number), int(number), 1.0) for number in torch.unique(classes)]
        else:
            fuse: dict[str, Any] = {"label_ids_to_fuse": set()} if subtask == "panoptic" else {}  # else it warns
            [made] = process(
                prediction.output,
                threshold=parameters.threshold,
                mask_threshold=parameters.mask_threshold,
                overlap_mask_area_threshold=parameters.overlap_mask_area_threshold,
                target_sizes=sizes,
                **fuse,
            )
            classes = made["segmentation"]
            segments = [(one["id"], one["label_id"], float(one["score"])) for one in made["segments_info"]]
        numbers = classes.numpy()
        return [
            {"label": self.label(label), "score": score, "mask": png_base64(_mask(numbers == number, prediction))}
            for number, label, score in segments
        ]


def _bounded(prediction: Prediction) -> tuple[int, int]:
    """Height and width at which to decide which pixel belongs where."""
    output = prediction.output.values()  # [1, planes, rows, columns], or [1, queries, classes]
    planes = max(max(tensor.shape[1:2] if tensor.ndim == 4 else tensor.shape) for tensor in output)
    shrink = min(1.0, (_MOST_NUMBERS / (planes * prediction.height * prediction.width)) ** 0.5)
    return max(1, int(prediction.height * shrink)), max(1, int(prediction.width * shrink))


def _mask(inside: np.ndarray[Any, Any], prediction: Prediction) -> Image.Image:
    mask = Image.fromarray(inside.astype(np.uint8) * 255)
    size = (prediction.width, prediction.height)
    return mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    config = load_config(artifact)
    auto_class = next((auto for auto in _AUTO if type(config) in auto._model_mapping), None)
    if auto_class is None or config.model_type in _OTHERWISE:
        raise ModelFault(
            "TaskNotSupported", f"{artifact.id}: segmentation by {config.model_type} is not served here", "task"
        )
    model = load_image_model(artifact, auto_class, config=config)
    return model.loaded(ImageSegmentation(model, limits))
