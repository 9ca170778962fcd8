"""sentence-similarity: {"source_sentence": s, "sentences": [t, …]} → cosine similarity of s with each t."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.text.sentence_encoder import SentenceEncoder, normalized
from slipway_runtime.tasks.texts import kind_of, texts_of

FIELDS = {"source_sentence", "sentences"}


class SimilarityParameters(Parameters, frozen=True, kw_only=True):
    """Long texts are cut, as sentence-transformers does; `truncate: false` refuses them."""

    prompt_name: str | None = None
    truncate: bool = True
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"


class SentenceSimilarity(Adapter):
    """The adapter."""

    task = "sentence-similarity"
    parameters = SimilarityParameters

    def __init__(self, encoder: SentenceEncoder, limits: Limits) -> None:
        self._encoder = encoder
        self._limits = limits

    def accepts(self, inputs: object, parameters: Mapping[str, Any]) -> bool:  # noqa: ARG002 - the shape of every adapter
        return isinstance(inputs, dict)

    def parse(self, inputs: object, parameters: SimilarityParameters) -> Call:
        if not isinstance(inputs, dict):
            raise InvalidInput("inputs", f"must be an object with source_sentence and sentences, got {kind_of(inputs)}")
        if set(inputs) != FIELDS:
            got = ", ".join(sorted(map(str, inputs)))[:200] or "none"
            raise InvalidInput("inputs", f"must have exactly source_sentence and sentences, got {got}")
        if not isinstance(inputs["source_sentence"], str):
            raise InvalidInput("inputs.source_sentence", f"must be a string, got {kind_of(inputs['source_sentence'])}")
        if not isinstance(inputs["sentences"], list):
            raise InvalidInput("inputs.sentences", f"must be a list of strings, got {kind_of(inputs['sentences'])}")
        source, _ = texts_of(inputs["source_sentence"], "inputs.source_sentence", self._limits)
        sentences, _ = texts_of(inputs["sentences"], "inputs.sentences", self._limits)
        return Call(inputs=source + sentences, parameters=parameters, single=False)

    def preprocess(self, call: Call) -> list[Item]:
        p: SimilarityParameters = call.parameters
        fields = ["inputs.source_sentence", *(f"inputs.sentences[{i}]" for i in range(len(call.inputs) - 1))]
        return [
            self._encoder.item(
                text,
                field=field,
                prompt_name=p.prompt_name,
                truncate=p.truncate,
                side=p.truncation_direction.lower(),
            )
            for text, field in zip(call.inputs, fields, strict=True)
        ]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:  # noqa: ARG002 - the shape of every adapter
        source, *others = (normalized(output) for output in outputs)
        return [float(source @ other) for other in others]

    def warmup(self) -> list[Item]:
        return [self._encoder.item("warm up", field="inputs")]


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    from slipway_runtime.tasks.text.feature_extraction import load_sentence_model  # noqa: PLC0415 - that module needs this one

    return load_sentence_model("sentence-similarity", artifact, limits)
