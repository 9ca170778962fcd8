"""question-answering: {"question": …, "context": …} → the context's part that answers, {answer, score, start, end}.

A long context is read in windows that share doc_stride tokens. top_k 1 gives an object, more a list, best first, each
place once; a list of inputs gives one answer each. start and end count characters of the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import msgspec
from transformers import AutoModelForQuestionAnswering

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import TextModel, load_text_model
from slipway_runtime.tasks.text.answers import best_places, scored
from slipway_runtime.tasks.text.text_adapter import TextAdapter, needs_offsets, unpadded
from slipway_runtime.tasks.texts import Window, checked_list, kind_of, texts_of

_FIELDS = {"question", "context"}
Positive = Annotated[int, msgspec.Meta(ge=1)]


class AnswerParameters(Parameters, frozen=True, kw_only=True):
    """The names and defaults of the pipeline. Lengths count tokens."""

    top_k: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    doc_stride: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """What two windows share; None: 128, or less where windows are small."""
    max_seq_len: Positive | None = None
    """One window with the question; None: 384, or what the model takes."""
    max_question_len: Positive | None = None
    """Longer questions are cut to it; None: they are not cut."""
    max_answer_len: Annotated[int, msgspec.Meta(ge=1, le=512)] = 15
    handle_impossible_answer: bool = False
    """Allow the empty answer, for "it is not in the context"."""
    align_to_words: bool = True


@dataclass(frozen=True)
class ContextWindow:
    """One window of the input `index`."""

    index: int
    window: Window


class QuestionAnswering(TextAdapter):
    """The adapter."""

    task = "question-answering"
    parameters = AnswerParameters

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(text_model, limits)
        # A model that is padded on the left was trained with the context first.
        self._context = 1 if text_model.tokenizer.tokenizer.padding_side == "right" else 0

    def parse(self, inputs: object, parameters: AnswerParameters) -> Call:
        most = self._model.tokenizer.limit
        if parameters.max_seq_len is not None and parameters.max_seq_len > most:
            raise InvalidInput("parameters.max_seq_len", f"is {parameters.max_seq_len}, the model takes {most}")
        if isinstance(inputs, list):
            entries = checked_list(inputs, "inputs", self._limits)
            pairs = [self._pair(entry, f"inputs[{i}]") for i, entry in enumerate(entries)]
            return Call(inputs=pairs, parameters=parameters, single=False)
        return Call(inputs=[self._pair(inputs, "inputs")], parameters=parameters, single=True)

    def preprocess(self, call: Call) -> list[Item]:
        return [
            Item(forward=self.forward, length=len(window.encoded.ids), data=ContextWindow(i, window))
            for i, (question, context) in enumerate(call.inputs)
            for window in self._windows(question, context, call.field(i), call.parameters)
        ]

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Per item: its window, and the logits [tokens] for where an answer begins and ends, float32."""
        output, real = self._model.run([item.data.window.encoded for item in items])
        starts, ends = unpadded(output.start_logits, real), unpadded(output.end_logits, real)
        return list(zip((item.data for item in items), starts, ends, strict=True))

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        p: AnswerParameters = call.parameters
        cls = self._model.tokenizer.tokenizer.cls_token_id
        found: list[dict[tuple[int, int], float]] = [{} for _ in call.inputs]
        nothing = [1.0] * len(call.inputs)
        for data, start, end in outputs:
            scores = scored(data.window, start, end, self._context, cls)
            nothing[data.index] = min(nothing[data.index], scores.nothing)
            places = best_places(
                data.window, scores, top_k=p.top_k, longest=p.max_answer_len, whole_words=p.align_to_words
            )
            best = found[data.index]
            best |= {place: max(score, best.get(place, 0.0)) for place, score in places.items()}
        answers = []
        for (_, context), best, none in zip(call.inputs, found, nothing, strict=True):
            if p.handle_impossible_answer or not best:
                best[0, 0] = none
            ranked = sorted(best.items(), key=lambda entry: -entry[1])
            listed = [
                {"score": score, "start": start, "end": end, "answer": context[start:end]}
                for (start, end), score in islice(ranked, p.top_k)
            ]
            answers.append(listed[0] if p.top_k == 1 else listed)
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        return self.preprocess(Call(inputs=[("warm?", "up")], parameters=AnswerParameters(), single=True))

    def _pair(self, value: object, field: str) -> tuple[str, str]:
        if not isinstance(value, dict):
            raise InvalidInput(field, f"must be an object with question and context, got {kind_of(value)}")
        if set(value) != _FIELDS:
            got = ", ".join(sorted(map(str, value)))[:200] or "none"
            raise InvalidInput(field, f"must have exactly question and context, got {got}")
        for name in ("question", "context"):
            if not isinstance(value[name], str):
                raise InvalidInput(f"{field}.{name}", f"must be a string, got {kind_of(value[name])}")
        [question], _ = texts_of(value["question"], f"{field}.question", self._limits)
        [context], _ = texts_of(value["context"], f"{field}.context", self._limits)
        return question, context

    def _windows(self, question: str, context: str, field: str, p: AnswerParameters) -> list[Window]:
        tokenizer = self._model.tokenizer
        most = p.max_seq_len or min(tokenizer.limit, 384)
        question = self._cut(question, p.max_question_len)
        room = most - tokenizer.count(question) - tokenizer.special_tokens(pair=True)
        if room < 1:
            raise InvalidInput(
                f"{field}.question",
                f"has {tokenizer.count(question)} tokens, which leaves nothing of a window's {most} to the context; "
                "shorten it, or set max_question_len",
            )
        if p.doc_stride is not None and p.doc_stride >= room:
            raise InvalidInput(
                "parameters.doc_stride",
                f"is {p.doc_stride}; beside {field}.question a window holds {room} tokens, so at most {room - 1}",
            )
        stride = p.doc_stride if p.doc_stride is not None else min(128, most // 2, room - 1)
        first, second = (question, context) if self._context == 1 else (context, question)
        return tokenizer.windows(
            first,
            second,
            field=f"{field}.context",
            most=most,
            overlap=stride,
            cut="only_second" if self._context == 1 else "only_first",
            at_most=self._limits.max_inputs,
        )

    def _cut(self, question: str, most: int | None) -> str:
        """Its first `most` tokens."""
        tokenizer = self._model.tokenizer
        if most is None or tokenizer.count(question) <= most:
            return question
        window, *_ = tokenizer.windows(question, field="", most=most + tokenizer.special_tokens(pair=False))
        ends = [end for (_, end), special in zip(window.offsets, window.special, strict=True) if not special]
        return question[: max(ends)]


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    model = needs_offsets(load_text_model(artifact, AutoModelForQuestionAnswering, limits), artifact)
    return model.loaded(QuestionAnswering(model, limits))
