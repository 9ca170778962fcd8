"""Continuous batching: answers join the batch when their prompts have been read, and leave it when they end.

    waiting  →  prefill (several prompts together, or a part of a long one)  →  rows  →  step, step, … →  done

Between two steps the queue is asked for more, and prompts are read as long as the answers that are being written can
bear to wait; of one that begins as an earlier one did only the rest is read (prefixes.py). A step is one forward of
[rows, 1] over a RowCache. What fails is tried again alone, so that a row takes no other with it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Several
from typing import Any

import torch
from transformers import DynamicCache

from slipway_runtime.tasks.adapter import Continuous, Feed, Item
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.generation.answers import Answers
from slipway_runtime.tasks.generation.decoder import Decoder
from slipway_runtime.tasks.generation.prefixes import KeysValues, Part, Prefixes, rows_of
from slipway_runtime.tasks.generation.reading import Row, together
from slipway_runtime.tasks.generation.rows import RowCache
from slipway_runtime.tasks.generation.sequence import advance, inference_failed

_MAX_ROWS = 32
_PREFILL_TOKENS = 2048
"""Of one forward, padding included, where nobody waits for a next token: memory for activations."""
_PAUSE_STEPS = 8.0
"""How many steps' time the answers that are being written may stand still while prompts are read."""
_SMALLEST_PART = 32
logger = logging.getLogger("slipway_runtime")


class ContinuousBatches(Continuous):
    """A forward whose batches go on: see tasks/adapter.py's Continuous."""

    def __init__(
        self,
        answers: Answers,
        *,
        max_rows: int = _MAX_ROWS,
        part: int | None = None,
        prefixes: Prefixes | None = None,
    ) -> None:
        """`part`: tokens of a prefill beside running answers, always; else as many as their pause allows. `prefixes`:
        what prompts may go on from; None: each is read whole."""
        self.answers = answers
        self.prefixes = prefixes
        self.decoder = Decoder(answers.model, answers.device, answers.pad)
        self.max_rows = max_rows
        self.part = part
        self.pace = _Pace()

    def __call__(self, items: Several[Item]) -> list[Generated | Exception]:
        """One output per item."""
        outputs = _Outputs()
        self.run(items, outputs)
        return [outputs.found[id(item)] for item in items]

    def run(self, items: Several[Item], feed: Feed) -> None:
        """Until nobody waits and no row is left."""
        with torch.inference_mode():
            batch = _Batch(self, feed)
            batch.wait(items)
            while batch.step():
                pass


class _Outputs:
    """A feed that gives nothing more."""

    def __init__(self) -> None:
        self.found: dict[int, Any] = {}

    def more(self, fits: Callable[[Item], bool]) -> list[Item]:  # noqa: ARG002 - a feed's shape
        return []

    def done(self, item: Item, output: Any) -> None:
        self.found[id(item)] = output


class _Pace:
    """Seconds of a step and of a prompt's token, as they were of late."""

    def __init__(self) -> None:
        self._step = 0.0
        self._token = 0.0

    def stepped(self, seconds: float) -> None:
        self._step = _moved(self._step, seconds)

    def read(self, tokens: int, seconds: float) -> None:
        if tokens >= _SMALLEST_PART or not self._token:  # fewer cost what a forward costs, not what tokens do
            self._token = _moved(self._token, seconds / tokens)

    def tokens(self) -> int:
        """What may be read while answers stand still for _PAUSE_STEPS."""
        if not self._token or not self._step:
            return _PREFILL_TOKENS
        return max(_SMALLEST_PART, min(_PREFILL_TOKENS, int(_PAUSE_STEPS * self._step / self._token)))


def _moved(average: float, value: float) -> float:
    return value if not average else 0.8 * average + 0.2 * value


