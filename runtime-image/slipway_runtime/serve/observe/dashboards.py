"""The same numbers under the names that dashboards and autoscalers of other servers know.

Made of our own samples when somebody scrapes, so that a request is counted once. The names are those of
text-generation-inference 3.3 (router/src/server.rs), vLLM 0.11 (vllm/v1/metrics/loggers.py) and
text-embeddings-inference 1.9 (router/src/lib.rs, core/src/queue.rs). What of theirs has no counterpart here is left
out rather than made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Labels = Mapping[str, str]
Values = dict[tuple[str, str], float]
"""By suffix of the sample and `le`, in the order of the exposition format."""


@dataclass(frozen=True)
class Name:
    """One metric of others, made of one of ours: the sum over those of its label sets that count."""

    name: str
    own: str
    counts: Callable[[Labels], bool] = lambda _: True
    labels: dict[str, str] = field(default_factory=dict)


def _success(labels: Labels) -> bool:
    return labels["code"] == "200"


def _code(*wanted: str) -> Callable[[Labels], bool]:
    return lambda labels: labels["code"] in wanted


def _finish(*wanted: str) -> Callable[[Labels], bool]:
    return lambda labels: labels["finish_reason"] in wanted


def _requests(prefix: str) -> list[Name]:
    """Requests, as both of Hugging Face's servers count them."""
    failures = {
        "validation": _code("400", "413", "415", "422"),
        "overloaded": _code("429"),
        "dropped": _code("499"),
        "generation" if prefix == "tgi" else "inference": _code("424", "500", "504"),
    }
    return [
        Name(f"{prefix}_request_count", "slipway_request"),
        Name(f"{prefix}_request_success", "slipway_request", _success),
        *(Name(f"{prefix}_request_failure", "slipway_request", kind, {"err": err}) for err, kind in failures.items()),
        Name(f"{prefix}_request_duration", "slipway_request_duration_seconds", _success),
        Name(f"{prefix}_request_queue_duration", "slipway_request_queue_duration_seconds"),
        Name(f"{prefix}_request_inference_duration", "slipway_request_inference_duration_seconds"),
        Name(f"{prefix}_request_input_length", "slipway_request_input_tokens"),
        Name(f"{prefix}_queue_size", "slipway_queue_size"),
        Name(f"{prefix}_batch_next_size", "slipway_batch_size"),
    ]


# A step of a continuous batch reads prompts and writes answers at once; dashboards look at its "decode".
TGI = [
    *_requests("tgi"),
    Name("tgi_request_validation_duration", "slipway_request_preprocess_duration_seconds"),
    Name("tgi_request_mean_time_per_token_duration", "slipway_time_per_output_token_seconds"),
    Name("tgi_request_generated_tokens", "slipway_request_generated_tokens"),
    Name("tgi_request_max_new_tokens", "slipway_request_max_new_tokens"),
    Name("tgi_batch_current_size", "slipway_running"),
    Name("tgi_batch_inference_duration", "slipway_batch_forward_duration_seconds", labels={"method": "decode"}),
]

VLLM = [
    Name("vllm:num_requests_running", "slipway_running"),
    Name("vllm:num_requests_waiting", "slipway_queue_size"),
    Name("vllm:time_to_first_token_seconds", "slipway_time_to_first_token_seconds"),
    Name("vllm:inter_token_latency_seconds", "slipway_inter_token_latency_seconds"),
    Name("vllm:request_time_per_output_token_seconds", "slipway_time_per_output_token_seconds"),
    Name("vllm:e2e_request_latency_seconds", "slipway_request_duration_seconds", _success),
    Name("vllm:request_queue_time_seconds", "slipway_request_queue_duration_seconds"),
    Name("vllm:request_inference_time_seconds", "slipway_request_inference_duration_seconds"),
    Name("vllm:prompt_tokens_total", "slipway_input_tokens"),
    Name("vllm:generation_tokens_total", "slipway_generated_tokens"),
    Name("vllm:prefix_cache_queries_total", "slipway_prefix_cache_queries"),
    Name("vllm:prefix_cache_hits_total", "slipway_prefix_cache_hits"),
    Name("vllm:request_prompt_tokens", "slipway_request_input_tokens"),
    Name("vllm:request_generation_tokens", "slipway_request_generated_tokens"),
    Name("vllm:request_params_max_tokens", "slipway_request_max_new_tokens"),
    Name(
        "vllm:request_success_total",
        "slipway_generated_answers",
        _finish("eos_token", "stop_sequence"),
        {"finished_reason": "stop"},
    ),
    Name("vllm:request_success_total", "slipway_generated_answers", _finish("length"), {"finished_reason": "length"}),
    Name("vllm:request_success_total", "slipway_request", _code("499"), {"finished_reason": "abort"}),
]

TEI = [
    *_requests("te"),
    Name("te_request_tokenization_duration", "slipway_request_preprocess_duration_seconds"),
    Name("te_batch_next_tokens", "slipway_batch_tokens"),
]


class Exposition(Collector):
    """Our own metrics, then theirs: TGI's and vLLM's where text is generated, TEI's where a model is there that does
    not."""

    def __init__(self, own: Collector, *, generates: bool | None, model: str) -> None:
        """`generates`: None while no model is there."""
        self._own = own
        self._names: list[tuple[Name, dict[str, str]]] = []
        if generates:
            engine = {"model_name": model, "engine": "0"}
            self._names = [*((name, {}) for name in TGI), *((name, engine) for name in VLLM)]
        elif generates is False:
            self._names = [(name, {}) for name in TEI]

    def collect(self) -> Iterable[Metric]:
        own = {metric.name: metric for metric in self._own.collect()}
        yield from own.values()
        theirs: dict[str, Metric] = {}
        for name, labels in self._names:
            source = own[name.own]
            metric = theirs.setdefault(name.name, _family(name.name, source))
            for (suffix, le), value in _summed(source, name.counts):
                further = {"le": le} if le else {}
                metric.add_sample(name.name + suffix, {**labels, **name.labels, **further}, value)
        yield from theirs.values()


def _family(name: str, source: Metric) -> Metric:
    """vLLM's counters end in _total, as the format wants it; those of Rust's exporter do not, and are untyped here."""
    kind = source.type
    if kind == "counter" and not name.endswith("_total"):
        kind = "unknown"
    return Metric(name.removesuffix("_total"), source.documentation, kind)


def _summed(source: Metric, counts: Callable[[Labels], bool]) -> Iterator[tuple[tuple[str, str], float]]:
    """Samples over all label sets that count. Theirs without a single one are zero, as a dashboard wants it."""
    values: Values = {} if source.type == "histogram" else {("", ""): 0.0}
    for sample in source.samples:
        if not counts(sample.labels):
            continue
        suffix = (
            sample.name.removeprefix(source.name).removesuffix("_total")
            if source.type == "counter"
            else (sample.name.removeprefix(source.name))
        )
        key = (suffix, sample.labels.get("le", ""))
        values[key] = values.get(key, 0.0) + sample.value
    yield from values.items()
