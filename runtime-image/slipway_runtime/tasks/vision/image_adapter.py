"""What the adapters over one ImageModel share: inputs, decoding, batches of images of equal size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL import Image

from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Parameters
from slipway_runtime.tasks.vision.images import ImageModel, cannot_scale, image_of, images_in, tokens_of

Shapes = tuple[tuple[str, torch.Size], ...]


@dataclass(frozen=True)
class Seen:
    """One image as the model gets it, without a batch dimension, and the size that it came in."""

    tensors: dict[str, torch.Tensor]
    height: int
    width: int

    @property
    def shapes(self) -> Shapes:
        return tuple((name, tensor.shape) for name, tensor in self.tensors.items())


@dataclass(frozen=True)
class Prediction:
    """One image's part of the model's output: tensors in float32 on the processor, batches of one."""

    output: Any
    """Of the model's own output class, as transformers' post-processing wants it."""
    height: int
    width: int


@dataclass(frozen=True)
class OfOneShape:
    """A forward whose batches hold only tensors of equal shapes.

    Padding an image changes what a convolution sees at its edges, so an answer would depend on its neighbours.
    """

    inner: Callable[[Sequence[Item]], list[Any]]
    shapes: Shapes

    def __call__(self, items: Sequence[Item]) -> list[Any]:
        return self.inner(items)


class ImageAdapter(Adapter):
    """An adapter over a model that sees images: one image, or in JSON a list of them."""

    takes_media = True
    outputs: ClassVar[tuple[str, ...]]
    """Those fields of the model's output that `answer` needs, where the model has them."""

    def __init__(self, model: ImageModel, limits: Limits) -> None:
        self._model = model
        self._limits = limits

    def parse(self, inputs: object, parameters: Any) -> Call:
        images, single = images_in(inputs, self._limits)
        return Call(inputs=images, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        # One after the other, so that only one image is held in its full size.
        return [item for field, value in call.inputs for item in self._items(field, value, call)]

    def _items(self, field: str, value: object, call: Call) -> list[Item]:
        image = image_of(value, field, self._limits)
        try:
            return self.items(image, call)
        except (ValueError, RuntimeError, ZeroDivisionError):
            raise cannot_scale(image, field) from None

    def items(self, image: Image.Image, call: Call) -> list[Item]:  # noqa: ARG002 - for those that need the parameters
        """What the forward gets of one image."""
        seen = self.see(image)
        return [Item(OfOneShape(self.forward, seen.shapes), tokens_of(seen.tensors["pixel_values"]), seen)]

    def see(self, image: Image.Image) -> Seen:
        """Scale and normalize, as the model's processor has it."""
        made = self._model.processor(images=image, return_tensors="pt")
        tensors = {name: value[0] for name, value in made.items() if isinstance(value, torch.Tensor)}
        return Seen(tensors, image.height, image.width)

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """A Prediction per item."""
        seen: list[Seen] = [item.data for item in items]
        with torch.inference_mode():
            names = seen[0].tensors
            batch = {name: self._model.stacked([one.tensors[name] for one in seen]) for name in names}
            output = self._model.model(**batch)
        return predictions(output, self.outputs, seen)

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        answers = [self.answer(prediction, call.parameters) for prediction in outputs]
        return answers[0] if call.single else answers

    @abstractmethod
    def answer(self, prediction: Any, parameters: Any) -> Any:
        """What is said of one image."""

    def warmup(self) -> list[Item]:
        return self.items(Image.new("RGB", (64, 48), "grey"), self.ordinary())

    def ordinary(self) -> Call:
        """A small request, for `warmup`."""
        kind: type[Parameters] = self.parameters
        return Call(inputs=[], parameters=kind(), single=True)

    def label(self, number: int) -> str:
        """The model's word for a class."""
        return str(self._model.config.id2label.get(number, f"LABEL_{number}"))


def predictions(output: Any, names: Sequence[str], seen: Sequence[Seen]) -> list[Any]:
    """A batched output of a model → one per image, with the fields `names` of it."""
    fields = {name: getattr(output, name, None) for name in names}
    kept = {name: value.float().cpu() for name, value in fields.items() if value is not None}
    return [
        Prediction(type(output)(**{name: value[i : i + 1] for name, value in kept.items()}), one.height, one.width)
        for i, one in enumerate(seen)
    ]
