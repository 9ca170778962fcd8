"""translation: languages by the vocabulary's codes, by a prefix, by the task's name, or fixed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Loaded
from slipway_runtime.tasks.table import canonical, implied

from tests.runtime.tasks.test_text2text_generation import TEXTS, Reference
from tests.support.asking import ask, load
from tests.support.tiny import generation


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Loaded]]:
    def made(kind: str, **config: Any) -> tuple[Path, Loaded]:
        folder = getattr(generation, kind)(tmp_path_factory.mktemp("model") / kind, **config)
        return folder, load(folder, task="translation")

    return made


@pytest.fixture(scope="module")
def nllb(make: Callable[..., tuple[Path, Loaded]]) -> tuple[Path, Loaded]:
    return make("nllb", languages=("deu_Latn", "eng_Latn", "fra_Latn", *(f"aa{a}_Latn" for a in "abcdefghijklmn")))


@pytest.fixture(scope="module")
def t5(make: Callable[..., tuple[Path, Loaded]]) -> tuple[Path, Loaded]:
    return make("t5")


def test_codes_stand_before_the_text_and_before_the_answer(nllb: tuple[Path, Loaded]) -> None:
    folder, model = nllb
    reference = Reference(folder)
    texts = ["the film was great.", "a cat", "the name of the film was a cat of the great"]
    for source, target in (("eng_Latn", "fra_Latn"), ("deu_Latn", "eng_Latn"), ("eng_Latn", "deu_Latn")):
        reference.tokenizer.src_lang = source
        first = reference.tokenizer.convert_tokens_to_ids(target)
        expected = [
            {"translation_text": reference(text, forced_bos_token_id=first, max_new_tokens=10)} for text in texts
        ]
        asked: dict[str, Any] = {"src_lang": source, "tgt_lang": target, "max_new_tokens": 10}
        assert ask(model, texts, **asked) == expected
        assert [ask(model, text, **asked)[0] for text in texts] == expected


def test_requests_of_several_languages_share_no_state(nllb: tuple[Path, Loaded]) -> None:
    _, model = nllb
    asked: dict[str, Any] = {"tgt_lang": "fra_Latn", "max_new_tokens": 8}
    own = ask(model, "a cat", **asked)
    other = ask(model, "a cat", src_lang="deu_Latn", **asked)
    assert ask(model, "a cat", **asked) == own == ask(model, "a cat", src_lang="eng_Latn", **asked)
    assert other == ask(model, "a cat", src_lang="deu_Latn", **asked)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"src_lang": "eng_Latn"}, r"parameters\.tgt_lang: is missing; this model knows aaa_Latn, .* and 5 others"),
        ({"tgt_lang": "fr"}, r"tgt_lang: 'fr' is not known to this model, which knows fra_Latn, aaa_Latn, "),
        ({"src_lang": "english", "tgt_lang": "fra_Latn"}, r"src_lang: 'english' is not known .* knows eng_Latn, "),
        ({"tgt_lang": 3}, r"parameters\.tgt_lang: Expected str"),
    ],
)
def test_unknown_languages_are_answered_with_known_ones(
    nllb: tuple[Path, Loaded], parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        ask(nllb[1], "a cat", **parameters)


def test_a_prefix_says_the_languages_where_the_config_has_some(t5: tuple[Path, Loaded]) -> None:
    folder, model = t5
    reference = Reference(folder)
    for target, name in (("de", "German"), ("fr", "French")):
        expected = [
            {"translation_text": reference(f"translate English to {name}: {text}", max_length=14)} for text in TEXTS
        ]
        assert ask(model, TEXTS, src_lang="en", tgt_lang=target) == expected
        assert ask(model, TEXTS, tgt_lang=target) == expected
    assert ask(model, TEXTS) == ask(model, TEXTS, tgt_lang="de")
    with pytest.raises(InvalidInput, match="tgt_lang: this model does not translate en to xx; it does en to de, en to"):
        ask(model, "a cat", src_lang="en", tgt_lang="xx")


def test_a_model_for_one_pair_translates_it(make: Callable[..., tuple[Path, Loaded]]) -> None:
    folder, model = make("marian")
    expected = [{"translation_text": Reference(folder)("a cat", max_new_tokens=6)}]
    assert ask(model, "a cat", max_new_tokens=6) == expected


def test_a_model_for_one_pair_that_names_it_refuses_others(tmp_path: Path) -> None:
    folder = generation.marian(tmp_path / "model")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source_lang": "en", "target_lang": "de"}))
    model = load(folder)
    assert ask(model, "a cat", src_lang="en", tgt_lang="de", max_new_tokens=4)
    with pytest.raises(InvalidInput, match=r"parameters\.tgt_lang: is 'fr', this model's is 'de'; leave it out"):
        ask(model, "a cat", src_lang="en", tgt_lang="fr")


def test_a_model_of_several_targets_has_its_marks_written(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = generation.marian(tmp_path / "model")
    tok = AutoTokenizer.from_pretrained(folder)
    tok.add_special_tokens({"additional_special_tokens": [">>fra<<", ">>ita<<"]})
    tok.save_pretrained(folder)
    reference = Reference(folder)
    reference.model.resize_token_embeddings(len(tok))
    reference.model.save_pretrained(folder)
    model = load(folder)
    expected = [{"translation_text": reference(">>ita<< a cat", max_new_tokens=6)}]
    assert ask(model, "a cat", tgt_lang="ita", max_new_tokens=6) == expected
    with pytest.raises(InvalidInput, match=r"tgt_lang: 'xx' is not known to this model, which knows fra, ita"):
        ask(model, "a cat", tgt_lang="xx")


def test_a_tasks_name_says_its_languages() -> None:
    assert canonical("translation_en_to_fr") == canonical("translation") == "translation"
    assert implied("translation_eng_Latn_to_fra_Latn") == {"src_lang": "eng_Latn", "tgt_lang": "fra_Latn"}
    assert implied("translation") == implied("summarization") == {}
    assert canonical("translation_to") is None


def test_a_server_takes_the_languages_from_the_route_or_from_its_own_task(serve: Any, t5: tuple[Path, Loaded]) -> None:
    folder, model = t5
    german, french = (ask(model, "a cat", tgt_lang=target) for target in ("de", "fr"))
    with serve(folder, SLIPWAY_ENDPOINT="x", SLIPWAY_TASK="translation_en_to_fr") as server, httpx.Client() as http:
        url = server.url.rstrip("/")
        assert http.post(url, json={"inputs": "a cat"}).json() == french
        assert http.post(f"{url}/pipeline/translation_en_to_de", json={"inputs": "a cat"}).json() == german
        refused = http.post(f"{url}/pipeline/translation_en_to_xx", json={"inputs": "a cat"})
        assert refused.status_code == 422
        assert "it does en to de, en to fr" in refused.json()["error"]
