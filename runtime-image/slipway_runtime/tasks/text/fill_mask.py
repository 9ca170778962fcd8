"""fill-mask: a text with masks → the likeliest tokens for each.

One mask → a flat list of {sequence, score, token, token_str}; several masks → a list of such lists. A list of texts →
one answer each. `targets` limits the choice; one that is not in the vocabulary counts as its first token, as in
transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from transformers import AutoModelForMaskedLM

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import TextModel, load_text_model
from slipway_runtime.tasks.scores import highest, softmax
from slipway_runtime.tasks.text.text_adapter import TextAdapter
from slipway_runtime.tasks.texts import Encoded, texts_of

Target = Annotated[str, msgspec.Meta(min_length=1)]
Targets = Annotated[list[Target], msgspec.Meta(min_length=1, max_length=1000)]


class FillMaskParameters(Parameters, frozen=True, kw_only=True):
    """Long texts are always refused: cutting could cut the mask."""

    top_k: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    targets: Targets | Target | None = None


@dataclass(frozen=True)
class MaskedItem:
    """A tokenized text and the places of its masks."""

    encoded: Encoded
    masks: tuple[int, ...]


class FillMask(TextAdapter):
    """The adapter."""

    task = "fill-mask"
    parameters = FillMaskParameters

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(text_model, limits)
        self._tokenizer = text_model.tokenizer.tokenizer
        self._vocabulary: dict[str, int] = self._tokenizer.get_vocab()

    def parse(self, inputs: object, parameters: FillMaskParameters) -> Call:
        texts, single = texts_of(inputs, "inputs", self._limits)
        return Call(inputs=texts, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        items = []
        for i, text in enumerate(call.inputs):
            field = call.field(i)
            encoded = self._model.tokenizer.encode(text, field=field, truncate=False, side="")
            masks = tuple(place for place, token in enumerate(encoded.ids) if token == self._tokenizer.mask_token_id)
            if not masks:
                raise InvalidInput(
                    field, f"has no mask; write {self._tokenizer.mask_token} where a word is to be found"
                )
            items.append(Item(forward=self.forward, length=len(encoded.ids), data=MaskedItem(encoded, masks)))
        return items

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Per item: its token ids and the logits [masks, vocabulary] at its masks, float32."""
        output, real = self._model.run([item.data.encoded for item in items])
        outputs = []
        for row, item in enumerate(items):
            shift = int(real[row].int().argmax())  # left padding moves the masks
            places = [shift + place for place in item.data.masks]
            outputs.append((item.data, output.logits[row, places].float().cpu().numpy()))
        return outputs

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        p: FillMaskParameters = call.parameters
        among = self._target_ids(p.targets) if p.targets is not None else None
        answers = [self._answer(item, logits, p.top_k, among) for item, logits in outputs]
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        return self.preprocess(
            Call(inputs=[f"warm {self._tokenizer.mask_token}"], parameters=FillMaskParameters(), single=True)
        )

    def _answer(self, item: MaskedItem, logits: Any, top_k: int, among: Any) -> Any:
        rows = [self._choices(item, i, row, top_k, among) for i, row in enumerate(logits)]
        return rows[0] if len(rows) == 1 else rows

    def _choices(self, item: MaskedItem, mask: int, logits: Any, top_k: int, among: Any) -> list[dict[str, Any]]:
        scores = softmax(logits)
        best = highest(scores, top_k) if among is None else among[highest(scores[among], top_k)]
        choices = []
        for token in best.tolist():
            ids = list(item.encoded.ids)
            ids[item.masks[mask]] = token
            # With several masks the others are shown, so special tokens stay.
            sequence = self._tokenizer.decode(ids, skip_special_tokens=len(item.masks) == 1)
            choices.append(
                {
                    "score": float(scores[token]),
                    "token": token,
                    "token_str": self._tokenizer.decode([token]),
                    "sequence": sequence,
                }
            )
        return choices

    def _target_ids(self, targets: list[str] | str) -> Any:
        names = [targets] if isinstance(targets, str) else targets
        ids: dict[int, None] = {}
        for i, name in enumerate(names):
            token = self._vocabulary.get(name)
            if token is None:
                pieces = self._tokenizer.encode(name, add_special_tokens=False)
                if not pieces:
                    raise InvalidInput(f"parameters.targets[{i}]", "has no token of this model's vocabulary")
                token = pieces[0]
            ids[token] = None
        return np.array(list(ids))


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    model = load_text_model(artifact, AutoModelForMaskedLM, limits)
    if model.tokenizer.tokenizer.mask_token_id is None:
        raise ModelFault(
            "TaskNotSupported", f"{artifact.id}: its tokenizer has no mask token, so it cannot do fill-mask", "task"
        )
    return model.loaded(FillMask(model, limits))
