"""Models that write a short text about one image: what they are asked to write like, and the batched `generate`.

For encoder-decoders and the like, whose answers are a line long. Models that chat write by tasks/generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Item, Limits
from slipway_runtime.tasks.loading import Network
from slipway_runtime.tasks.vision.image_adapter import Shapes

DEFAULT_NEW_TOKENS = 256  # as transformers' pipeline, where the model's generation_config.json says nothing
MAX_BEAMS = 16
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Part = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Style(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, omit_defaults=True):
    """What may be asked of `generate`, under its own names: a closed list."""

    max_new_tokens: Positive | None = None
    min_new_tokens: Count | None = None
    do_sample: bool | None = None
    num_beams: Annotated[int, msgspec.Meta(ge=1, le=MAX_BEAMS)] | None = None
    temperature: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    top_k: Count | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    typical_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    epsilon_cutoff: Part | None = None
    eta_cutoff: Part | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    length_penalty: Annotated[float, msgspec.Meta(ge=-100, le=100)] | None = None
    no_repeat_ngram_size: Count | None = None
    early_stopping: bool | None = None
    use_cache: bool | None = None

    def given(self) -> dict[str, Any]:
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


def style_of(max_new_tokens: int | None, style: Style | None, field: str, limits: Limits) -> Style:
    """One style of the two places where the length may stand. Raises InvalidInput."""
    asked = style or Style()
    if max_new_tokens is not None:
        if asked.max_new_tokens is not None:
            raise InvalidInput("parameters.max_new_tokens", f"is given twice: also in {field}")
        asked, field = msgspec.structs.replace(asked, max_new_tokens=max_new_tokens), "parameters"
    if (asked.max_new_tokens or 0) > limits.max_new_tokens:
        raise InvalidInput(
            f"{field}.max_new_tokens", f"is {asked.max_new_tokens}, at most {limits.max_new_tokens} are allowed"
        )
    return asked


@dataclass(frozen=True)
class Writing:
    """The forward of one style: items of equal style, and tensors of equal shapes, share batches.

    Nothing is padded, since these models' `generate` has no mask for it, and an answer must not depend on neighbours.
    """

    writer: Writer
    style: Style
    shapes: Shapes

    def __call__(self, items: Sequence[Item]) -> list[Any]:
        return self.writer.write(self.style, items)


class Writer:
    """A network that writes from tensors alone."""

    def __init__(self, network: Network, limits: Limits, *, positions: int | None) -> None:
        self._network = network
        self._most = limits.max_new_tokens
        self._positions = positions
        """How many tokens its decoder can hold; None: any."""

    def item(self, tensors: dict[str, torch.Tensor], style: Style, length: int) -> Item:
        """`tensors`: what `generate` gets, without the batch dimension. `length`: tokens that the model sees."""
        shapes = tuple((name, tensor.shape) for name, tensor in tensors.items())
        return Item(Writing(self, style, shapes), length, tensors)

    def write(self, style: Style, items: Sequence[Item]) -> list[Any]:
        """The ids of each item's answer, a decoder's prompt before it."""
        network = self._network
        stacked = {name: torch.stack([item.data[name] for item in items]) for name in items[0].data}
        batch = {
            name: tensor.to(network.device, dtype=network.model.dtype if tensor.is_floating_point() else None)
            for name, tensor in stacked.items()
        }
        prompt = batch["decoder_input_ids"].shape[1] if "decoder_input_ids" in batch else 1
        options = {**style.given(), "max_new_tokens": self._new_tokens(style, prompt)}
        stop = StoppingCriteriaList([_Gone(items, style.num_beams or self._beams())])
        with torch.inference_mode():
            written = network.model.generate(**batch, **options, stopping_criteria=stop)
        return [row.tolist() for row in written.cpu()]

    def _beams(self) -> int:
        return getattr(self._network.model.generation_config, "num_beams", None) or 1

    def _new_tokens(self, style: Style, prompt: int) -> int:
        """As asked, as the model's own configuration says, or a default; never more than the decoder can hold."""
        own = self._network.model.generation_config
        wanted = style.max_new_tokens or own.max_new_tokens
        wanted = wanted or (own.max_length - prompt if own.max_length else DEFAULT_NEW_TOKENS)
        room = self._positions - prompt if self._positions else self._most
        return max(1, min(wanted, room, self._most))


class _Gone(StoppingCriteria):
    """Ends the rows that nobody waits for."""

    def __init__(self, items: Sequence[Item], beams: int) -> None:
        self._items, self._beams = items, beams

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - transformers' shape
        gone = torch.tensor([item.listener.gone for item in self._items], device=input_ids.device)
        return gone.repeat_interleave(len(input_ids) // len(self._items))
