"""/metrics: what stands there, that it agrees with what was answered, and that the README says the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from tests.runtime.conftest import REPOSITORY, Serve
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.tiny.generation import chat_decoder
from tests.support.waiting import eventually

README = (REPOSITORY / "runtime-image/README.md").read_text()
PROMPT = "the film was"
OURS = "slipway_"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Asked(NamedTuple):
    """A server that writes, and what it was asked."""

    server: RuntimeServer
    answers: int
    streamed: int
    """Answers that came as streams."""
    generated_tokens: int
    streamed_tokens: int
    refused: int


@pytest.fixture(scope="module")
def asked(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = chat_decoder(tmp_path_factory.mktemp("models") / "writer", max_position_embeddings=512)
    with serve(folder, SLIPWAY_ENDPOINT="writer", SLIPWAY_MAX_NEW_TOKENS="400") as server:
        wanted: dict[str, Any] = {"max_new_tokens": 6, "details": True, "stop": []}
        tokens = []
        for _ in range(3):
            answer = server.post({"inputs": PROMPT, "parameters": wanted}, path="/generate").json()
            tokens.append(answer["details"]["generated_tokens"])
        streamed = [_stream(server, seed) for seed in range(2)]
        refused = [server.post({"inputs": PROMPT, "parameters": {"max_new_tokens": n}}) for n in (0, 100_000)]
        assert [answer.status_code for answer in refused] == [422, 422]
        chat = {"model": "writer", "messages": [{"role": "user", "content": "a cat"}], "n": 2, "max_tokens": 5}
        usage = server.post(chat, path="/v1/chat/completions").json()["usage"]
        yield Asked(
            server,
            answers=len(tokens) + len(streamed) + 2,
            streamed=len(streamed),
            generated_tokens=sum(tokens) + sum(streamed) + usage["completion_tokens"],
            streamed_tokens=sum(streamed),
            refused=len(refused),
        )


def _stream(server: RuntimeServer, seed: int) -> int:
    """Tokens of a streamed answer."""
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 7, "do_sample": True, "seed": seed}}
    with httpx.stream("POST", f"{server.url}/generate_stream", json=body, timeout=60) as answer:
        return len([line for line in answer.iter_lines() if line.startswith("data:")])


def families(server: RuntimeServer) -> dict[str, Metric]:
    """As Prometheus reads them; its parser drops the _total of counters' names."""
    return {metric.name: metric for metric in prometheus(server.metrics())}


def total(server: RuntimeServer, name: str, **labels: str) -> float:
    """The sum over the samples with this name and these labels."""
    samples = [sample for metric in prometheus(server.metrics()) for sample in metric.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def rows(heading: str) -> list[list[str]]:
    """A table of the README, by its first line."""
    lines = README.split(heading, 1)[1].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]


def names(cell: str) -> set[str]:
    return {name.removesuffix("_total") for name in re.findall(r"`([^`]+)`", cell)}


def test_the_table_of_the_readme_is_what_is_exposed(asked: Asked) -> None:
    table = rows("| metric | kind | labels | tells |\n")
    told = {(cell.strip("`").removesuffix("_total"), kind, tells) for cell, kind, _, tells in table}
    labels = {cell.strip("`").removesuffix("_total"): set(listed.split(", ")) - {""} for cell, _, listed, _ in table}
    found = {name: metric for name, metric in families(asked.server).items() if name.startswith(OURS)}
    assert told == {(name, metric.type, metric.documentation) for name, metric in found.items()}
    for name, metric in found.items():
        for sample in metric.samples:
            assert sample.labels.keys() - {"le"} == labels[name]


def test_the_names_of_others_are_those_of_the_readmes_table(asked: Asked, classifier: RuntimeServer) -> None:
    table = rows("| here | text-generation-inference | vLLM | text-embeddings-inference |\n")
    tgi, vllm, tei = (set().union(*(names(row[column]) for row in table)) for column in (1, 2, 3))

    def theirs(server: RuntimeServer) -> set[str]:
        return {name for name in families(server) if not name.startswith((OURS, "process_"))}

    assert theirs(asked.server) == tgi | vllm
    assert theirs(classifier) == tei


