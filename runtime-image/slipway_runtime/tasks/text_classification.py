"""text-classification (alias sentiment-analysis): a text or a pair → labels with scores.

One text → [[{label, score}, …]], a list of one: InferenceClient takes [0] (huggingface_hub #3539). A list → one list
each. Best first, five at most unless top_k says otherwise, as on the Hub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import TextModel, load_text_model
from slipway_runtime.tasks.texts import checked_list, kind_of, texts_of

Function = Literal["sigmoid", "softmax", "none"]


class ClassificationParameters(Parameters, frozen=True, kw_only=True):
    """`truncate` is text-embeddings-inference's name, `truncation` the pipeline's; either cuts long texts."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5
    function_to_apply: Function | None = None
    truncate: bool = False
    truncation: bool = False
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"


class TextClassification(Adapter):
    """The adapter."""

    task = "text-classification"
    parameters = ClassificationParameters

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        self._model = text_model
        self._limits = limits
        labels = text_model.config.id2label
        self._labels = [str(labels.get(i, f"LABEL_{i}")) for i in range(text_model.config.num_labels)]

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
        items = []
        for i, (text, pair) in enumerate(call.inputs):
            encoded = self._model.tokenizer.encode(
                text,
                pair,
                field="inputs" if call.single else f"inputs[{i}]",
                truncate=p.truncate or p.truncation,
                side=p.truncation_direction.lower(),
            )
            items.append(Item(forward=self.forward, length=len(encoded.ids), data=encoded))
        return items

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Logits [labels] per item, float32."""
        with torch.inference_mode():
            batch = self._model.tokenizer.collate([item.data for item in items], self._model.device)
            logits = self._model.model(**batch).logits.float().cpu().numpy()
        return list(logits)

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        function = call.parameters.function_to_apply or self._default_function()
        answers = []
        for logits in outputs:
            scores = _APPLY[function](logits)
            best = np.argsort(-scores, kind="stable")[: call.parameters.top_k]
            answers.append([{"label": self._labels[i], "score": float(scores[i])} for i in best])
        return answers

    def warmup(self) -> list[Item]:
        return self.preprocess(Call(inputs=[("warm up", None)], parameters=ClassificationParameters(), single=True))

    def _default_function(self) -> Function:
        """As transformers' pipeline chooses."""
        problem = self._model.config.problem_type
        if problem == "regression":
            return "none"
        if problem == "multi_label_classification" or self._model.config.num_labels == 1:
            return "sigmoid"
        return "softmax"


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


def _softmax(logits: Any) -> Any:
    e = np.exp(logits - logits.max())
    return e / e.sum()


def _sigmoid(logits: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-logits))


_APPLY: dict[str, Callable[[Any], Any]] = {"softmax": _softmax, "sigmoid": _sigmoid, "none": lambda logits: logits}


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    model = load_text_model(artifact, AutoModelForSequenceClassification, limits)
    return model.loaded(TextClassification(model, limits))
