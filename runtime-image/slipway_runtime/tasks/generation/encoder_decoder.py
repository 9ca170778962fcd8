"""text-generation by an encoder-decoder, as text-generation-inference serves T5: token by token, with its parameters.

The prompt goes to the encoder, so it is no part of the answer's text.
"""

from __future__ import annotations

from typing import Any

from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.generation.chat import Chat
from slipway_runtime.tasks.generation.text_generation import Begun, TextGeneration
from slipway_runtime.tasks.loading import TextModel


class EncoderDecoderGeneration(TextGeneration):
    """The adapter."""

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(text_model, limits)
        self.max_input_tokens = text_model.tokenizer.limit
        positions = getattr(text_model.config, "max_position_embeddings", None)
        self._room = positions - 1 if isinstance(positions, int) else limits.max_new_tokens

    def begun(self, entry: Any, field: str) -> Begun:
        text, ids, extra = super().begun(entry, field)
        return text if isinstance(entry, Chat) else "", ids, extra

    def room(self, ids: list[int]) -> int:  # noqa: ARG002 - the decoder has its own
        return self._room
