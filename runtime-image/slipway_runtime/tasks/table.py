"""The tasks that are served: a new one is a file and a line here."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One task: where its adapter is and what else it is called."""

    name: str
    module: str
    """Module with a function `load(artifact, limits) -> Adapter`; imports torch."""
    aliases: tuple[str, ...] = ()


TASKS = {
    task.name: task
    for task in (
        Task("feature-extraction", "slipway_runtime.tasks.text.feature_extraction", aliases=("sentence-embeddings",)),
        Task("sentence-similarity", "slipway_runtime.tasks.text.sentence_similarity"),
        Task("text-classification", "slipway_runtime.tasks.text.text_classification", aliases=("sentiment-analysis",)),
        Task("zero-shot-classification", "slipway_runtime.tasks.text.zero_shot_classification"),
        Task("text-ranking", "slipway_runtime.tasks.text.text_ranking", aliases=("sentence-ranking", "rerank")),
        Task("token-classification", "slipway_runtime.tasks.text.token_classification", aliases=("ner",)),
        Task("question-answering", "slipway_runtime.tasks.text.question_answering"),
        Task("table-question-answering", "slipway_runtime.tasks.text.table_question_answering"),
        Task("fill-mask", "slipway_runtime.tasks.text.fill_mask"),
        Task("text-generation", "slipway_runtime.tasks.generation.text_generation"),
        Task("text2text-generation", "slipway_runtime.tasks.generation.text2text_generation"),
        Task("summarization", "slipway_runtime.tasks.generation.summarization"),
        Task("translation", "slipway_runtime.tasks.generation.translation"),
        Task("image-classification", "slipway_runtime.tasks.vision.image_classification"),
        Task("zero-shot-image-classification", "slipway_runtime.tasks.vision.zero_shot_image_classification"),
        Task("object-detection", "slipway_runtime.tasks.vision.object_detection"),
        Task("zero-shot-object-detection", "slipway_runtime.tasks.vision.zero_shot_object_detection"),
        Task("image-segmentation", "slipway_runtime.tasks.vision.image_segmentation"),
        Task("mask-generation", "slipway_runtime.tasks.vision.mask_generation"),
        Task("depth-estimation", "slipway_runtime.tasks.vision.depth_estimation"),
        Task("image-text-to-text", "slipway_runtime.tasks.multimodal.image_text_to_text"),
        Task("image-to-text", "slipway_runtime.tasks.multimodal.image_to_text"),
        Task(
            "visual-question-answering", "slipway_runtime.tasks.multimodal.visual_question_answering", aliases=("vqa",)
        ),
        Task("document-question-answering", "slipway_runtime.tasks.multimodal.document_question_answering"),
        Task("text-to-image", "slipway_runtime.tasks.multimodal.text_to_image"),
        Task("automatic-speech-recognition", "slipway_runtime.tasks.audio.automatic_speech_recognition"),
        Task("audio-classification", "slipway_runtime.tasks.audio.audio_classification"),
        Task("text-to-speech", "slipway_runtime.tasks.audio.text_to_speech", aliases=("text-to-audio",)),
    )
}

_BY_ANY_NAME = {name: task.name for task in TASKS.values() for name in (task.name, *task.aliases)}


# transformers' own way to name a pair of languages: translation_en_to_fr.
_TRANSLATION = re.compile("translation_(.+)_to_(.+)")


def canonical(name: str) -> str | None:
    """The task's own name for a name or alias, None if it is not served."""
    return _BY_ANY_NAME.get(name) or ("translation" if _TRANSLATION.fullmatch(name) else None)


def implied(name: str) -> dict[str, str]:
    """Parameters that a task's name says: the languages of translation_en_to_fr."""
    found = _TRANSLATION.fullmatch(name)
    return {"src_lang": found[1], "tgt_lang": found[2]} if found else {}
