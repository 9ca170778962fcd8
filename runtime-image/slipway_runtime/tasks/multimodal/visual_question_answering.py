"""visual-question-answering: an image and a question → [{answer, score}, …], best first, or [{answer}].

ViLT chooses among the answers that it was trained on; BLIP writes one, without a score, as transformers' pipeline did
before it was deleted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForVisualQuestionAnswering

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import input_limit, load_config, load_tokenizer
from slipway_runtime.tasks.multimodal.captioning import Positive, Style, Writer, style_of
from slipway_runtime.tasks.multimodal.questions import Asked, questions_in
from slipway_runtime.tasks.scores import sigmoid
from slipway_runtime.tasks.texts import TextTokenizer
from slipway_runtime.tasks.vision.image_adapter import OfOneShape
from slipway_runtime.tasks.vision.images import ImageModel, image_of, load_image_model, tokens_of


class ChoiceParameters(Parameters, frozen=True, kw_only=True):
    """`question` may stand beside an image that is the whole of inputs."""

    question: str | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5
    truncate: bool = False


class AnswerParameters(ChoiceParameters, frozen=True, kw_only=True):
    """`top_k` is there for clients that send it to every model; one answer is written."""

    max_new_tokens: Positive | None = None
    generate_kwargs: Style | None = None


class VisualQuestionAnswering(Adapter):
    """What both kinds of models share."""

    task = "visual-question-answering"
    takes_media = True

    def __init__(self, model: ImageModel, tokenizer: TextTokenizer, limits: Limits) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._limits = limits

    def parse(self, inputs: object, parameters: Any) -> Call:
        asked, single = questions_in(inputs, parameters.question, self._limits)
        for one in asked:
            if one.image is None:
                raise InvalidInput(one.image_field, "is missing; send the image in base64")
        return Call(inputs=asked, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        return [self._item(one, image_of(one.image, one.image_field, self._limits), call) for one in call.inputs]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        answers = [self._answer(output, call.parameters) for output in outputs]
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        kind: type[Parameters] = self.parameters
        call = Call(inputs=[], parameters=kind(), single=True)
        return [self._item(Asked("inputs", "warm up", None, {}), Image.new("RGB", (64, 48), "grey"), call)]

    @abstractmethod
    def _item(self, asked: Asked, image: Image.Image, call: Call) -> Item:
        """What the forward gets."""

    @abstractmethod
    def _answer(self, output: Any, parameters: Any) -> list[dict[str, Any]]:
        """What is said to one question."""


class Choosing(VisualQuestionAnswering):
    """A classifier over answers: ViLT."""

    parameters = ChoiceParameters

    def _item(self, asked: Asked, image: Image.Image, call: Call) -> Item:
        text = self._tokenizer.encode(asked.question, field=asked.question_field, truncate=call.parameters.truncate)
        made = self._model.pixels(image, asked.image_field)
        seen = {name: made[name][0] for name in ("pixel_values", "pixel_mask") if name in made}
        shapes = tuple((name, tensor.shape) for name, tensor in seen.items())
        length = len(text.ids) + tokens_of(seen["pixel_values"])
        return Item(OfOneShape(self.forward, shapes), length, (text, seen))

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Logits [answers] per item, float32."""
        batch = self._tokenizer.collate([item.data[0] for item in items], self._model.device)
        for name in items[0].data[1]:
            batch[name] = self._model.stacked([item.data[1][name] for item in items])
        with torch.inference_mode():
            logits = self._model.model(**batch).logits
        return list(logits.float().cpu().numpy())

    def _answer(self, output: Any, parameters: ChoiceParameters) -> list[dict[str, Any]]:
        scores = sigmoid(output)
        labels = self._model.config.id2label
        best = np.argsort(-scores, kind="stable")[: parameters.top_k]
        return [{"score": float(scores[i]), "answer": str(labels.get(int(i), f"LABEL_{i}"))} for i in best]


class Answering(VisualQuestionAnswering):
    """A model that writes the answer: BLIP."""

    parameters = AnswerParameters

    def __init__(self, model: ImageModel, tokenizer: TextTokenizer, writer: Writer, limits: Limits) -> None:
        super().__init__(model, tokenizer, limits)
        self._writer = writer

    def parse(self, inputs: object, parameters: AnswerParameters) -> Call:
        self._style(parameters)
        return super().parse(inputs, parameters)

    def _item(self, asked: Asked, image: Image.Image, call: Call) -> Item:
        text = self._tokenizer.encode(asked.question, field=asked.question_field, truncate=call.parameters.truncate)
        pixels = self._model.pixels(image, asked.image_field)["pixel_values"][0]
        tensors = {"input_ids": torch.tensor(text.ids), "pixel_values": pixels}
        return self._writer.item(tensors, self._style(call.parameters), len(text.ids) + tokens_of(pixels))

    def _answer(self, output: Any, parameters: AnswerParameters) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{"answer": self._tokenizer.tokenizer.decode(output, skip_special_tokens=True).strip()}]

    def _style(self, p: AnswerParameters) -> Style:
        return style_of(p.max_new_tokens, p.generate_kwargs, "parameters.generate_kwargs", self._limits)


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    config = load_config(artifact)
    tokenizer = load_tokenizer(artifact, config)
    model = load_image_model(artifact, AutoModelForVisualQuestionAnswering, config=config)
    text = config.get_text_config()
    limit = input_limit(text, tokenizer, limits.max_input_tokens)
    types = config.model_type == "vilt"
    reader = TextTokenizer(tokenizer, limit, needs_types=types)
    if not model.model.can_generate():
        return model.loaded(Choosing(model, reader, limits), max_input_tokens=limit)
    positions = getattr(text, "max_position_embeddings", None)
    writer = Writer(model, limits, positions=positions)
    return model.loaded(Answering(model, reader, writer, limits), max_input_tokens=limit)
