"""One browser for each file of the page's tests: while playwright runs, no other test can start an event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import DESK, launched
from tests.support.runtime_server import RuntimeServer

Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Open:
    """Open a server's page; fails if the page logged an error or broke its own policy."""

    @contextmanager
    def begin(server: RuntimeServer, **options: Any) -> Iterator[Page]:
        context = browser.new_context(**({"viewport": DESK, "color_scheme": "light"} | options))
        page = context.new_page()
        page.set_default_timeout(20_000)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        try:
            page.goto(server.url)
            page.locator("#form").wait_for()
            yield page
            # A refused request is logged by the browser itself.
            assert [text for text in complaints if "Failed to load resource" not in text] == []
        finally:
            context.close()

    return begin
