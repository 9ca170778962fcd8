"""The OpenAPI document is true: every route is in it, and a real server keeps to it whatever it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.tiny import vision

CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)
EXAMPLES = 12  # per route: enough for each kind of body, little enough for every change


@pytest.fixture(scope="module")
def classifier(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.classifier(tmp_path_factory.mktemp("api") / "classifier"), SLIPWAY_ENDPOINT="api") as server:
        yield server


@pytest.fixture(scope="module")
def pictures(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(vision.vit(tmp_path_factory.mktemp("api") / "pictures"), SLIPWAY_ENDPOINT="api") as server:
        yield server


def document(server: RuntimeServer) -> Any:
    answer = httpx.get(f"{server.url}/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def test_every_route_is_in_it_and_nothing_else(classifier: RuntimeServer) -> None:
    from slipway_runtime.serve.app import build
    from starlette.routing import Route

    class Anything:
        """Enough of a service to list routes."""

        def __getattr__(self, name: str) -> Any:
            return () if name in ("names", "variant_names") else "" if name == "endpoint" else Anything()

    app: Any = build(Anything())  # type: ignore[arg-type]
    routes = {
        (route.path.replace(":path", ""), method.lower())
        for route in app._app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {(path, method) for path, methods in document(classifier)["paths"].items() for method in methods}
    assert described == routes


def test_it_has_the_parameters_of_the_loaded_tasks(classifier: RuntimeServer) -> None:
    found = document(classifier)
    parameters = found["components"]["schemas"]["ClassificationParameters"]
    assert parameters["properties"]["top_k"] == {"type": "integer", "minimum": 1, "default": 5}
    assert parameters["additionalProperties"] is False
    assert found["info"]["description"] == "Serves text-classification."


def test_it_exists_before_the_model_does(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("empty")
    with serving(folder, True, SLIPWAY_MODEL_PATH=str(folder / "none")) as server:
        assert "/score" in document(server)["paths"]


def test_the_page_that_shows_it_needs_nothing_from_elsewhere(classifier: RuntimeServer) -> None:
    answer = httpx.get(f"{classifier.url}/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http" not in answer.text.lower()


def _exercise(operation: Any, registered: Any) -> tuple[set[int], str]:
    """Made-up requests for one operation: the statuses that came back, and what was not as described."""
    statuses: set[int] = set()

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy())
    def keeps(case: Any) -> None:
        statuses.add(case.call_and_validate(checks=registered, timeout=60).status_code)

    try:
        keeps()
    except Exception as error:
        return statuses, f"{operation.method.upper()} {operation.path}: {error}"
    return statuses, ""


@pytest.mark.parametrize("kind", ["classifier", "pictures"])
def test_a_server_keeps_to_it(kind: str, request: pytest.FixtureRequest) -> None:
    server: RuntimeServer = request.getfixturevalue(kind)
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    registered = schemathesis.checks.CHECKS.get_by_names(list(CHECKED))
    broken, answered = [], set()
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # a schema that cannot be read fails here
        statuses, breach = _exercise(operation, registered)
        if 200 in statuses:
            answered.add(f"{operation.method.upper()} {operation.path}")
        if breach:
            broken.append(breach)
    assert not broken, "\n\n".join(broken)  # all of them at once
    assert {"GET /", "GET /info", "GET /v2/models/{model}", "GET /v1/models"} <= answered
    if kind == "classifier":  # what is made up from a schema is a text, but no image
        assert {"POST /", "POST /pipeline/{task}", "POST /models/{model}"} <= answered
