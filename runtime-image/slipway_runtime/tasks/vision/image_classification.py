"""image-classification: an image → [{label, score}, …], best first, five at most unless top_k says otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from transformers import AutoModelForImageClassification

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Limits, Loaded, Parameters
from slipway_runtime.tasks.scores import sigmoid, softmax
from slipway_runtime.tasks.vision.image_adapter import ImageAdapter, Prediction
from slipway_runtime.tasks.vision.images import load_image_model

Function = Literal["sigmoid", "softmax", "none"]


class ImageClassificationParameters(Parameters, frozen=True, kw_only=True):
    """`function_to_apply` makes scores of the model's logits; by default as its config says."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5
    function_to_apply: Function | None = None


class ImageClassification(ImageAdapter):
    """The adapter."""

    task = "image-classification"
    parameters = ImageClassificationParameters
    outputs = ("logits",)

    def answer(self, prediction: Prediction, parameters: ImageClassificationParameters) -> Any:
        function = parameters.function_to_apply or self._default_function()
        logits = prediction.output.logits[0].numpy()
        scores = softmax(logits) if function == "softmax" else sigmoid(logits) if function == "sigmoid" else logits
        best = np.argsort(-scores, kind="stable")[: parameters.top_k]
        return [{"label": self.label(int(i)), "score": float(scores[i])} for i in best]

    def _default_function(self) -> Function:
        """As transformers' pipeline chooses."""
        config = self._model.config
        if config.problem_type == "regression":
            return "none"
        return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    model = load_image_model(artifact, AutoModelForImageClassification)
    return model.loaded(ImageClassification(model, limits))
