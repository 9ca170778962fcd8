"""Every setting of the process, from the environment, in one frozen class.

The names in the first group are the contract with the operator (operator/decisions/0002); tests/contract feeds one
side to the other. Each field says what it protects or decides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts.adapter_list import NamedReference, read_adapters
from slipway_runtime.artifacts.reference import REPOSITORY, REVISION, Reference, from_uri, short_name, shown


class SettingsError(ValueError):
    """Variables that cannot be used: one sentence per variable, with its name, value and what is allowed.

    `usable` holds the variables that can be, and defaults for the rest: enough to listen and say what is wrong.
    """

    def __init__(self, problems: list[str], usable: Settings) -> None:
        super().__init__("; ".join(problems))
        self.usable = usable


def _of(
    env: str,
    default: Any,
    doc: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    among: tuple[str, ...] = (),
) -> Any:
    metadata = {"env": env, "doc": doc, "ge": ge, "le": le, "among": among}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one server process runs with."""

    endpoint: str = _of("SLIPWAY_ENDPOINT", "", "the endpoint's name; callers may use it as the model's name")
    model_id: str = _of("SLIPWAY_MODEL_ID", "", "Hub repository, owner/name")
    model_revision: str = _of("SLIPWAY_MODEL_REVISION", "main", "branch, tag or commit; resolved to a commit once")
    model_path: str = _of("SLIPWAY_MODEL_PATH", "", "a folder instead of a repository; never written to")
    model_uri: str = _of(
        "SLIPWAY_MODEL_URI",
        "",
        "a source instead of the Hub: s3://bucket/prefix, https://host/x.tar.gz, oci://host/x:tag",
    )
    model_sha256: str = _of("SLIPWAY_MODEL_SHA256", "", "digest of an https:// archive, compared before it is unpacked")
    token_file: str = _of(
        "SLIPWAY_MODEL_TOKEN_FILE",
        "",
        "the source's credentials, a file or a folder of keys, read anew at every attempt",
    )
    adapters: str = _of(
        "SLIPWAY_ADAPTERS",
        "",
        "LoRA adapters, JSON: a list of objects with name, one of id, path, uri, and revision, sha256",
    )
    plain_http_hosts: str = _of(
        "SLIPWAY_PLAIN_HTTP_HOSTS", "", "hosts, with or without port, that may be asked without TLS; a list with commas"
    )
    task: str = _of("SLIPWAY_TASK", "", "what the model is served for; empty: found from the model's files")
    cache_dir: str = _of("SLIPWAY_CACHE_DIR", "/var/cache/slipway", "writable folder for downloads")
    drain_seconds: float = _of(
        "SLIPWAY_DRAIN_SECONDS", 30.0, "how long SIGTERM waits for requests in flight", ge=0, le=3600
    )
    hf_endpoint: str = _of("HF_ENDPOINT", "https://huggingface.co", "the Hub or a mirror")

    host: str = _of("SLIPWAY_HOST", "", "address to listen on; empty: all, IPv4 and IPv6")
    http_port: int = _of("SLIPWAY_HTTP_PORT", 8080, "the API", ge=0, le=65535)
    admin_port: int = _of("SLIPWAY_ADMIN_PORT", 9090, "probes, metrics, status; on no Service", ge=0, le=65535)

    api_tokens_dir: str = _of(
        "SLIPWAY_API_TOKENS_DIR",
        "",
        "folder of tokens, one per file, one of which every request must have (401), probes apart; read anew every "
        "second; missing or empty: all are refused. Not set: no tokens are asked for",
    )
    max_connections: int = _of(
        "SLIPWAY_MAX_CONNECTIONS", 1024, "memory and handles: open connections per port (429)", ge=1, le=65536
    )
    max_header_bytes: int = _of(
        "SLIPWAY_MAX_HEADER_BYTES", 64 * 1024, "memory, against huge headers (431)", ge=1024, le=1024**2
    )
    header_seconds: float = _of(
        "SLIPWAY_HEADER_SECONDS", 10.0, "connections, from callers who send headers slowly (408)", ge=0.1, le=3600
    )
    body_seconds: float = _of(
        "SLIPWAY_BODY_SECONDS",
        30.0,
        "the same for bodies (408), with as much more as what has arrived takes at SLIPWAY_BODY_BYTES_PER_SECOND",
        ge=0.1,
        le=3600,
    )
    body_bytes_per_second: int = _of(
        "SLIPWAY_BODY_BYTES_PER_SECOND", 16 * 1024, "how slow a line may be", ge=1, le=1024**3
    )
    write_seconds: float = _of(
        "SLIPWAY_WRITE_SECONDS", 30.0, "memory, from callers who do not read: then cut off", ge=0.1, le=3600
    )

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
    max_queue_tokens: int = _of("SLIPWAY_MAX_QUEUE_TOKENS", 65536, "memory, against a long queue (429)", ge=1)
    max_queue_seconds: float = _of(
        "SLIPWAY_MAX_QUEUE_SECONDS",
        10.0,
        "callers from a long wait: expected at most, by what ran of late (429)",
        ge=0.01,
    )
    max_requests: int = _of("SLIPWAY_MAX_REQUESTS", 512, "memory: requests held, queued or running (429)", ge=1)
    max_prefix_tokens: int = _of(
        "SLIPWAY_MAX_PREFIX_TOKENS",
        8192,
        "memory: tokens of earlier prompts and answers that are kept for prompts of the same caller that begin the "
        "same; 0: none",
        ge=0,
    )
    hold_seconds: float = _of(
        "SLIPWAY_HOLD_SECONDS", 30.0, "callers from a 503: how long a request waits for a loading model", ge=0, le=3600
    )
    request_timeout_seconds: float = _of(
        "SLIPWAY_REQUEST_TIMEOUT_SECONDS", 120.0, "callers from waiting for ever (504)", ge=0.1, le=86400
    )
    forward_timeout_seconds: float = _of(
        "SLIPWAY_FORWARD_TIMEOUT_SECONDS",
        0.0,
        "callers from a model that hangs: a forward (where text is written: a step) that lasts longer makes the pod "
        "unready, twice as long not live; 0: as long as a request may last, at least a minute",
        ge=0,
        le=86400,
    )
    unready_seconds: float = _of(
        "SLIPWAY_UNREADY_SECONDS", 2.0, "requests on their way: still accepted this long after SIGTERM", ge=0, le=300
    )
    retry_seconds: float = _of(
        "SLIPWAY_RETRY_SECONDS", 10.0, "the source: first wait after a failed load, then doubling", ge=0.01
    )
    retry_max_seconds: float = _of("SLIPWAY_RETRY_MAX_SECONDS", 300.0, "how long that wait may become", ge=0.01)
    workers: int = _of(
        "SLIPWAY_WORKERS",
        1,
        "processes that serve the port with one copy of the weights, on a processor only; connections, requests and "
        "queued tokens are bounded for all of them together",
        ge=1,
        le=64,
    )
    threads: int = _of(
        "SLIPWAY_THREADS",
        0,
        "the processor from thrashing, in each worker; 0: what the cgroup allows, divided among them",
        ge=0,
        le=1024,
    )
    dtype: str = _of(
        "SLIPWAY_DTYPE",
        "auto",
        "the numbers' type: float32, bfloat16, float16; auto: float32 on a processor, else the checkpoint's own",
        among=("auto", "float32", "bfloat16", "float16"),
    )
    quantization: str = _of(
        "SLIPWAY_QUANTIZATION",
        "",
        "int8: linear layers are made so while loading, each token's and output's by a scale of its own; empty: none",
        among=("int8",),
    )
    compile: bool = _of(
        "SLIPWAY_COMPILE",
        False,
        "true: torch.compile, before the model is ready; needs a compiler, kept below SLIPWAY_CACHE_DIR",
    )
    termination_log: str = _of(
        "SLIPWAY_TERMINATION_LOG", "/dev/termination-log", "where the last word of an ending process goes"
    )

    otlp_endpoint: str = _of(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "", "where traces go, OTLP over HTTP, http://host:4318; empty: none are made"
    )
    otlp_traces_endpoint: str = _of(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "the same for traces alone, with its path: http://host:4318/v1/traces"
    )
    otel_sdk_disabled: str = _of("OTEL_SDK_DISABLED", "", "true: no traces, whatever the endpoint")
    otel_traces_exporter: str = _of("OTEL_TRACES_EXPORTER", "", "none: no traces, whatever the endpoint")

    @property
    def model_name(self) -> str:
        """How messages call the model: the repository, or the last part of its place."""
        if self.model_uri and not self.model_id:
            reference = self.model
            return short_name(reference) if reference else shown(self.model_uri)
        return self.model_id or Path(self.model_path).name or "(none)"

    @property
    def plain_hosts(self) -> tuple[str, ...]:
        """SLIPWAY_PLAIN_HTTP_HOSTS, split."""
        return tuple(host.strip() for host in self.plain_http_hosts.split(",") if host.strip())

    @property
    def model(self) -> Reference | None:
        """Where the model comes from; None where the variables do not say it, or not rightly."""
        if self.model_id:
            return Reference("hub", self.model_id, revision=self.model_revision, token_file=self.token_file)
        if self.model_path:
            return Reference("path", self.model_path)
        try:
            return self._from_uri()
        except ValueError:
            return None

    def _from_uri(self) -> Reference:
        return from_uri(
            self.model_uri, sha256=self.model_sha256, token_file=self.token_file, plain_hosts=self.plain_hosts
        )

    @cached_property
    def variants(self) -> tuple[NamedReference, ...]:
        """The LoRA adapters; none where the variable cannot be read."""
        try:
            return read_adapters(self.adapters, self.model, self.plain_hosts)
        except ValueError:
            return ()

    @property
    def of_worker(self) -> Settings:
        """What each of the workers may hold, so that all of them together hold no more than one would."""

        def part(most: int) -> int:
            return max(1, most // self.workers)

        return dataclasses.replace(
            self,
            max_connections=part(self.max_connections),
            max_requests=part(self.max_requests),
            max_queue_tokens=part(self.max_queue_tokens),
            max_prefix_tokens=self.max_prefix_tokens // self.workers,
        )

    @property
    def traces(self) -> bool:
        """Whether spans are made, by OpenTelemetry's own variables."""
        off = self.otel_sdk_disabled.lower() == "true" or self.otel_traces_exporter.lower() == "none"
        return bool(self.otlp_endpoint or self.otlp_traces_endpoint) and not off

    @property
    def variant_names(self) -> tuple[str, ...]:
        """Names of LoRA adapters, each of which callers may use as the model's name."""
        return tuple(variant.name for variant in self.variants)

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
        return _one_of(env, raw, field.metadata["among"]) if field.metadata["among"] else raw
    if isinstance(default, bool):
        return _one_of(env, raw, ("true", "false", "1", "0")) in ("true", "1")
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


def _one_of(env: str, raw: str, among: tuple[str, ...]) -> str:
    if raw.lower() not in among:
        raise ValueError(f"{env}={raw!r}: must be one of {', '.join(among)}")
    return raw.lower()


def _cross_checks(settings: Settings) -> list[str]:
    problems = []
    given = {
        "SLIPWAY_MODEL_ID": settings.model_id,
        "SLIPWAY_MODEL_PATH": settings.model_path,
        "SLIPWAY_MODEL_URI": shown(settings.model_uri),
    }
    given = {name: value for name, value in given.items() if value}
    if len(given) > 1:
        problems.append(f"{' and '.join(f'{name}={value!r}' for name, value in given.items())}: set exactly one")
    if not given:
        problems.append(
            "SLIPWAY_MODEL_ID: set it to a Hub repository (owner/name), or SLIPWAY_MODEL_PATH to a folder, or "
            "SLIPWAY_MODEL_URI to an s3://, https:// or oci:// source"
        )
    problems += _source_problems(settings)
    if settings.model_id and (not REPOSITORY.fullmatch(settings.model_id) or ".." in settings.model_id):
        problems.append(f"SLIPWAY_MODEL_ID={settings.model_id!r}: must be a Hub repository, owner/name")
    if not REVISION.fullmatch(settings.model_revision) or ".." in settings.model_revision:
        problems.append(f"SLIPWAY_MODEL_REVISION={settings.model_revision!r}: must be a branch, a tag or a commit")
    if not settings.hf_endpoint.startswith(("http://", "https://")):
        problems.append(f"HF_ENDPOINT={settings.hf_endpoint!r}: must begin with http:// or https://")
    if settings.http_port == settings.admin_port != 0:
        problems.append(f"SLIPWAY_HTTP_PORT and SLIPWAY_ADMIN_PORT are both {settings.http_port}: must differ")
    if settings.quantization and settings.adapters:
        problems.append(
            f"SLIPWAY_QUANTIZATION={settings.quantization!r} and SLIPWAY_ADAPTERS: LoRA adapters are made for the "
            "weights as they are; leave one of them out"
        )
    if settings.retry_max_seconds < settings.retry_seconds:
        problems.append(
            f"SLIPWAY_RETRY_MAX_SECONDS={settings.retry_max_seconds:g}: must be at least SLIPWAY_RETRY_SECONDS "
            f"({settings.retry_seconds:g})"
        )
    return problems


def _source_problems(settings: Settings) -> list[str]:
    problems = []
    if settings.model_uri:
        try:
            settings._from_uri()
        except ValueError as error:
            problems.append(f"SLIPWAY_MODEL_URI={shown(settings.model_uri)!r}: {error}")
    elif settings.model_sha256:
        problems.append("SLIPWAY_MODEL_SHA256 goes with an https:// archive in SLIPWAY_MODEL_URI; leave it out")
    try:
        names = [a.name for a in read_adapters(settings.adapters, settings.model, settings.plain_hosts)]
    except ValueError as error:
        return [*problems, f"SLIPWAY_ADAPTERS {error}"]
    taken = {settings.endpoint, settings.model_id, settings.model_name, "dummy", "tgi"} - {""}
    problems += [f"SLIPWAY_ADAPTERS: the name {n!r} is the model's own already" for n in names if n in taken]
    return problems
