"""Prometheus metrics. Own names with the prefix slipway_, in the vocabulary of TGI's and TEI's dashboards."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        labels = ("task", "dialect", "code")
        self.requests = Counter("slipway_request", "Requests answered", labels, registry=r)
        self.duration = Histogram(
            "slipway_request_duration_seconds", "From the first byte to the last", labels, registry=r, buckets=_SECONDS
        )
        self.queue_duration = Histogram(
            "slipway_request_queue_duration_seconds", "Waiting for a batch", registry=r, buckets=_SECONDS
        )
        self.batch_duration = Histogram(
            "slipway_batch_forward_duration_seconds", "One forward of a batch", registry=r, buckets=_SECONDS
        )
        self.input_tokens = Counter(
            "slipway_input_tokens", "Tokens of inputs, padding not counted", ("task",), registry=r
        )
        self.batch_size = Histogram("slipway_batch_size", "Inputs per forward", registry=r, buckets=_SIZES)
        self.batch_tokens = Histogram(
            "slipway_batch_tokens", "Tokens per forward, padding counted", registry=r, buckets=_TOKENS
        )
        self.queue_size = Gauge("slipway_queue_size", "Inputs waiting", registry=r)
        self.queue_tokens = Gauge("slipway_queue_tokens", "Tokens waiting", registry=r)
        self.in_flight = Gauge("slipway_requests_in_flight", "Requests held, queued or running", registry=r)
        self.dropped = Counter("slipway_dropped", "Inputs dropped because their caller had gone", registry=r)
        self.failed_items = Counter("slipway_failed_inputs", "Inputs whose forward failed", registry=r)
        self.ready = Gauge("slipway_ready", "1 once a forward has worked, until SIGTERM", registry=r)
