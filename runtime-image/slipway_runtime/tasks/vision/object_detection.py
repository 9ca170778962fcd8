"""object-detection: an image → [{label, score, box: {xmin, ymin, xmax, ymax}}, …], best first.

Boxes are in pixels of the upright image. A list of nothing is an answer too.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from transformers import AutoModelForObjectDetection

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Limits, Loaded, Parameters
from slipway_runtime.tasks.vision.boxes import best_first, found
from slipway_runtime.tasks.vision.image_adapter import ImageAdapter, Prediction
from slipway_runtime.tasks.vision.images import load_image_model


class ObjectDetectionParameters(Parameters, frozen=True, kw_only=True):
    """Objects whose score is not above `threshold` are left out."""

    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class ObjectDetection(ImageAdapter):
    """The adapter."""

    task = "object-detection"
    parameters = ObjectDetectionParameters
    outputs = ("logits", "pred_boxes")

    def answer(self, prediction: Prediction, parameters: ObjectDetectionParameters) -> Any:
        [objects] = self._model.processor.post_process_object_detection(
            prediction.output, threshold=parameters.threshold, target_sizes=[(prediction.height, prediction.width)]
        )
        each = zip(objects["labels"].tolist(), objects["scores"].tolist(), objects["boxes"], strict=True)
        return best_first(found(self.label(label), score, box) for label, score, box in each)


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    model = load_image_model(artifact, AutoModelForObjectDetection)
    return model.loaded(ObjectDetection(model, limits))
