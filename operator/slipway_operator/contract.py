"""The operator's side of the contract with the runtime (decisions/0002-contract-and-ports.md).

The runtime's side is slipway_runtime/settings.py; tests/contract feeds one to the other.
"""

from dataclasses import dataclass
from typing import Any

import orjson

HTTP_PORT = 8080
ADMIN_PORT = 9090
SERVICE_PORT = 80
SERVE_ARGS = ("serve",)

CACHE_DIR = "/var/cache/slipway"
MODEL_VOLUME_DIR = "/mnt/model"
SOURCE_TOKEN_DIR = "/var/run/slipway/source"  # noqa: S105 - a folder, not a token
SOURCE_TOKEN_FILE = f"{SOURCE_TOKEN_DIR}/token"

DRAIN_SECONDS = 30
GRACE_SECONDS = DRAIN_SECONDS + 10
RUN_AS = 10001
"""User and group of the images."""

STATUS_LIMIT = 64 * 1024
"""Bytes of /status that are read: a pod is not trusted to be brief."""


def serve_environment(
    *,
    endpoint: str,
    model_id: str | None,
    revision: str | None,
    model_path: str | None,
    has_token: bool,
    task: str | None,
    hub_endpoint: str | None,
) -> list[dict[str, str]]:
    """The `env` of a serving container; what is not given is left out, so that the runtime's default holds."""
    values = {
        "SLIPWAY_ENDPOINT": endpoint,
        "SLIPWAY_MODEL_ID": model_id,
        "SLIPWAY_MODEL_REVISION": revision,
        "SLIPWAY_MODEL_PATH": model_path,
        "SLIPWAY_MODEL_TOKEN_FILE": SOURCE_TOKEN_FILE if has_token else None,
        "SLIPWAY_TASK": task,
        "SLIPWAY_CACHE_DIR": CACHE_DIR,
        "SLIPWAY_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "HF_ENDPOINT": hub_endpoint,
    }
    return [{"name": name, "value": value} for name, value in values.items() if value]


@dataclass(frozen=True)
class RuntimeFault:
    """Why a runtime cannot serve; `reason` is a name of reasons.BY_RUNTIME_REASON, or one of a newer runtime."""

    code: int
    reason: str
    message: str


@dataclass(frozen=True)
class ServedModel:
    """What is loaded; `revision` is a commit, `size_bytes` counts the weights."""

    id: str | None
    revision: str | None
    task: str | None
    format: str | None
    size_bytes: int | None


@dataclass(frozen=True)
class RuntimeStatus:
    """The parts of /status that the operator uses."""

    stage: str
    percent: float | None
    estimated_seconds: float | None
    error: RuntimeFault | None
    model: ServedModel | None


def parse_status(body: bytes) -> RuntimeStatus | None:
    """/status of a pod; None when the answer is not of that shape, as from another engine or a proxy."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("stage"), str):
        return None
    error, model = data.get("error"), data.get("model")
    return RuntimeStatus(
        stage=data["stage"],
        percent=_number(data.get("percent"), most=100),
        estimated_seconds=_number(data.get("estimatedSeconds")),
        error=_error(error) if isinstance(error, dict) else None,
        model=_model(model) if isinstance(model, dict) else None,
    )


def _error(data: dict[str, Any]) -> RuntimeFault:
    return RuntimeFault(
        code=int(_number(data.get("code")) or 0),
        reason=_text(data.get("reason")) or "Unknown",
        message=_text(data.get("message")) or "the runtime gave no message",
    )


def _model(data: dict[str, Any]) -> ServedModel:
    size = _number(data.get("sizeBytes"))
    return ServedModel(
        id=_text(data.get("id")),
        revision=_text(data.get("revision")),
        task=_text(data.get("task")),
        format=_text(data.get("format")),
        size_bytes=None if size is None else int(size),
    )


def _text(value: object) -> str | None:
    return value[:1024] if isinstance(value, str) and value else None


def _number(value: object, *, most: float = 2.0**53) -> float | None:
    """A number within what the CRD takes: a pod that says otherwise must not make the whole status unwritable."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(min(max(value, 0), most))
