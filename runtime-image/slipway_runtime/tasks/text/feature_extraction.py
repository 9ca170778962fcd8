"""feature-extraction: texts → vectors.

A sentence-transformers model gives one vector per text: [width] for a string, [[width], …] for a list. Any other
model gives one vector per token, as the Hub's API does: [tokens, width] for a string (the pipeline's leading 1 is
dropped), a list of those for a list.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from transformers import AutoModel

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import TextModel, load_text_model
from slipway_runtime.tasks.text.sentence_encoder import SentenceEncoder, load_encoder, normalized
from slipway_runtime.tasks.text.sentence_similarity import SentenceSimilarity
from slipway_runtime.tasks.text.text_adapter import is_short, unpadded
from slipway_runtime.tasks.texts import texts_of


class FeatureParameters(Parameters, frozen=True, kw_only=True):
    """InferenceClient sends these beside `inputs`, not under `parameters`."""

    normalize: bool | None = None
    """None: as the model's own modules say."""
    prompt_name: str | None = None
    truncate: bool | None = None
    """None: cut for sentence-transformers models, refuse for others."""
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"


class _Texts(Adapter):
    """What both kinds share."""

    task = "feature-extraction"
    parameters = FeatureParameters

    def __init__(self, limits: Limits, width: int) -> None:
        self._limits = limits
        self._width = width

    def accepts(self, inputs: object, parameters: Mapping[str, Any]) -> bool:  # noqa: ARG002 - the shape of every adapter
        return not isinstance(inputs, dict)

    def quick(self, call: Call) -> bool:
        return is_short(call)

    def parse(self, inputs: object, parameters: FeatureParameters) -> Call:
        if parameters.dimensions is not None and parameters.dimensions > self._width:
            raise InvalidInput(
                "parameters.dimensions", f"{parameters.dimensions} is more than the model's {self._width} dimensions"
            )
        texts, single = texts_of(inputs, "inputs", self._limits)
        return Call(inputs=texts, parameters=parameters, single=single)

    def _finish(self, call: Call, outputs: list[Any], *, normalize: bool) -> Any:
        p: FeatureParameters = call.parameters
        if p.dimensions is not None:
            outputs = [output[..., : p.dimensions] for output in outputs]
        if normalize:  # after cutting: a cut vector is no longer of length 1
            outputs = [normalized(output) for output in outputs]
        answers: list[Any] = [np.ascontiguousarray(output, dtype=np.float32) for output in outputs]
        if p.encoding_format == "base64":
            answers = [base64.b64encode(answer.astype("<f4").tobytes()).decode() for answer in answers]
        return answers[0] if call.single else answers


class SentenceFeatures(_Texts):
    """One vector per text."""

    def __init__(self, encoder: SentenceEncoder, limits: Limits, width: int) -> None:
        super().__init__(limits, width)
        self._encoder = encoder

    def preprocess(self, call: Call) -> list[Item]:
        p: FeatureParameters = call.parameters
        return [
            self._encoder.item(
                text,
                field=call.field(i),
                prompt_name=p.prompt_name,
                truncate=p.truncate is not False,
                side=p.truncation_direction.lower(),
            )
            for i, text in enumerate(call.inputs)
        ]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        wanted = call.parameters.normalize
        return self._finish(call, outputs, normalize=self._encoder.config.normalize if wanted is None else wanted)

    def warmup(self) -> list[Item]:
        return [self._encoder.item("warm up", field="inputs")]


class TokenFeatures(_Texts):
    """One vector per token."""

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(limits, text_model.config.hidden_size)
        self._model = text_model

    def preprocess(self, call: Call) -> list[Item]:
        p: FeatureParameters = call.parameters
        if p.prompt_name is not None:
            raise InvalidInput(
                "parameters.prompt_name", "this model has no prompts (it is not a sentence-transformers model)"
            )
        items = []
        for i, text in enumerate(call.inputs):
            encoded = self._model.tokenizer.encode(
                text,
                field=call.field(i),
                truncate=bool(p.truncate),
                side=p.truncation_direction.lower(),
            )
            items.append(Item(forward=self.forward, length=len(encoded.ids), data=encoded))
        return items

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """[tokens, width] per item, float32, padding cut off."""
        output, real = self._model.run([item.data for item in items])
        return unpadded(output[0], real)

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        return self._finish(call, outputs, normalize=bool(call.parameters.normalize))

    def warmup(self) -> list[Item]:
        return self.preprocess(Call(inputs=["warm up"], parameters=FeatureParameters(), single=True))


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model; a sentence-transformers model also answers sentence-similarity. Raises ModelFault."""
    if "Pooling" in artifact.modules:
        return load_sentence_model("feature-extraction", artifact, limits)
    model = load_text_model(artifact, AutoModel, limits, optional=("pooler.",))
    return model.loaded(TokenFeatures(model, limits))


def load_sentence_model(task: str, artifact: Artifact, limits: Limits) -> Loaded:
    """Both tasks of a sentence-transformers model over one set of weights, `task` as the default."""
    encoder = load_encoder(artifact, limits)
    width = len(encoder.forward([encoder.item("width", field="inputs")])[0])
    adapters = (SentenceFeatures(encoder, limits, width), SentenceSimilarity(encoder, limits))
    return encoder.text_model.loaded(
        *sorted(adapters, key=lambda adapter: adapter.task != task), max_input_tokens=encoder.limit
    )
