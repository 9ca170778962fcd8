"""What object detection answers with: boxes in whole pixels of the image as it was sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


def found(label: str, score: float, box: torch.Tensor) -> dict[str, Any]:
    """One object. `box`: xmin, ymin, xmax, ymax; cut to whole pixels as transformers' pipeline cuts them."""
    xmin, ymin, xmax, ymax = box.int().tolist()
    return {"label": label, "score": score, "box": {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax}}


def best_first(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By score."""
    return sorted(objects, key=lambda one: -one["score"])
