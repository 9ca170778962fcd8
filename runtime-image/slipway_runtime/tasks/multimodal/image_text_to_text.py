"""image-text-to-text: chats and prompts with images → what the model writes. Answers are Generated, see generated.py.

Inputs: a chat, its messages' contents strings or lists of parts {"type": "text", "text"}, {"type": "image", "image"
or "base64"}, {"type": "image_url", "image_url": {"url": "data:…"}}; {"images": [base64, …], "text"} as transformers'
pipeline has it; or a text. Images are never fetched. Everything else is as in text-generation.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded
from slipway_runtime.tasks.generation.chat import Chat, checked_chat, is_chat, render
from slipway_runtime.tasks.generation.parameters import GenerationParameters, checked
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.text_generation import Begun, TextGeneration
from slipway_runtime.tasks.loading import TextModel, input_limit, load_config, load_network, load_part
from slipway_runtime.tasks.multimodal.captions import Captions
from slipway_runtime.tasks.multimodal.sight import Parts, Picture, PicturedChat, PicturedText, Processor
from slipway_runtime.tasks.texts import TextTokenizer, checked_list, kind_of
from slipway_runtime.tasks.vision.images import image_of, png

_TRIED = ((64, 64), (128, 96))  # sizes of images
_SHAPE = '{"images": [base64, …], "text": …}, a chat with messages, or a string'


class ImageTextToText(TextGeneration):
    """The adapter."""

    task = "image-text-to-text"
    takes_media = True

    def __init__(self, text_model: TextModel, processor: Processor, limits: Limits) -> None:
        super().__init__(text_model, limits)
        self._processor = processor
        if self.mode == "continuous":
            self._engine.see(text_model, [self._tried(*size) for size in _TRIED])

    def accepts(self, inputs: object, parameters: Mapping[str, Any]) -> bool:  # noqa: ARG002 - an adapter's shape
        return not isinstance(inputs, bytes)

    def parse(self, inputs: object, parameters: GenerationParameters) -> Call:
        if isinstance(inputs, dict) and not is_chat(inputs):
            call = Call(inputs=[self._pictured(inputs)], parameters=checked(parameters, self._limits), single=True)
        elif is_chat(inputs) or isinstance(inputs, str | list):
            call = super().parse(inputs, parameters)
        else:
            raise InvalidInput("inputs", f"must be {_SHAPE}; got {kind_of(inputs)}")
        if parameters.truncate is not None and any(not isinstance(one, str) and one.pictures for one in call.inputs):
            raise InvalidInput("parameters.truncate", "cannot cut a prompt with images; leave it out")
        return call

    def warmup(self) -> list[Item]:
        blank = Picture(png(Image.new("RGB", (64, 64), "grey")), "inputs")
        entry = self.prompted("warm up", [blank])
        parameters = GenerationParameters(max_new_tokens=2)
        return self.preprocess(Call(inputs=[entry], parameters=parameters, single=True))

    def chat(self, inputs: Any) -> Chat:
        parts = Parts(self._processor.mark)
        chat = checked_chat(inputs, self._limits, parts)
        return PicturedChat(**vars(chat), pictures=tuple(parts.pictures))

    def begun(self, entry: Any, field: str) -> Begun:
        if isinstance(entry, str):
            return entry, *self._processor.read(entry, [], field)
        images = [image_of(picture.value, picture.field, self._limits) for picture in entry.pictures]
        text, ids, extra = self._read(entry, images)
        if images and len(ids) > self.max_input_tokens:
            raise InvalidInput(
                entry.field,
                f"has {len(ids)} tokens with its images, the model takes {self.max_input_tokens} and one of the "
                "answer; send fewer or smaller images, or less text",
            )
        shown = getattr(entry, "shown", None)
        return text if shown is None else shown, ids, extra

    def _read(self, entry: PicturedChat | PicturedText, images: list[Image.Image]) -> Begun:
        text = entry.text if isinstance(entry, PicturedText) else render(entry, self._processor.template)
        return text, *self._processor.read(text, images, entry.field)

    def _tried(self, width: int, height: int) -> Prompt:
        """With an image of this size, whatever the limits."""
        entry = self.prompted("the word", [Picture(None, "inputs")])
        _, ids, extra = self._read(entry, [Image.linear_gradient("L").convert("RGB").resize((width, height))])
        return Prompt(ids, extra=extra)

    def _pictured(self, inputs: dict[str, Any]) -> PicturedChat | PicturedText:
        """The pipeline's form. A text without places for its images becomes a chat, where the model knows chats."""
        for name in inputs:
            if name not in ("images", "image", "text"):
                raise InvalidInput(f"inputs.{str(name)[:80]}", f"is unknown; send {_SHAPE}")
        text, name = inputs.get("text"), "images" if inputs.get("images") is not None else "image"
        if not isinstance(text, str):
            raise InvalidInput("inputs.text", f"must be a string, got {kind_of(text)}")
        given = inputs.get(name)
        if isinstance(given, list):
            several = checked_list(given, f"inputs.{name}", self._limits)
            return self.prompted(text, [Picture(one, f"inputs.{name}[{i}]") for i, one in enumerate(several)])
        return self.prompted(text, [] if given is None else [Picture(given, f"inputs.{name}")])

    def prompted(self, text: str, pictures: list[Picture], field: str = "inputs.text") -> PicturedChat | PicturedText:
        """A text without places for its images becomes a chat, where the model knows chats; else they come first."""
        parts, processor = Parts(self._processor.mark), self._processor
        places = [parts.picture(picture) for picture in pictures]
        if processor.mark and processor.mark in text:
            return PicturedText(text, tuple(pictures), field, text)
        if processor.chats:
            message = {"role": "user", "content": [*places, {"type": "text", "text": text}]}
            return PicturedChat([message], field=field, pictures=tuple(pictures), shown=text)
        marks = processor.places * len(pictures)
        return PicturedText(f"{marks}\n{text}" if marks else text, tuple(pictures), field, text)


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapters. Raises ModelFault."""
    config = load_config(artifact)
    if config.is_encoder_decoder:
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id} ({config.model_type}) writes with a decoder beside an encoder, which is not served for "
            "images with text",
            "model",
        )
    processor = load_part(artifact, AutoProcessor, "processor (processor_config.json)", config=config)
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ModelFault("ModelCorrupt", f"{artifact.id}: its processor does not read both texts and images", "model")
    network = load_network(artifact, AutoModelForImageTextToText, config)
    # Its own copy: the processor switches the settings of the other.
    tokenizer = copy.deepcopy(processor.tokenizer)
    text = config.get_text_config(decoder=True)
    reader = TextTokenizer(tokenizer, input_limit(text, tokenizer, 0), needs_types=False)
    model = TextModel(network.model, text, network.device, reader)
    pixels = inspect.signature(network.model.generate).parameters.get("pixel_values")
    needed = pixels is not None and pixels.default is pixels.empty
    chat = ImageTextToText(model, Processor(processor, network.model.dtype, needs_image=needed), limits)
    return model.loaded(chat, Captions(chat, limits), max_input_tokens=chat.max_input_tokens)
