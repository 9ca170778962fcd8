"""What the adapters over one TextModel share: their constructor, and how long texts are cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Parameters
from slipway_runtime.tasks.loading import TextModel
from slipway_runtime.tasks.texts import Cut


class Truncation(Parameters, frozen=True, kw_only=True):
    """`truncate` is text-embeddings-inference's name, `truncation` the pipeline's; either cuts long texts."""

    truncate: bool = False
    truncation: bool = False
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"

    @property
    def wanted(self) -> bool:
        return self.truncate or self.truncation

    @property
    def side(self) -> str:
        return self.truncation_direction.lower()


class TextAdapter(Adapter):
    """An adapter over a model that reads texts."""

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        self._model = text_model
        self._limits = limits


_QUICK_CHARACTERS = 500  # tokenized in well under 0.1 ms


def is_short(call: Call) -> bool:
    """Whether it is one short text, or pair of them."""
    if not isinstance(call.inputs, list) or len(call.inputs) != 1:
        return False
    [entry] = call.inputs
    return sum(len(text or "") for text in (entry if isinstance(entry, tuple) else (entry,))) <= _QUICK_CHARACTERS


class SequenceAdapter(TextAdapter):
    """An adapter over a model that gives logits for a whole text, or for a pair of texts."""

    def quick(self, call: Call) -> bool:
        return is_short(call)

    def item(
        self,
        text: str,
        pair: str | None = None,
        *,
        field: str = "inputs",
        truncate: bool = True,
        side: str = "right",
        cut: Cut = "longest_first",
    ) -> Item:
        """Tokenize. Raises InvalidInput where it is longer than the model takes and not to be cut."""
        encoded = self._model.tokenizer.encode(text, pair, field=field, truncate=truncate, side=side, cut=cut)
        return Item(forward=self.forward, length=len(encoded.ids), data=encoded)

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Logits [labels] per item, float32."""
        output, _ = self._model.run([item.data for item in items])
        return list(output.logits.float().cpu().numpy())


def unpadded(rows: Any, real: Any) -> list[Any]:
    """[batch, tokens, …] → float32 arrays without the padding. `real`: as `TextModel.run` gives it."""
    return [row[keep].float().cpu().numpy() for row, keep in zip(rows, real, strict=True)]


def needs_offsets(text_model: TextModel, artifact: Artifact) -> TextModel:
    """The model itself; ModelFault where its tokenizer does not know where in the text its tokens stand."""
    if not text_model.tokenizer.has_offsets:
        name = type(text_model.tokenizer.tokenizer).__name__
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id}: its tokenizer ({name}) does not give the places of tokens, which this task answers with; "
            "add a tokenizer.json",
            "model",
        )
    return text_model
