"""The three tasks of a model for sequence classification, over one set of weights."""

from __future__ import annotations

from transformers import AutoModelForSequenceClassification

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Limits, Loaded
from slipway_runtime.tasks.detect import capabilities
from slipway_runtime.tasks.loading import load_text_model
from slipway_runtime.tasks.text.text_classification import TextClassification
from slipway_runtime.tasks.text.text_ranking import TextRanking
from slipway_runtime.tasks.text.zero_shot_classification import ZeroShotClassification


def load_classifier(task: str, artifact: Artifact, limits: Limits) -> Loaded:
    """Those of the tasks that the model can do, `task` as the default. Raises ModelFault."""
    model = load_text_model(artifact, AutoModelForSequenceClassification, limits)
    able = capabilities(artifact.config, artifact.modules)
    kinds = [kind for kind in (TextClassification, ZeroShotClassification, TextRanking) if kind.task in able]
    return model.loaded(*(kind(model, limits) for kind in sorted(kinds, key=lambda kind: kind.task != task)))
