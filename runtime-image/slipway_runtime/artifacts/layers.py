"""The layers of an image, laid over each other in memory: nothing of them is unpacked but the model's files."""

from __future__ import annotations

from collections.abc import Sequence

from slipway_runtime.artifacts.archives import MOST_FILES, Contents, Member, Reader, clean_name, model_root, unsafe
from slipway_runtime.errors import ModelFault

# Where a modelcar has its model.
MODELS = "models/"
MOST_IN_IMAGE = 10 * MOST_FILES  # a base image has a few thousand
_REMOVED, _EMPTIED = ".wh.", ".wh..wh..opq"


def image_contents(readers: Sequence[Reader], source: str) -> Contents:
    """The model in /models of an image, else of the whole of it. Raises ModelFault.

    Outside of /models an image may hold links, as every base image does; they are not looked at.
    """
    layers: list[tuple[Reader, list[Member]]] = []
    for reader in readers:
        layers.append((reader, reader.members()))
        if sum(len(members) for _, members in layers) > MOST_IN_IMAGE:
            raise unsafe(source, f"its layers have more than {MOST_IN_IMAGE} files")
    inside = any(m.name.startswith(MODELS) and not m.fault for _, members in layers for m in members)
    prefix = MODELS if inside else ""
    found: dict[str, tuple[Reader, Member]] = {}
    for reader, members in layers:
        own: set[str] = set()
        for member in members:
            if not member.name.startswith(prefix):
                continue
            if member.fault:
                raise unsafe(source, f"{member.name!r} {member.fault}")
            if member.name in own:
                raise unsafe(source, f"{member.name!r} is twice in one layer")
            own.add(member.name)
        _take_away(found, own)
        found |= {m.name: (reader, m) for m in members if m.name in own and not _base(m.name).startswith(_REMOVED)}
    root = model_root(found)
    if not found:
        raise ModelFault("ModelCorrupt", f"{source} has no files in its layers", "model.uri")
    return Contents({name.removeprefix(root): entry for name, entry in found.items() if name.startswith(root)})


def _take_away(found: dict[str, tuple[Reader, Member]], names: set[str]) -> None:
    """What a layer removes from those below it: .wh.name, or .wh..wh..opq for all of a folder."""
    removed, emptied = set[str](), set[str]()
    for marker in names:
        folder, _, base = marker.rpartition("/")
        if base == _EMPTIED:
            emptied.add(folder)
        elif base.startswith(_REMOVED):
            removed.add(f"{folder}/{base.removeprefix(_REMOVED)}".removeprefix("/"))
    if not removed and not emptied:
        return
    for name in list(found):  # one look at each, however many markers there are
        above = _above(name)
        if name in removed or not removed.isdisjoint(above) or not emptied.isdisjoint(above):
            del found[name]


def _above(name: str) -> list[str]:
    """The folders that a name lies in, "" for the root among them."""
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts))]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def plain_name(title: str) -> str:
    """A layer's title as a file name; "" where it is none: such a layer is not a file of the model."""
    name, fault = clean_name(title)
    return "" if fault else name
