"""Segments of a transcript as subtitles: SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Sequence

from slipway_runtime.tasks.transcript import Segment


def srt(segments: Sequence[Segment]) -> str:
    """Numbered, with a comma before the milliseconds."""
    return "".join(f"{i}\n{_times(one, ',')}\n{_text(one)}\n\n" for i, one in enumerate(segments, start=1))


def vtt(segments: Sequence[Segment]) -> str:
    """With a first line of its own, and a dot before the milliseconds."""
    return "WEBVTT\n\n" + "".join(f"{_times(one, '.')}\n{_text(one)}\n\n" for one in segments)


def _text(segment: Segment) -> str:
    """--> would begin a new entry; so would an empty line."""
    lines = [line.strip() for line in segment.text.replace("-->", "->").splitlines()]
    return "\n".join(line for line in lines if line)


def _times(segment: Segment, point: str) -> str:
    end = segment.start if segment.end is None else segment.end
    return f"{_time(segment.start, point)} --> {_time(end, point)}"


def _time(seconds: float, point: str) -> str:
    whole = round(max(0.0, seconds) * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
