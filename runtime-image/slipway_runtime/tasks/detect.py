"""Which tasks a model can do, from its files alone (offline). Pure.

transformers' own `get_task` asks the Hub. Here the suffix of `architectures` in config.json decides; a modules.json
makes it a sentence-transformers model, whose vectors are pooled.
"""

from __future__ import annotations

from typing import Any

from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.table import TASKS, canonical

# Architecture's suffix → tasks, the first is the default. Longer suffixes first. Tasks that are not in TASKS yet are
# named so that a message can say what the model is for.
_BY_ARCHITECTURE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ForSequenceClassification", ("text-classification",)),
    ("ForMaskedLM", ("fill-mask", "feature-extraction")),
    ("ForPreTraining", ("fill-mask", "feature-extraction")),
    ("ForTokenClassification", ("token-classification",)),
    ("ForQuestionAnswering", ("question-answering",)),
    ("ForCausalLM", ("text-generation",)),
    ("LMHeadModel", ("text-generation",)),
    ("ForSpeechSeq2Seq", ("automatic-speech-recognition",)),
    ("ForCTC", ("automatic-speech-recognition",)),
    ("ForImageClassification", ("image-classification",)),
    ("ForObjectDetection", ("object-detection",)),
    ("ForConditionalGeneration", ("text2text-generation",)),
    ("Model", ("feature-extraction",)),
)
_SENTENCE_TRANSFORMERS = ("feature-extraction", "sentence-similarity")


def capabilities(config: dict[str, Any], modules: tuple[str, ...]) -> tuple[str, ...]:
    """Tasks that a model of this config can do, the default first; may name tasks that are not served here."""
    if "Pooling" in modules:
        return _SENTENCE_TRANSFORMERS
    architectures = config.get("architectures") or []
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    return next((tasks for suffix, tasks in _BY_ARCHITECTURE if name.endswith(suffix)), ())


def choose_task(wanted: str, config: dict[str, Any], modules: tuple[str, ...], model: str) -> str:
    """The task to serve. `wanted` may be empty (found) or an alias. Raises ModelFault TaskNotSupported."""
    able = capabilities(config, modules)
    served = [task for task in able if task in TASKS]
    what = _described(config)
    if wanted:
        task = canonical(wanted)
        if task is None:
            raise ModelFault(
                "TaskNotSupported",
                f"task {wanted!r} is not known to this runtime, which serves {', '.join(sorted(TASKS))}",
                "task",
            )
        if task not in served:
            can = f"it can do {', '.join(served)}" if served else _nothing(able)
            raise ModelFault(
                "TaskNotSupported", f"{model} ({what}) cannot do {wanted}: {can}. Change task, or leave it out", "task"
            )
        return task
    if not served:
        raise ModelFault("TaskNotSupported", f"{model} ({what}): {_nothing(able)}", "task")
    return served[0]


def _nothing(able: tuple[str, ...]) -> str:
    tasks = ", ".join(sorted(TASKS))
    if able:
        return f"it is a model for {', '.join(able)}, which this runtime does not serve; it serves {tasks}"
    return f"no task is known for this architecture; this runtime serves {tasks}"


def _described(config: dict[str, Any]) -> str:
    architectures = config.get("architectures") or ["no architecture in config.json"]
    return str(architectures[0] if isinstance(architectures, list) else architectures)[:80]
