"""Tiny models of the true architectures with random weights, one file per family, made by the tests.

`MAKERS` has one per task: what the tests of clients, pages and examples serve. A new task adds its line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support import models
from tests.support.tiny import multimodal, vision

MAKERS: dict[str, Callable[[Path], Path]] = {
    "feature-extraction": models.encoder,
    "sentence-similarity": models.sentence_transformer,
    "text-classification": models.classifier,
    "fill-mask": models.masked_lm,
    "text-to-image": multimodal.text_to_image,
    "image-classification": vision.vit,
    "zero-shot-image-classification": vision.clip,
    "object-detection": vision.yolos,
    "zero-shot-object-detection": vision.owlvit,
    "image-segmentation": vision.segformer,
    "depth-estimation": vision.dpt,
}
