"""Which kind of batches is right for a model, found when it is loaded.

A batch is right where each of its answers is what the model would write alone. Transformers' models differ in how they
count positions, mask padding and keep their past, and say little of it; so what a model cannot do by its config is
refused at once, and the rest is tried: a few answers, of which some begin while others run and some end before, against
one forward of each alone.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers.cache_utils import get_layer_types_and_kwargs

from slipway_runtime.tasks.adapter import Forward, Item
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.generation.answers import Answers
from slipway_runtime.tasks.generation.continuous import ContinuousBatches
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sampling import Sampling
from slipway_runtime.tasks.generation.static import StaticBatches
from slipway_runtime.tasks.loading import Network

Mode = Literal["continuous", "static", "sequential"]

STATIC_ROWS = 32
_PART = 8  # of the trial's longest prompt, so that reading in parts is tried too
_TOP = 8  # logits to compare at each place
_PROMPTS = ((9, 6), (5, 3))  # (tokens, new tokens)
_LATER = ((14, 4), (3, 3))
# Of a log probability. Rounding moves it by less, another position or a wrong mask by far more.
_TOLERANCE = {torch.float32: 2e-3, torch.float64: 2e-3}
_HALF_TOLERANCE = 0.25

logger = logging.getLogger("slipway_runtime")


@dataclass(frozen=True)
class Choice:
    """How a model's answers are written."""

    forward: Forward
    mode: Mode
    reason: str = ""
    """Why it is no better mode."""


def choose(network: Network, answers: Answers, alone: StaticBatches) -> Choice:
    """Try, best first. `alone`: what writes one by one."""
    positions = table_of_positions(network)
    answers.bytes_per_token = measure(answers)
    if answers.decoder_start is not None:
        return Choice(StaticBatches(answers, STATIC_ROWS, positions), "static", "it is an encoder-decoder")
    if looks_at_the_longest(network.config.get_text_config()):
        return Choice(alone, "sequential", "its rotary positions are scaled by the longest row of a batch")
    trial = _Trial(network, answers)
    reason = refused(network)
    if not reason:
        reason = trial.differs(ContinuousBatches(answers, part=_PART))
    if not reason:
        return Choice(ContinuousBatches(answers), "continuous")
    static = StaticBatches(answers, STATIC_ROWS, positions)
    worse = trial.differs(static)
    return Choice(alone, "sequential", f"{reason}; {worse}") if worse else Choice(static, "static", reason)


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


class _Trial:
    """A few prompts, and what the model says of each alone."""

    def __init__(self, network: Network, answers: Answers) -> None:
        self._answers = answers
        self._tolerance = _TOLERANCE.get(network.model.dtype, _HALF_TOLERANCE)
        size = min(int(network.config.get_text_config().vocab_size), len(answers.vocabulary.tokenizer))
        self._ids = [one for one in range(size) if one not in answers.vocabulary.special] or [0]

    def differs(self, forward: Forward) -> str:
        """In which way its answers are not those of the model alone; empty where they are."""
        items = [self._item(forward, n, *sizes) for n, sizes in enumerate((*_PROMPTS, *_LATER))]
        first, later = items[: len(_PROMPTS)], items[len(_PROMPTS) :]
        try:
            if isinstance(forward, ContinuousBatches):
                feed = _Script(later)
                forward.run(first, feed)
                outputs = [feed.found[id(item)] for item in items]
            else:
                outputs = forward(items)
            wrong = max(self._distance(item.data, output) for item, output in zip(items, outputs, strict=True))
        except Exception as error:
            logger.info("a trial of batches ended", exc_info=error)
            return f"its trial ended in {type(error).__name__}"
        kind = "running" if isinstance(forward, ContinuousBatches) else "padded"
        return "" if wrong <= self._tolerance else f"in a {kind} batch its log probabilities move by {wrong:.2g}"

    def _item(self, forward: Forward, seed: int, length: int, new: int) -> Item:
        ids = [self._ids[(7 + 31 * seed + 13 * place * place) % len(self._ids)] for place in range(length)]
        # No end comes before its time.
        prompt = Prompt(ids, max_new_tokens=new, sampling=Sampling(min_new_tokens=new), top_n_tokens=_TOP)
        return Item(forward=forward, length=length, data=prompt, room=new)

    def _distance(self, prompt: Prompt, output: Generated | Exception) -> float:
        """How far the log probabilities of an answer are from those of one forward over it and its prompt."""
        if isinstance(output, Exception):
            raise output
        ids = torch.tensor([[*prompt.ids, *(token.id for token in output.tokens[:-1])]], device=self._answers.device)
        with torch.inference_mode():
            made = self._answers.model(input_ids=ids, attention_mask=torch.ones_like(ids))
            logprobs = made.logits[0, len(prompt.ids) - 1 :].float().log_softmax(-1).cpu()
        moved = [
            abs(one.logprob - float(row[one.id]))
            for row, token in zip(logprobs, output.tokens, strict=True)
            for one in (token, *token.top)
        ]
        return float("inf") if any(math.isnan(distance) for distance in moved) else max(moved)


class _Script:
    """A feed that gives the later ones while the first ones run."""

    def __init__(self, later: Several[Item]) -> None:
        self._later = list(later)
        self._calls = 0
        self.found: dict[int, Any] = {}

    def more(self, fits: Callable[[Item], bool]) -> list[Item]:
        self._calls += 1
        if self._calls < 3:
            return []
        given = [item for item in self._later if fits(item)]
        self._later = []
        return given

    def done(self, item: Item, output: Any) -> None:
        self.found[id(item)] = output
