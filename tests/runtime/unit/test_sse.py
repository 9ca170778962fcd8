"""Server-sent events, read as the standard's parsers do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slipway_runtime.serve.dialects import sse


def parsed(stream: bytes) -> list[bytes]:
    """The data of each event: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6."""
    events, data = [], []
    for line in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line.removeprefix(b"data:").removeprefix(b" "))
        elif not line and data:
            events.append(b"\n".join(data))
            data = []
    return events


@pytest.mark.parametrize("data", [b"", b'{"a": 1}', b"[DONE]", b" leading", b"two\nlines", b"a\n\nb"])
def test_an_event_holds_its_data(data: bytes) -> None:
    assert parsed(sse.event(data)) == [data]


@given(st.lists(st.binary(max_size=20)))
def test_no_data_ends_an_event_or_begins_another(all_data: list[bytes]) -> None:
    stream = b"".join(sse.event(data) for data in all_data)
    assert len(parsed(stream)) == len(all_data)


def test_a_keep_alive_is_no_event() -> None:
    assert parsed(sse.KEEP_ALIVE + sse.event(b"a") + sse.KEEP_ALIVE) == [b"a"]


def test_nothing_on_the_way_collects_a_stream() -> None:
    assert dict(sse.HEADERS) == {
        b"content-type": b"text/event-stream",
        b"cache-control": b"no-cache",
        b"x-accel-buffering": b"no",
    }
