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
    ("ForMaskedLM", ("fill-mask", "feature-extraction")),
    ("WithLMHeadModel", ("fill-mask",)),
    ("ForTokenClassification", ("token-classification",)),
    ("ForDocumentQuestionAnswering", ("document-question-answering",)),
    ("ForQuestionAnswering", ("question-answering",)),
    ("ForQuestionAnsweringSimple", ("question-answering",)),
    ("ForCausalLM", ("text-generation",)),
    ("LMHeadModel", ("text-generation",)),
    ("MTModel", ("translation", "text2text-generation")),
    ("ForSpeechSeq2Seq", ("automatic-speech-recognition",)),
    ("ForCTC", ("automatic-speech-recognition",)),
    ("ForAudioClassification", ("audio-classification",)),
    ("ForTextToSpeech", ("text-to-speech",)),
    ("ForTextToWaveform", ("text-to-speech",)),
    ("VitsModel", ("text-to-speech",)),
    ("ForImageClassification", ("image-classification",)),
    ("ForImageClassificationWithTeacher", ("image-classification",)),
    ("ForZeroShotObjectDetection", ("zero-shot-object-detection",)),
    ("ForObjectDetection", ("object-detection",)),
    ("ForInstanceSegmentation", ("image-segmentation",)),
    ("ForUniversalSegmentation", ("image-segmentation",)),
    ("ForSemanticSegmentation", ("image-segmentation",)),
    ("ForSegmentation", ("image-segmentation",)),
    ("ForDepthEstimation", ("depth-estimation",)),
)
# Where the suffix says too little, model_type decides. Read off transformers' own Auto mappings
# (models/auto/modeling_auto.py); a test holds this table against them.
_TEXT_TO_TEXT = ("text2text-generation", "summarization", "translation")
_BY_TYPE: dict[str, tuple[str, ...]] = {
    "whisper": ("automatic-speech-recognition",),
    "speech_to_text": ("automatic-speech-recognition",),
    "moonshine": ("automatic-speech-recognition",),
    **dict.fromkeys(
        ("align", "altclip", "chinese_clip", "clip", "metaclip_2", "siglip", "siglip2"),
        ("zero-shot-image-classification",),
    ),
    **dict.fromkeys(("sam", "sam2", "sam2_video", "sam_hq"), ("mask-generation",)),
    "vision-encoder-decoder": ("image-to-text",),
    "blip": ("image-to-text",),
    "git": ("image-to-text",),
    "bark": ("text-to-speech",),
    "vits": ("text-to-speech",),
    "musicgen": ("text-to-speech",),
    **dict.fromkeys(
        (
            "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "fsmt", "led", "longt5", "m2m_100", "mbart",
            "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet", "switch_transformers", "t5",
            "t5gemma", "umt5",
        ),
        _TEXT_TO_TEXT,
    ),
}  # fmt: skip
# Where both mislead, the whole name decides.
_BY_NAME: dict[str, tuple[str, ...]] = {
    "BlipForQuestionAnswering": ("visual-question-answering",),
    "ViltForQuestionAnswering": ("visual-question-answering",),
    "LayoutLMForQuestionAnswering": ("document-question-answering",),
    "LayoutLMv2ForQuestionAnswering": ("document-question-answering",),
    "LayoutLMv3ForQuestionAnswering": ("document-question-answering",),
    "TapasForQuestionAnswering": ("table-question-answering",),
    "GitForCausalLM": ("image-to-text",),
    "OwlViTForObjectDetection": ("zero-shot-object-detection",),
    "Owlv2ForObjectDetection": ("zero-shot-object-detection",),
    # Among their heads is one for masks. That of ELECTRA and Funnel tells replaced words from others instead.
    **dict.fromkeys(
        (
            "AlbertForPreTraining", "BertForPreTraining", "BigBirdForPreTraining", "ErnieForPreTraining",
            "FNetForPreTraining", "MegatronBertForPreTraining", "MobileBertForPreTraining", "RoCBertForPreTraining",
        ),
        ("fill-mask", "feature-extraction"),
    ),
    **dict.fromkeys(("ElectraForPreTraining", "FunnelForPreTraining"), ("feature-extraction",)),
    "GroundingDinoForObjectDetection": ("zero-shot-object-detection",),
    "MMGroundingDinoForObjectDetection": ("zero-shot-object-detection",),
    # It takes labels, but not as the detectors do that are served for it, and is no detector without.
    "OmDetTurboForObjectDetection": (),
}  # fmt: skip
_SENTENCE_TRANSFORMERS = ("feature-extraction", "sentence-similarity")
# diffusers' pipelines, `_class_name` of model_index.json, whose parts lie in its ordinary folders.
_TEXT_TO_IMAGE = frozenset(
    {
        "AuraFlowPipeline", "ChromaPipeline", "FluxPipeline", "LatentConsistencyModelPipeline", "PixArtAlphaPipeline",
        "PixArtSigmaPipeline", "SanaPipeline", "StableDiffusion3Pipeline", "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
    }
)  # fmt: skip


