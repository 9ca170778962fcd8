"""Labels that a request names, and the texts of them that a model compares with images."""

from __future__ import annotations

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits

_PLACE = "{}"
MAX_TEMPLATE = 2000


def labels_of(given: list[str] | str | None, limits: Limits) -> list[str]:
    """candidate_labels: a list, or a string with commas between them → labels. Raises InvalidInput."""
    field = "parameters.candidate_labels"
    if given is None:
        raise InvalidInput(field, "is missing; give a list of labels, or a string with commas between them")
    labels = [label.strip() for label in given.split(",") if label.strip()] if isinstance(given, str) else given
    if not labels:
        raise InvalidInput(field, "is empty; give at least one label")
    if len(labels) > limits.max_inputs:
        raise InvalidInput(
            field, f"has {len(labels)} labels, at most {limits.max_inputs} are allowed; send several requests"
        )
    for i, label in enumerate(labels):
        if not label.strip():
            raise InvalidInput(f"{field}[{i}]", "is empty; give a label")
    return labels


def filled(template: str, labels: list[str]) -> list[str]:
    """hypothesis_template with each label in it. No str.format: a template could reach into objects."""
    if len(template) > MAX_TEMPLATE:  # it is written once per label
        raise InvalidInput(
            "parameters.hypothesis_template", f"has {len(template)} characters, at most {MAX_TEMPLATE} are allowed"
        )
    if _PLACE not in template:
        raise InvalidInput("parameters.hypothesis_template", "must hold {}, where the label is to stand")
    return [template.replace(_PLACE, label) for label in labels]
