"""Prometheus metrics under our own names; dashboards.py shows them under those that others' dashboards know, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from slipway_runtime.serve.observe.logs import lines
from slipway_runtime.serve.observe.stages import Stages
from slipway_runtime.tasks.generated import Generated

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_LENGTHS = (1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a further series for each of ours, which no dashboard here reads


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        labels = ("task", "dialect", "code")
        self.requests = Counter("slipway_request", "Requests answered", labels, registry=r)
        self.duration = Histogram(
            "slipway_request_duration_seconds", "From the first byte to the last", labels, registry=r, buckets=_SECONDS
        )
        self.preprocess_duration = Histogram(
            "slipway_request_preprocess_duration_seconds", "Tokenizing, decoding", registry=r, buckets=_SECONDS
        )
        self.queue_duration = Histogram(
            "slipway_request_queue_duration_seconds", "One input's wait for a batch", registry=r, buckets=_SECONDS
        )
        self.inference_duration = Histogram(
            "slipway_request_inference_duration_seconds",
            "In the model, from the first input's start to the last one's end",
            registry=r,
            buckets=_SECONDS,
        )
        self.batch_duration = Histogram(
            "slipway_batch_forward_duration_seconds",
            "One forward of a batch, one step of a continuous one",
            registry=r,
            buckets=_SECONDS,
        )
        self.input_tokens = Counter(
            "slipway_input_tokens", "Tokens of inputs, padding not counted", ("task",), registry=r
        )
        self.generated_tokens = Counter("slipway_generated_tokens", "Tokens written", ("task",), registry=r)
        self.request_input_tokens = Histogram(
            "slipway_request_input_tokens", "Tokens of one request's inputs", registry=r, buckets=_LENGTHS
        )
        self.request_generated_tokens = Histogram(
            "slipway_request_generated_tokens", "Tokens written for one request", registry=r, buckets=_LENGTHS
        )
        self.request_max_new_tokens = Histogram(
            "slipway_request_max_new_tokens", "Tokens that one request might have had", registry=r, buckets=_LENGTHS
        )
        self.answers = Counter(
            "slipway_generated_answers", "Texts written, by why they ended", ("finish_reason",), registry=r
        )
        self.first_token = Histogram(
            "slipway_time_to_first_token_seconds",
            "From when a request was read to the first token of its answer",
            registry=r,
            buckets=_SECONDS,
        )
        self.inter_token = Histogram(
            "slipway_inter_token_latency_seconds",
            "Between two tokens of a stream",
            registry=r,
            buckets=_TOKEN_SECONDS,
        )
        self.time_per_token = Histogram(
            "slipway_time_per_output_token_seconds",
            "A request's time in the model for each token of its longest answer",
            registry=r,
            buckets=_TOKEN_SECONDS,
        )
        self.prefix_queries = Counter(
            "slipway_prefix_cache_queries", "Tokens of prompts whose beginning was looked for", registry=r
        )
        self.prefix_hits = Counter(
            "slipway_prefix_cache_hits", "Tokens of prompts that were found, and not read again", registry=r
        )
        self.batch_size = Histogram("slipway_batch_size", "Inputs per forward", registry=r, buckets=_SIZES)
        self.batch_tokens = Histogram(
            "slipway_batch_tokens", "Tokens per forward, padding counted", registry=r, buckets=_TOKENS
        )
        self.queue_size = Gauge("slipway_queue_size", "Inputs waiting", registry=r)
        self.queue_tokens = Gauge("slipway_queue_tokens", "Tokens waiting", registry=r)
        self.running = Gauge("slipway_running", "Inputs in the model now", registry=r)
        self.in_flight = Gauge("slipway_requests_in_flight", "Requests held, queued or running", registry=r)
        self.dropped = Counter("slipway_dropped", "Inputs dropped because their caller had gone", registry=r)
        self.failed_items = Counter("slipway_failed_inputs", "Inputs whose forward failed", registry=r)
        self.connections_refused = Counter(
            "slipway_connections_refused", "Connections closed before a request was read whole", ("code",), registry=r
        )
        self.ready = Gauge("slipway_ready", "1 once a forward has worked, until SIGTERM", registry=r)
        self.spans = Counter("slipway_spans", "Spans by what became of them", ("outcome",), registry=r)
        r.register(
            _Read("slipway_log_lines_dropped", "Log lines that nobody read in time", lambda: float(lines.dropped))
        )
        ProcessCollector(registry=r)
        self._by_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def request(self, task: str, dialect: str, code: int, seconds: float) -> None:
        """A request was answered. All three labels are of closed lists, never a caller's words."""
        key = (task, dialect, code)
        found = self._by_request.get(key)
        if found is None:  # `labels` costs as much as the rest
            found = self._by_request[key] = (self.requests.labels(*key), self.duration.labels(*key))
        found[0].inc()
        found[1].observe(seconds)

    def refused(self, code: int) -> None:
        """A connection was refused before it came to a request."""
        self.connections_refused.labels(code).inc()

    def answered(self, task: str, stages: Stages, outputs: Sequence[Any]) -> None:
        """The task has answered; `outputs`: what the forward made of each input."""
        self.preprocess_duration.observe(stages.queued - stages.began)
        self.inference_duration.observe(stages.ended - stages.started)
        self.request_input_tokens.observe(stages.input_tokens)
        if not outputs or not isinstance(outputs[0], Generated):
            return
        for answer in outputs:
            self.answers.labels(answer.finish_reason).inc()
            if answer.cached_tokens is not None:
                self.prefix_queries.inc(answer.prompt_tokens)
                self.prefix_hits.inc(answer.cached_tokens)
        longest = max(len(answer.tokens) for answer in outputs)
        stages.output_tokens = sum(len(answer.tokens) for answer in outputs)
        self.generated_tokens.labels(task).inc(stages.output_tokens)
        self.request_generated_tokens.observe(stages.output_tokens)
        self.request_max_new_tokens.observe(stages.room)
        self.time_per_token.observe((stages.ended - stages.started) / max(1, longest))
        if stages.first_token:
            self.first_token.observe(stages.first_token - stages.began)


class Intervals:
    """Times between the tokens of one stream, as they come to the event loop."""

    def __init__(self, histogram: Histogram, clock: Callable[[], float]) -> None:
        self._histogram = histogram
        self._clock = clock
        self._last: dict[int, float] = {}

    def token(self, index: int) -> None:
        """The answer number `index` has one more."""
        now = self._clock()
        last = self._last.get(index)
        if last is not None:
            self._histogram.observe(now - last)
        self._last[index] = now


class _Read(Collector):
    """A counter that is kept elsewhere."""

    def __init__(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        self._name, self._documentation, self._value = name, documentation, value

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._documentation, value=self._value())
