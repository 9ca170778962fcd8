"""How far one request came, when, and how large it was: what metrics, the access log and spans are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Stages:
    """Times are the service's clock's (time.monotonic), 0 where it did not come to that."""

    began: float = 0.0
    queued: float = 0.0
    """Preprocessed, and put into the queue."""
    started: float = 0.0
    """The first of its items went into a forward."""
    first_token: float = 0.0
    """Where it writes: the first token of any of its answers was made."""
    ended: float = 0.0
    """The last of its items came out of the forward."""
    answered: float = 0.0
    """Postprocessed."""
    input_tokens: int = 0
    output_tokens: int = 0
    room: int = 0
    """New tokens that it might have taken."""

    def spans(self, now: float) -> Iterator[tuple[str, float, float]]:
        """(name, start, end) of the stages that it came to; the last one of a request that failed ends `now`."""
        times = (self.began, self.queued, self.started, self.ended, self.answered)
        for name, start, end in zip(("preprocess", "queue", "forward", "postprocess"), times, times[1:], strict=False):
            if not start:
                return
            yield name, start, max(start, end or now)
