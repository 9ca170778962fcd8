"""Texts with images for a model that reads both: what a request holds, and what the model's processor makes of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.generation.chat import Chat
from slipway_runtime.tasks.texts import kind_of

MAX_IMAGES = 16  # each costs the model hundreds of tokens
_KINDS = {"image": ("image", "base64", "url"), "image_url": ("image_url",), "input_image": ("image_url",)}
_WITHOUT = "comes without an image, which this model needs"
_IMAGE = {"type": "image"}  # what chat templates look for


@dataclass(frozen=True)
class Picture:
    """One image of a request, not decoded yet."""

    value: object
    field: str


@dataclass(frozen=True)
class PicturedChat(Chat):
    """A conversation whose messages' contents are lists of parts, texts and places of images."""

    pictures: Sequence[Picture] = ()
    """In the order of their places."""
    shown: str | None = None
    """The prompt's text where it was no chat that came."""


@dataclass(frozen=True)
class PicturedText:
    """A prompt in the model's own format."""

    text: str
    """With the model's marks where images are."""
    pictures: Sequence[Picture]
    field: str
    shown: str
    """As it came."""


class Parts:
    """Reads the contents of messages, and collects their images."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        """What stands for an image in this model's prompts; nobody else may write it."""
        self.pictures: list[Picture] = []

    def __call__(self, value: object, field: str) -> list[dict[str, Any]]:
        """A string or a list of parts → parts. Raises InvalidInput."""
        if isinstance(value, str):
            return [self._text(value, field)]
        if not isinstance(value, list):
            raise InvalidInput(field, f"must be a string or a list of parts, got {kind_of(value)}")
        return [self._part(part, f"{field}[{i}]") for i, part in enumerate(value)]

    def picture(self, picture: Picture) -> dict[str, str]:
        """Note an image. Raises InvalidInput where there are too many."""
        if len(self.pictures) == MAX_IMAGES:
            raise InvalidInput(picture.field, f"is one too many; at most {MAX_IMAGES} images are allowed in a request")
        self.pictures.append(picture)
        return dict(_IMAGE)

    def _part(self, part: object, field: str) -> dict[str, Any]:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or kind not in ("text", *_KINDS):
            got = f"{kind[:80]!r}" if isinstance(kind, str) else kind_of(part)
            raise InvalidInput(field, f"must be a part of type text, image or image_url; got {got}")
        if kind == "text":
            return self._text(part.get("text"), f"{field}.text")
        name = next((name for name in _KINDS[kind] if part.get(name) is not None), None)
        if name is None:
            raise InvalidInput(f"{field}.{_KINDS[kind][0]}", "is missing; send the image in base64, or as a data: URI")
        value, field = part[name], f"{field}.{name}"
        if isinstance(value, dict) and kind != "image":  # OpenAI: {"url": …, "detail": …}
            value, field = value.get("url"), f"{field}.url"
        return self.picture(Picture(value, field))

    def _text(self, value: object, field: str) -> dict[str, Any]:
        if not isinstance(value, str):
            raise InvalidInput(field, f"must be a string, got {kind_of(value)}")
        if self._mark and self._mark in value:
            raise InvalidInput(field, f"holds {self._mark}, which stands for an image in this model's prompts")
        return {"type": "text", "text": value}


class Processor:
    """transformers' processor of one model, safe to use from several threads."""

    def __init__(self, processor: Any, dtype: torch.dtype, *, needs_image: bool = False) -> None:
        self._processor = processor
        self._lock = threading.Lock()  # its tokenizer switches its settings for each call
        self._dtype = dtype
        self._needs_image = needs_image
        self.mark = str(getattr(processor, "image_token", None) or "")  # some have it as an AddedToken
        self._mark_id: int | None = getattr(processor, "image_token_id", None)
        self.template = processor if getattr(processor, "chat_template", None) else processor.tokenizer
        """What has the chat template."""
        self.places = "" if self._places_images() else self.mark
        """What a prompt needs for each image; nothing where the processor finds the places itself."""

    @property
    def chats(self) -> bool:
        """Whether there is a chat template."""
        return bool(getattr(self.template, "chat_template", None))

    def read(self, text: str, images: list[Image.Image], field: str) -> tuple[list[int], Mapping[str, Any]]:
        """(ids with those that images take, the other tensors). Raises InvalidInput.

        Special tokens are added as transformers' own `apply_chat_template` does: unless the text begins with one.
        """
        if self._needs_image and not images:
            raise InvalidInput(field, _WITHOUT)
        first = self._processor.tokenizer.bos_token
        own = bool(first) and text.startswith(first)
        try:
            with self._lock:
                made = self._processor(
                    text=text,
                    images=[images] if images else None,
                    return_tensors="pt",
                    **({"add_special_tokens": False} if own else {}),
                )
        except Exception:
            if not images:
                raise InvalidInput(field, _WITHOUT) from None
            places = f" ({self.mark})" if self.mark else ""
            raise InvalidInput(
                field,
                f"does not go with {len(images)} images: it needs a place{places} for each, and none must be tiny",
            ) from None
        tensors = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
        ids = tensors.pop("input_ids")[0].tolist()
        tensors.pop("attention_mask", None)
        if not images:  # texts alone share batches
            return ids, {}
        if self._mark_id is not None and self._mark_id not in ids:
            raise InvalidInput(field, f"has no place for its image; write {self.mark} where it belongs")
        return ids, {
            name: value.to(self._dtype) if value.is_floating_point() else value for name, value in tensors.items()
        }

    def _places_images(self) -> bool:
        try:
            self.read("a", [Image.new("RGB", (64, 64))], "")
        except InvalidInput:
            return False
        return True
