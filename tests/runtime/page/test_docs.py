"""The API's own page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.browser import DESK, PHONE, shot
from tests.support.runtime_server import RuntimeServer


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.classifier(tmp_path_factory.mktemp("docs") / "classifier")) as server:
        yield server


@pytest.mark.parametrize(("name", "viewport", "scheme"), [("docs", DESK, "light"), ("docs-phone-dark", PHONE, "dark")])
def test_routes_bodies_and_errors_can_be_read(
    server: RuntimeServer, browser: Browser, name: str, viewport: dict[str, int], scheme: str
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.goto(f"{server.url}/docs")
        expect(page.get_by_role("heading", name="Azure ML", exact=True)).to_be_visible()
        page.locator("summary", has_text="/pipeline/{task}").first.click()
        expect(page.locator(".operation[open]")).to_contain_text("top_k integer ≥ 1 · default 5")
        expect(page.locator(".operation[open]")).to_contain_text("429")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        shot(page, name)
    finally:
        context.close()
