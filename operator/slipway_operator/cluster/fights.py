"""Knows which differences are not worth applying again, because somebody else changes them back (decisions/0004).

Two ways of fighting: a mutating webhook undoes a field within our own request, so that trying again is hopeless as
long as the difference is the same; another controller undoes it a moment later, so that each repair answers a change
and both would write at full speed. The first is left alone; the second is repaired a few times a minute.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from slipway_operator import drift, labels
from slipway_operator.kinds import Object

REPAIRS = 5
WINDOW = 60.0
"""So many repairs of one field in so many seconds are a fight; a person who edits by hand does not get there."""
REMEMBERED = 10_000


@dataclass
class _Child:
    futile: frozenset[str] = frozenset()
    """What the last apply left different."""
    repairs: dict[str, deque[float]] = field(default_factory=dict)
    """When each field was repaired, by its path."""


class Fights:
    """Remembers by uid and rendered digest: another spec is another matter."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._children: OrderedDict[tuple[str, str], _Child] = OrderedDict()

    def hopeless(self, child: Object, live: Object) -> bool:
        """Whether applying `child` (stamped) over `live` would only go on with a fight."""
        known = self._children.get(_identity(child, live))
        if known is None:
            return False
        return all(path in known.futile or self._contested(known, path) for path in drift.differences(child, live))

    def applied(self, child: Object, before: Object | None, live: Object) -> str | None:
        """Takes note of an apply that turned `before` into `live`; returns the path of a field that is fought over."""
        known = self._children.setdefault(_identity(child, live), _Child())
        while len(self._children) > REMEMBERED:
            self._children.popitem(last=False)
        known.futile = frozenset(drift.differences(child, live))
        if known.futile:
            return min(known.futile)
        if before is None or before["metadata"]["uid"] != live["metadata"]["uid"]:
            return None
        # A changed spec changes the digest, too: that is no repair.
        if _digest(before) not in (None, _digest(live)):
            return None
        for path in drift.differences(child, before):
            known.repairs.setdefault(path, deque(maxlen=REPAIRS)).append(self._clock())
        return next((path for path in known.repairs if self._contested(known, path)), None)

    def _contested(self, known: _Child, path: str) -> bool:
        times = known.repairs.get(path, deque())
        return len(times) == REPAIRS and self._clock() - times[0] < WINDOW


def _identity(child: Object, live: Object) -> tuple[str, str]:
    return live["metadata"]["uid"], drift.digest(child)


def _digest(live: Object) -> str | None:
    digest: str | None = (live["metadata"].get("annotations") or {}).get(labels.RENDERED)
    return digest