def capabilities(config: dict[str, Any], modules: tuple[str, ...]) -> tuple[str, ...]:
    """Tasks that a model of this config can do, the default first; may name tasks that are not served here."""
    if "Pooling" in modules:
        return _SENTENCE_TRANSFORMERS
    if "_class_name" in config:
        return ("text-to-image",) if config["_class_name"] in _TEXT_TO_IMAGE else ()
    architectures = config.get("architectures") or []
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    if name in _BY_NAME:
        return _BY_NAME[name]
    if config.get("model_type") == "vision-encoder-decoder" and _encoder(config) == "donut-swin":
        return ("document-question-answering", "image-to-text")
    if name.endswith("ForSequenceClassification"):
        return _classifier_tasks(config)
    # A head says what the model is for, whatever its type: BartForQuestionAnswering is no text2text model.
    by_suffix = next((tasks for suffix, tasks in _BY_ARCHITECTURE if name.endswith(suffix)), None)
    if by_suffix is not None:
        return by_suffix
    by_type = _BY_TYPE.get(str(config.get("model_type")))
    if by_type is not None:
        return by_type
    if name.endswith(("ForConditionalGeneration", "ForImageTextToText")):
        return ("image-text-to-text", "image-to-text") if "vision_config" in config else ()
    return ("feature-extraction",) if name.endswith("Model") and not _BEYOND_TEXT & config.keys() else ()


# Keys in the configs of models that see, that hear, or that are made of two.
_BEYOND_TEXT = frozenset(
    {
        "audio_config", "conv_dim", "encoder", "feat_extract_norm", "image_size", "in_channels",
        "input_feat_per_channel", "num_channels", "num_mel_bins", "sampling_rate", "vision_config",
    }
)  # fmt: skip
# Their classifiers are named as those of texts.
_HEARING = (
    "data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert",
    "wav2vec2-conformer", "wavlm",
)  # fmt: skip


def _encoder(config: dict[str, Any]) -> Any:
    encoder = config.get("encoder")
    return encoder.get("model_type") if isinstance(encoder, dict) else None


def _classifier_tasks(config: dict[str, Any]) -> tuple[str, ...]:
    """As the Hub's model cards have it: a natural language inference model classifies by labels that a request names; a
    single score ranks pairs, which is what the model is for when sentence-transformers' CrossEncoder wrote it."""
    labels = [str(label).lower() for label in (config.get("id2label") or {}).values()]
    if config.get("model_type") in _HEARING:
        return ("audio-classification",)
    if config.get("model_type") == "tapas":  # it judges a sentence about a table
        return ()
    if any(label.startswith("entail") for label in labels):
        return ("zero-shot-classification", "text-classification")
    if len(labels) == 1 or config.get("num_labels") == 1:
        ranks_first = "sentence_transformers" in config or "sbert_ce_default_activation_function" in config
        return ("text-ranking", "text-classification") if ranks_first else ("text-classification", "text-ranking")
    return ("text-classification",)


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
    architectures = config.get("architectures") or config.get("_class_name") or ["no architecture in config.json"]
    return str(architectures[0] if isinstance(architectures, list) else architectures)[:80]
