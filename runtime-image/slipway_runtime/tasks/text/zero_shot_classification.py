"""zero-shot-classification: a text and labels that the request names → the labels with scores, best first.

A model for natural language inference reads the text as the premise and each label, set into hypothesis_template, as
the hypothesis; how far the one entails the other is the label's score. One text → [{label, score}, …]; a list → one
list each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded
from slipway_runtime.tasks.labels import filled, labels_of
from slipway_runtime.tasks.loading import TextModel
from slipway_runtime.tasks.scores import softmax
from slipway_runtime.tasks.text.text_adapter import SequenceAdapter, Truncation
from slipway_runtime.tasks.texts import texts_of, too_long


class ZeroShotParameters(Truncation, frozen=True, kw_only=True):
    """Only the text is ever cut, never a label."""

    candidate_labels: list[str] | str | None = None
    """A string holds several, with commas between them."""
    multi_label: bool = False
    """Each label for itself, instead of one among all."""
    hypothesis_template: str = "This example is {}."


class ZeroShotClassification(SequenceAdapter):
    """The adapter."""

    task = "zero-shot-classification"
    parameters = ZeroShotParameters

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(text_model, limits)
        labels = text_model.config.id2label.items()
        self._entails = next(int(i) for i, label in labels if str(label).lower().startswith("entail"))
        # As transformers' pipeline has it: these models put it first, or last where entailment is first.
        self._contradicts = -1 if self._entails == 0 else 0

    def accepts(self, inputs: object, parameters: Mapping[str, Any]) -> bool:  # noqa: ARG002 - the shape of every adapter
        return "candidate_labels" in parameters

    def parse(self, inputs: object, parameters: ZeroShotParameters) -> Call:
        texts, single = texts_of(inputs, "inputs", self._limits)
        labels = labels_of(parameters.candidate_labels, self._limits)
        most = self._limits.max_inputs
        if len(texts) * len(labels) > most:
            raise InvalidInput(
                "parameters.candidate_labels",
                f"has {len(labels)} labels for each of {len(texts)} texts, at most {most} are allowed; send several "
                "requests",
            )
        filled(parameters.hypothesis_template, labels)
        return Call(inputs=(texts, labels), parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        p: ZeroShotParameters = call.parameters
        texts, labels = call.inputs
        tokenizer = self._model.tokenizer
        hypotheses = filled(p.hypothesis_template, labels)
        for i, hypothesis in enumerate(hypotheses):
            tokens = tokenizer.count(hypothesis) + tokenizer.special_tokens(pair=True)
            if tokens >= tokenizer.limit:  # nothing would be left for the text
                raise too_long(f"parameters.candidate_labels[{i}]", tokens, tokenizer.limit, "")
        return [
            self.item(text, hypothesis, field=call.field(i), truncate=p.wanted, side=p.side, cut="only_first")
            for i, text in enumerate(texts)
            for hypothesis in hypotheses
        ]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        texts, labels = call.inputs
        logits = np.stack(outputs).reshape(len(texts), len(labels), -1)
        if call.parameters.multi_label or len(labels) == 1:
            scores = softmax(logits[..., [self._contradicts, self._entails]])[..., 1]
        else:
            scores = softmax(logits[..., self._entails])
        answers = [
            [{"label": labels[i], "score": float(row[i])} for i in np.argsort(-row, kind="stable")] for row in scores
        ]
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        return [self.item("warm up", "This example is small.")]


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model, which also does text-classification by its own labels. Raises ModelFault."""
    from slipway_runtime.tasks.text.classifiers import load_classifier  # noqa: PLC0415 - that module needs this one

    return load_classifier("zero-shot-classification", artifact, limits)
