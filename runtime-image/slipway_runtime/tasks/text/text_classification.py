"""text-classification (alias sentiment-analysis): a text or a pair → labels with scores.

One text → [[{label, score}, …]], a list of one: InferenceClient takes [0] (huggingface_hub #3539). A list → one list
each. Best first, five at most unless top_k says otherwise, as on the Hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded
from slipway_runtime.tasks.loading import TextModel
from slipway_runtime.tasks.scores import Function, best_labels, usual_function
from slipway_runtime.tasks.text.text_adapter import SequenceAdapter, Truncation
from slipway_runtime.tasks.texts import checked_list, kind_of, texts_of


class ClassificationParameters(Truncation, frozen=True, kw_only=True):
    """How many labels, and what makes scores of logits."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5
    function_to_apply: Function | None = None


class TextClassification(SequenceAdapter):
    """The adapter."""

    task = "text-classification"
    parameters = ClassificationParameters

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(text_model, limits)
        labels = text_model.config.id2label
        self._labels = [str(labels.get(i, f"LABEL_{i}")) for i in range(text_model.config.num_labels)]
        self._usual = usual_function(text_model.config)

    def accepts(self, inputs: object, parameters: Mapping[str, Any]) -> bool:
        """What is not for the other tasks of such models."""
        return "candidate_labels" not in parameters and not (isinstance(inputs, dict) and "query" in inputs)

    def parse(self, inputs: object, parameters: ClassificationParameters) -> Call:
        if isinstance(inputs, dict):
            return Call(inputs=[_pair(inputs, "inputs")], parameters=parameters, single=True)
        if isinstance(inputs, list) and any(isinstance(entry, dict) for entry in inputs):
            entries = checked_list(inputs, "inputs", self._limits)
            pairs = [_pair(entry, f"inputs[{i}]") for i, entry in enumerate(entries)]
            return Call(inputs=pairs, parameters=parameters, single=False)
        texts, single = texts_of(inputs, "inputs", self._limits)
        return Call(inputs=[(text, None) for text in texts], parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        p: ClassificationParameters = call.parameters
        return [
            self.item(text, pair, field=call.field(i), truncate=p.wanted, side=p.side)
            for i, (text, pair) in enumerate(call.inputs)
        ]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        p: ClassificationParameters = call.parameters
        function = p.function_to_apply or self._usual
        return [best_labels(logits, self._labels, function, p.top_k) for logits in outputs]

    def warmup(self) -> list[Item]:
        return [self.item("warm up")]


def _pair(value: object, field: str) -> tuple[str, str | None]:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict) or not {"text"} <= value.keys() <= {"text", "text_pair"}:
        got = f"an object with {', '.join(map(str, value))}" if isinstance(value, dict) else kind_of(value)
        raise InvalidInput(field, f"must be a string, or an object with text and perhaps text_pair; got {got[:200]}")
    for name, text in value.items():
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(f"{field}.{name}", "must be a string that is not empty")
    return value["text"], value.get("text_pair")


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model; it may do zero-shot-classification or text-ranking as well. Raises ModelFault."""
    from slipway_runtime.tasks.text.classifiers import load_classifier  # noqa: PLC0415 - that module needs this one

    return load_classifier("text-classification", artifact, limits)
