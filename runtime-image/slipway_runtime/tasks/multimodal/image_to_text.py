"""image-to-text: an image → [{generated_text}], a caption or the text that stands in it.

By models made for it: vision-encoder-decoders (ViT-GPT2, TrOCR, Donut), BLIP, GIT. Those that chat about images do it
in captions.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PIL import Image
from transformers import AutoModelForImageTextToText

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import load_config, load_tokenizer
from slipway_runtime.tasks.multimodal import image_text_to_text
from slipway_runtime.tasks.multimodal.captioning import Positive, Style, Writer, style_of
from slipway_runtime.tasks.multimodal.donut import START, DonutQuestionAnswering
from slipway_runtime.tasks.vision.images import ImageModel, image_of, images_in, load_image_model, tokens_of

_CAPTIONERS = ("vision-encoder-decoder", "blip", "git")


class CaptionParameters(Parameters, frozen=True, kw_only=True):
    """`generate_kwargs` is the pipeline's name, `generation_parameters` the Hub's."""

    max_new_tokens: Positive | None = None
    generate_kwargs: Style | None = None
    generation_parameters: Style | None = None


class ImageToText(Adapter):
    """The adapter."""

    task = "image-to-text"
    parameters = CaptionParameters
    takes_media = True

    def __init__(self, model: ImageModel, tokenizer: Any, writer: Writer, limits: Limits) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._writer = writer
        self._limits = limits

    def accepts(self, inputs: object, parameters: Any) -> bool:
        first = inputs[0] if isinstance(inputs, list) and inputs else inputs
        return not isinstance(first, dict) and "question" not in parameters

    def parse(self, inputs: object, parameters: CaptionParameters) -> Call:
        images, single = images_in(inputs, self._limits)
        self._style(parameters)
        return Call(inputs=images, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        style = self._style(call.parameters)
        return [self._item(image_of(value, field, self._limits), field, style) for field, value in call.inputs]

    def _item(self, image: Image.Image, field: str, style: Style) -> Item:
        pixels = self._model.pixels(image, field)["pixel_values"][0]
        return self._writer.item({"pixel_values": pixels}, style, tokens_of(pixels))

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        texts = [self._tokenizer.decode(ids, skip_special_tokens=True) for ids in outputs]
        answers = [[{"generated_text": text}] for text in texts]
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        return [self._item(Image.new("RGB", (64, 48), "grey"), "inputs", Style(max_new_tokens=2))]

    def _style(self, p: CaptionParameters) -> Style:
        name = "generate_kwargs" if p.generate_kwargs is not None else "generation_parameters"
        return style_of(p.max_new_tokens, getattr(p, name), f"parameters.{name}", self._limits)


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapters: a Donut that was tuned for it also answers questions. Raises ModelFault."""
    config = load_config(artifact)
    if config.model_type not in _CAPTIONERS:
        return replace(image_text_to_text.load(artifact, limits), task=ImageToText.task)
    tokenizer = load_tokenizer(artifact, config)
    model = load_image_model(artifact, AutoModelForImageTextToText, config=config)
    text = config.get_text_config(decoder=True)
    writer = Writer(model, limits, positions=getattr(text, "max_position_embeddings", None))
    adapters: list[Adapter] = [ImageToText(model, tokenizer, writer, limits)]
    if START in tokenizer.get_vocab():
        adapters.append(DonutQuestionAnswering(model, tokenizer, writer, limits))
    return model.loaded(*adapters)