def test_openmetrics_is_answered_where_it_is_asked_for_and_says_the_same(asked: Asked) -> None:
    url = f"{asked.server.admin}/metrics"
    plain = httpx.get(url)
    modern = httpx.get(url, headers={"Accept": f"{OPENMETRICS};q=0.5,text/plain;version=0.0.4;q=0.3"})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert modern.headers["content-type"].startswith("application/openmetrics-text")

    def samples(found: Any) -> dict[Any, float]:
        every = [s for metric in found if not metric.name.startswith("process_") for s in metric.samples]
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in every}

    assert samples(openmetrics(modern.text)) == samples(prometheus(plain.text))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x.y", "\xe9", "text/plain;version=nine"])
def test_any_accept_header_is_answered_with_metrics(asked: Asked, accept: str) -> None:
    answer = httpx.get(f"{asked.server.admin}/metrics", headers={b"Accept": accept.encode("latin-1")})
    assert answer.status_code == 200
    assert "slipway_ready" in answer.text


def test_requests_and_tokens_are_those_that_were_answered(asked: Asked) -> None:
    server = asked.server
    requests = asked.answers - 1  # one of them had n = 2
    assert total(server, "slipway_request_total", task="text-generation", code="200") == requests
    assert total(server, "slipway_generated_tokens_total", task="text-generation") == asked.generated_tokens
    assert total(server, "slipway_generated_answers_total") == asked.answers
    assert total(server, "slipway_request_generated_tokens_sum") == asked.generated_tokens
    assert total(server, "slipway_request_generated_tokens_count") == requests
    assert total(server, "slipway_input_tokens_total") == total(server, "slipway_request_input_tokens_sum") > 0


def test_time_to_first_token_is_told_for_all_and_time_between_tokens_for_streams(asked: Asked) -> None:
    server = asked.server
    assert total(server, "slipway_time_to_first_token_seconds_count") == asked.answers - 1
    assert total(server, "slipway_inter_token_latency_seconds_count") == asked.streamed_tokens - asked.streamed
    first = total(server, "slipway_time_to_first_token_seconds_sum")
    assert 0 < first < total(server, "slipway_request_duration_seconds_sum", code="200")
    assert total(server, "slipway_time_per_output_token_seconds_sum") > 0


def test_dashboards_of_tgi_and_vllm_see_the_same_requests(asked: Asked) -> None:
    server = asked.server
    requests = asked.answers - 1
    assert total(server, "tgi_request_count") == requests + asked.refused
    assert total(server, "tgi_request_success") == total(server, "tgi_request_duration_count") == requests
    assert total(server, "tgi_request_failure", err="validation") == asked.refused
    assert total(server, "tgi_request_failure") == asked.refused
    assert total(server, "tgi_request_generated_tokens_sum") == asked.generated_tokens
    assert total(server, "tgi_request_mean_time_per_token_duration_count") == requests
    assert total(server, "tgi_batch_inference_duration_count", method="decode") > 0
    labels = {"model_name": "writer", "engine": "0"}
    assert total(server, "vllm:generation_tokens_total", **labels) == asked.generated_tokens
    assert total(server, "vllm:prompt_tokens_total", **labels) == total(server, "slipway_input_tokens_total")
    assert total(server, "vllm:e2e_request_latency_seconds_count", **labels) == requests
    finished = [total(server, "vllm:request_success_total", finished_reason=why) for why in ("stop", "length")]
    assert sum(finished) == asked.answers
    buckets = {
        s.labels["le"]: s.value
        for s in families(server)["vllm:time_to_first_token_seconds"].samples
        if s.name.endswith("_bucket")
    }
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets["+Inf"] == total(server, "vllm:time_to_first_token_seconds_count") == requests


