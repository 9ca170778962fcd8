"""document-question-answering by Donut: it reads a page's pixels and writes [{answer}]; no OCR is needed."""

from __future__ import annotations

import re
import threading
from typing import Any

import torch
from PIL import Image

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Parameters
from slipway_runtime.tasks.multimodal.captioning import Positive, Style, Writer, style_of
from slipway_runtime.tasks.multimodal.questions import Asked, questions_in
from slipway_runtime.tasks.vision.images import ImageModel, image_of, tokens_of

START = "<s_docvqa>"
_PROMPT = START + "<s_question>{}</s_question><s_answer>"
_ANSWER = re.compile(r"<s_answer>(.*?)</s_answer>", re.S)


class DonutParameters(Parameters, frozen=True, kw_only=True):
    """`top_k` is there for clients that send it to every model; one answer is written."""

    question: str | None = None
    top_k: Positive = 1
    max_new_tokens: Positive | None = None
    generate_kwargs: Style | None = None


class DonutQuestionAnswering(Adapter):
    """The adapter."""

    task = "document-question-answering"
    parameters = DonutParameters
    takes_media = True

    def __init__(self, model: ImageModel, tokenizer: Any, writer: Writer, limits: Limits) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # the tokenizer switches its settings for each call
        self._writer = writer
        self._limits = limits

    def accepts(self, inputs: object, parameters: Any) -> bool:
        first = inputs[0] if isinstance(inputs, list) and inputs else inputs
        return "question" in parameters or isinstance(first, dict)

    def parse(self, inputs: object, parameters: DonutParameters) -> Call:
        asked, single = questions_in(inputs, parameters.question, self._limits)
        style_of(parameters.max_new_tokens, parameters.generate_kwargs, "parameters.generate_kwargs", self._limits)
        for one in asked:
            if one.image is None:
                raise InvalidInput(one.image_field, "is missing; send the page's image in base64")
        return Call(inputs=asked, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        return [
            self._item(image_of(one.image, one.image_field, self._limits), one, call.parameters) for one in call.inputs
        ]

    def _item(self, image: Image.Image, asked: Asked, parameters: DonutParameters) -> Item:
        p = parameters
        style = style_of(p.max_new_tokens, p.generate_kwargs, "parameters.generate_kwargs", self._limits)
        with self._lock:
            prompt = self._tokenizer(_PROMPT.format(asked.question), add_special_tokens=False)["input_ids"]
        pixels = self._model.pixels(image, asked.image_field)["pixel_values"][0]
        tensors = {"pixel_values": pixels, "decoder_input_ids": torch.tensor(prompt)}
        return self._writer.item(tensors, style, tokens_of(pixels) + len(prompt))

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        answers = [[{"answer": self._answer(ids)}] for ids in outputs]
        return answers[0] if call.single else answers

    def _answer(self, ids: list[int]) -> str | None:
        """As transformers' pipeline: what stands between the answer's marks, None where they are not closed."""
        tokenizer = self._tokenizer
        text = tokenizer.decode(ids)
        for token in (tokenizer.eos_token, tokenizer.pad_token):
            text = text.replace(token, "")
        found = _ANSWER.search(re.sub(r"<.*?>", "", text, count=1))
        return found[1].strip() if found else None

    def warmup(self) -> list[Item]:
        style = Style(max_new_tokens=2)
        asked = Asked("inputs", "What?", None, {})
        return [self._item(Image.new("RGB", (64, 64), "white"), asked, DonutParameters(generate_kwargs=style))]
