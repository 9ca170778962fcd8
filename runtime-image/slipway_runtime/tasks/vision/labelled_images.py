"""What the tasks share that compare an image with labels which the request names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Call, Item, Limits
from slipway_runtime.tasks.loading import input_limit, load_config, load_tokenizer
from slipway_runtime.tasks.texts import Encoded, TextTokenizer
from slipway_runtime.tasks.vision.image_adapter import ImageAdapter, OfOneShape, Seen
from slipway_runtime.tasks.vision.images import ImageModel, load_image_model, tokens_of


@dataclass(frozen=True)
class Labelled(Seen):
    """An image, and a text for each of its labels."""

    texts: tuple[Encoded, ...]


@dataclass(frozen=True)
class ImageTextModel(ImageModel):
    """A network with image processor and tokenizer, on its device."""

    tokenizer: TextTokenizer


class LabelledImages(ImageAdapter):
    """An adapter whose parameters hold candidate_labels."""

    _model: ImageTextModel

    def __init__(self, model: ImageTextModel, limits: Limits) -> None:
        super().__init__(model, limits)
        self._tokenizer = model.tokenizer

    def texts(self, parameters: Any) -> list[str]:
        """One per label. Raises InvalidInput."""
        raise NotImplementedError

    def parse(self, inputs: object, parameters: Any) -> Call:
        self.texts(parameters)
        return super().parse(inputs, parameters)

    def items(self, image: Image.Image, call: Call) -> list[Item]:
        seen = self.see(image)
        texts = self.encoded(call.parameters)
        length = tokens_of(seen.tensors["pixel_values"]) + sum(len(text.ids) for text in texts)
        labelled = Labelled(seen.tensors, seen.height, seen.width, texts)
        return [Item(OfOneShape(self.forward, seen.shapes), length, labelled)]

    def encoded(self, parameters: Any) -> tuple[Encoded, ...]:
        """Tokens of each label's text. Raises InvalidInput for one that is longer than the model takes."""
        return tuple(
            self._tokenizer.encode(text, field=f"parameters.candidate_labels[{i}]", truncate=False, side="")
            for i, text in enumerate(self.texts(parameters))
        )

    def pixels(self, seen: Sequence[Seen]) -> dict[str, torch.Tensor]:
        """One batch of what the model takes of the images."""
        return {name: self._model.stacked([one.tensors[name] for one in seen]) for name in seen[0].tensors}

    def tokens(self, texts: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """One batch of texts, padded; a mask only where the model was trained with one."""
        batch = self._tokenizer.collate(texts, self._model.device)
        return {name: batch[name] for name in self._tokenizer.tokenizer.model_input_names if name in batch}


def load_image_text_model(artifact: Artifact, auto_class: Any, limits: Limits) -> ImageTextModel:
    """Network, image processor and tokenizer. Raises ModelFault."""
    config = load_config(artifact)
    tokenizer = load_tokenizer(artifact, config)
    limit = input_limit(config.text_config, tokenizer, limits.max_input_tokens)
    model = load_image_model(artifact, auto_class, config=config)
    texts = TextTokenizer(tokenizer, limit, needs_types="token_type_ids" in tokenizer.model_input_names)
    return ImageTextModel(model.model, config, model.device, model.processor, texts)
