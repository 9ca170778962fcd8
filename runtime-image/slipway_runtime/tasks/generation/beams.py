"""Whole answers of encoder-decoders by transformers' `generate`: beams, lengths and penalties as the repository sets
them and the request changes them. No streams: beams settle only at the end."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Item, Limits, Listener, Parameters
from slipway_runtime.tasks.generation.parameters import Above0, Count, Share
from slipway_runtime.tasks.loading import TextModel
from slipway_runtime.tasks.texts import Encoded

MAX_BEAMS = 16
_NEW_TOKENS = 256  # where neither repository nor request says; transformers' pipelines had it so
Length = Annotated[int, msgspec.Meta(ge=0)]


class GenerateParameters(Parameters, frozen=True, kw_only=True):
    """Those of `generate` that a request may set. max_length and min_length count the token that begins an answer."""

    max_new_tokens: Count | None = None
    min_new_tokens: Length | None = None
    max_length: Annotated[int, msgspec.Meta(ge=2)] | None = None
    min_length: Length | None = None
    num_beams: Annotated[int, msgspec.Meta(ge=1, le=MAX_BEAMS)] | None = None
    length_penalty: Annotated[float, msgspec.Meta(ge=-10, le=10)] | None = None
    early_stopping: bool | None = None
    no_repeat_ngram_size: Length | None = None
    repetition_penalty: Above0 | None = None
    do_sample: bool | None = None
    temperature: Above0 | None = None
    top_k: Count | None = None
    top_p: Share | None = None
    typical_p: Share | None = None
    seed: int | None = None


_WARPERS = ("temperature", "top_k", "top_p", "typical_p")
# What a repository may say for one of its tasks, beside lengths.
_OWN = ("num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size", "repetition_penalty")


Asked = Mapping[str, tuple[str, Any]]
"""What the request sets: name → (its field, value)."""


@dataclass(frozen=True)
class Settings:
    """Of one answer; those with equal settings share a batch."""

    max_new_tokens: int
    changes: tuple[tuple[str, Any], ...]
    """Other arguments of `generate`."""
    seed: int | None = None
    """Where tokens are drawn: such an item runs alone, so that its draws are its own."""


class Beams:
    """One network's `generate`."""

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        self._model = text_model
        self._limits = limits
        own = self._own = copy.deepcopy(text_model.model.generation_config)
        # The lengths are worked out here for each request; left there, they would contradict it.
        self._own_max, self._own_min = own.max_length, own.min_length
        own.max_length = own.min_length = None
        self._samples = bool(own.do_sample)
        self.forced_first: int | None = own.forced_bos_token_id
        positions = getattr(text_model.config, "max_position_embeddings", None)
        self._most = min(limits.max_new_tokens, positions - 1 if isinstance(positions, int) else limits.max_new_tokens)

    def settings(self, asked: Asked, own: dict[str, Any], *, first: int | None = None) -> Settings:
        """`own`: the repository's for this task; `first`: the token that an answer must begin with.

        Raises InvalidInput.
        """
        given = {name: value for name, (_, value) in asked.items()}
        most = self._most_new(asked, given, own)
        changes = {name: own[name] for name in _OWN if name in own}
        changes |= {name: value for name, value in given.items() if name in _OWN}
        samples = bool(given.get("do_sample", self._samples or any(name in given for name in _WARPERS)))
        if samples:
            changes |= {name: given[name] for name in _WARPERS if name in given}
        if first is not None:
            changes["forced_bos_token_id"] = first
        changes |= {"do_sample": samples, "min_new_tokens": self._least_new(asked, given, own, most)}
        seed = given.get("seed", secrets.randbits(63)) if samples else None
        return Settings(most, tuple(sorted(changes.items())), seed)

    def _most_new(self, asked: Asked, given: dict[str, Any], own: dict[str, Any]) -> int:
        new = _new_tokens("max", given, own, self._own_max) or _NEW_TOKENS
        field = _field("max", asked)
        if field and new > self._limits.max_new_tokens:
            raise InvalidInput(field, f"asks for {new} new tokens, at most {self._limits.max_new_tokens} are allowed")
        return min(new, self._most)

    def _least_new(self, asked: Asked, given: dict[str, Any], own: dict[str, Any], most: int) -> int:
        new = _new_tokens("min", given, own, self._own_min) or 0
        field = _field("min", asked)
        if field and new > most:
            raise InvalidInput(field, f"asks for {new} new tokens, there are at most {most}")
        return min(new, most)

    def forward(self, items: Sequence[Item]) -> list[list[int]]:
        """Items' data are (Encoded, Settings) → ids of the answers."""
        groups: dict[object, list[int]] = {}
        for i, item in enumerate(items):
            _, settings = item.data
            groups.setdefault(settings if settings.seed is None else i, []).append(i)
        outputs: dict[int, list[int]] = {}
        for places in groups.values():
            texts = [items[i].data[0] for i in places]
            heard = [items[i].listener for i in places]
            outputs.update(zip(places, self._generate(texts, items[places[0]].data[1], heard), strict=True))
        return [outputs[i] for i in range(len(items))]

    def _generate(self, texts: Sequence[Encoded], settings: Settings, heard: Sequence[Listener]) -> list[list[int]]:
        config = copy.deepcopy(self._own)
        config.update(max_new_tokens=settings.max_new_tokens, **dict(settings.changes))
        device = self._model.device
        with torch.inference_mode(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            if settings.seed is not None:
                torch.manual_seed(settings.seed % 2**64)
            ids = self._model.model.generate(
                **self._model.tokenizer.collate(texts, device),
                generation_config=config,
                stopping_criteria=StoppingCriteriaList([_NobodyWaits(heard)]),
            )
        rows: list[list[int]] = ids.tolist()
        return rows


def _new_tokens(end: str, given: dict[str, Any], own: dict[str, Any], default: int | None) -> int | None:
    """New tokens, the one that begins an answer not counted."""
    if f"{end}_new_tokens" in given:
        return int(given[f"{end}_new_tokens"])
    length = given.get(f"{end}_length", own.get(f"{end}_length", default))
    return max(0, int(length) - 1) if isinstance(length, int) else None


def _field(end: str, asked: Asked) -> str:
    """What the caller calls this limit; empty: it was not given. Raises InvalidInput where it was twice."""
    fields = [asked[name][0] for name in (f"{end}_new_tokens", f"{end}_length") if name in asked]
    if len(fields) > 1:
        raise InvalidInput(fields[1], f"is given beside {end}_new_tokens; give one of them")
    return fields[0] if fields else ""


class _NobodyWaits(StoppingCriteria):
    def __init__(self, heard: Sequence[Listener]) -> None:
        self._heard = heard

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002 - its own
        gone = all(listener.gone for listener in self._heard)
        return torch.full((len(input_ids),), gone, device=input_ids.device)
