"""image-to-text by a model that chats: it is asked to describe the image. [{generated_text}]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Parameters
from slipway_runtime.tasks.generation.parameters import GenerationParameters
from slipway_runtime.tasks.multimodal.captioning import DEFAULT_NEW_TOKENS, Positive, Style, style_of
from slipway_runtime.tasks.multimodal.sight import Picture
from slipway_runtime.tasks.vision.images import images_in

if TYPE_CHECKING:
    from slipway_runtime.tasks.multimodal.image_text_to_text import ImageTextToText

_SHARED = {field.name for field in msgspec.structs.fields(GenerationParameters)}


class AskedCaptionParameters(Parameters, frozen=True, kw_only=True):
    """`prompt` is what the model is told; the others as for captioners."""

    prompt: str = "Describe this image."
    max_new_tokens: Positive | None = None
    generate_kwargs: Style | None = None
    generation_parameters: Style | None = None


class Captions(Adapter):
    """The adapter."""

    task = "image-to-text"
    parameters = AskedCaptionParameters
    takes_media = True

    def __init__(self, chat: ImageTextToText, limits: Limits) -> None:
        self._chat = chat
        self._limits = limits

    def accepts(self, inputs: object, parameters: Mapping[str, Any]) -> bool:  # noqa: ARG002 - an adapter's shape
        return isinstance(inputs, bytes | str)

    def parse(self, inputs: object, parameters: AskedCaptionParameters) -> Call:
        images, single = images_in(inputs, self._limits)
        entries = [
            self._chat.prompted(parameters.prompt, [Picture(value, at)], "parameters.prompt") for at, value in images
        ]
        return Call(inputs=entries, parameters=self._style(parameters), single=single)

    def preprocess(self, call: Call) -> list[Item]:
        return self._chat.preprocess(call)

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        answers = [[{"generated_text": output.text}] for output in outputs]
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        return self._chat.warmup()

    def _style(self, p: AskedCaptionParameters) -> GenerationParameters:
        name = "generate_kwargs" if p.generate_kwargs is not None else "generation_parameters"
        style = style_of(p.max_new_tokens, getattr(p, name), f"parameters.{name}", self._limits)
        given = {"max_new_tokens": min(DEFAULT_NEW_TOKENS, self._limits.max_new_tokens)} | style.given()
        for wish in given:
            if wish not in _SHARED:
                known = ", ".join(sorted(_SHARED & set(Style.__struct_fields__)))
                raise InvalidInput(f"parameters.{name}.{wish}", f"is not taken by this model; it takes {known}")
        return GenerationParameters(**given)