class _Batch:
    """One run."""

    def __init__(self, way: ContinuousBatches, feed: Feed) -> None:
        self._answers = way.answers
        self._decoder = way.decoder
        self._pace = way.pace
        self._max_rows = way.max_rows
        self._part = way.part
        self._prefixes = way.prefixes
        self._feed = feed
        self._outside: deque[Item] = deque()  # the queue's, for which there was no room at once
        self._reading: list[Row] = []
        self._rows: list[Row] = []
        self._cache = RowCache(way.answers.device)

    def wait(self, items: Iterable[Item]) -> None:
        self._outside.extend(items)

    def step(self) -> bool:
        """One token for every row, and some prompts read; False where nothing was left to do."""
        self._admit()
        self._forget_the_gone()
        if self._reading:
            self._prefill()
        if self._rows:
            self._write()
        return bool(self._rows or self._reading or self._outside)

    def _admit(self) -> None:
        fits = self._room()
        while self._outside and fits(self._outside[0]):
            self._enter(self._outside.popleft())
        # Asked at every step, for that is how the queue knows that there is progress.
        for item in self._feed.more(fits if not self._outside else lambda _: False):
            self._enter(item)

    def _room(self) -> Callable[[Item], bool]:
        """Whether an item has room beside all those inside. What it says yes to is counted as inside."""
        inside = [row.item for row in (*self._rows, *self._reading)]
        columns = max((item.length + item.room for item in inside), default=0)
        count = len(inside)

        def fits(item: Item) -> bool:
            nonlocal columns, count
            needed = max(columns, item.length + item.room)
            if count and (count >= self._max_rows or not self._answers.fits(count + 1, needed)):
                return False
            columns, count = needed, count + 1
            return True

        return fits

    def _enter(self, item: Item) -> None:
        try:
            row = Row(item, self._answers.begin(item))
            if self._prefixes is not None and not row.prompt.extra:
                row.chain = self._prefixes.chain(item, row.prompt.ids)
        except Exception as error:
            self._feed.done(item, inference_failed(error))
        else:
            self._reading.append(row)

    def _forget_the_gone(self) -> None:
        for row in [row for row in self._reading if row.sequence.done]:
            self._reading.remove(row)
            self._end(row)
        self._leave_done()

    def _leave_done(self) -> None:
        for place in range(len(self._rows) - 1, -1, -1):
            row = self._rows[place]
            if not row.sequence.done:
                continue
            self._keep_answer(row, place)
            self._cache.leave(place, tainted=row.sequence.failed)
            self._rows[place] = self._rows[-1]
            self._rows.pop()
            self._end(row)

    def _keep_answer(self, row: Row, place: int) -> None:
        """For who goes on from this answer, as a chat does."""
        if self._prefixes is None or row.sequence.failed or row.prompt.extra:
            return
        layers, start, length = self._cache.held(place)
        ids = [*row.prompt.ids, *row.sequence.ids][:length]
        self._keep(self._prefixes, self._prefixes.chain(row.item, ids, row.chain), layers, place, start)

    def _keep(self, prefixes: Prefixes, chain: list[bytes], layers: list[KeysValues], place: int, start: int) -> None:
        try:
            prefixes.keep(chain, layers, place, start)
        except Exception as error:  # no memory for the copy: nobody's answer is to suffer from it
            logger.error("what a prompt begins with could not be kept", exc_info=error)

    def _end(self, row: Row) -> None:
        try:
            output = row.sequence.result()
        except Exception as error:  # a reader of tools' calls is told text that a model made up
            output = inference_failed(error)
        self._feed.done(row.item, output)

    def _prefill(self) -> None:
        """Read some prompts; rows whose prompts are whole join those that are being written."""
        most = (self._part or self._pace.tokens()) if self._rows else _PREFILL_TOKENS
        self._look_up()
        self._read(together(self._reading, most, self._prefixes), most)

    def _look_up(self) -> None:
        """What of the prompts is there already. What is kept makes room for the rows first."""
        prefixes = self._prefixes
        if prefixes is None:
            return
        sizes = [row.item.length + row.item.room for row in (*self._rows, *self._reading)]
        prefixes.bound(self._answers.left_beside(len(sizes), max(sizes)))
        for row in self._reading:
            row.found = 0 if row.read else prefixes.found(row.chain, row.item.length - 1)

    def _read(self, group: list[Row], most: int) -> None:
        started = time.monotonic()
        try:
            tokens, logits, kept = self._forward(group, most)
        except Exception as error:
            if len(group) > 1:
                for row in group:
                    self._look_up()  # reading one may have pushed out what another goes on from
                    self._read([row], most)
            else:
                self._lose(group[0], error)
            return
        self._pace.read(tokens, time.monotonic() - started)
        if kept is None:
            self._reading.remove(group[0])
            self._reading.append(group[0])  # others' turn: a long prompt does not hold up short ones
        else:
            self._join(group, logits, kept)

    def _forward(self, group: list[Row], most: int) -> tuple[int, torch.Tensor, list[KeysValues] | None]:
        """(Tokens read, padding included; logits of the last; keys and values, None where the prompt goes on)."""
        if len(group) > 1:
            last = max(row.left for row in group)
            cache = self._begun(group, [max(0, row.item.length - last) for row in group])
            logits = self._decoder.read_together([row.prompt.ids for row in group], last, cache)
            return len(group) * last, logits, plain(cache)
        [row] = group
        if row.cache is None:
            row.cache = self._begun(group, [row.found])
            row.read = row.found
        whole = len(row.prompt.ids)
        begin, end = row.read, whole if row.prompt.extra else min(whole, row.read + most)
        logits = self._decoder.read(row.prompt, begin, end, row.cache)
        row.read, row.shift = end, self._decoder.shift(row.prompt)
        return end - begin, logits, plain(row.cache) if end == whole else None

    def _begun(self, rows: Several[Row], tokens: Several[int]) -> DynamicCache:
        """A cache with the first so many tokens of each prompt, that were found; it ends with them all."""
        if self._prefixes is None:
            return DynamicCache()
        parts: list[list[Part]] = []
        for row, count in zip(rows, tokens, strict=True):
            row.sequence.cached = count
            parts.append(self._prefixes.parts(row.chain, count))
        return DynamicCache(rows_of(parts)) if any(parts) else DynamicCache()

    def _join(self, group: list[Row], logits: torch.Tensor, kept: list[KeysValues]) -> None:
        advance([row.sequence for row in group], logits)
        going = [place for place, row in enumerate(group) if not row.sequence.done]
        for place, row in enumerate(group):
            if self._prefixes is not None and not row.sequence.failed:
                self._keep(self._prefixes, row.chain, kept, place, kept[0][0].shape[2] - row.item.length)
            self._reading.remove(row)
            row.cache = None
            if place not in going:
                self._end(row)
        if going:
            rows = [group[place] for place in going]
            self._cache.join(kept, going, [row.item.length for row in rows], [row.shift for row in rows])
            self._rows += rows

    def _lose(self, row: Row, error: Exception) -> None:
        """A prompt that fails by itself. Raises where nothing else is inside: it may be the model that has failed."""
        if not self._rows and len(self._reading) == 1:
            raise error
        self._reading.remove(row)
        self._feed.done(row.item, inference_failed(error))

    def _write(self) -> None:
        started = time.monotonic()
        try:
            logits = self._decoder.write([row.sequence.last for row in self._rows], self._cache)
        except Exception as error:
            logger.error("a step of %d answers failed; each is tried alone", len(self._rows), exc_info=error)
            self._write_each()
        else:
            self._cache.advance()
            advance([row.sequence for row in self._rows], logits)
            self._pace.stepped(time.monotonic() - started)
        self._leave_done()

    def _write_each(self) -> None:
        """The same step row by row; of the one that failed nothing was kept."""
        going, logits = [], []
        for place, row in enumerate(self._rows):
            try:
                logits.append(self._decoder.write([row.sequence.last], self._cache, place))
                going.append(row.sequence)
            except Exception as error:
                if not going and not self._reading and row is self._rows[-1]:
                    raise  # all failed: it may be the model
                row.sequence.fail(inference_failed(error))
        self._cache.advance()
        if going:
            advance(going, torch.cat(logits))


def plain(cache: DynamicCache) -> list[KeysValues]:
    """Keys and values per layer. Raises TypeError where a layer keeps anything else."""
    found = []
    for layer in cache.layers:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if keys is None or values is None or keys.ndim != 4 or values.ndim != 4:
            raise TypeError("the cache is not of keys and values alone")
        found.append((keys, values))
    if not found:
        raise TypeError("the model keeps no cache")
    return found
