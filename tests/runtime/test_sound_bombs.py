"""Small files that would become hours of sound or gigabytes of memory, and headers that say what is not so."""

from __future__ import annotations

import io
import struct
import time
from typing import Any

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.audio.recordings import Recording, recordings_of

from tests.support.memory import peak_megabytes
from tests.support.sounds import RATE, chirp, encoded, sine

HOUR = 3600


def decode(content: bytes, **limits: Any) -> Recording:
    return recordings_of([content], RATE, Limits(**limits), single=True)[0]


def refused(content: bytes, **limits: Any) -> str:
    with pytest.raises(InvalidInput) as error:
        decode(content, **limits)
    return error.value.message


def silence(seconds: int, rate: int = 8_000, channels: int = 1, container: str = "flac") -> bytes:
    """Written in blocks, as an hour does not lie about in memory."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", samplerate=rate, channels=channels, format=container.upper()) as sound:
        block = np.zeros((rate * 10, channels), np.int16)
        for _ in range(seconds // 10):
            sound.write(block)
    return file.getvalue()


@pytest.fixture(scope="module")
def hour() -> bytes:
    return silence(HOUR)


def with_samples(flac: bytes, number: int) -> bytes:
    """A FLAC whose header says that it has `number` samples: the last 36 bits of 8 bytes in STREAMINFO."""
    [packed] = struct.unpack(">Q", flac[18:26])
    return flac[:18] + struct.pack(">Q", packed >> 36 << 36 | number) + flac[26:]


def test_an_hour_of_silence_in_a_small_file_is_refused_by_its_header(hour: bytes) -> None:
    assert len(hour) < 200_000
    started = time.monotonic()
    assert peak_megabytes(lambda: refused(hour)) < 20
    assert time.monotonic() - started < 0.5
    assert refused(hour) == ("inputs: has 3600.0 s of sound or more, at most 1800 s are allowed; send it in parts")


@pytest.mark.parametrize("claimed", [0, RATE])
def test_a_header_that_says_less_or_nothing_costs_no_more_than_the_limit(hour: bytes, claimed: int) -> None:
    bomb = with_samples(hour, claimed)

    def act() -> None:
        try:
            assert decode(bomb, max_audio_seconds=60.0).seconds <= 60  # the library may believe the header
        except InvalidInput as error:
            assert "at most 60 s are allowed" in error.message

    assert peak_megabytes(act) < 40


def test_a_header_that_says_more_than_there_is_is_believed_only_within_the_limit() -> None:
    second = encoded(chirp(1.0), "flac")
    assert "at most 1800 s are allowed" in refused(with_samples(second, HOUR * RATE))
    wav = bytearray(encoded(chirp(1.0)))
    wav[40:44] = b"\xff\xff\xff\xff"  # as programs write that do not know yet
    assert decode(bytes(wav)).seconds == pytest.approx(1.0)


def test_channels_and_rates_count_as_work() -> None:
    wide = silence(100, rate=96_000, channels=8)
    assert refused(wide, max_audio_seconds=120.0) == (
        "inputs: has more samples than 120 s of 96000 per second (8 channels at 96000); send one channel at 16000"
    )


@pytest.mark.parametrize("field", [(22, "<H", 65535), (24, "<I", 2**32 - 1), (24, "<I", 1), (24, "<I", 0)])
def test_a_wav_of_absurd_rates_and_channels_is_refused(field: tuple[int, str, int]) -> None:
    place, kind, value = field
    wav = bytearray(encoded(chirp(1.0)))
    struct.pack_into(kind, wav, place, value)
    assert peak_megabytes(lambda: refused(bytes(wav))) < 40


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    samples = chirp(1.0)
    samples[777] = value
    assert refused(encoded(samples, subtype="FLOAT")) == "inputs: has samples that are no numbers (NaN or infinite)"


def test_samples_beyond_any_scale_are_refused() -> None:
    assert "has samples beyond" in refused(encoded(chirp(1.0) * 1e30, subtype="FLOAT"))


def fragmented() -> bytes:
    """AAC in an MP4 of fragments, as browsers record it."""
    return encoded(sine(1.0), "mp4", movflags="frag_keyframe+empty_moov+default_base_moof")


def patched(content: bytes, box: bytes, form: str, *values: int, at: int = 4) -> bytes:
    """`values` written `at` bytes after the name of the box."""
    changed = bytearray(content)
    struct.pack_into(form, changed, content.index(box) + 4 + at, *values)
    return bytes(changed)


def indexes() -> dict[str, bytes]:
    many = 2**32 - 2
    plain = encoded(sine(1.0), "mp4")
    crowded = patched(plain, b"stsz", ">II", 1, many)
    for box, form, values in ((b"stsc", ">III", (1, many, 1)), (b"stts", ">II", (many, 1024))):
        crowded = patched(crowded, box, form, *values, at=8)
    hidden = patched(fragmented(), b"trun", ">II", 1, many, at=0)
    # The same box inside the sound, where an index of segments says that one lies.
    inside = plain.replace(b"free", b"sidx", 1)
    place = inside.index(b"mdat") + 100
    trun = struct.pack(">I4sII", 16, b"trun", 0, many)
    return {
        "samples of one byte": crowded,
        "a fragment": hidden,
        "a fragment inside the sound": inside[:place] + trun + inside[place + len(trun) :],
        "compressed": plain.replace(b"udta", b"cmov", 1),
    }


@pytest.mark.parametrize("name", ["samples of one byte", "a fragment", "a fragment inside the sound", "compressed"])
def test_an_mp4_that_claims_billions_of_samples_is_refused_before_room_is_made_for_them(name: str) -> None:
    bomb = indexes()[name]
    assert len(bomb) < 20_000
    messages: list[str] = []
    assert peak_megabytes(lambda: messages.append(refused(bomb))) < 20
    assert messages == ["inputs: is mp4 whose index says that it has far too many samples; send wav"]


def test_an_mp4_of_fragments_is_read() -> None:
    assert decode(fragmented()).seconds == pytest.approx(1.0, abs=0.15)


def test_a_picture_beside_the_sound_is_not_decoded() -> None:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        video: Any = out.add_stream("mpeg4", rate=1)
        video.width, video.height, video.pix_fmt = 8000, 8000, "yuv420p"
        audio: Any = out.add_stream("aac", rate=RATE)
        audio.layout = "mono"
        for packet in (*video.encode(av.VideoFrame(8000, 8000, "yuv420p")), *video.encode(None)):
            out.mux(packet)
        frame = av.AudioFrame.from_ndarray(sine(1.0)[None, : RATE // 1024 * 1024], format="fltp", layout="mono")
        frame.sample_rate = RATE
        fifo = av.AudioFifo()
        fifo.write(frame)
        for part in fifo.read_many(1024):
            out.mux(audio.encode(part))
        out.mux(audio.encode(None))
    content = file.getvalue()
    assert peak_megabytes(lambda: decode(content)) < 60  # a frame alone has 96


def test_sound_of_sixteen_channels_is_refused_before_they_are_taken_apart() -> None:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream: Any = out.add_stream("pcm_s16le", rate=RATE)
        stream.layout = "hexadecagonal"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024 * 16), np.int16), format="s16", layout="hexadecagonal")
        frame.sample_rate = RATE
        for _ in range(4):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert refused(file.getvalue()) == "inputs: has 16 channels; 1 to 8 can be read"


@pytest.mark.parametrize("change", [{"rate": 32_000}, {"channels": 2}])
def test_sound_that_changes_on_the_way_is_refused(change: dict[str, int]) -> None:
    rate, channels = change.get("rate", RATE), change.get("channels", 1)
    then = np.repeat(sine(0.5, rate=rate)[:, None], channels, axis=1).squeeze()
    two = encoded(sine(0.5), "adts") + encoded(then, "adts", rate)
    assert refused(two) == "inputs: is aac that changes its rate or its channels on the way"
