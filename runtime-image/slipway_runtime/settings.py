"""Every setting of the process, from the environment, in one frozen class.

The names in the first group are the contract with the operator (operator/decisions/0002); tests/contract feeds one
side to the other. Each field says what it protects or decides.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# owner/name as the Hub allows them; a name without an owner is a legacy form of the Hub ("gpt2").
REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?$", re.ASCII)
REVISION = re.compile(r"^[A-Za-z0-9][\w./-]{0,254}$", re.ASCII)


class SettingsError(ValueError):
    """Variables that cannot be used: one sentence per variable, with its name, value and what is allowed.

    `usable` holds the variables that can be, and defaults for the rest: enough to listen and say what is wrong.
    """

    def __init__(self, problems: list[str], usable: Settings) -> None:
        super().__init__("; ".join(problems))
        self.usable = usable


def _of(env: str, default: Any, doc: str, *, ge: float | None = None, le: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"env": env, "doc": doc, "ge": ge, "le": le})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one server process runs with."""

    endpoint: str = _of("SLIPWAY_ENDPOINT", "", "the endpoint's name; callers may use it as the model's name")
    model_id: str = _of("SLIPWAY_MODEL_ID", "", "Hub repository, owner/name")
    model_revision: str = _of("SLIPWAY_MODEL_REVISION", "main", "branch, tag or commit; resolved to a commit once")
    model_path: str = _of("SLIPWAY_MODEL_PATH", "", "a folder instead of a repository; never written to")
    token_file: str = _of("SLIPWAY_MODEL_TOKEN_FILE", "", "file with the source's token, read anew at every attempt")
    task: str = _of("SLIPWAY_TASK", "", "what the model is served for; empty: found from the model's files")
    cache_dir: str = _of("SLIPWAY_CACHE_DIR", "/var/cache/slipway", "writable folder for downloads")
    drain_seconds: float = _of(
        "SLIPWAY_DRAIN_SECONDS", 30.0, "how long SIGTERM waits for requests in flight", ge=0, le=3600
    )
    hf_endpoint: str = _of("HF_ENDPOINT", "https://huggingface.co", "the Hub or a mirror")

    host: str = _of("SLIPWAY_HOST", "", "address to listen on; empty: all, IPv4 and IPv6")
    http_port: int = _of("SLIPWAY_HTTP_PORT", 8080, "the API", ge=0, le=65535)
    admin_port: int = _of("SLIPWAY_ADMIN_PORT", 9090, "probes, metrics, status; on no Service", ge=0, le=65535)

    max_body_bytes: int = _of("SLIPWAY_MAX_BODY_BYTES", 2 * 1024**2, "memory, against huge bodies (413)", ge=1024)
    max_media_bytes: int = _of(
        "SLIPWAY_MAX_MEDIA_BYTES", 32 * 1024**2, "the same where a task takes images or sound (413)", ge=1024
    )
    max_image_pixels: int = _of(
        "SLIPWAY_MAX_IMAGE_PIXELS", 40_000_000, "memory, against small files with huge images (422)", ge=1
    )
    max_audio_seconds: float = _of(
        "SLIPWAY_MAX_AUDIO_SECONDS", 1800.0, "others' latency, against hours of sound in one request (422)", ge=1
    )
    max_new_tokens: int = _of(
        "SLIPWAY_MAX_NEW_TOKENS",
        4096,
        "others' latency, against endless answers: most that may be asked for (422)",
        ge=1,
    )
    max_inputs: int = _of("SLIPWAY_MAX_INPUTS", 256, "others' latency, against one huge request (422)", ge=1)
    max_input_tokens: int = _of(
        "SLIPWAY_MAX_INPUT_TOKENS", 0, "a lower limit than the model's on one input; 0: the model's (422)", ge=0
    )
    max_batch_tokens: int = _of(
        "SLIPWAY_MAX_BATCH_TOKENS", 4096, "memory and latency of one forward, padding included", ge=1
    )
    max_queue_tokens: int = _of("SLIPWAY_MAX_QUEUE_TOKENS", 65536, "waiting time, against a long queue (429)", ge=1)
    max_requests: int = _of("SLIPWAY_MAX_REQUESTS", 512, "memory: requests held, queued or running (429)", ge=1)
    hold_seconds: float = _of(
        "SLIPWAY_HOLD_SECONDS", 30.0, "callers from a 503: how long a request waits for a loading model", ge=0, le=3600
    )
    request_timeout_seconds: float = _of(
        "SLIPWAY_REQUEST_TIMEOUT_SECONDS", 120.0, "callers from waiting for ever (504)", ge=0.1, le=86400
    )
    unready_seconds: float = _of(
        "SLIPWAY_UNREADY_SECONDS", 2.0, "requests on their way: still accepted this long after SIGTERM", ge=0, le=300
    )
    retry_seconds: float = _of(
        "SLIPWAY_RETRY_SECONDS", 10.0, "the source: first wait after a failed load, then doubling", ge=0.01
    )
    retry_max_seconds: float = _of("SLIPWAY_RETRY_MAX_SECONDS", 300.0, "how long that wait may become", ge=0.01)
    threads: int = _of("SLIPWAY_THREADS", 0, "the processor from thrashing; 0: what the cgroup allows", ge=0, le=1024)
    termination_log: str = _of(
        "SLIPWAY_TERMINATION_LOG", "/dev/termination-log", "where the last word of an ending process goes"
    )

    @property
    def model_name(self) -> str:
        """How messages call the model: the repository, or the folder's last part."""
        return self.model_id or Path(self.model_path).name or "(none)"

    @property
    def variant_names(self) -> tuple[str, ...]:
        """Names of LoRA adapters, each of which callers may use as the model's name."""
        return ()

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read all variables. Empty means absent. Raises SettingsError that names every variable at fault."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        for field in dataclasses.fields(cls):
            raw = env.get(field.metadata["env"], "").strip()
            if not raw:
                continue
            try:
                values[field.name] = _parse(raw, field)
            except ValueError as error:
                problems.append(str(error))
        settings = cls(**values)
        problems += _cross_checks(settings)
        if problems:
            raise SettingsError(problems, settings)
        return settings


