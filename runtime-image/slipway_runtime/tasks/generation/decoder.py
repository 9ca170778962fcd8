"""The forwards of a decoder that continuous batching needs, and how many answers have room in memory."""

from __future__ import annotations

import inspect
from collections.abc import Sequence as Several
from typing import Any

import torch
from transformers.cache_utils import Cache

from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.rows import RowCache


class Decoder:
    """All in the inference thread. Logits are those of the last token, [rows, vocabulary]."""

    def __init__(self, model: Any, device: torch.device, pad: int) -> None:
        self._model = model
        self.device = device
        self._pad = pad
        takes = inspect.signature(model.forward).parameters
        self._positions = "position_ids" in takes
        # Qwen2-VL and its kin count an image as fewer positions than tokens, and note the difference so.
        self._counting = next((one for one in model.modules() if hasattr(one, "rope_deltas")), None)
        self._last_only: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def read(self, prompt: Prompt, begin: int, end: int, cache: Cache) -> torch.Tensor:
        """A prompt's tokens from `begin` to `end`, after those that `cache` holds."""
        ids = torch.tensor([prompt.ids[begin:end]], device=self.device)
        extra = {name: value.to(self.device) for name, value in prompt.extra.items()}
        positions = None if extra else torch.arange(begin, end, device=self.device)[None]
        if self._counting is not None:
            self._counting.rope_deltas = None  # an earlier prompt's
        return self._logits(ids, torch.ones((1, end), dtype=torch.long, device=self.device), positions, cache, **extra)

    def shift(self, prompt: Prompt) -> int:
        """What is to be added to the numbers of the tokens that follow it for their positions. Of the prompt that was
        read last: with images the model finds positions itself, and in some they are not the tokens' numbers."""
        found = getattr(self._counting, "rope_deltas", None) if prompt.extra else None
        return 0 if found is None else int(found.reshape(-1)[0])

    def read_together(self, prompts: Several[Several[int]], last: int, cache: Cache) -> torch.Tensor:
        """The last so many tokens of each, padded on the left, after those that `cache` holds, padded likewise."""
        longest = max(len(ids) for ids in prompts)
        ends = [list(one[-last:]) for one in prompts]
        ids = torch.tensor([[self._pad] * (last - len(one)) + one for one in ends], device=self.device)
        lengths = torch.tensor([len(one) for one in prompts], device=self.device)[:, None]
        places = torch.arange(longest, device=self.device)[None] - (longest - lengths)
        return self._logits(ids, (places >= 0).long(), places[:, -last:].clamp(min=0), cache)

    def write(self, tokens: Several[int], cache: RowCache, row: int | None = None) -> torch.Tensor:
        """The next token of every row, or of one alone. `cache.advance()` keeps what was written."""
        mask, positions = cache.inputs(row)
        return self._logits(torch.tensor(tokens, device=self.device)[:, None], mask, positions, cache)

    def _logits(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor | None, cache: Cache, **extra: Any
    ) -> torch.Tensor:
        if self._positions and positions is not None:
            extra["position_ids"] = positions
        output = self._model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **self._last_only, **extra
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits
