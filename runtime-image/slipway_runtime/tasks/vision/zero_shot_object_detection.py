"""zero-shot-object-detection: an image and labels that the request names → [{label, score, box}, …], best first.

As in transformers' pipeline each label is looked for by itself: a box may be found for several. OWL-ViT and OWLv2 do so
for all labels of an image in one go; Grounding DINO reads one text with an image, so each label is an item of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import torch
from PIL import Image
from transformers import AutoModelForZeroShotObjectDetection

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.labels import labels_of
from slipway_runtime.tasks.texts import Encoded
from slipway_runtime.tasks.vision.boxes import best_first, found
from slipway_runtime.tasks.vision.image_adapter import OfOneShape, Prediction, predictions
from slipway_runtime.tasks.vision.images import tokens_of
from slipway_runtime.tasks.vision.labelled_images import Labelled, LabelledImages, load_image_text_model

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
        """A Prediction per item, with logits [1, boxes, columns]."""
        asked: list[Labelled] = [item.data for item in items]
        most = max(len(one.texts) for one in asked)
        texts = [text for one in asked for text in (*one.texts, *[_NO_LABEL] * (most - len(one.texts)))]
        with torch.inference_mode():
            output = self._model.model(**self.pixels(asked), **self.tokens(texts))
        return predictions(output, self.outputs, asked)

    def answer(self, prediction: Any, parameters: ZeroShotDetectionParameters) -> Any:
        objects = []
        labels = labels_of(parameters.candidate_labels, self._limits)
        for label, of_label in zip(labels, self.by_label(prediction, len(labels)), strict=True):
            [one] = self._model.processor.post_process_object_detection(
                of_label.output,
                threshold=parameters.threshold,
                target_sizes=torch.tensor([[of_label.height, of_label.width]]),
            )
            objects += [
                found(label, score, box) for score, box in zip(one["scores"].tolist(), one["boxes"], strict=True)
            ]
        return best_first(objects)[: parameters.top_k]

    def by_label(self, prediction: Any, labels: int) -> list[Prediction]:
        """What the model said of each label: the columns of its logits, but for those of other requests' labels."""
        output = prediction.output
        columns = output.logits[..., :labels].split(1, dim=-1)
        each = [type(output)(logits=column, pred_boxes=output.pred_boxes) for column in columns]
        return [Prediction(one, prediction.height, prediction.width) for one in each]

    def ordinary(self) -> Call:
        return Call(inputs=[], parameters=ZeroShotDetectionParameters(candidate_labels=["cat", "dog"]), single=True)


class GroundedObjectDetection(ZeroShotObjectDetection):
    """Grounding DINO: one score per token of the text, the best of which is the label's."""

    def texts(self, parameters: ZeroShotDetectionParameters) -> list[str]:
        # As the model's own processor writes them, and the model was trained.
        return [f"{label.strip().lower().rstrip('.')}." for label in super().texts(parameters)]

    def items(self, image: Image.Image, call: Call) -> list[Item]:
        seen = self.see(image)
        forward, pixels = OfOneShape(self.forward, seen.shapes), tokens_of(seen.tensors["pixel_values"])
        return [
            Item(forward, pixels + len(text.ids), Labelled(seen.tensors, seen.height, seen.width, (text,)))
            for text in self.encoded(call.parameters)
        ]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        labels = len(self.texts(call.parameters))
        images = [outputs[i : i + labels] for i in range(0, len(outputs), labels)]
        return super().postprocess(call, images)

    def by_label(self, prediction: Any, labels: int) -> list[Prediction]:  # noqa: ARG002 - of each an item
        return list(prediction)


_ADAPTERS = {
    "owlvit": ZeroShotObjectDetection,
    "owlv2": ZeroShotObjectDetection,
    "grounding-dino": GroundedObjectDetection,
    "mm-grounding-dino": GroundedObjectDetection,
}


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    kind = str(artifact.config.get("model_type"))
    if kind not in _ADAPTERS:
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id}: detection by {kind} is not served here, but by {', '.join(_ADAPTERS)}",
            "task",
        )
    model = load_image_text_model(artifact, AutoModelForZeroShotObjectDetection, limits)
    return model.loaded(_ADAPTERS[kind](model, limits), max_input_tokens=model.tokenizer.limit)
