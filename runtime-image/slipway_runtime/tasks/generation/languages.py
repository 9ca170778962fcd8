"""How a translating model is told from which language into which: by its vocabulary's codes (NLLB, M2M100, mBART), by
a word before the text (T5's prefixes, Marian's >>xx<<), or not at all."""

from __future__ import annotations

import re
import threading
from typing import Any

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.loading import TextModel
from slipway_runtime.tasks.texts import Encoded

_CODE = re.compile("[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")  # eng_Latn, en_XX
_TARGET = re.compile(">>([^<>]+)<<")
_PAIR = re.compile("translation_([^_]+)_to_([^_]+)")
_SHOWN = 12


class Languages:
    """One model's. `specific`: task_specific_params of config.json."""

    def __init__(self, text_model: TextModel, specific: dict[str, Any], forced_first: int | None) -> None:
        self._tokenizer = text_model.tokenizer
        raw = text_model.tokenizer.tokenizer
        self._raw = raw
        self._lock = threading.Lock()
        self._codes = _codes(raw)
        self._source = getattr(raw, "src_lang", None)
        self._default_first = forced_first
        self._targets = sorted({found[1] for token in raw.get_vocab() if (found := _TARGET.fullmatch(token))})
        self._pairs: dict[tuple[str, str], str] = {}
        """(from, to) → the name in `specific`."""
        for name, params in specific.items():
            found = _PAIR.fullmatch(name)
            if found and isinstance(params, dict) and isinstance(params.get("prefix"), str):
                self._pairs[found[1], found[2]] = name
        self._fixed = tuple(getattr(raw, name, raw.init_kwargs.get(name)) for name in ("source_lang", "target_lang"))

    def first(self, target: str | None) -> int | None:
        """The token that an answer in `target` begins with; None: as the model is set. Raises InvalidInput."""
        if not self._codes:
            return None
        if target is not None:
            return self._codes[self._known(target, "tgt_lang")]
        own = getattr(self._raw, "tgt_lang", None)
        if own in self._codes:
            return self._codes[own]
        if self._default_first is None:
            raise InvalidInput("parameters.tgt_lang", f"is missing; this model knows {self._shown()}")
        return None

    def pair(self, source: str | None, target: str | None) -> str | None:
        """The name in task_specific_params for this pair, where there are any. Raises InvalidInput."""
        if self._codes or not self._pairs:
            return None
        found = [name for (a, b), name in self._pairs.items() if source in (None, a) and target in (None, b)]
        if not found:
            pairs = ", ".join(f"{a} to {b}" for a, b in self._pairs)
            field = "parameters.tgt_lang" if target is not None else "parameters.src_lang"
            raise InvalidInput(
                field, f"this model does not translate {source or 'any'} to {target or 'any'}; it does {pairs}"
            )
        return found[0]

    def mark(self, target: str | None) -> str:
        """What Marian's models for several targets need before a text. Raises InvalidInput."""
        if not self._targets or target is None:
            return ""
        if target not in self._targets:
            raise InvalidInput(
                "parameters.tgt_lang", f"{target[:40]!r} is not known to this model, which knows {_some(self._targets)}"
            )
        return f">>{target}<< "

    def check(self, source: str | None, target: str | None) -> None:
        """InvalidInput where a model for one pair of languages says that they are others. Many do not say."""
        for field, wanted, own in (("src_lang", source, self._fixed[0]), ("tgt_lang", target, self._fixed[1])):
            if wanted is not None and own is not None and wanted != own and not (field == "tgt_lang" and self._targets):
                raise InvalidInput(f"parameters.{field}", f"is {wanted[:40]!r}, this model's is {own!r}; leave it out")

    def encode(self, text: str, source: str | None, *, field: str, truncate: bool) -> Encoded:
        """Tokenize as a text in `source`. Raises InvalidInput."""
        if not self._codes:
            return self._tokenizer.encode(text, field=field, truncate=truncate)
        known = self._known(source, "src_lang") if source is not None else self._source
        with self._lock:  # the language is a state of the tokenizer
            self._raw.src_lang = known
            return self._tokenizer.encode(text, field=field, truncate=truncate)

    def _known(self, code: str, field: str) -> str:
        if code not in self._codes:
            raise InvalidInput(
                f"parameters.{field}", f"{code[:40]!r} is not known to this model, which knows {self._shown(code)}"
            )
        return code

    def _shown(self, code: str = "") -> str:
        """Some codes, those that begin as the wrong one does first."""
        return _some(sorted(self._codes, key=lambda known: (known[:2] != code[:2].lower(), known)))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} others" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _codes(tokenizer: Any) -> dict[str, int]:
    """Code → its token's id, where the tokenizer writes the text's language beside it."""
    if not hasattr(tokenizer, "set_src_lang_special_tokens"):
        return {}
    tokens = getattr(tokenizer, "lang_code_to_token", None)  # M2M100: en → __en__
    if isinstance(tokens, dict):
        return {code: int(tokenizer.convert_tokens_to_ids(token)) for code, token in tokens.items()}
    return {token: int(i) for token, i in tokenizer.get_vocab().items() if _CODE.fullmatch(token)}
