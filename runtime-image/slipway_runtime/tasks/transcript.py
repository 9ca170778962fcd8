"""What automatic-speech-recognition answers with, in terms of no wire format. Never imports torch.

`postprocess` gives one Transcript, or a list of them for a list of recordings. Hugging Face's shape is
`transcript.plain()`: {text} or, where timestamps were asked for, {text, chunks: [{text, timestamp: [start, end]}]};
`plain` is also what orjson's `default` wants (with OPT_PASSTHROUGH_DATACLASS), so that lists of them need no loop.
OpenAI's verbose_json has all it needs in `segments`, `words`, `language_name` and `duration`.

For OpenAI's fields ask the task with: language, prompt, temperature as they are; task=translate for translations;
return_timestamps=True for segments, "word" for words (segments are then there as well).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Granularity = Literal["", "segment", "word", "char"]


@dataclass(frozen=True)
class Word:
    """A word or, from a CTC model that was asked for them, a character. Seconds from the recording's start."""

    text: str
    """As the model wrote it: Whisper's have a leading space."""
    start: float
    end: float | None
    """None: the recording ended before the model closed it."""


@dataclass(frozen=True)
class Segment:
    """A phrase with its place in the recording, in seconds, and how sure the model was."""

    text: str
    """As the model wrote it, leading space included."""
    start: float
    end: float | None
    """None: the recording ended before the model closed it."""
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    compression_ratio: float | None = None
    """Bytes of its text by bytes of the same compressed: much over 2.4 means that the model repeats itself."""
    avg_logprob: float | None = None
    """Mean log probability of its tokens. None where the model gives none."""


@dataclass(frozen=True)
class Transcript:
    """One recording in words."""

    text: str
    """As the model wrote it: Whisper's begins with a space."""
    duration: float
    """Seconds of the recording."""
    language: str = ""
    """Code of the language that was named or detected: en. Empty where the model knows of none."""
    language_name: str = ""
    """In English, lower case: english."""
    task: Literal["transcribe", "translate"] = "transcribe"
    granularity: Granularity = ""
    """What timestamps were asked for: what `plain` gives as chunks."""
    segments: tuple[Segment, ...] = ()
    """With granularity segment and, from Whisper, word."""
    words: tuple[Word, ...] = ()
    """With granularity word or char."""

    def plain(self) -> dict[str, Any]:
        """Hugging Face's shape."""
        answer: dict[str, Any] = {"text": self.text}
        if self.granularity:
            parts = self.segments if self.granularity == "segment" else self.words
            answer["chunks"] = [{"text": part.text, "timestamp": [part.start, part.end]} for part in parts]
        return answer


def plain(value: object) -> Any:
    """For orjson's `default`. Raises TypeError for anything but a Transcript, as it asks for."""
    if isinstance(value, Transcript):
        return value.plain()
    raise TypeError(f"{type(value).__name__} has no JSON form")