def test_what_runs_and_what_waits_shows_while_it_does(asked: Asked) -> None:
    server = asked.server
    long = {"inputs": PROMPT, "parameters": {"max_new_tokens": 400, "do_sample": True, "grammar": _LONG}}
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(server.post, long) for _ in range(2)]
        eventually(lambda: total(server, "tgi_batch_current_size") >= 1, interval=0.005)
        for answer in answers:
            assert answer.result(120).status_code == 200, answer.result().text

    def idle() -> bool:
        found = ("slipway_running", "vllm:num_requests_running", "vllm:num_requests_waiting", "tgi_queue_size")
        return all(total(server, name) == 0 for name in found)

    eventually(idle)


# Keeps the model from ending early: it may end only after so many letters.
_LONG = {"type": "regex", "value": "[a-z]{300}"}


def test_a_caller_who_goes_counts_as_dropped_and_as_aborted(asked: Asked) -> None:
    server = asked.server
    long = {"inputs": PROMPT, "parameters": {"max_new_tokens": 400, "do_sample": True, "grammar": _LONG}}
    with httpx.stream("POST", f"{server.url}/generate_stream", json=long, timeout=60) as answer:
        next(answer.iter_lines())
    eventually(lambda: total(server, "tgi_request_failure", err="dropped") == 1)
    assert total(server, "vllm:request_success_total", finished_reason="abort") == 1


def test_embedders_and_classifiers_have_the_names_of_text_embeddings_inference(classifier: RuntimeServer) -> None:
    before = {name: total(classifier, name) for name in ("te_request_count", "te_request_success")}
    classifier.post({"inputs": ["a film", "a cat"]})
    classifier.post({"inputs": ""})
    assert total(classifier, "te_request_count") == before["te_request_count"] + 2
    assert total(classifier, "te_request_success") == before["te_request_success"] + 1
    assert total(classifier, "te_request_failure", err="validation") >= 1
    assert total(classifier, "te_batch_next_size_sum") >= 2
    assert total(classifier, "te_queue_size") == 0
    assert total(classifier, "te_request_tokenization_duration_count") >= 1
    found = json.dumps(sorted(families(classifier)))
    assert "tgi_" not in found
    assert "vllm:" not in found


def test_nobody_elses_names_before_a_model_is_there(tmp_path: Path) -> None:
    with serving(tmp_path / "server", True, SLIPWAY_MODEL_PATH=str(tmp_path / "nothing")) as server:
        server.wait_for_fault("ModelNotFound")
        assert {name.partition("_")[0] for name in families(server)} == {"slipway", "process"}
        assert total(server, "slipway_ready") == 0


def test_no_series_is_made_of_a_callers_words(asked: Asked) -> None:
    server = asked.server
    before = {(s.name, tuple(s.labels.items())) for metric in families(server).values() for s in metric.samples}
    for i in range(4):
        server.post({"inputs": PROMPT, "parameters": {f"word{i}": 1}}, path=f"/pipeline/task-{i}")
        server.post({"model": f"model-{i}", "messages": []}, path="/v1/chat/completions")
        httpx.request(f"METHOD{i}", server.url)
    after = {(s.name, tuple(s.labels.items())) for metric in families(server).values() for s in metric.samples}
    labels = {value for _, found in after - before for name, value in found if name != "le"}
    assert labels <= {"huggingface", "openai-chat", "404", "400", "422", "-", "text-generation"}


def test_what_is_refused_before_it_is_a_request_is_counted(classifier: RuntimeServer) -> None:
    before = total(classifier, "slipway_connections_refused_total", code="431")
    answer = httpx.get(classifier.url, headers={"X-Long": "a" * 100_000})
    assert answer.status_code == 431
    assert total(classifier, "slipway_connections_refused_total", code="431") == before + 1


def test_what_the_process_takes_is_told_in_prometheus_own_names(classifier: RuntimeServer) -> None:
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert total(classifier, name) > 0
