"""Traces: spans as a collector gets them, the context of whoever asks, and collectors that are down, slow or refuse."""

from __future__ import annotations

import json
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import Serve
from tests.support.collector import Collector, Span, collecting
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny.generation import chat_decoder
from tests.support.waiting import eventually

CANARY = "canary4711"
SERVER, INTERNAL = 2, 1  # SpanKind of OTLP
ERROR = 2
UNSAMPLED = ("00", "02")  # 2: the trace's id is random
STAGES = ["preprocess", "queue", "forward", "postprocess"]
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}  # milliseconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_decoder(tmp_path_factory.mktemp("models") / "writer", max_position_embeddings=512)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced(serve: Serve, folder: Path, collector: Collector) -> Iterator[RuntimeServer]:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "SLIPWAY_ENDPOINT": "writer",
        **SOON,
    }
    with serve(folder, **variables) as server:
        traces(server, collector)
        yield server


def parent() -> tuple[str, str, str]:
    """A trace, a span in it, and the header that names both."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"00-{trace}-{span}-01"


def traces(server: RuntimeServer, collector: Collector) -> None:
    """Wait until the server makes spans: OpenTelemetry is imported beside everything else."""

    def seen() -> bool:
        httpx.get(f"{server.url}/info")
        return bool(collector.spans)

    eventually(seen, interval=0.2)


def ask(
    server: RuntimeServer, collector: Collector, spans: int, **request: object
) -> tuple[httpx.Response, list[Span]]:
    """A request of a trace of its own, and the spans that came of it."""
    trace, _, header = parent()
    body = {"inputs": "the film was", "parameters": {"max_new_tokens": 5}} | request
    answer = server.post(body, headers={"traceparent": header})
    eventually(lambda: len(collector.of(trace)) >= spans, timeout=20)
    return answer, collector.of(trace)


def test_a_request_is_a_server_span_with_its_stages_as_children(traced: RuntimeServer, collector: Collector) -> None:
    before = time.time_ns()
    answer, spans = ask(traced, collector, 5)
    assert answer.status_code == 200
    by_name = {span.name: span for span in spans}
    assert by_name.keys() == {"POST /", *STAGES}
    own = by_name["POST /"]
    assert own.kind == SERVER
    assert before <= own.start <= own.end <= time.time_ns()
    stages = [by_name[name] for name in STAGES]
    for earlier, later in pairwise(stages):
        assert abs(later.start - earlier.end) < 1_000_000  # one begins where the other ends
    for stage in stages:
        assert stage.parent == own.id
        assert stage.kind == INTERNAL
        assert own.start - 1_000_000 <= stage.start <= stage.end <= own.end


def test_spans_say_what_was_asked_by_opentelemetrys_conventions(traced: RuntimeServer, collector: Collector) -> None:
    answer, spans = ask(traced, collector, 5)
    own = next(span for span in spans if span.kind == SERVER)
    found = own.attributes
    assert found["http.request.method"] == "POST"
    assert found["http.route"] == "/"
    assert found["http.response.status_code"] == 200
    assert found["url.scheme"] == "http"
    assert found["http.response.body.size"] == len(answer.content)
    assert found["gen_ai.operation.name"] == "text_completion"
    assert found["gen_ai.request.model"] == "writer"
    assert found["gen_ai.usage.input_tokens"] > 0
    assert 1 <= found["gen_ai.usage.output_tokens"] <= 5
    assert 0 < found["gen_ai.response.time_to_first_chunk"] < (own.end - own.start) / 1e9
    assert own.resource["service.name"] == "writer"
    assert own.resource["deployment.environment.name"] == "test"
    assert own.resource["telemetry.sdk.name"] == "opentelemetry"
    assert all(headers["x-tenant"] == "blue" for headers in collector.headers)


def test_the_callers_span_is_the_parent_and_the_answer_names_ours(traced: RuntimeServer, collector: Collector) -> None:
    trace, caller, header = parent()
    answer = traced.post({"inputs": "a"}, headers={"traceparent": header, "tracestate": "vendor=1"})
    eventually(lambda: len(collector.of(trace)) == 5)
    own = next(span for span in collector.of(trace) if span.kind == SERVER)
    assert own.parent == caller
    assert answer.headers["traceresponse"] == f"00-{trace}-{own.id}-01"


def test_a_request_without_a_trace_begins_one(traced: RuntimeServer, collector: Collector) -> None:
    answer = httpx.get(f"{traced.url}/info")
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[13]", answer.headers["traceresponse"])
    assert found is not None
    (own,) = eventually(lambda: collector.of(found[1]) or None)
    assert (own.name, own.id, own.parent) == ("GET /info", found[2], "")


def test_what_a_caller_does_not_want_traced_is_not_sent(traced: RuntimeServer, collector: Collector) -> None:
    trace, span, _ = parent()
    answer = traced.post({"inputs": "a"}, headers={"traceparent": f"00-{trace}-{span}-00"})
    assert answer.headers["traceresponse"].startswith(f"00-{trace}-")
    assert answer.headers["traceresponse"].endswith("-00")
    ask(traced, collector, 5)  # what came after has arrived
    assert collector.of(trace) == []


def test_a_refusal_is_a_span_without_stages_that_it_never_came_to(traced: RuntimeServer, collector: Collector) -> None:
    answer, (own,) = ask(traced, collector, 1, parameters={"max_new_tokens": -1})
    assert answer.status_code == 422
    assert own.attributes["http.response.status_code"] == 422
    assert own.status != ERROR  # by the conventions only 5xx are a server's errors


def test_a_request_that_comes_too_late_shows_where_its_time_went(
    serve: Serve, folder: Path, collector: Collector
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "SLIPWAY_REQUEST_TIMEOUT_SECONDS": "0.1"}
    long = {"max_new_tokens": 450, "min_new_tokens": 440}
    with serve(folder, SLIPWAY_ENDPOINT="late", **variables, **SOON) as server:
        eventually(lambda: "traceresponse" in httpx.get(f"{server.url}/info").headers)
        answer, spans = ask(server, collector, 2, inputs=["a"] * 32, parameters=long)
    assert answer.status_code == 504
    own = next(span for span in spans if span.kind == SERVER)
    assert own.status == ERROR
    assert own.attributes["error.type"] == "504"
    assert own.resource["service.name"] == "late"
    stages = sorted((span for span in spans if span.kind != SERVER), key=lambda span: STAGES.index(span.name))
    assert [stage.name for stage in stages] == STAGES[: len(stages)]
    assert own.start <= stages[-1].end <= own.end


def test_no_input_query_header_or_made_up_path_reaches_a_span(traced: RuntimeServer, collector: Collector) -> None:
    trace, _, header = parent()
    headers = {"traceparent": header, "Authorization": f"Bearer {CANARY}", "X-Request-Id": CANARY, "Host": CANARY}
    traced.post({"inputs": CANARY}, path=f"/?token={CANARY}", headers=headers)
    traced.post({"inputs": CANARY, CANARY: 1}, path=f"/pipeline/{CANARY}", headers=headers)
    httpx.request("PROPFIND", f"{traced.url}/{CANARY}", headers=headers)
    eventually(lambda: len([s for s in collector.of(trace) if s.kind == SERVER]) == 3)
    assert CANARY not in str(collector.of(trace))
    assert {span.attributes["http.request.method"] for span in collector.of(trace) if span.name == "HTTP"} == {"_OTHER"}


@pytest.mark.parametrize(
    "header",
    ["", "00", "nonsense", "00-" + "1" * 5000, f"00-{'A' * 32}-{'1' * 16}-01",
     f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01",
     f"ff-{'1' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'1' * 16}-01-more"],
)  # fmt: skip
def test_a_traceparent_that_is_none_is_as_if_it_were_not_there(traced: RuntimeServer, header: str) -> None:
    answer = traced.post({"inputs": "a"}, headers={"traceparent": header})
    assert answer.status_code == 200
    assert "1" * 32 not in answer.headers["traceresponse"]


@pytest.mark.parametrize("state", ["=,;", "a=1,a=2", ",".join(f"k{i}=v" for i in range(200)), "\xe9=\xe9"])
def test_a_tracestate_that_is_none_leaves_the_parent(traced: RuntimeServer, collector: Collector, state: str) -> None:
    trace, caller, header = parent()
    headers = [(b"traceparent", header.encode()), (b"tracestate", state.encode("latin-1"))]
    assert httpx.get(f"{traced.url}/info", headers=headers).status_code == 200
    (own,) = eventually(lambda: collector.of(trace) or None)
    assert own.parent == caller


def test_without_an_endpoint_the_callers_trace_is_in_the_log_and_the_answer(classifier: RuntimeServer) -> None:
    trace, span, header = parent()
    answer = classifier.post({"inputs": "a"}, headers={"traceparent": header})
    assert answer.headers["traceresponse"] == f"00-{trace}-{span}-01"
    eventually(lambda: any(line.get("traceId") == trace for line in classifier.lines()))
    assert "traceresponse" not in classifier.post({"inputs": "a"}).headers


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none"])
def test_opentelemetrys_own_switches_turn_traces_off(
    serve: Serve, folder: Path, collector: Collector, variable: str
) -> None:
    name, _, value = variable.partition("=")
    before = len(collector.headers)
    with serve(folder, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **{name: value}, **SOON) as server:
        assert "traceresponse" not in server.post({"inputs": "a"}).headers
        assert server.terminate() == 0
    assert len(collector.headers) == before


def test_what_is_not_sampled_is_neither_sent_nor_slower(serve: Serve, folder: Path, collector: Collector) -> None:
    variables = {"OTEL_TRACES_SAMPLER": "always_off", "OTEL_SERVICE_NAME": "unsampled"}
    with serve(folder, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **variables, **SOON) as server:
        eventually(lambda: httpx.get(f"{server.url}/info").headers.get("traceresponse", "-01")[-2:] in UNSAMPLED)
        server.post({"inputs": "a"})
        assert server.terminate() == 0
    assert not [span for span in collector.spans if span.resource["service.name"] == "unsampled"]


def test_sigterm_sends_the_spans_that_wait(serve: Serve, folder: Path, collector: Collector) -> None:
    variables = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_SERVICE_NAME": "ends"}
    with serve(folder, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **variables) as server:
        eventually(lambda: "traceresponse" in httpx.get(f"{server.url}/info").headers)
        trace, _, header = parent()
        server.post({"inputs": "a"}, headers={"traceparent": header})
        assert collector.of(trace) == []
        assert server.terminate() == 0
    assert len(collector.of(trace)) == 5


def _nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return f"http://127.0.0.1:{gone.getsockname()[1]}"


def test_a_collector_that_is_down_fails_no_request_and_is_told_of_once(serve: Serve, folder: Path) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": _nobody(),
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_MAX_QUEUE_SIZE": "600",
    }
    with serve(folder, **variables, **SOON) as server:
        eventually(lambda: "traceresponse" in httpx.get(f"{server.url}/info").headers)
        with httpx.Client(base_url=server.url) as client:
            assert {client.get("/info").status_code for _ in range(300)} == {200}
        eventually(lambda: server.metric("slipway_spans_total", outcome="failed") > 0, timeout=20)
        assert server.post({"inputs": "a"}).status_code == 200
        assert server.terminate() == 0
        told = [line for line in server.lines() if "traces cannot be sent" in line["message"]]
    assert len(told) == 1
    assert "127.0.0.1" not in json.dumps(told)


def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_exit(serve: Serve, folder: Path) -> None:
    with collecting() as collector:
        collector.hold = threading.Event()
        variables = {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64", **SOON}
        with serve(folder, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **variables) as server:
            eventually(lambda: "traceresponse" in httpx.get(f"{server.url}/info").headers)
            eventually(lambda: collector.headers)  # it has taken a batch, and keeps it
            with httpx.Client(base_url=server.url) as client:
                taken = [client.get("/info").elapsed.total_seconds() for _ in range(300)]  # many times the queue
            assert server.post({"inputs": "a"}).status_code == 200
            assert sorted(taken)[150] < 2  # to wait for the collector would take for ever
            assert server.metric("slipway_spans_total", outcome="made") > 300
            assert server.metric("slipway_spans_total", outcome="sent") == 0
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(15) == 0


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"nonsense-{CANARY}"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "0"},
        {"OTEL_EXPORTER_OTLP_COMPRESSION": CANARY},
        {"OTEL_TRACES_SAMPLER": CANARY},
    ],
)
def test_variables_that_opentelemetry_cannot_use_stop_no_server(
    serve: Serve, folder: Path, variables: dict[str, str]
) -> None:
    with serve(
        folder, **({"OTEL_EXPORTER_OTLP_ENDPOINT": _nobody(), "OTEL_EXPORTER_OTLP_TIMEOUT": "1"} | variables)
    ) as server:
        assert server.post({"inputs": "a"}).status_code == 200
        assert server.terminate() == 0
