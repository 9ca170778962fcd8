"""Every task's own widget and drawing, in a real browser. Pictures go to out/page/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.runtime.conftest import Serve
from tests.runtime.page.conftest import Open
from tests.support.browser import shot
from tests.support.tiny import MAKERS

# Task → what its answer is drawn as. One of each kind of widget and drawing; `full` has the others too.
DRAWN = {
    "token-classification": ".spans",
    "question-answering": ".spans",
    "table-question-answering": "td.plain",
    "automatic-speech-recognition": ".text",
    "text-to-speech": "audio",
    "zero-shot-image-classification": ".bar",
    "object-detection": ".picture canvas",
    "image-segmentation": ".picture canvas",
    "depth-estimation": ".picture img",
}
DRAWN_ALIKE = {
    "zero-shot-classification": ".bar",
    "text-ranking": ".bar",
    "audio-classification": ".bar",
    "image-classification": ".bar",
    "zero-shot-object-detection": ".picture canvas",
    "mask-generation": ".picture canvas",
    "image-to-text": ".text",
    "image-text-to-text": ".text",
    "visual-question-answering": ".bar",
    "document-question-answering": ".bar",
    "text-to-image": ".picture img",
    "text2text-generation": ".text",
    "summarization": ".text",
    "translation": ".text",
}
CASES = [
    *DRAWN.items(),
    *(pytest.param(*case, marks=pytest.mark.full) for case in DRAWN_ALIKE.items() if case[0] in MAKERS),
]
# Tiny models read letter by letter and not far: field → a text for them.
SHORTER = {
    "zero-shot-classification": {"Text": "my phone is bad"},
    "text-to-image": {"Prompt": "a red house"},
    "summarization": {"Text": "the film was great"},
    "table-question-answering": {"Question": "is it big ?"},
}
# So that random weights find something to draw.
PARAMETERS = {
    "object-detection": '{"threshold": 0}',
    "zero-shot-object-detection": '{"threshold": 0}',
    "image-segmentation": '{"threshold": 0}',
    "mask-generation": '{"points_per_crop": 2, "pred_iou_thresh": 0, "stability_score_thresh": 0}',
    "text-to-image": '{"num_inference_steps": 2}',
}


@pytest.mark.parametrize(("task", "drawn"), CASES)
def test_an_example_is_sent_and_its_answer_drawn(
    serve: Serve, visit: Open, tmp_path: Path, task: str, drawn: str
) -> None:
    with serve(MAKERS[task](tmp_path / task), SLIPWAY_TASK=task) as server, visit(server) as page:
        try_it(page, task)
        expect(page.locator(f"#answer {drawn}").first).to_be_visible()
        for language in ("curl", "Python", "JavaScript"):
            page.get_by_role("tab", name=language).click()
            expect(page.locator("#snippet")).to_contain_text(server.url)
        shot(page, task)


def try_it(page: Page, task: str) -> None:
    page.get_by_role("button", name="Try it").click()
    if task in PARAMETERS:
        page.locator("#more summary").click()
        page.locator("#parameters").fill(PARAMETERS[task])
    for field, text in SHORTER.get(task, {}).items():
        page.get_by_role("textbox", name=field, exact=True).fill(text)
    media = page.locator(".preview, .drop audio")
    if media.count():
        expect(media.first).to_be_visible()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#send")).to_be_enabled(timeout=60_000)
    assert page.get_by_role("alert").all_inner_texts() == []
    expect(page.locator("#latency")).to_have_text(re.compile(r"^[\d.]+ m?s"))
