"""zero-shot-image-classification: an image and labels that the request names → [{label, score}, …], best first.

CLIP weighs the labels against each other (softmax over them); SigLIP judges each for itself (sigmoid).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForZeroShotImageClassification

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.labels import filled, labels_of
from slipway_runtime.tasks.scores import sigmoid, softmax
from slipway_runtime.tasks.texts import Encoded
from slipway_runtime.tasks.vision.labelled_images import Labelled, LabelledImages, load_image_text_model


class ZeroShotImageParameters(Parameters, frozen=True, kw_only=True):
    """`hypothesis_template` makes a text of each label: its {} is where the label stands."""

    candidate_labels: list[str] | str | None = None
    hypothesis_template: str = "This is a photo of {}."


class ZeroShotImageClassification(LabelledImages):
    """The adapter."""

    task = "zero-shot-image-classification"
    parameters = ZeroShotImageParameters

    def texts(self, parameters: ZeroShotImageParameters) -> list[str]:
        return filled(parameters.hypothesis_template, labels_of(parameters.candidate_labels, self._limits))

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Logits [labels] per item, float32. A text that several items have in common is read once."""
        asked: list[Labelled] = [item.data for item in items]
        texts = {tuple(text.ids): text for one in asked for text in one.texts}
        column = {ids: number for number, ids in enumerate(texts)}
        with torch.inference_mode():
            output = self._model.model(**self.pixels(asked), **self.tokens(list(texts.values())))
            logits = output.logits_per_image.float().cpu().numpy()
        return [row[[column[tuple(text.ids)] for text in one.texts]] for row, one in zip(logits, asked, strict=True)]

    def tokens(self, texts: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        batch = super().tokens(texts)
        if self._each_for_itself:  # trained on texts that fill all places, padding read along
            room = self._model.config.text_config.max_position_embeddings - batch["input_ids"].shape[1]
            tokenizer = self._tokenizer.tokenizer
            sides = (room, 0) if tokenizer.padding_side == "left" else (0, room)
            batch["input_ids"] = torch.nn.functional.pad(batch["input_ids"], sides, value=tokenizer.pad_token_id or 0)
        return batch

    @property
    def _each_for_itself(self) -> bool:
        return str(self._model.config.model_type).startswith("siglip")

    def answer(self, logits: Any, parameters: ZeroShotImageParameters) -> Any:
        scores = sigmoid(logits) if self._each_for_itself else softmax(logits)
        labels = labels_of(parameters.candidate_labels, self._limits)
        return [{"label": labels[i], "score": float(scores[i])} for i in np.argsort(-scores, kind="stable")]

    def ordinary(self) -> Call:
        return Call(inputs=[], parameters=ZeroShotImageParameters(candidate_labels=["cat", "dog"]), single=True)


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    model = load_image_text_model(artifact, AutoModelForZeroShotImageClassification, limits)
    return model.loaded(ZeroShotImageClassification(model, limits), max_input_tokens=model.tokenizer.limit)
