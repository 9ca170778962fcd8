"""Tiny models of the true architectures with random weights, one file per family, made by the tests.

`MAKERS` has one per task: what the tests of clients, pages and examples serve. A new task adds its line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support import models
from tests.support.tiny import audio, diffusion, generation, multimodal, text, vision

MAKERS: dict[str, Callable[[Path], Path]] = {
    "feature-extraction": models.sentence_transformer,
    "sentence-similarity": models.sentence_transformer,
    "text-classification": models.classifier,
    "fill-mask": models.masked_lm,
    "zero-shot-classification": text.nli,
    "text-ranking": text.cross_encoder,
    "token-classification": text.token_classifier,
    "question-answering": text.question_answerer,
    "table-question-answering": text.table_answerer,
    "text-generation": generation.chat_decoder,
    "text2text-generation": generation.t5,
    "summarization": generation.bart,
    "translation": generation.marian,
    "text-to-image": diffusion.text_to_image,
    "image-text-to-text": multimodal.llava,
    "image-to-text": multimodal.blip,
    "visual-question-answering": multimodal.vilt,
    "document-question-answering": multimodal.donut,
    "image-classification": vision.vit,
    "zero-shot-image-classification": vision.clip,
    "object-detection": vision.yolos,
    "zero-shot-object-detection": vision.owlvit,
    "image-segmentation": vision.segformer,
    "mask-generation": vision.sam,
    "depth-estimation": vision.dpt,
    "automatic-speech-recognition": audio.whisper,
    "audio-classification": audio.classifier,
    "text-to-speech": audio.vits,
}