def _parse(raw: str, field: dataclasses.Field[Any]) -> Any:
    env, ge, le = field.metadata["env"], field.metadata["ge"], field.metadata["le"]
    default: Any = field.default
    if isinstance(default, str):
        return raw
    kind = type(default)
    bounds = f"{'a whole number' if kind is int else 'a number'} of at least {ge:g}"
    bounds += f" and at most {le:g}" if le is not None else ""
    try:
        value = kind(raw)
    except ValueError:
        raise ValueError(f"{env}={raw!r}: must be {bounds}") from None
    if not math.isfinite(value) or value < ge or (le is not None and value > le):
        raise ValueError(f"{env}={raw!r}: must be {bounds}")
    return value


def _cross_checks(settings: Settings) -> list[str]:
    problems = []
    if settings.model_id and settings.model_path:
        problems.append(
            f"SLIPWAY_MODEL_ID={settings.model_id!r} and SLIPWAY_MODEL_PATH={settings.model_path!r}: set exactly one"
        )
    if not settings.model_id and not settings.model_path:
        problems.append("SLIPWAY_MODEL_ID: set it to a Hub repository (owner/name), or SLIPWAY_MODEL_PATH to a folder")
    if settings.model_id and (not REPOSITORY.match(settings.model_id) or ".." in settings.model_id):
        problems.append(f"SLIPWAY_MODEL_ID={settings.model_id!r}: must be a Hub repository, owner/name")
    if not REVISION.match(settings.model_revision) or ".." in settings.model_revision:
        problems.append(f"SLIPWAY_MODEL_REVISION={settings.model_revision!r}: must be a branch, a tag or a commit")
    if not settings.hf_endpoint.startswith(("http://", "https://")):
        problems.append(f"HF_ENDPOINT={settings.hf_endpoint!r}: must begin with http:// or https://")
    if settings.http_port == settings.admin_port != 0:
        problems.append(f"SLIPWAY_HTTP_PORT and SLIPWAY_ADMIN_PORT are both {settings.http_port}: must differ")
    if settings.retry_max_seconds < settings.retry_seconds:
        problems.append(
            f"SLIPWAY_RETRY_MAX_SECONDS={settings.retry_max_seconds:g}: must be at least SLIPWAY_RETRY_SECONDS "
            f"({settings.retry_seconds:g})"
        )
    return problems
