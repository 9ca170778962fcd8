"""A conversation with streamed answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.runtime.conftest import Serve
from tests.runtime.page.conftest import Open
from tests.support.browser import PHONE, shot
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import generation


@pytest.fixture(scope="module")
def chatty(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(generation.chat_decoder(tmp_path_factory.mktemp("page") / "chatty")) as server:
        yield server


def test_a_chat_is_streamed_and_goes_on(chatty: RuntimeServer, visit: Open) -> None:
    with visit(chatty) as page:
        message = page.get_by_role("textbox", name="Message")
        message.fill("what is the capital of france ?")
        page.locator("#more summary").click()
        page.locator("#parameters").fill('{"max_new_tokens": 40}')
        page.get_by_role("tab", name="Python").click()
        expect(page.locator("#snippet")).to_contain_text("client.chat_completion(")
        message.press("Enter")
        expect(page.locator("#latency")).to_have_text(re.compile(r"first word after"))
        expect(page.locator(".turn")).to_have_count(2)
        assert page.locator(".turn").nth(1).inner_text().strip()
        message.fill("and of england ?")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".turn")).to_have_count(4)
        expect(page.locator(".turn.busy")).to_have_count(0)
        shot(page, "chat")
        # The whole conversation goes with the next message.
        message.fill("thanks")
        assert page.locator("#snippet").inner_text().count('"role"') == 5
        page.get_by_role("button", name="New chat").click()
        expect(page.locator(".turn")).to_have_count(0)


def test_text_arrives_before_the_answer_is_whole(chatty: RuntimeServer, visit: Open) -> None:
    with visit(chatty) as page:
        page.evaluate(
            """() => { window.sizes = []; new MutationObserver(() => {
            const turn = document.querySelectorAll('.turn')[1];
            if (turn) window.sizes.push(turn.textContent.length); }).observe(document.getElementById('answer'),
            {childList: true, subtree: true, characterData: true}); }"""
        )
        page.locator("#more summary").click()
        page.locator("#parameters").fill('{"max_new_tokens": 60, "seed": 7}')
        page.get_by_role("textbox", name="Message").fill("tell me a story")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#latency")).to_have_text(re.compile(r"first word after"))
        assert len(set(page.evaluate("window.sizes"))) > 3


def test_an_error_leaves_the_message_to_be_mended(chatty: RuntimeServer, visit: Open) -> None:
    with visit(chatty) as page:
        page.locator("#more summary").click()
        page.locator("#parameters").fill('{"temperature": 9}')
        page.get_by_role("textbox", name="Message").fill("hello")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("alert")).to_contain_text("temperature")
        expect(page.get_by_role("textbox", name="Message")).to_have_value("hello")
        expect(page.locator(".turn")).to_have_count(0)


def test_a_chat_fits_a_phone_in_the_dark(chatty: RuntimeServer, visit: Open) -> None:
    with visit(chatty, viewport=PHONE, color_scheme="dark") as page:
        page.get_by_role("textbox", name="Message").fill("hello there")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#latency")).to_have_text(re.compile(r"first word after"))
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        shot(page, "chat-phone-dark")
