"""Sound from a microphone (Chromium's own, which beeps) and from a file."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.runtime.conftest import Serve
from tests.runtime.page.conftest import Open
from tests.support.browser import shot
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import audio


@pytest.fixture(scope="module")
def hearing(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(audio.classifier(tmp_path_factory.mktemp("page") / "hearing")) as server:
        yield server


def test_a_recording_is_sent_and_classified(hearing: RuntimeServer, visit: Open) -> None:
    with visit(hearing, permissions=["microphone"]) as page:
        page.get_by_role("button", name="Record", exact=True).click()
        page.get_by_role("button", name="Stop recording").wait_for()
        page.wait_for_timeout(1200)  # the recording's length
        page.get_by_role("button", name="Stop recording").click()
        expect(page.locator(".drop")).to_contain_text("recording.webm")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#latency")).to_have_text(re.compile(r"^[\d.]+ m?s"))
        expect(page.locator(".bar").first).to_be_visible()
        shot(page, "recording")


def test_the_snippets_work_as_they_are(hearing: RuntimeServer, visit: Open, tmp_path: Path) -> None:
    sound = tmp_path / "it's a $tone`.wav"
    sound.write_bytes(tone(0.5))
    with visit(hearing) as page:
        page.locator("input[type=file]").set_input_files(sound)
        page.locator("#more summary").click()
        for parameters in ("{}", '{"top_k": 2}'):
            page.locator("#parameters").fill(parameters)
            page.get_by_role("tab", name="curl").click()
            said = run(["bash", "-c", page.locator("#snippet").inner_text()], tmp_path)
            assert len(json.loads(said)) == (2 if "top_k" in parameters else 5)
            page.get_by_role("tab", name="Python").click()
            said = run([sys.executable, "-c", page.locator("#snippet").inner_text()], tmp_path)
            assert said.count("label=") == (2 if "top_k" in parameters else 5)


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tone(seconds: float) -> bytes:
    """A WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(b"\x00\x10" * int(16000 * seconds))
    return file.getvalue()


def test_a_file_that_is_no_sound_is_refused_in_words(hearing: RuntimeServer, visit: Open, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("these are notes")
    with visit(hearing) as page:
        page.locator("input[type=file]").set_input_files(tmp_path / "notes.wav")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("alert")).to_contain_text("inputs")
        expect(page.locator("#latency")).to_have_text("HTTP 422")


def test_nothing_is_sent_without_a_file(hearing: RuntimeServer, visit: Open) -> None:
    with visit(hearing) as page:
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("alert")).to_have_text("Sound: choose a file first")
