"""question-answering against a brute-force search over the model's own forward: transformers has no pipeline for it
any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits, Loaded

from tests.runtime.conftest import Serve
from tests.support.asking import ask, load
from tests.support.tiny import text

QUESTION = "what is the capital ?"
SHORT = "paris is the capital of france , and london is big ."
LONG = " ".join(f"{word} is in parisian {other} not london ." for word, other in
                (("rain", "film"), ("sun", "actor"), ("cat", "river"), ("dog", "city")) * 5)  # fmt: skip


@pytest.fixture(scope="module", params=["right", "left"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = text.question_answerer(tmp_path_factory.mktemp("model") / "qa", padding_side=request.param)
    return folder, load(folder)


class BruteForce:
    """Every span of every window, scored by softmax over what may be an answer."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()

    def windows(self, question: str, context: str, most: int, stride: int) -> Any:
        asked_first = self.tokenizer.padding_side == "right"
        return self.tokenizer(
            *((question, context) if asked_first else (context, question)),
            truncation="only_second" if asked_first else "only_first",
            max_length=most,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    def __call__(
        self,
        question: str,
        context: str,
        *,
        most: int = 64,
        stride: int = 32,
        longest: int = 15,
        words: bool = True,
    ) -> tuple[dict[tuple[int, int], float], float]:
        """(score by place, the least score of no answer)."""
        import torch

        found: dict[tuple[int, int], float] = {}
        nothing = 1.0
        encoded = self.windows(question, context, most, stride)
        number = 1 if self.tokenizer.padding_side == "right" else 0
        for i, ids in enumerate(encoded["input_ids"]):
            window = encoded[i]
            with torch.inference_mode():
                types = torch.tensor([encoded["token_type_ids"][i]])
                output = self.model(input_ids=torch.tensor([ids]), token_type_ids=types)
            inside = [place for place, sequence in enumerate(window.sequence_ids) if sequence == number]
            cls = ids.index(self.tokenizer.cls_token_id)
            allowed = [*inside, cls]
            start = dict(zip(allowed, output.start_logits[0][allowed].softmax(-1).tolist(), strict=True))
            end = dict(zip(allowed, output.end_logits[0][allowed].softmax(-1).tolist(), strict=True))
            nothing = min(nothing, start[cls] * end[cls])
            for first in inside:
                for last in inside:
                    if not first <= last < first + longest:
                        continue
                    place = window.offsets[first][0], window.offsets[last][1]
                    if words:
                        opens = window.word_to_chars(window.token_to_word(first), number)[0]
                        place = opens, window.word_to_chars(window.token_to_word(last), number)[1]
                    found[place] = max(found.get(place, 0.0), start[first] * end[last])
        return found, nothing


@pytest.fixture(scope="module")
def brute(model: tuple[Path, Loaded]) -> BruteForce:
    return BruteForce(model[0])


def same(answers: list[dict[str, Any]], expected: dict[tuple[int, int], float], context: str) -> None:
    best = sorted(expected.items(), key=lambda entry: -entry[1])[: len(answers)]
    assert [(entry["start"], entry["end"]) for entry in answers] == [place for place, _ in best]
    assert [entry["score"] for entry in answers] == pytest.approx([score for _, score in best], abs=1e-4)
    assert [entry["answer"] for entry in answers] == [context[start:end] for (start, end), _ in best]


def inputs(context: str, question: str = QUESTION) -> dict[str, str]:
    return {"question": question, "context": context}


def test_one_answer_is_an_object_and_the_best_of_all_spans(model: tuple[Path, Loaded], brute: BruteForce) -> None:
    answer = ask(model[1], inputs(SHORT))
    assert set(answer) == {"answer", "score", "start", "end"}
    same([answer], brute(QUESTION, SHORT)[0], SHORT)


@pytest.mark.parametrize("words", [True, False])
def test_top_k_lists_the_best_places_each_once(model: tuple[Path, Loaded], brute: BruteForce, words: bool) -> None:
    answers = ask(model[1], inputs(LONG), top_k=12, align_to_words=words)
    assert len(answers) == 12
    same(answers, brute(QUESTION, LONG, words=words)[0], LONG)


@pytest.mark.parametrize(("most", "stride", "longest"), [(64, 0, 15), (40, 10, 3), (30, 18, 1), (64, 40, 50)])
def test_a_long_context_is_read_in_windows(
    model: tuple[Path, Loaded], brute: BruteForce, most: int, stride: int, longest: int
) -> None:
    answers = ask(model[1], inputs(LONG), top_k=5, max_seq_len=most, doc_stride=stride, max_answer_len=longest)
    same(answers, brute(QUESTION, LONG, most=most, stride=stride, longest=longest)[0], LONG)


def test_an_answer_may_be_found_in_a_later_window(model: tuple[Path, Loaded]) -> None:
    places = [answer["start"] for answer in ask(model[1], inputs(LONG), top_k=1000)]
    assert max(places) > len(LONG) - 40


def test_no_answer_is_scored_by_the_token_that_stands_for_it(model: tuple[Path, Loaded], brute: BruteForce) -> None:
    for context in (SHORT, LONG):
        found, nothing = brute(QUESTION, context, longest=3)
        answers = ask(model[1], inputs(context), top_k=1000, max_answer_len=3, handle_impossible_answer=True)
        [empty] = [entry for entry in answers if entry["answer"] == ""]
        assert empty["score"] == pytest.approx(nothing, abs=1e-4)
        assert len(answers) == len(found) + 1
        assert [entry["score"] for entry in answers] == sorted((entry["score"] for entry in answers), reverse=True)


def test_a_list_gives_one_answer_each_equal_to_one_by_one_whatever_the_padding(model: tuple[Path, Loaded]) -> None:
    asked = [inputs(SHORT), inputs(LONG), inputs("rain", "who ?")]
    for together, one in zip(ask(model[1], asked, top_k=3), asked, strict=True):
        alone = ask(model[1], one, top_k=3)
        assert [entry["answer"] for entry in together] == [entry["answer"] for entry in alone]
        assert [e["score"] for e in together] == pytest.approx([e["score"] for e in alone], abs=1e-5)


def test_a_question_is_cut_to_max_question_len(model: tuple[Path, Loaded]) -> None:
    cut = ask(model[1], inputs(SHORT, "is the film good not bad ?"), max_question_len=4)
    assert cut == pytest.approx(ask(model[1], inputs(SHORT, "is the film good")))


def test_places_count_characters_of_the_context_as_it_was_sent(model: tuple[Path, Loaded]) -> None:
    context = "😀😀 Ünïcode Zürich 😀"
    for answer in ask(model[1], inputs(context), top_k=5):
        assert answer["answer"] == context[answer["start"] : answer["end"]] != ""


@pytest.mark.parametrize(
    ("given", "parameters", "message"),
    [
        ("who ?", {}, "inputs: must be an object with question and context, got a string"),
        ({"question": "who ?"}, {}, "inputs: must have exactly question and context, got question"),
        (
            {**inputs(SHORT), "more": 1},
            {},
            "inputs: must have exactly question and context, got context, more",
        ),
        (inputs(""), {}, "inputs.context: is empty"),
        (inputs(SHORT, " "), {}, "inputs.question: is empty"),
        ({"question": ["who ?"], "context": SHORT}, {}, "inputs.question: must be a string, got a list"),
        ([], {}, "inputs: is empty"),
        ([inputs(SHORT), {"question": "q", "context": 5}], {}, r"inputs\[1\].context: must be a string, got a number"),
        (inputs(SHORT), {"top_k": 0}, "parameters.top_k: "),
        (inputs(SHORT), {"max_seq_len": 65}, "parameters.max_seq_len: is 65, the model takes 64"),
        (
            inputs(SHORT),
            {"doc_stride": 60},
            "parameters.doc_stride: is 60; beside inputs.question a window holds 53",
        ),
        (
            inputs(SHORT, "who " * 70),
            {},
            "inputs.question: has 210 tokens, which leaves nothing of a window's 64",
        ),
        (inputs(SHORT), {"topk": 2}, r"unknown parameter \(did you mean top_k\?\)"),
    ],
)
def test_bad_input_is_named(model: tuple[Path, Loaded], given: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(model[1], given, **parameters)


def test_a_context_of_too_many_windows_is_refused_before_they_are_made(tmp_path: Path) -> None:
    loaded = load(text.question_answerer(tmp_path / "qa"), limits=Limits(max_inputs=3))
    with pytest.raises(InvalidInput, match=r"inputs.context: takes 148 windows of 64 tokens, at most 3 are allowed"):
        ask(loaded, inputs("rain " * 200), doc_stride=52)


def test_the_client_reads_the_answer(serve: Serve, model: tuple[Path, Loaded]) -> None:
    with serve(model[0]) as server:
        client = InferenceClient(model=server.url)
        one: Any = client.question_answering(QUESTION, SHORT)
        assert vars(one) == pytest.approx(ask(model[1], inputs(SHORT)), abs=1e-5)
        several: Any = client.question_answering(QUESTION, LONG, top_k=3, doc_stride=10, align_to_words=False)
        assert [entry.answer for entry in several] == [
            entry["answer"] for entry in ask(model[1], inputs(LONG), top_k=3, doc_stride=10, align_to_words=False)
        ]
