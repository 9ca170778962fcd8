"""Inputs that are an image and a question about it. Shared by visual- and document-question-answering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.texts import checked_list, kind_of

_SHAPE = '{"image": base64, "question": …}'


@dataclass(frozen=True)
class Asked:
    """One question. The image is not decoded yet."""

    field: str
    """What errors call the whole: inputs, inputs[2]."""
    question: str
    image: object
    """None where there is none."""
    more: Mapping[str, Any]
    """What else the task takes in inputs."""
    beside: bool = False
    """The image was the whole of inputs, the question beside it."""

    @property
    def image_field(self) -> str:
        return self.field if self.beside else f"{self.field}.image"

    @property
    def question_field(self) -> str:
        return "parameters.question" if self.beside else f"{self.field}.question"


def questions_in(
    inputs: object, beside: str | None, limits: Limits, *, more: tuple[str, ...] = ()
) -> tuple[list[Asked], bool]:
    """An object, a list of them, or an image with the question `beside` it → (questions, was it a single one).

    `more`: further names that an object may have. For `parse`: cheap. Raises InvalidInput.
    """
    if isinstance(inputs, list):
        objects = checked_list(inputs, "inputs", limits)
        return [_asked(value, f"inputs[{i}]", beside, more) for i, value in enumerate(objects)], False
    return [_asked(inputs, "inputs", beside, more)], True


def _asked(value: object, field: str, beside: str | None, more: tuple[str, ...]) -> Asked:
    if isinstance(value, bytes | str):
        if beside is None:
            raise InvalidInput("parameters.question", f"is missing; send it beside the image, or inputs as {_SHAPE}")
        return Asked(field, _question(beside, "parameters.question"), value, {}, beside=True)
    if not isinstance(value, dict):
        raise InvalidInput(field, f"must be {_SHAPE}, got {kind_of(value)}")
    for name in value:
        if name not in ("image", "question", *more):
            raise InvalidInput(
                f"{field}.{str(name)[:80]}", f"is unknown; send {', '.join(('image', 'question', *more))}"
            )
    if beside is not None and value.get("question") is not None:
        raise InvalidInput("parameters.question", f"is given twice: also as {field}.question")
    question = _question(value.get("question", beside), f"{field}.question")
    return Asked(
        field, question, value.get("image"), {name: value[name] for name in more if value.get(name) is not None}
    )


def _question(value: object, field: str) -> str:
    if value is None:
        raise InvalidInput(field, f"is missing; send {_SHAPE}")
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(field, "must be a string that is not empty")
    return value
