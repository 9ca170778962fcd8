"""Spans by OpenTelemetry's SDK, sent as OTLP over HTTP by its batch processor: its thread, its bounded queue.

One server span per request by the conventions for HTTP and generative AI, and a child for each stage, made when the
request has ended from times that are known by then. Route patterns instead of paths; no prompts, no headers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import (
    HTTP_REQUEST_METHOD,
    HTTP_RESPONSE_STATUS_CODE,
    HTTP_ROUTE,
)
from opentelemetry.semconv.attributes.network_attributes import NETWORK_PROTOCOL_VERSION
from opentelemetry.semconv.attributes.url_attributes import URL_SCHEME
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from starlette.types import Scope

from slipway_runtime import __version__
from slipway_runtime.serve.observe.logs import event
from slipway_runtime.serve.observe.metrics import Metrics
from slipway_runtime.serve.observe.stages import Stages
from slipway_runtime.serve.observe.tracing import Parent
from slipway_runtime.settings import Settings

_MOST_CALLS = 8
"""Of one request with many rows that get spans of their own."""
_COMPLAINT_SECONDS = 60.0
# gen_ai.operation.name has a closed list; what is none of it has no such attribute.
_OPERATIONS = {"feature-extraction": "embeddings", "text-generation": "text_completion"}


@dataclass(frozen=True, slots=True)
class Span:
    """A request's own span."""

    own: trace.Span
    id: str
    response: bytes


class Spans:
    """Begins and ends the spans of requests."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        # Its own lines may quote the endpoint's URL; ours say the same without it, and once a minute.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)
        self._model = settings.endpoint or settings.model_name
        self._made = metrics.spans.labels("made")
        provider = TracerProvider(resource=_resource(settings), shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(_Counted(OTLPSpanExporter(), metrics))
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("slipway_runtime", __version__)

    def begin(self, scope: Scope, method: str, parent: Parent | None) -> Span:
        own = self._tracer.start_span(
            method,
            context=_context(parent),
            kind=SpanKind.SERVER,
            attributes={HTTP_REQUEST_METHOD: method, URL_SCHEME: scope.get("scheme", "http")},
        )
        context = own.get_span_context()
        trace_id = trace.format_trace_id(context.trace_id)
        response = f"00-{trace_id}-{trace.format_span_id(context.span_id)}-{context.trace_flags:02x}"
        if own.is_recording():
            own.set_attribute(NETWORK_PROTOCOL_VERSION, scope.get("http_version", "1.1"))
        return Span(own, trace_id, response.encode())

    def end(self, span: Span, fields: dict[str, Any], calls: Sequence[Stages], ended: float) -> None:
        own = span.own
        if not own.is_recording():
            return
        now = time.time_ns()

        def at(moment: float) -> int:
            return now - int((ended - moment) * 1e9)

        code, route, task = fields["code"], fields["route"], fields["task"]
        method = "HTTP" if fields["method"] == "_OTHER" else fields["method"]
        own.update_name(f"{method} {route}" if route != "-" else method)
        own.set_attributes(
            {
                HTTP_RESPONSE_STATUS_CODE: code,
                "http.request.body.size": fields["bytesIn"],
                "http.response.body.size": fields["bytesOut"],
                **({HTTP_ROUTE: route} if route != "-" else {}),
                **({"slipway.task": task, "slipway.dialect": fields["dialect"]} if task != "-" else {}),
            }
        )
        if calls:
            own.set_attributes(self._generative(fields, calls))
        if code >= 500:
            own.set_attribute(ERROR_TYPE, str(code))
            own.set_status(Status(StatusCode.ERROR))
        made = 1
        context = trace.set_span_in_context(own)
        for call in calls[:_MOST_CALLS]:
            for name, start, end in call.spans(ended):
                self._tracer.start_span(name, context=context, start_time=at(start)).end(at(end))
                made += 1
        own.end(now)
        self._made.inc(made)

    def _generative(self, fields: dict[str, Any], calls: Sequence[Stages]) -> dict[str, Any]:
        operation = "chat" if fields["route"].endswith("/chat/completions") else _OPERATIONS.get(fields["task"])
        first = min((call.first_token - call.began for call in calls if call.first_token), default=None)
        return {
            "gen_ai.request.model": self._model,
            "gen_ai.usage.input_tokens": fields["inputTokens"],
            **({"gen_ai.operation.name": operation} if operation else {}),
            **({"gen_ai.usage.output_tokens": fields["outputTokens"]} if "outputTokens" in fields else {}),
            **({"gen_ai.response.time_to_first_chunk": first} if first is not None else {}),
        }

    def stop(self, seconds: float) -> None:
        """Send what waits; the SDK's own limit of 30 s would outlive a pod's grace."""
        sending = threading.Thread(target=self._processor.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(seconds)


class _Counted(SpanExporter):
    """The exporter, with what became of its spans."""

    def __init__(self, exporter: SpanExporter, metrics: Metrics) -> None:
        self._exporter = exporter
        self._sent, self._failed = metrics.spans.labels("sent"), metrics.spans.labels("failed")
        self._complained = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._sent.inc(len(spans))
            return result
        self._failed.inc(len(spans))
        if not self._complained or time.monotonic() - self._complained > _COMPLAINT_SECONDS:
            self._complained = time.monotonic()
            event(
                "traces cannot be sent; look at OTEL_EXPORTER_OTLP_ENDPOINT and at the collector behind it",
                level=logging.WARNING,
                spans=len(spans),
            )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _resource(settings: Settings) -> Resource:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES first, then what is known here."""
    found = Resource.create()
    if not str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return Resource({SERVICE_VERSION: __version__}).merge(found)
    own = {SERVICE_NAME: settings.endpoint or "slipway", SERVICE_VERSION: __version__}
    return found.merge(Resource({**own, **{k: v for k, v in found.attributes.items() if k == SERVICE_VERSION}}))


def _context(parent: Parent | None) -> Context:
    if parent is None:
        return Context()
    state = TraceState.from_header([parent.state]) if parent.state else TraceState()
    context = SpanContext(
        int(parent.id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=state,
    )
    return trace.set_span_in_context(NonRecordingSpan(context), Context())
