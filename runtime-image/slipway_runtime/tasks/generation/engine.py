"""Prompts → answers over one model, in the best way that is right for it: see gate.py.

continuous   answers join and leave a running batch (continuous.py)
static       padded batches that end together (static.py)
sequential   one by one, by `generate` (static.py)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from slipway_runtime.tasks.adapter import Forward, Item, Limits
from slipway_runtime.tasks.generation.answers import Answers
from slipway_runtime.tasks.generation.continuous import ContinuousBatches
from slipway_runtime.tasks.generation.gate import Mode, choose, differs_now, refuses_images, table_of_positions
from slipway_runtime.tasks.generation.grammar import Grammars
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.static import StaticBatches
from slipway_runtime.tasks.loading import Network

logger = logging.getLogger("slipway_runtime")


class Engine:
    """Over one network that has `generate`."""

    def __init__(self, network: Network, tokenizer: Any, limits: Limits) -> None:
        self._network = network
        self._answers = Answers(network, tokenizer)
        self._alone = StaticBatches(self._answers, 1, table_of_positions(network))
        chosen = choose(network, self._answers, self._alone, limits.max_prefix_tokens)
        self._forward: Forward = chosen.forward
        self.mode: Mode = chosen.mode
        """continuous, static or sequential."""
        self.reason = chosen.reason
        """Why it is no better mode; empty where it is the best."""
        self.reuses = chosen.reuses
        """Whether prompts go on from earlier ones that begin the same, see prefixes.py."""
        self.unshared = chosen.unshared
        """Why not, where answers are written in continuous batches."""
        self.joins_with_images = False
        """Whether prompts with images join continuous batches; else they are answered one by one."""
        self.grammars = Grammars(tokenizer, self._answers.ends)
        logger.info(
            "answers are written one by one"
            if self.mode == "sequential"
            else f"answers are written in {self.mode} batches",
            extra={
                "fields": {
                    "mode": self.mode,
                    "reason": self.reason,
                    "prefixReuse": self.reuses,
                    **({"noReuseReason": self.unshared} if self.unshared else {}),
                }
            },
        )

    def see(self, network: Network, pictured: Sequence[Prompt]) -> None:
        """Find out by some prompts with images whether they may join the continuous batches."""
        reason = refuses_images(network, self._answers, self._alone, pictured)
        self.joins_with_images = not reason
        logger.info(
            f"prompts with images {'are answered one by one' if reason else 'join continuous batches'}",
            extra={"fields": {"reason": reason}},
        )

    def differs_now(self) -> str:
        """Why it may no longer write as it was found to do, the model having been changed; empty where it may."""
        if not isinstance(self._forward, ContinuousBatches):
            return ""
        return differs_now(self._network, self._answers, self._forward)

    @property
    def most_tokens(self) -> int | None:
        """Of one prompt and its answer together, by the memory that is left. None: no limit."""
        return self._answers.most_tokens

    def item(self, prompt: Prompt) -> Item:
        """What goes into the queue."""
        forward = self._alone if prompt.extra and not self.joins_with_images else self._forward
        return Item(forward=forward, length=len(prompt.ids), data=prompt, room=prompt.max_new_tokens)
