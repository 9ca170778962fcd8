"""Metrics, logs and probes: what they tell, and what they never tell."""

from __future__ import annotations

import httpx

from tests.support.runtime_server import RuntimeServer
from tests.support.waiting import eventually

CANARY = "canary4711"


def test_requests_are_counted_by_task_dialect_and_code(classifier: RuntimeServer) -> None:
    classifier.post({"inputs": "a film"})
    classifier.post({"inputs": ""})
    text = classifier.metrics()
    assert 'slipway_request_total{code="200",dialect="huggingface",task="text-classification"}' in text
    assert 'slipway_request_total{code="422",dialect="huggingface",task="text-classification"}' in text
    for name in (
        "slipway_request_duration_seconds_bucket",
        "slipway_queue_size 0.0",
        "slipway_batch_size_bucket",
        "slipway_batch_tokens_bucket",
        'slipway_input_tokens_total{task="text-classification"}',
        "slipway_requests_in_flight 0.0",
        "slipway_ready 1.0",
    ):
        assert name in text


def test_no_input_query_header_or_made_up_path_reaches_log_metrics_or_status(classifier: RuntimeServer) -> None:
    headers = {"Authorization": f"Bearer hf_{CANARY}", "Cookie": CANARY, "X-Request-Id": CANARY}
    for body in (
        {"inputs": CANARY},
        {"inputs": [CANARY, 1]},
        {"inputs": "a", CANARY: 1},
        {"inputs": "a [MASK]", "top_k": CANARY},
    ):
        classifier.post(body, headers=headers)
        classifier.post(body, path=f"/?token={CANARY}")
        classifier.post(body, path=f"/pipeline/{CANARY}")
        classifier.post(body, path=f"/models/{CANARY}")
    httpx.get(f"{classifier.url}/{CANARY}")
    httpx.post(classifier.url, content=b"{" + CANARY.encode())
    lines = len(classifier.lines())
    classifier.post({"inputs": "the last one"})
    eventually(lambda: len(classifier.lines()) > lines and classifier.lines()[-1].get("code") == 200)
    assert CANARY not in classifier.log.read_text()
    assert CANARY not in classifier.metrics()
    assert CANARY not in str(classifier.status())


def test_status_has_the_shape_of_the_contract(classifier: RuntimeServer) -> None:
    classifier.post({"inputs": "a film"})
    status = classifier.status()
    assert set(status) == {
        "kind", "stage", "percent", "estimatedSeconds", "message", "error", "model", "inFlight", "queued",
        "lastRequestAge", "apiTokens",
    }  # fmt: skip
    assert status["kind"] == "serve"
    assert set(status["model"]) == {"id", "revision", "task", "format", "sizeBytes", "fromCache"}
    assert status["lastRequestAge"] >= 0
    assert (status["inFlight"], status["queued"], status["percent"]) == (0, 0, None)


def test_the_admin_port_serves_no_model_and_the_api_port_no_metrics(classifier: RuntimeServer) -> None:
    assert httpx.post(classifier.admin, json={"inputs": "a"}).status_code == 404
    assert httpx.get(f"{classifier.url}/metrics").status_code == 404


def test_root_tells_a_person_what_this_is(classifier: RuntimeServer) -> None:
    answer = httpx.get(classifier.url).json()
    assert answer["model"] == "tiny/classifier"
    assert answer["endpoint"] == "emotions"
