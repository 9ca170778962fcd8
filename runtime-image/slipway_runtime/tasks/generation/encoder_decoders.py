"""The tasks of an encoder-decoder over one set of weights: whole texts, and text-generation for those who stream."""

from __future__ import annotations

from transformers import AutoModelForSeq2SeqLM

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Adapter, Limits, Loaded
from slipway_runtime.tasks.detect import capabilities
from slipway_runtime.tasks.generation.beams import Beams
from slipway_runtime.tasks.generation.encoder_decoder import EncoderDecoderGeneration
from slipway_runtime.tasks.generation.languages import Languages
from slipway_runtime.tasks.generation.summarization import Summarization
from slipway_runtime.tasks.generation.text2text_generation import Text2TextGeneration
from slipway_runtime.tasks.generation.translation import Translation
from slipway_runtime.tasks.loading import load_text_model


def load_text_to_text(task: str, artifact: Artifact, limits: Limits) -> Loaded:
    """Those of the tasks that the model can do, `task` as the default. Raises ModelFault."""
    model = load_text_model(artifact, AutoModelForSeq2SeqLM, limits)
    beams = Beams(model, limits)
    specific = artifact.config.get("task_specific_params")
    specific = specific if isinstance(specific, dict) else {}
    languages = Languages(model, specific, beams.forced_first)
    able = capabilities(artifact.config, artifact.modules)
    kinds = [kind for kind in (Text2TextGeneration, Summarization, Translation) if kind.task in able]
    adapters: list[Adapter] = [
        kind(model, limits, beams, languages, specific) for kind in sorted(kinds, key=lambda kind: kind.task != task)
    ]
    if task == Text2TextGeneration.task:  # a model that is served for one purpose alone is none to write freely
        adapters.append(EncoderDecoderGeneration(model, limits))
    return model.loaded(*adapters)
