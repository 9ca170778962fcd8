"""SLIPWAY_ADAPTERS: the LoRA adapters of one server, as JSON. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from slipway_runtime.artifacts.reference import REPOSITORY, REVISION, Reference, from_uri

MOST = 64
_NAME = re.compile(r"[A-Za-z0-9][\w./:-]{0,127}", re.ASCII)
_PLACES = ("id", "path", "uri")
_KEYS = ("name", *_PLACES, "revision", "sha256", "tokenFile")


@dataclass(frozen=True)
class NamedReference:
    """An adapter and the name by which requests choose it."""

    name: str
    reference: Reference


def read_adapters(text: str, model: Reference | None, plain_hosts: tuple[str, ...]) -> tuple[NamedReference, ...]:
    """Parse the variable. Raises ValueError with a sentence that names the entry.

    The model's token goes along to adapters from the same kind of source; others name their own in tokenFile.
    """
    if not text:
        return ()
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError('must be a JSON list of objects like {"name": "polite", "id": "owner/name"}')
    if len(entries) > MOST:
        raise ValueError(f"has {len(entries)} adapters; at most {MOST} are allowed")
    adapters = tuple(_adapter(entry, i, model, plain_hosts) for i, entry in enumerate(entries))
    names = [adapter.name for adapter in adapters]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"has two adapters with the name {twice!r}")
    return adapters


def _adapter(
    entry: dict[str, Any], index: int, model: Reference | None, plain_hosts: tuple[str, ...]
) -> NamedReference:
    where = f"[{index}]"
    for key, value in entry.items():
        if key not in _KEYS or not isinstance(value, str):
            raise ValueError(f"{where}.{key} must be one of {', '.join(_KEYS)}, and a string")
    name = entry.get("name", "")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{where}.name is {name!r}: must begin with a letter or digit and have letters, digits, ._/:-")
    given = [key for key in _PLACES if entry.get(key)]
    if len(given) != 1:
        raise ValueError(f"{where} ({name}) must have exactly one of {', '.join(_PLACES)}")
    try:
        return NamedReference(name, _reference(entry, given[0], model, plain_hosts))
    except ValueError as error:
        raise ValueError(f"{where}.{given[0]} of {name}: {error}") from None


def _reference(entry: dict[str, Any], place: str, model: Reference | None, plain_hosts: tuple[str, ...]) -> Reference:
    token, value = entry.get("tokenFile", ""), entry[place]
    if place != "id" and entry.get("revision"):
        raise ValueError("a revision goes with id only")
    if place != "uri" and entry.get("sha256"):
        raise ValueError("a sha256 goes with an https:// uri only")
    kind = {"id": "hub", "path": "path"}.get(place) or value.partition("://")[0]
    if not token and model is not None and model.kind == kind:
        token = model.token_file
    if place == "uri":
        return from_uri(value, sha256=entry.get("sha256", ""), token_file=token, plain_hosts=plain_hosts)
    if place == "path":
        return Reference("path", value)
    revision = entry.get("revision") or "main"
    if not REPOSITORY.fullmatch(value) or ".." in value:
        raise ValueError(f"{value!r} must be a Hub repository, owner/name")
    if not REVISION.fullmatch(revision) or ".." in revision:
        raise ValueError(f"the revision {revision!r} must be a branch, a tag or a commit")
    return Reference("hub", value, revision=revision, token_file=token)
