"""zero-shot-object-detection: an image and labels that the request names → [{label, score, box}, …], best first.

As in transformers' pipeline each label is looked for by itself: a box may be found for several. That takes one forward
for all labels of an image (OWL-ViT and OWLv2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import torch
from transformers import AutoModelForZeroShotObjectDetection

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.boxes import best_first, found
from slipway_runtime.tasks.image_adapter import Prediction, predictions
from slipway_runtime.tasks.labelled_images import Labelled, LabelledImages, load_image_text_model
from slipway_runtime.tasks.labels import labels_of
from slipway_runtime.tasks.texts import Encoded

_NO_LABEL = Encoded([0], [0])  # a first token of 0 marks a query that is not there


class ZeroShotDetectionParameters(Parameters, frozen=True, kw_only=True):
    """Objects whose score is not above `threshold` are left out; `top_k`: so many of the best, by default all."""

    candidate_labels: list[str] | str | None = None
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ZeroShotObjectDetection(LabelledImages):
    """The adapter."""

    task = "zero-shot-object-detection"
    parameters = ZeroShotDetectionParameters
    outputs = ("logits", "pred_boxes")

    def texts(self, parameters: ZeroShotDetectionParameters) -> list[str]:
        return labels_of(parameters.candidate_labels, self._limits)

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """A Prediction per item, with logits [1, boxes, labels]."""
        asked: list[Labelled] = [item.data for item in items]
        most = max(len(one.texts) for one in asked)
        texts = [text for one in asked for text in (*one.texts, *[_NO_LABEL] * (most - len(one.texts)))]
        with torch.inference_mode():
            output = self._model.model(**self.pixels(asked), **self.tokens(texts))
        return predictions(output, self.outputs, asked)

    def answer(self, prediction: Prediction, parameters: ZeroShotDetectionParameters) -> Any:
        objects = []
        logits = prediction.output.logits
        size = torch.tensor([[prediction.height, prediction.width]])
        for i, label in enumerate(labels_of(parameters.candidate_labels, self._limits)):
            prediction.output.logits = logits[..., i : i + 1]
            [one] = self._model.processor.post_process_object_detection(
                prediction.output, threshold=parameters.threshold, target_sizes=size
            )
            objects += [
                found(label, score, box) for score, box in zip(one["scores"].tolist(), one["boxes"], strict=True)
            ]
        return best_first(objects)[: parameters.top_k]

    def ordinary(self) -> Call:
        return Call(inputs=[], parameters=ZeroShotDetectionParameters(candidate_labels=["cat", "dog"]), single=True)


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    kind = artifact.config.get("model_type")
    if kind not in ("owlvit", "owlv2"):
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id}: detection by {kind} is not served here, but owlvit and owlv2 are",
            "task",
        )
    model = load_image_text_model(artifact, AutoModelForZeroShotObjectDetection, limits)
    return model.loaded(ZeroShotObjectDetection(model, limits), max_input_tokens=model.tokenizer.limit)
