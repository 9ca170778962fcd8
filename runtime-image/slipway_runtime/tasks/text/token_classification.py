"""token-classification (alias ner): a text → its entities, or its tokens, with labels and places.

One text → a flat list of {entity_group, score, word, start, end}, or with aggregation_strategy none of {entity, score,
index, word, start, end}; a list → one list each. start and end count characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from transformers import AutoModelForTokenClassification

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded
from slipway_runtime.tasks.loading import TextModel, load_text_model
from slipway_runtime.tasks.scores import softmax
from slipway_runtime.tasks.text import spans
from slipway_runtime.tasks.text.spans import Labelled, Token
from slipway_runtime.tasks.text.text_adapter import TextAdapter, Truncation, needs_offsets, unpadded
from slipway_runtime.tasks.texts import Window, texts_of, too_long


class TokenParameters(Truncation, frozen=True, kw_only=True):
    """A long text is read in windows if `stride` says how many tokens they share."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] = "simple"
    ignore_labels: Annotated[list[str], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=lambda: ["O"])
    stride: Annotated[int, msgspec.Meta(ge=0)] | None = None


@dataclass(frozen=True)
class TextWindow:
    """One window of the input `text`."""

    text: int
    window: Window


class TokenClassification(TextAdapter):
    """The adapter."""

    task = "token-classification"
    parameters = TokenParameters

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(text_model, limits)
        names = text_model.config.id2label
        self._labels = [str(names.get(i, f"LABEL_{i}")) for i in range(text_model.config.num_labels)]
        self._tokenizer = text_model.tokenizer.tokenizer
        self._knows_words = bool(
            getattr(self._tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
        )  # WordPiece marks what goes on with a word

    def parse(self, inputs: object, parameters: TokenParameters) -> Call:
        texts, single = texts_of(inputs, "inputs", self._limits)
        stride = parameters.stride
        if stride is not None:
            room = self._model.tokenizer.limit - self._model.tokenizer.special_tokens(pair=False)
            if stride >= room:
                raise InvalidInput(
                    "parameters.stride", f"is {stride}; a window holds {room} tokens, so at most {room - 1}"
                )
            if parameters.aggregation_strategy == "none":
                raise InvalidInput(
                    "parameters.stride", "needs an aggregation_strategy other than none, by which windows are merged"
                )
        return Call(inputs=texts, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        return [
            Item(forward=self.forward, length=len(window.encoded.ids), data=TextWindow(i, window))
            for i, text in enumerate(call.inputs)
            for window in self._windows(text, call.field(i), call.parameters)
        ]

    def _windows(self, text: str, field: str, p: TokenParameters) -> list[Window]:
        tokenizer = self._model.tokenizer
        if p.stride is not None:
            return tokenizer.windows(
                text, field=field, most=tokenizer.limit, overlap=p.stride, at_most=self._limits.max_inputs
            )
        windows = tokenizer.windows(text, field=field, most=tokenizer.limit, side=p.side)
        if len(windows) > 1 and not p.wanted:
            tokens = tokenizer.count(text) + tokenizer.special_tokens(pair=False)
            raise too_long(field, tokens, tokenizer.limit, "truncate")
        return windows[:1]

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Per item: its window, and the logits [tokens, labels], float32."""
        output, real = self._model.run([item.data.window.encoded for item in items])
        return list(zip((item.data for item in items), unpadded(output.logits, real), strict=True))

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        p: TokenParameters = call.parameters
        found: list[list[list[Labelled]]] = [[] for _ in call.inputs]
        for data, logits in outputs:
            tokens = self._tokens(call.inputs[data.text], data.window, softmax(logits))
            found[data.text].append(self._labelled(tokens, p))
        answers = []
        for windows in found:
            parts = [part for window in windows for part in window]
            parts = spans.merged(parts) if len(windows) > 1 else parts
            answers.append([self._answer(part, grouped=p.aggregation_strategy != "none") for part in parts])
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        return self.preprocess(Call(inputs=["warm up"], parameters=TokenParameters(truncate=True), single=True))

    def _tokens(self, text: str, window: Window, scores: Any) -> list[Token]:
        tokens = []
        texts = self._tokenizer.convert_ids_to_tokens(window.encoded.ids)
        for i, (start, end) in enumerate(window.offsets):
            if window.special[i]:
                continue
            word = texts[i]
            if window.encoded.ids[i] == self._tokenizer.unk_token_id:
                word, continues = text[start:end], False
            elif self._knows_words:
                continues = len(word) != end - start
            else:
                continues = start > 0 and " " not in text[start - 1 : start + 1]
            tokens.append(Token(i, word, scores[i], start, end, continues))
        return tokens

    def _labelled(self, tokens: list[Token], p: TokenParameters) -> list[Labelled]:
        if p.aggregation_strategy == "none":
            parts = spans.tokens_alone(tokens, self._labels)
        elif p.aggregation_strategy == "simple":
            parts = spans.entities(spans.tokens_alone(tokens, self._labels))
        else:
            join = self._tokenizer.convert_tokens_to_string
            parts = spans.entities(spans.words(tokens, self._labels, p.aggregation_strategy, join))
        return [part for part in parts if part.label not in p.ignore_labels]

    def _answer(self, part: Labelled, *, grouped: bool) -> dict[str, Any]:
        if grouped:
            word = self._tokenizer.convert_tokens_to_string(list(part.tokens))
            return {"entity_group": part.label, "score": part.score, "word": word, "start": part.start, "end": part.end}
        return {
            "entity": part.label,
            "score": part.score,
            "index": part.index,
            "word": part.tokens[0],
            "start": part.start,
            "end": part.end,
        }


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    model = needs_offsets(load_text_model(artifact, AutoModelForTokenClassification, limits), artifact)
    return model.loaded(TokenClassification(model, limits))
