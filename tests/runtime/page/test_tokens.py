"""The page of an endpoint that asks for tokens: it can be opened, says so, and works with one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.runtime.conftest import Serve
from tests.runtime.page.test_flows import answered
from tests.support import models
from tests.support.browser import DESK, shot
from tests.support.runtime_server import RuntimeServer

TOKEN = "a-token-of-the-endpoint"


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "token").write_text(TOKEN + "\n")
    model = models.classifier(tmp_path_factory.mktemp("page") / "emotions")
    with serve(model, SLIPWAY_ENDPOINT="emotions", SLIPWAY_API_TOKENS_DIR=str(folder)) as server:
        yield server


def test_a_person_gives_the_token_and_asks_the_model(server: RuntimeServer, browser: Browser) -> None:
    context = browser.new_context(viewport=DESK)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        response = page.goto(server.url)
        assert response is not None
        assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
        assert "emotions" not in page.content()
        field = page.get_by_label("This endpoint asks for a token")
        field.fill("a-wrong-one")
        page.get_by_role("button", name="Use token").click()
        expect(field).to_be_visible()
        shot(page, "token-asked")
        field.fill(TOKEN)
        page.get_by_role("button", name="Use token").click()
        expect(page.locator("#endpoint")).to_have_text("emotions")
        page.get_by_role("textbox", name="Text", exact=True).fill("a film")
        page.get_by_role("button", name="Send").click()
        answered(page)
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        assert kept == '[{},{},""]'
        assert complaints == []
    finally:
        context.close()


def test_the_api_s_own_page_asks_for_it_too(server: RuntimeServer, browser: Browser) -> None:
    context = browser.new_context(viewport=DESK)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(f"{server.url}/docs")
        expect(page.get_by_text("a token is needed: send the header Authorization")).to_be_visible()
        page.get_by_label("This endpoint asks for a token").fill(TOKEN)
        page.get_by_role("button", name="Use token").click()
        expect(page.get_by_role("heading", name="Azure ML", exact=True)).to_be_visible()
    finally:
        context.close()
