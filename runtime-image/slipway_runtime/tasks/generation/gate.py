"""Which kind of batches is right for a model, found when it is loaded.

A batch is right where each of its answers is what the model would write alone. Transformers' models differ in how they
count positions, mask padding and keep their past, and say little of it; so what a model cannot do by its config is
refused at once, and the rest is tried (trial.py).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers.cache_utils import get_layer_types_and_kwargs

from slipway_runtime.tasks.adapter import Forward
from slipway_runtime.tasks.generation.answers import Answers
from slipway_runtime.tasks.generation.continuous import ContinuousBatches
from slipway_runtime.tasks.generation.prefixes import Prefixes
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.static import StaticBatches
from slipway_runtime.tasks.generation.trial import BLOCK, PART, Trial
from slipway_runtime.tasks.loading import Network

Mode = Literal["continuous", "static", "sequential"]

STATIC_ROWS = 32

logger = logging.getLogger("slipway_runtime")


@dataclass(frozen=True)
class Choice:
    """How a model's answers are written."""

    forward: Forward
    mode: Mode
    reason: str = ""
    """Why it is no better mode."""
    reuses: bool = False
    """Whether prompts go on from earlier ones that begin the same."""
    unshared: str = ""
    """Why not, in a continuous batch."""


def choose(network: Network, answers: Answers, alone: StaticBatches, prefix_tokens: int) -> Choice:
    """Try, best first. `alone`: what writes one by one. `prefix_tokens`: kept for prompts that begin the same."""
    positions = table_of_positions(network)
    answers.bytes_per_token = measure(answers)
    if answers.decoder_start is not None:
        return Choice(StaticBatches(answers, STATIC_ROWS, positions), "static", "it is an encoder-decoder")
    if looks_at_the_longest(network.config.get_text_config()):
        return Choice(alone, "sequential", "its rotary positions are scaled by the longest row of a batch")
    trial = Trial(network, answers)
    reason = refused(network)
    if not reason:
        unshared = "SLIPWAY_MAX_PREFIX_TOKENS is 0"
        if prefix_tokens:
            unshared = trial.differs(ContinuousBatches(answers, part=PART, prefixes=Prefixes(prefix_tokens, BLOCK)))
        if not unshared:
            return Choice(ContinuousBatches(answers, prefixes=Prefixes(prefix_tokens)), "continuous", reuses=True)
        reason = trial.differs(ContinuousBatches(answers, part=PART))
    if not reason:
        return Choice(ContinuousBatches(answers), "continuous", unshared=unshared)
    static = StaticBatches(answers, STATIC_ROWS, positions)
    worse = trial.differs(static)
    return Choice(alone, "sequential", f"{reason}; {worse}") if worse else Choice(static, "static", reason)


def refuses_images(network: Network, answers: Answers, alone: StaticBatches, pictured: Several[Prompt]) -> str:
    """Why prompts with images may not join a continuous batch, which is right for texts; empty where they may.
    `pictured`: some."""
    return Trial(network, answers).differs_with_images(alone, pictured)


def differs_now(network: Network, answers: Answers, forward: ContinuousBatches) -> str:
    """Why continuous batches of a model that was changed since are no longer right; empty where they are."""
    prefixes = Prefixes(forward.prefixes.most, BLOCK) if forward.prefixes is not None else None
    return Trial(network, answers).differs(ContinuousBatches(answers, part=PART, prefixes=prefixes))


def refused(network: Network) -> str:
    """Why continuous batching is not even tried; empty where it is."""
    takes = inspect.signature(network.model.forward).parameters
    for name in ("input_ids", "attention_mask", "past_key_values"):
        if name not in takes:
            return f"{type(network.model).__name__} takes no {name}"
    kinds = set(get_layer_types_and_kwargs(network.config.get_text_config(decoder=True))[0])
    others = sorted(kinds - {"full_attention", "sliding_attention"})
    return f"its layers of {', '.join(others)} keep more than keys and values" if others else ""


def table_of_positions(network: Network) -> int | None:
    """How many positions the model has, where it looks them up; rotary ones are computed and go on."""
    if any(name.endswith("inv_freq") for name, _ in network.model.named_buffers()):
        return None
    positions = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) else None


def looks_at_the_longest(config: Any) -> bool:
    """Whether its rotary positions are scaled by the longest row of a batch: no answer may depend on its neighbours."""
    rope = getattr(config, "rope_parameters", None)
    among = [rope, *rope.values()] if isinstance(rope, dict) else []  # some have them by kind of layer
    return any(isinstance(one, dict) and one.get("rope_type") in ("dynamic", "longrope") for one in among)


def measure(answers: Answers, length: int = 4) -> int:
    """Bytes of a row's cache per token, by one forward; 0 where they are not known or it does not grow."""
    ids = torch.full((1, length), answers.pad, device=answers.device)
    more = {} if answers.decoder_start is None else {"decoder_input_ids": ids}
    try:
        with torch.inference_mode():
            made = answers.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, **more)
        cache = getattr(made, "past_key_values", None)
        if cache is None:
            return 0
        layers = [layer for one in _decoders_of(cache) for layer in one.layers]
        kept = [tensor for layer in layers for tensor in (layer.keys, layer.values) if tensor is not None]
    except Exception as error:
        logger.info("a cache could not be measured", exc_info=error)
        return 0
    return int(sum(tensor.numel() * tensor.element_size() for tensor in kept)) // length


def _decoders_of(cache: Any) -> list[Any]:
    """An encoder-decoder has a second one, of what its encoder made."""
    both = [getattr(cache, name, None) for name in ("self_attention_cache", "cross_attention_cache")]
    return [one for one in both if one is not None] or [cache]
