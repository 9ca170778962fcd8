"""When is a new status worth a write? What a user acts on, at once; counts and progress, now and then.

Without it a start costs a write per step of every pod, and every write wakes everybody who watches.
"""

from collections.abc import Callable
from dataclasses import dataclass

from slipway_operator.kinds import Key, Object


@dataclass
class _Seen:
    first: float
    written: float | None = None


class Pacer:
    def __init__(self, *, first_delay: float, soft_interval: float, clock: Callable[[], float]) -> None:
        self._first_delay = first_delay
        self._soft_interval = soft_interval
        self._clock = clock
        self._seen: dict[Key, _Seen] = {}

    def delay(self, key: Key, previous: Object, status: Object, *, starting: bool) -> float:
        """Seconds to wait before writing `status` over `previous`; 0 to write now. Asked only when they differ.

        `starting`: the first pods have not been seen yet; the first status waits a moment for them.
        """
        now = self._clock()
        seen = self._seen.setdefault(key, _Seen(now))
        if not previous.get("phase"):
            return max(0.0, seen.first + self._first_delay - now) if starting else 0.0
        if _hard(previous) != _hard(status):
            return 0.0
        return max(0.0, (seen.written or 0.0) + self._soft_interval - now) if seen.written is not None else 0.0

    def written(self, key: Key) -> None:
        self._seen.setdefault(key, _Seen(self._clock())).written = self._clock()

    def forget(self, key: Key) -> None:
        self._seen.pop(key, None)


def _hard(status: Object) -> Object:
    """What a user acts on: everything but counts, progress and the wording of conditions."""
    soft = ("replicas", "readyReplicas", "progress", "conditions")
    conditions = [(c["type"], c["status"], c["reason"], c["observedGeneration"]) for c in status.get("conditions", [])]
    return {**{name: value for name, value in status.items() if name not in soft}, "conditions": conditions}
