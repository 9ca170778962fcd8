"""Every setting of the operator, from the environment, in one frozen class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Number = TypeVar("Number", int, float)


class SettingsError(Exception):
    """A variable that is missing or unreadable; the text names it, its value, and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """Durations are seconds. The comment of each field says what it protects or decides."""

    namespace: str
    """Where the operator's own Lease lives."""
    pod_name: str
    """Identity in the Lease and source of Events."""
    runtime_image: str
    """Image of serving pods."""
    lease_name: str = "slipway"
    watch_namespaces: tuple[str, ...] = ()
    """Empty: all namespaces."""
    hub_endpoint: str | None = None
    """HF_ENDPOINT of pods that download; None: the Hub."""
    log_level: str = "INFO"

    health_port: int = 8081
    """/livez and /readyz, for the kubelet."""
    metrics_port: int = 9090

    workers: int = 16
    """Keys reconciled at the same time; bounds requests in flight and memory."""
    resync: float = 600.0
    """How often every key is looked at without an event: repairs what no event told. Jittered by a tenth."""
    retry_base: float = 0.5
    retry_max: float = 60.0
    """Backoff of a key whose reconcile failed; with full jitter."""

    lease_duration: float = 15.0
    """How long a dead leader blocks its successor."""
    lease_renew: float = 5.0
    """Between renewals; they are the heartbeat, too."""
    lease_deadline: float = 10.0
    """A leader that could not renew for so long stops working; less than lease_duration, so that there are never
    two.
    """
    heartbeat_limit: float = 120.0
    """A written heartbeat that the watch has not brought back for so long fails /livez."""
    freshness_limit: float = 180.0
    """A watch without event, bookmark or list for so long fails /livez; bookmarks come about once a minute."""
    watch_silence: float = 75.0
    """A watch silent for so long is opened anew: change is seen within 90 s of a stall."""
    missing_kind_poll: float = 10.0
    """How often a kind is looked for whose CRD is not there."""
    request_timeout: float = 30.0
    connections: int = 64
    """Open connections to the API server."""

    pod_status_timeout: float = 2.0
    """A pod that does not answer /status holds a worker for so long at most."""
    pod_poll: float = 3.0
    """Between looks at a pod that is not ready yet."""
    soft_status_interval: float = 10.0
    """Counts and progress are written at most so often; changes of condition or phase at once."""
    first_status_delay: float = 1.0
    """The first status waits so long for the first pods to be seen: one write instead of two."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Reads the variables of VARIABLES; raises SettingsError. A field without a variable is for tests to vary."""
        given: dict[str, Any] = {}
        for variable, (field, convert) in VARIABLES.items():
            value = environment.get(variable)
            if not value:
                continue
            try:
                given[field] = convert(value)
            except ValueError as error:
                raise SettingsError(f"{variable} is {value!r}: {error}") from None
        missing = [variable for variable in REQUIRED if VARIABLES[variable][0] not in given]
        if missing:
            raise SettingsError(f"{', '.join(missing)}: not set. The Helm chart sets them; by hand, export them first.")
        settings = cls(**given)
        if not settings.lease_renew < settings.lease_deadline < settings.lease_duration:
            raise SettingsError(
                f"SLIPWAY_LEASE_RENEW_SECONDS ({settings.lease_renew:g}) must be less than "
                f"SLIPWAY_LEASE_DEADLINE_SECONDS ({settings.lease_deadline:g}), and that less than "
                f"SLIPWAY_LEASE_DURATION_SECONDS ({settings.lease_duration:g}). "
                "Otherwise two processes may lead at once."
            )
        return settings


def _names(value: str) -> tuple[str, ...]:
    # Once each: two watches of one namespace would fight over its part of the cache.
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def _seconds(value: str) -> float:
    number = _parsed(float, value)
    if not 0 < number < float("inf"):
        raise ValueError("a number of seconds above 0 is needed")
    return number


def _count(value: str) -> int:
    number = _parsed(int, value)
    if not 1 <= number <= 1000:
        raise ValueError("a whole number from 1 to 1000 is needed")
    return number


def _port(value: str) -> int:
    number = _parsed(int, value)
    if not 1 <= number <= 65535:
        raise ValueError("a port from 1 to 65535 is needed")
    return number


def _parsed(kind: Callable[[str], Number], value: str) -> Number:
    try:
        return kind(value)
    except ValueError:
        raise ValueError("that is not a number") from None


def _url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("an address that starts with http:// or https:// is needed")
    return value.rstrip("/")


def _level(value: str) -> str:
    allowed = ("DEBUG", "INFO", "WARNING", "ERROR")
    if value.upper() not in allowed:
        raise ValueError(f"allowed are {', '.join(allowed)}")
    return value.upper()


VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "SLIPWAY_NAMESPACE": ("namespace", str),
    "SLIPWAY_POD_NAME": ("pod_name", str),
    "SLIPWAY_RUNTIME_IMAGE": ("runtime_image", str),
    "SLIPWAY_LEASE_NAME": ("lease_name", str),
    "SLIPWAY_WATCH_NAMESPACES": ("watch_namespaces", _names),
    "SLIPWAY_HUB_ENDPOINT": ("hub_endpoint", _url),
    "SLIPWAY_LOG_LEVEL": ("log_level", _level),
    "SLIPWAY_HEALTH_PORT": ("health_port", _port),
    "SLIPWAY_METRICS_PORT": ("metrics_port", _port),
    "SLIPWAY_WORKERS": ("workers", _count),
    "SLIPWAY_RESYNC_SECONDS": ("resync", _seconds),
    "SLIPWAY_LEASE_DURATION_SECONDS": ("lease_duration", _seconds),
    "SLIPWAY_LEASE_RENEW_SECONDS": ("lease_renew", _seconds),
    "SLIPWAY_LEASE_DEADLINE_SECONDS": ("lease_deadline", _seconds),
    "SLIPWAY_HEARTBEAT_LIMIT_SECONDS": ("heartbeat_limit", _seconds),
    "SLIPWAY_FRESHNESS_LIMIT_SECONDS": ("freshness_limit", _seconds),
    "SLIPWAY_WATCH_SILENCE_SECONDS": ("watch_silence", _seconds),
}
REQUIRED = ("SLIPWAY_NAMESPACE", "SLIPWAY_POD_NAME", "SLIPWAY_RUNTIME_IMAGE")
