"""What text2text-generation, summarization and translation share: a text, or a list of them → a list with one object
each, as transformers' pipelines had it. Three adapters over one encoder-decoder."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Call, Item, Limits
from slipway_runtime.tasks.generation.beams import Beams, GenerateParameters
from slipway_runtime.tasks.generation.languages import Languages
from slipway_runtime.tasks.loading import TextModel
from slipway_runtime.tasks.text.text_adapter import TextAdapter
from slipway_runtime.tasks.texts import texts_of

_OURS = GenerateParameters.__struct_fields__


class TextToTextParameters(GenerateParameters, frozen=True, kw_only=True):
    """Those of `generate` may stand here or in generate_parameters."""

    clean_up_tokenization_spaces: bool = False
    truncation: bool | Literal["do_not_truncate", "longest_first", "only_first", "only_second"] = False
    truncate: bool = False
    generate_parameters: GenerateParameters | None = None

    @property
    def cuts(self) -> bool:
        return self.truncate or self.truncation not in (False, "do_not_truncate")


class TextToText(TextAdapter):
    """The adapter's base."""

    parameters = TextToTextParameters
    key: ClassVar[str]
    """What the answer's text is called."""

    def __init__(
        self, text_model: TextModel, limits: Limits, beams: Beams, languages: Languages, specific: dict[str, Any]
    ) -> None:
        """`specific`: task_specific_params of config.json."""
        super().__init__(text_model, limits)
        self._beams = beams
        self._languages = languages
        self._specific = specific

    def parse(self, inputs: object, parameters: TextToTextParameters) -> Call:
        texts, single = texts_of(inputs, "inputs", self._limits)
        asked_of(parameters)
        return Call(inputs=texts, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        p: TextToTextParameters = call.parameters
        own = self._own()
        settings = self._beams.settings(asked_of(p), own)
        return [
            self._item(prefixed(text, own.get("prefix")), settings, None, field=call.field(i), truncate=p.cuts)
            for i, text in enumerate(call.inputs)
        ]

    def postprocess(self, call: Call, outputs: list[Any]) -> list[dict[str, str]]:
        p: TextToTextParameters = call.parameters
        tokenizer = self._model.tokenizer.tokenizer
        texts = [tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) for ids in outputs]
        if p.clean_up_tokenization_spaces:  # `decode` itself leaves it out for BPE, with a warning
            texts = [tokenizer.clean_up_tokenization(text) for text in texts]
        return [{self.key: text} for text in texts]

    def warmup(self) -> list[Item]:
        settings = self._beams.settings({"max_new_tokens": ("", 2)}, {})
        return [self._item("warm up", settings, None, field="inputs", truncate=True)]

    def _own(self, name: str | None = None) -> dict[str, Any]:
        """What the repository says for a task of its own naming."""
        found = self._specific.get(name or self.task)
        return found if isinstance(found, dict) else {}

    def _item(self, text: str, settings: Any, source: str | None, *, field: str, truncate: bool) -> Item:
        encoded = self._languages.encode(text, source, field=field, truncate=truncate)
        return Item(forward=self._beams.forward, length=len(encoded.ids), data=(encoded, settings))


def prefixed(text: str, prefix: object) -> str:
    """With the words that tell T5 what to do, unless they are there."""
    return f"{prefix}{text}" if isinstance(prefix, str) and not text.startswith(prefix) else text


def asked_of(p: TextToTextParameters) -> dict[str, tuple[str, Any]]:
    """Name → (field, value) of what `generate` is asked. Raises InvalidInput where one is given twice."""
    asked = {name: (f"parameters.{name}", value) for name in _OURS if (value := getattr(p, name)) is not None}
    for name in _OURS if p.generate_parameters is not None else ():
        value = getattr(p.generate_parameters, name)
        if value is not None:
            field = f"parameters.generate_parameters.{name}"
            if name in asked:
                raise InvalidInput(field, f"is given twice: also as parameters.{name}")
            asked[name] = (field, value)
    return asked
