"""image-classification: an image → [{label, score}, …], best first, five at most unless top_k says otherwise."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from transformers import AutoModelForImageClassification

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Limits, Loaded, Parameters
from slipway_runtime.tasks.scores import Function, best_labels, label_names, usual_function
from slipway_runtime.tasks.vision.image_adapter import ImageAdapter, Prediction
from slipway_runtime.tasks.vision.images import ImageModel, load_image_model


class ImageClassificationParameters(Parameters, frozen=True, kw_only=True):
    """`function_to_apply` makes scores of the model's logits; by default as its config says."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5
    function_to_apply: Function | None = None


class ImageClassification(ImageAdapter):
    """The adapter."""

    task = "image-classification"
    parameters = ImageClassificationParameters
    outputs = ("logits",)

    def __init__(self, model: ImageModel, limits: Limits) -> None:
        super().__init__(model, limits)
        self._labels = label_names(model.config)
        self._usual = usual_function(model.config)

    def answer(self, prediction: Prediction, parameters: ImageClassificationParameters) -> Any:
        logits = prediction.output.logits[0].numpy()
        return best_labels(logits, self._labels, parameters.function_to_apply or self._usual, parameters.top_k)


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    model = load_image_model(artifact, AutoModelForImageClassification)
    return model.loaded(ImageClassification(model, limits))
