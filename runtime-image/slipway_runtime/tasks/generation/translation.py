"""translation, also by the names translation_xx_to_yy: a text → [{translation_text}]; a list → one object each.

src_lang and tgt_lang are the model's own codes: NLLB's eng_Latn, M2M100's en, mBART's en_XX, those of T5's prefixes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded
from slipway_runtime.tasks.generation.text_to_text import TextToText, TextToTextParameters, asked_of, prefixed

Code = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class TranslationParameters(TextToTextParameters, frozen=True, kw_only=True):
    """From which language into which; where they are left out, as the model is set."""

    src_lang: Code | None = None
    tgt_lang: Code | None = None


class Translation(TextToText):
    """The adapter."""

    task = "translation"
    key = "translation_text"
    parameters = TranslationParameters

    def preprocess(self, call: Call) -> list[Item]:
        p: TranslationParameters = call.parameters
        self._languages.check(p.src_lang, p.tgt_lang)
        own = self._own(self._languages.pair(p.src_lang, p.tgt_lang))
        mark = self._languages.mark(p.tgt_lang)
        settings = self._beams.settings(asked_of(p), own, first=self._languages.first(p.tgt_lang))
        return [
            self._item(
                mark + prefixed(text, own.get("prefix")), settings, p.src_lang, field=call.field(i), truncate=p.cuts
            )
            for i, text in enumerate(call.inputs)
        ]


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model; it may do the other tasks of encoder-decoders as well. Raises ModelFault."""
    from slipway_runtime.tasks.generation.encoder_decoders import load_text_to_text  # noqa: PLC0415 - it needs this one

    return load_text_to_text("translation", artifact, limits)
