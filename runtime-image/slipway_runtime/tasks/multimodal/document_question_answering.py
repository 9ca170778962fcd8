"""document-question-answering: a page and a question → [{answer, score, start, end}, …] or [{answer}].

LayoutLM and LayoutLMv3 find the answer among the page's words, which come with the request (`word_boxes`): no OCR is
in the image. Donut reads the page's pixels and writes the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForDocumentQuestionAnswering

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import Network, input_limit, load_config, load_network, load_part, load_tokenizer
from slipway_runtime.tasks.multimodal import image_to_text
from slipway_runtime.tasks.multimodal.documents import PageReader, Window, Words, answers, padded, words_of
from slipway_runtime.tasks.multimodal.donut import START
from slipway_runtime.tasks.multimodal.questions import Asked, questions_in
from slipway_runtime.tasks.vision.image_adapter import OfOneShape
from slipway_runtime.tasks.vision.images import image_of, png, tokens_of

Positive = Annotated[int, msgspec.Meta(ge=1)]


class DocumentParameters(Parameters, frozen=True, kw_only=True):
    """As transformers' pipeline calls them; `question` may stand beside an image that is the whole of inputs."""

    question: str | None = None
    word_boxes: list[Any] | None = None
    top_k: Positive = 1
    max_answer_len: Positive = 15
    max_seq_len: Positive | None = None
    doc_stride: Annotated[int, msgspec.Meta(ge=0)] | None = None
    handle_impossible_answer: bool = False


@dataclass(frozen=True)
class _Part:
    """What the forward gets: a window of the page and, for a model that looks, the page's pixels."""

    index: int
    """Of the question in its request."""
    window: Window
    pixels: torch.Tensor | None


class DocumentQuestionAnswering(Adapter):
    """The adapter over LayoutLM and LayoutLMv3."""

    task = "document-question-answering"
    parameters = DocumentParameters
    takes_media = True

    def __init__(self, network: Network, reader: PageReader, image_processor: Any, limits: Limits) -> None:
        self._network = network
        self._reader = reader
        self._image_processor = image_processor
        """None for a model that sees only words and their places."""
        self._limits = limits

    def parse(self, inputs: object, parameters: DocumentParameters) -> Call:
        asked, single = questions_in(inputs, parameters.question, self._limits, more=("word_boxes",))
        pages = []
        for one in asked:
            boxes = one.more.get("word_boxes", parameters.word_boxes)
            field = f"{one.field}.word_boxes" if "word_boxes" in one.more else "parameters.word_boxes"
            if boxes is None:
                raise InvalidInput(
                    field,
                    "is missing: there is no OCR here, so this model needs the page's words with their places, a list "
                    "of [word, [x0, y0, x1, y1]] in thousandths of the page's width and height",
                )
            if one.image is None and self._image_processor is not None:
                raise InvalidInput(one.image_field, "is missing; send the page's image in base64")
            pages.append((one, words_of(boxes, field)))
        return Call(inputs=pages, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        return [item for i, (asked, page) in enumerate(call.inputs) for item in self._items(i, asked, page, call)]

    def _items(self, i: int, asked: Asked, page: Words, call: Call) -> list[Item]:
        p: DocumentParameters = call.parameters
        pixels = None
        if self._image_processor is not None:
            image = image_of(asked.image, asked.image_field, self._limits)
            pixels = self._image_processor(images=image, apply_ocr=False, return_tensors="pt")["pixel_values"][0]
        windows = self._reader.windows(asked.question, page, asked.question_field, p.max_seq_len, p.doc_stride)
        forward = self.forward if pixels is None else OfOneShape(self.forward, (("pixel_values", pixels.shape),))
        seen = tokens_of(pixels) if pixels is not None else 0
        return [Item(forward, len(window.ids) + seen, _Part(i, window, pixels)) for window in windows]

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """(part, start logits, end logits) per item, float32 [tokens]."""
        parts: list[_Part] = [item.data for item in items]
        windows = [part.window for part in parts]
        arrays = {
            "input_ids": padded([w.ids for w in windows], self._network.config.pad_token_id or 0),
            "attention_mask": padded([[1] * len(w.ids) for w in windows], 0),
            "token_type_ids": padded([w.types for w in windows], 0),
            "bbox": padded([w.boxes for w in windows], (0, 0, 0, 0)),
        }
        device = self._network.device
        batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        if self._image_processor is not None:
            pixels = torch.stack([part.pixels for part in parts if part.pixels is not None])
            batch["pixel_values"] = pixels.to(device, dtype=self._network.model.dtype)
        with torch.inference_mode():
            output = self._network.model(**batch)
        start, end = output.start_logits.float().cpu().numpy(), output.end_logits.float().cpu().numpy()
        # LayoutLMv3's logits go on over the patches of the image.
        sizes = [len(window.ids) for window in windows]
        return [(part, start[i, :n], end[i, :n]) for i, (part, n) in enumerate(zip(parts, sizes, strict=True))]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        p: DocumentParameters = call.parameters
        made = []
        for i in range(len(call.inputs)):
            scored = [(part.window, start, end) for part, start, end in outputs if part.index == i]
            best = answers(scored, top_k=p.top_k, max_answer_len=p.max_answer_len, or_none=p.handle_impossible_answer)
            made.append([{"answer": a.text, "score": a.score, "start": a.start, "end": a.end} for a in best])
        return made[0] if call.single else made

    def warmup(self) -> list[Item]:
        page = Words(("warm", "up"), ((0, 0, 500, 20), (500, 0, 1000, 20)))
        asked = Asked("inputs", "What is it?", png(Image.new("RGB", (64, 64), "white")), {})
        return self._items(0, asked, page, Call(inputs=[], parameters=DocumentParameters(), single=True))


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    config = load_config(artifact)
    if config.model_type == "vision-encoder-decoder":
        return _donut(artifact, limits)
    if config.model_type == "layoutlmv2":
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id} is a LayoutLMv2, which needs detectron2; that is not in this image. Use a LayoutLMv3 or a "
            "Donut",
            "model",
        )
    tokenizer = load_tokenizer(artifact, config)
    looks = config.model_type == "layoutlmv3"
    processor = load_part(artifact, AutoImageProcessor, "image processor", config=config) if looks else None
    network = load_network(artifact, AutoModelForDocumentQuestionAnswering, config)
    limit = input_limit(config, tokenizer, limits.max_input_tokens)
    reader = PageReader(tokenizer, limit, with_boxes=looks, max_windows=limits.max_inputs)
    adapter = DocumentQuestionAnswering(network, reader, processor, limits)
    return network.loaded(adapter, max_input_tokens=limit)


def _donut(artifact: Artifact, limits: Limits) -> Loaded:
    loaded = image_to_text.load(artifact, limits)
    if DocumentQuestionAnswering.task not in loaded.adapters:
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id} was not tuned for questions about documents: its vocabulary lacks {START}. Set task to "
            f"{loaded.task}",
            "task",
        )
    return replace(loaded, task=DocumentQuestionAnswering.task)
