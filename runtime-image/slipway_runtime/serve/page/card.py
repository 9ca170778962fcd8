"""What the page takes from the model's own files: samples from its card, its word for the mask, whether it can chat.

A card is text by strangers. It is read as data only: of the front matter of README.md just the lines of `widget`, by
YAML's safe loader, where they are few and not deep (nesting costs that loader quadratic time, and crashes the one in C)
and without aliases (a few nested ones make gigabytes); of these a bounded number of small samples. Images and sound
there are URLs, which are not fetched.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import orjson

MAX_FRONT_MATTER = 64 * 1024
MAX_WIDGET = 48 * 1024
MAX_DEPTH = 20
MAX_SAMPLES = 12
MAX_SAMPLE_BYTES = 16 * 1024
_FRONT_MATTER = re.compile(rb"\A---\r?\n(.*?)\r?\n---\s*(?:\r?\n|\Z)", re.DOTALL)
# From `widget:` to the next field: its lines are indented, or begin with a dash.
_WIDGET = re.compile(rb"^widget:.*\n?(?:(?:[ \t-].*)?(?:\n|\Z))*", re.MULTILINE)
_FIELDS = (
    "text", "example_title", "context", "table", "source_sentence", "sentences", "candidate_labels", "question",
    "query", "messages",
)  # fmt: skip


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """For the page; each empty where the model says nothing."""

    samples: list[dict[str, Any]] = []
    mask_token: str | None = None
    chat: bool = False


def read_card(folder: Path) -> Card:
    """Of the model in `folder`. A file that cannot be read says nothing: the page has samples of its own."""
    tokenizer = _object(folder / "tokenizer_config.json")
    special = _object(folder / "special_tokens_map.json")
    mask = tokenizer.get("mask_token") or special.get("mask_token")
    mask = mask.get("content") if isinstance(mask, dict) else mask
    return Card(
        samples=_samples(folder / "README.md"),
        mask_token=mask if isinstance(mask, str) else None,
        chat="chat_template" in tokenizer or (folder / "chat_template.jinja").is_file(),
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        data = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _samples(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            found = _FRONT_MATTER.match(file.read(MAX_FRONT_MATTER))
    except OSError:
        return []
    block = _WIDGET.search(found[1]) if found else None
    widget = _yaml(block[0]).get("widget") if block and _shallow(block[0]) else None
    return [
        sample for entry in (widget if isinstance(widget, list) else [])[:MAX_SAMPLES] if (sample := _sample(entry))
    ]


def _sample(entry: object) -> dict[str, Any]:
    if isinstance(entry, str):
        entry = {"text": entry}
    if not isinstance(entry, dict):
        return {}
    sample = {name: entry[name] for name in _FIELDS if entry.get(name) is not None}
    try:
        small = len(orjson.dumps(sample)) <= MAX_SAMPLE_BYTES
    except (TypeError, ValueError):  # dates, bytes, sets: YAML has more types than a sample needs
        return {}
    return sample if small else {}


def _shallow(text: bytes) -> bool:
    """Whether reading it takes little time, whatever it says."""
    if len(text) > MAX_WIDGET:
        return False
    depth = 0
    for character in text:
        depth += (character in b"[{") - (character in b"]}")
        if depth > MAX_DEPTH:
            return False
    # Blocks open by indentation, and by several dashes or question marks in one line.
    return not re.search(rb"^[ \t]{40}|(?:[-?:][ \t]+){6}", text, re.MULTILINE)


def _yaml(text: bytes) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - only when a page is opened

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            return {}
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
