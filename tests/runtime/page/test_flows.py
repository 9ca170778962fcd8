"""The page in a real browser, a flow per family of tasks. Pictures go to out/page/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.runtime.conftest import Serve
from tests.runtime.page.conftest import Open
from tests.support import models
from tests.support.browser import PHONE, shot
from tests.support.runtime_server import RuntimeServer

CARD = """---
license: apache-2.0
widget:
- text: "the film was great , i love it ."
  example_title: A good film
- text: "<img src=x onerror=alert(1)> bad movie"
---
# A card
"""


@pytest.fixture(scope="module")
def classifier(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    labels = ["joy", "anger", "fear", "<b>love</b>", "surprise"]
    folder = models.classifier(tmp_path_factory.mktemp("page") / "emotions", labels=labels)
    (folder / "README.md").write_text(CARD)
    with serve(folder, SLIPWAY_ENDPOINT="emotions") as server:
        yield server


def answered(page: Page) -> None:
    expect(page.locator("#latency")).to_have_text(re.compile(r"^[\d.]+ m?s"))


def test_a_text_is_classified_and_drawn_as_bars(classifier: RuntimeServer, visit: Open) -> None:
    with visit(classifier) as page:
        expect(page.locator("#endpoint")).to_have_text("emotions")
        expect(page.locator("#stage")).to_have_text("Ready")
        expect(page.get_by_role("textbox", name="Text", exact=True)).to_have_value("the film was great , i love it .")
        page.get_by_role("button", name="Send").click()
        answered(page)
        expect(page.locator(".bar")).to_have_count(5)
        # What a model calls its labels is text, never HTML.
        expect(page.locator(".bars")).to_contain_text("<b>love</b>")
        page.locator("#raw summary").click()
        expect(page.locator("#json")).to_contain_text('"score"')
        page.locator("#raw summary").click()
        shot(page, "text-light")


def test_the_page_works_with_the_keyboard_alone(classifier: RuntimeServer, visit: Open) -> None:
    with visit(classifier) as page:
        page.get_by_role("textbox", name="Text", exact=True).focus()
        page.keyboard.press("Control+A")
        page.keyboard.type("an awful movie")
        page.keyboard.press("Control+Enter")
        answered(page)
        page.get_by_role("tab", name="curl").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Python")).to_be_focused()
        expect(page.locator("#snippet")).to_contain_text('client.text_classification("an awful movie")')
        page.keyboard.press("ArrowRight")
        expect(page.locator("#snippet")).to_contain_text("await fetch(")


def test_errors_are_said_where_the_answer_would_be(classifier: RuntimeServer, visit: Open) -> None:
    with visit(classifier) as page:
        page.locator("#more summary").click()
        page.locator("#parameters").fill('{"top_kk": 2}')
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("alert")).to_contain_text("did you mean top_k?")
        expect(page.locator("#latency")).to_have_text("HTTP 422")
        page.locator("#parameters").fill('{"top_k": ')
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("alert")).to_have_text("Parameters: not valid JSON")
        page.locator("#parameters").fill('{"top_k": 2}')
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".bar")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(classifier: RuntimeServer, visit: Open, scheme: str) -> None:
    with visit(classifier, viewport=PHONE, color_scheme=scheme) as page:
        page.get_by_role("button", name="Send").click()
        answered(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], "the page scrolls sideways"
        shot(page, f"text-phone-{scheme}")


def test_it_has_a_dark_side(classifier: RuntimeServer, visit: Open) -> None:
    with visit(classifier, color_scheme="dark") as page:
        page.get_by_role("button", name="Send").click()
        answered(page)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 26)"
        shot(page, "text-dark")


def test_a_token_is_asked_for_and_kept_in_memory_only(classifier: RuntimeServer, visit: Open) -> None:
    with visit(classifier) as page:

        def guarded(route: object) -> None:
            request = route.request  # type: ignore[attr-defined]
            if request.headers.get("authorization") == "Bearer secret-token":
                route.continue_()  # type: ignore[attr-defined]
            else:
                route.fulfill(status=401, json={"error": "a token is needed"})  # type: ignore[attr-defined]

        page.route("**/page/model.json", guarded)
        page.route(re.compile(r".*/$"), lambda r: guarded(r) if r.request.method == "POST" else r.continue_())
        page.reload()
        page.get_by_label("This endpoint asks for a token").fill("secret-token")
        page.get_by_role("button", name="Use token").click()
        page.get_by_role("button", name="Send").click()
        answered(page)
        expect(page.locator("#snippet")).to_contain_text("$TOKEN")
        expect(page.locator("#snippet")).not_to_contain_text("secret-token")
        assert (
            page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])") == '[{},{},""]'
        )


def test_several_tasks_of_a_model_can_be_chosen(serve: Serve, visit: Open, tmp_path: Path) -> None:
    with serve(models.sentence_transformer(tmp_path / "sentences")) as server, visit(server) as page:
        page.get_by_role("button", name="Send").click()
        answered(page)
        expect(page.locator("#answer")).to_contain_text("A vector of 32 numbers")
        shot(page, "vector")
        page.locator("#task").select_option("sentence-similarity")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".bar")).to_have_count(3)
        shot(page, "similarity")


def test_a_mask_is_written_as_the_model_writes_it(serve: Serve, visit: Open, tmp_path: Path) -> None:
    with serve(models.masked_lm(tmp_path / "masked")) as server, visit(server) as page:
        page.get_by_role("button", name="Send").click()
        answered(page)
        expect(page.locator(".bar")).to_have_count(5)
