"""summarization: a text → [{summary_text}], a list → one object each. See generation/text_to_text.py."""

from __future__ import annotations

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Limits, Loaded
from slipway_runtime.tasks.generation.text_to_text import TextToText


class Summarization(TextToText):
    """The adapter."""

    task = "summarization"
    key = "summary_text"


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model; it may do the other tasks of encoder-decoders as well. Raises ModelFault."""
    from slipway_runtime.tasks.generation.encoder_decoders import load_text_to_text  # noqa: PLC0415 - it needs this one

    return load_text_to_text("summarization", artifact, limits)
