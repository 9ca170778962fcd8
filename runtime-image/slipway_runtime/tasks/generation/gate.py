"""Which kind of batches is right for a model, found when it is loaded.

A batch is right where each of its answers is what the model would write alone. Transformers' models differ in how they
count positions, mask padding and keep their past, and say little of it; so what a model cannot do by its config is
refused at once, and the rest is tried: a few answers, of which some begin while others run and some end before, some go
on from what others have read or written, against one forward of each alone.
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
from slipway_runtime.tasks.generation.prefixes import Prefixes
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sampling import Sampling
from slipway_runtime.tasks.generation.static import StaticBatches
from slipway_runtime.tasks.loading import Network

Mode = Literal["continuous", "static", "sequential"]

STATIC_ROWS = 32
_PART = 8  # of the trial's longest prompt, so that reading in parts is tried too
_TOP = 8  # logits to compare at each place
_BLOCK = 4  # tokens, of what is shared in the trial
# (tokens, new tokens, with how many tokens of the first it begins)
_FIRST = ((9, 6, 9), (5, 3, 0))
_LATER = ((22, 5, 8), (3, 3, 0))
_LAST = ((11, 3, 8),)
_SHARED = 8 + 12 + 7  # tokens not to be read: of the long prompt; of a chat and of the last one, read together
# Of a log probability. Rounding moves it by less, another position or a wrong mask by far more.
_TOLERANCE = 2e-3
_ROUGH_TOLERANCE = 0.25  # of weights in half precision or int8

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
    trial = _Trial(network, answers)
    reason = refused(network)
    if not reason:
        unshared = "SLIPWAY_MAX_PREFIX_TOKENS is 0"
        if prefix_tokens:
            unshared = trial.differs(ContinuousBatches(answers, part=_PART, prefixes=Prefixes(prefix_tokens, _BLOCK)))
        if not unshared:
            return Choice(ContinuousBatches(answers, prefixes=Prefixes(prefix_tokens)), "continuous", reuses=True)
        reason = trial.differs(ContinuousBatches(answers, part=_PART))
    if not reason:
        return Choice(ContinuousBatches(answers), "continuous", unshared=unshared)
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
        fine = {torch.float32, torch.float64} >= {weight.dtype for weight in network.model.parameters()}
        self._tolerance = _TOLERANCE if fine else _ROUGH_TOLERANCE
        size = min(int(network.config.get_text_config().vocab_size), len(answers.vocabulary.tokenizer))
        self._ids = [one for one in range(size) if one not in answers.vocabulary.special] or [0]

    def differs(self, forward: Forward) -> str:
        """In which way its answers are not those of the model alone; empty where they are."""
        kind = "padded"
        try:
            if not isinstance(forward, ContinuousBatches):
                prompts = [*self._prompts(_FIRST), *self._prompts(_LATER)]
                answered = list(zip(prompts, forward([_item(forward, one) for one in prompts]), strict=True))
            else:
                kind = "running" if forward.prefixes is None else "prefix-sharing"
                answered = _Script(forward, self._prompts(_FIRST), self._prompts(_LATER), self._going_on).run()
            wrong = max(self._distance(prompt, output) for prompt, output in answered)
        except Exception as error:
            logger.info("a trial of batches ended", exc_info=error)
            return f"its trial ended in {type(error).__name__}"
        if kind == "prefix-sharing" and sum(output.cached_tokens for _, output in answered) < _SHARED:
            return "its trial had too little memory for what is shared"
        return "" if wrong <= self._tolerance else f"in a {kind} batch its log probabilities move by {wrong:.2g}"

    def _prompts(self, sizes: Several[tuple[int, int, int]]) -> list[Prompt]:
        found = []
        for length, new, same in sizes:
            own = 31 * length
            ids = [7 + (0 if place < same else own) + 13 * place * place for place in range(length)]
            found.append(_prompt([self._ids[one % len(self._ids)] for one in ids], new))
        return found

    def _going_on(self, first: Prompt, output: Generated) -> list[Prompt]:
        """From an answer, as a chat does, and from prompts: read together, with different amounts of it found."""
        return [_prompt([*first.ids, *(token.id for token in output.tokens), first.ids[0]], 3), *self._prompts(_LAST)]

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
    """A feed that gives later prompts while the first ones run, and then some that go on from what is there."""

    def __init__(
        self,
        forward: ContinuousBatches,
        first: list[Prompt],
        later: list[Prompt],
        last: Callable[[Prompt, Generated], list[Prompt]],
    ) -> None:
        self._forward = forward
        self._first = first
        # By the call before which they come. By the seventh the first answer has ended, and the longest prompt is read.
        self._waves = {3: lambda: later, 7: lambda: last(first[0], self._found(first[0]))}
        self._calls = 0
        self._answered: list[tuple[Prompt, Any]] = []

    def run(self) -> list[tuple[Prompt, Any]]:
        """All prompts with their answers."""
        self._forward.run([_item(self._forward, one) for one in self._first], self)
        return self._answered

    def more(self, fits: Callable[[Item], bool]) -> list[Item]:
        self._calls += 1
        wave = self._waves.get(self._calls, list)()
        return [item for item in (_item(self._forward, one) for one in wave) if fits(item)]

    def done(self, item: Item, output: Any) -> None:
        self._answered.append((item.data, output))

    def _found(self, prompt: Prompt) -> Any:
        return next(output for one, output in self._answered if one is prompt)


def _prompt(ids: list[int], new: int) -> Prompt:
    # No end comes before its time.
    return Prompt(ids, max_new_tokens=new, sampling=Sampling(min_new_tokens=new), top_n_tokens=_TOP)


def _item(forward: Forward, prompt: Prompt) -> Item:
    return Item(forward=forward, length=len(prompt.ids), data=prompt, room=prompt.max_new_tokens)
