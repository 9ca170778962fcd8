"""The page's files as they are served, without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import slipway_runtime.serve.page

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.runtime_server import RuntimeServer, serving

FOLDER = Path(slipway_runtime.serve.page.__file__).parent
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.classifier(tmp_path_factory.mktemp("files") / "classifier")) as server:
        yield server


def test_browsers_get_the_page_and_others_json(server: RuntimeServer) -> None:
    page = httpx.get(server.url, headers=BROWSER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(server.url).json()["task"] == "text-classification"


def test_every_file_that_the_page_names_is_served(server: RuntimeServer) -> None:
    for file in FOLDER.iterdir():
        if file.suffix in (".html", ".js", ".css"):
            answer = httpx.get(f"{server.url}/page/{file.name}")
            assert answer.status_code == 200
            for name in re.findall(r'(?:from "\./|"page/)([\w.]+)"', answer.text):
                assert (FOLDER / name).is_file() or name == "model.json", f"{file.name} names {name}"


def test_nothing_else_in_the_folder_is_served(server: RuntimeServer) -> None:
    for name in ("__init__.py", "card.py", "..%2Fapp.py", "%2e%2e/app.py", "nothing.js"):
        assert httpx.get(f"{server.url}/page/{name}").status_code == 404


def test_the_page_loads_nothing_from_elsewhere_and_reads_no_html() -> None:
    for file in FOLDER.iterdir():
        if file.suffix in (".html", ".js", ".css"):
            text = file.read_text()
            assert re.findall(r"https?://(?!www\.w3\.org)", text) == [], file.name
            forbidden = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage")
            assert [word for word in forbidden if word in text] == [], file.name


def test_the_page_is_there_while_the_model_is_not(tmp_path: Path) -> None:
    with serving(tmp_path, True, SLIPWAY_MODEL_PATH=str(tmp_path / "none")) as server:
        server.wait_for_fault("ModelNotFound")
        assert httpx.get(server.url, headers=BROWSER).status_code == 200
        model = httpx.get(f"{server.url}/page/model.json").json()
        assert (model["task"], model["tasks"]) == (None, [])
        assert model["fault"].startswith("ModelNotFound: ")
