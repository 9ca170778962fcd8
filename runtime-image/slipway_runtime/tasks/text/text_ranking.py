"""text-ranking: {"query": q, "texts": [t, …]} → [{index, score, text?}, …], best first.

Names and answer are those of text-embeddings-inference's /rerank: a score is the sigmoid of the cross-encoder's logit,
or the logit itself with raw_scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.scores import sigmoid
from slipway_runtime.tasks.text.text_adapter import SequenceAdapter
from slipway_runtime.tasks.texts import kind_of, texts_of

_FIELDS = {"query", "texts"}


class RankingParameters(Parameters, frozen=True, kw_only=True):
    """Long pairs are cut, as sentence-transformers does; `truncate: false` refuses them."""

    raw_scores: bool = False
    return_text: bool = False
    truncate: bool = True
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"


class TextRanking(SequenceAdapter):
    """The adapter."""

    task = "text-ranking"
    parameters = RankingParameters

    def accepts(self, inputs: object, parameters: Mapping[str, Any]) -> bool:  # noqa: ARG002 - the shape of every adapter
        return isinstance(inputs, dict) and "query" in inputs

    def parse(self, inputs: object, parameters: RankingParameters) -> Call:
        if not isinstance(inputs, dict):
            raise InvalidInput("inputs", f"must be an object with query and texts, got {kind_of(inputs)}")
        if set(inputs) != _FIELDS:
            got = ", ".join(sorted(map(str, inputs)))[:200] or "none"
            raise InvalidInput("inputs", f"must have exactly query and texts, got {got}")
        if not isinstance(inputs["query"], str):
            raise InvalidInput("inputs.query", f"must be a string, got {kind_of(inputs['query'])}")
        if not isinstance(inputs["texts"], list):
            raise InvalidInput("inputs.texts", f"must be a list of strings, got {kind_of(inputs['texts'])}")
        [query], _ = texts_of(inputs["query"], "inputs.query", self._limits)
        texts, _ = texts_of(inputs["texts"], "inputs.texts", self._limits)
        return Call(inputs=(query, texts), parameters=parameters, single=True)

    def preprocess(self, call: Call) -> list[Item]:
        p: RankingParameters = call.parameters
        query, texts = call.inputs
        return [
            self.item(
                query,
                text,
                field=f"inputs.texts[{i}]",
                truncate=p.truncate,
                side=p.truncation_direction.lower(),
            )
            for i, text in enumerate(texts)
        ]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        p: RankingParameters = call.parameters
        _, texts = call.inputs
        logits = np.concatenate(outputs)
        scores = logits if p.raw_scores else sigmoid(logits)
        return [
            {"index": int(i), "score": float(scores[i])} | ({"text": texts[i]} if p.return_text else {})
            for i in np.argsort(-logits, kind="stable")
        ]

    def warmup(self) -> list[Item]:
        return [self.item("warm", "up")]


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the cross-encoder, which also does text-classification. Raises ModelFault."""
    from slipway_runtime.tasks.text.classifiers import load_classifier  # noqa: PLC0415 - that module needs this one

    return load_classifier("text-ranking", artifact, limits)
