"""Stop strings, exactly: text is held back while it may become one."""

from __future__ import annotations


class StopStrings:
    """The end of one answer's text."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def add(self, text: str) -> str:
        """What is certain to belong to the answer: not the stop string, nor what may be its beginning."""
        held = self._held + text
        places = [place for stop in self._stops if (place := held.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return held[: min(places)]
        keep = max((beginning(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def rest(self) -> str:
        """What was held back when the answer ended otherwise."""
        rest, self._held = self._held, ""
        return rest


def beginning(text: str, word: str) -> int:
    """Characters at the end of `text` that `word` begins with, all of it not counted."""
    return next((n for n in range(min(len(text), len(word) - 1), 0, -1) if text.endswith(word[:n])), 0)
