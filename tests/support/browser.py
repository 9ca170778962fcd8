"""Debian's Chromium, driven by playwright: the test page as people see it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

SHOTS = Path(__file__).parents[2] / "out/page"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


def chromium() -> str:
    """Its path. Says how to get it where it is missing: a skipped flow would look like a tested one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path is not None, "the page's tests need Chromium: apt-get install -y --no-install-recommends chromium"
    return path


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser without a window, with a microphone that plays a tone."""
    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *fakes])
        try:
            yield browser
        finally:
            browser.close()


def shot(page: Page, name: str) -> None:
    """A picture of the whole page for people to look at, in out/page/."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
