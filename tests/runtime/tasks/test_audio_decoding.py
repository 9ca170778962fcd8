"""Recordings in every format that people have, and what is refused."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.audio.recordings import Recording, recordings_of, sounds_of

from tests.support.sounds import RATE, chirp, encoded, sine

RATES = {"amr": 8_000, "webm": 48_000}  # the only ones that these codecs have


def decode(value: Any, *, rate: int = RATE, **limits: Any) -> Recording:
    bounds = Limits(**limits)
    sounds, single = sounds_of(value, bounds)
    return recordings_of(sounds, rate, bounds, single=single)[0]


def refusal(value: Any, **limits: Any) -> str:
    with pytest.raises(InvalidInput) as error:
        decode(value, **limits)
    return error.value.message


def pitch(recording: Recording) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(recording.samples))) / recording.seconds)


@pytest.mark.parametrize("container", ["wav", "flac", "ogg", "mp3", "aiff", "webm", "mp4", "adts", "amr"])
def test_a_file_of_each_format_is_a_tone_of_440_hertz(container: str) -> None:
    rate = RATES.get(container, 44_100)
    recording = decode(encoded(sine(1.0, rate=rate), container, rate))
    assert recording.rate == RATE
    assert recording.seconds == pytest.approx(1.0, abs=0.15)  # codecs pad
    assert pitch(recording) == pytest.approx(440, abs=1)
    assert np.percentile(np.abs(recording.samples), 95) == pytest.approx(0.5, abs=0.06)


def test_lossless_sound_at_the_models_rate_is_not_touched() -> None:
    samples = chirp(0.5)
    np.testing.assert_array_equal(decode(encoded(samples, "wav", subtype="FLOAT")).samples, samples)


def test_base64_and_a_data_uri_are_the_same_as_bytes() -> None:
    file = encoded(chirp(0.3))
    text = base64.b64encode(file).decode()
    for value in (text, f"data:audio/wav;base64,{text}"):
        np.testing.assert_array_equal(decode(value).samples, decode(file).samples)


@pytest.mark.parametrize("name", ["array", "raw"])
def test_samples_come_as_json_numbers_too(name: str) -> None:
    samples = chirp(0.3)
    answer = decode({name: samples.tolist(), "sampling_rate": RATE})
    np.testing.assert_array_equal(answer.samples, samples)


def test_channels_are_mixed_in_files_and_in_arrays() -> None:
    left, right = sine(0.3), np.zeros(int(0.3 * RATE), np.float32)
    from_file = decode(encoded(np.stack([left, right], axis=1), subtype="FLOAT"))
    from_array = decode({"array": [left.tolist(), right.tolist()], "sampling_rate": RATE})
    np.testing.assert_allclose(from_file.samples, left / 2)
    np.testing.assert_allclose(from_array.samples, left / 2)


def test_resampling_in_blocks_equals_resampling_at_once() -> None:
    import soxr  # type: ignore[import-untyped]

    samples = chirp(4.0, rate=44_100)
    at_once = soxr.resample(samples, 44_100, RATE, quality="HQ")
    np.testing.assert_allclose(decode(encoded(samples, subtype="FLOAT", rate=44_100)).samples, at_once, atol=1e-5)


def test_a_list_is_as_many_recordings_and_names_the_one_at_fault() -> None:
    good = encoded(chirp(0.2))
    sounds, single = sounds_of([good, good], Limits())
    assert len(recordings_of(sounds, RATE, Limits(), single=single)) == 2
    assert refusal([good, b"nonsense"]).startswith("inputs[1]: is no recording")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x89PNG\r\n\x1a\n....", "a PNG image"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<html>", "XML or HTML"),
        (b"hello world", "bytes that begin with 68 65 6c 6c 6f 20 77 6f"),
    ],
)
def test_what_is_no_recording_is_named_with_what_is_read(content: bytes, found: str) -> None:
    assert refusal(content) == (
        f"inputs: is no recording: found {found}; read here are wav, flac, ogg, mp3, aiff, webm, mp4 (m4a), aac and amr"
    )


@pytest.mark.parametrize("magic", [b"RIFF", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3", b"\0\0\0\x18ftyp", b"#!AMR\n"])
def test_a_broken_file_is_refused(magic: bytes) -> None:
    assert "cannot be decoded" in refusal(magic + b"\xff" * 200) or "is webm" in refusal(magic + b"\xff" * 200)


@pytest.mark.parametrize("container", ["wav", "flac", "ogg", "mp3", "webm", "mp4"])
def test_a_file_cut_off_anywhere_is_decoded_to_there_or_refused(container: str) -> None:
    rate = RATES.get(container, RATE)
    file = encoded(chirp(0.5, rate=rate), container, rate)
    for at in range(0, len(file), max(1, len(file) // 12)):
        try:
            assert decode(file[:at] or b"\0").seconds < 0.7
        except InvalidInput as error:
            assert error.field == "inputs"


@pytest.mark.parametrize("container", ["wav", "flac", "ogg", "mp3", "aiff", "webm", "mp4", "adts", "amr"])
def test_damaged_files_are_decoded_or_refused_and_nothing_else(container: str) -> None:
    rate = RATES.get(container, RATE)
    file = encoded(sine(0.3, rate=rate), container, rate)
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(file)
        for place in random.integers(0, min(len(file), 700) - 4, 3):
            damaged[place : place + 4] = random.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", random.bytes(4)])
        try:
            assert decode(bytes(damaged), max_audio_seconds=60.0).seconds <= 61
        except InvalidInput as error:
            assert error.field == "inputs"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "inputs: is empty"),
        (None, "inputs: must be a recording's bytes"),
        ([], "inputs: is empty"),
        ([1.0, 2.0], "inputs[0]: must be a recording's bytes"),
        ("https://example.org/a.wav", "inputs: is a URL, which is not fetched here"),
        ("/etc/passwd", "inputs: looks like a path, which is not opened here"),
        ("recording.wav", "inputs: looks like a path, which is not opened here"),
        ({"array": [0.1]}, "inputs: must have array and sampling_rate, got array"),
        ({"array": [], "sampling_rate": RATE}, "inputs.array: must be a list of numbers"),
        ({"array": ["1", "2"], "sampling_rate": RATE}, "inputs.array: must be a list of numbers"),
        ({"array": [[0.1], [0.1, 0.2]], "sampling_rate": RATE}, "inputs.array: must be a list of numbers"),
        ({"array": [0.1] * 9999, "sampling_rate": 0}, "inputs: has 0 samples per second"),
        ({"array": [0.1] * 9999, "sampling_rate": "16k"}, "inputs.sampling_rate: must be a whole number"),
        ({"array": [1e39] * 9999, "sampling_rate": RATE}, "inputs: has samples that are no numbers"),
        ({"array": [1e12] * 9999, "sampling_rate": RATE}, "inputs: has samples beyond 2.14748e+09"),
        ({"array": [0.1] * 99, "sampling_rate": RATE}, "inputs: has 0.006 s of sound, at least 0.1 s are needed"),
    ],
)
def test_bad_input_is_refused_with_its_field(value: Any, message: str) -> None:
    assert refusal(value).startswith(message)


def test_sound_that_is_too_long_is_refused_with_both_numbers() -> None:
    assert refusal(encoded(sine(3.0)), max_audio_seconds=2.0) == (
        "inputs: has 3.0 s of sound or more, at most 2 s are allowed; send it in parts"
    )
    assert refusal([encoded(sine(1.5))] * 2, max_audio_seconds=2.0) == (
        "inputs[1]: has 1.5 s of sound or more with those before it, at most 2 s are allowed; send it in parts"
    )


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server that a playlist names, and what was asked of it."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/canary.wav", paths
    server.shutdown()
    thread.join()
    server.server_close()


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1.0,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
    "<Representation><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "bare": "{target}\n",
}


@pytest.mark.parametrize("playlist", PLAYLISTS)
@pytest.mark.parametrize("disguise", ["", "ID3", "RIFF\0\0\0\0WAVE", "\x1aE\xdf\xa3", "\0\0\0\x18ftypM4A ", "#!AMR\n"])
def test_a_playlist_opens_neither_a_file_nor_a_url(
    playlist: str, disguise: str, asked: tuple[str, list[str]], tmp_path: Path
) -> None:
    canary = tmp_path / "canary.wav"
    canary.write_bytes(encoded(sine(1.0)))
    url, paths = asked
    for target in (url, str(canary), canary.as_uri()):
        refusal((disguise + PLAYLISTS[playlist].format(target=target)).encode("latin-1"))
    assert paths == []
