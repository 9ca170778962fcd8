"""image-text-to-text: LLaVA, Qwen2-VL and Idefics3 (SmolVLM) in chats, prompts and captions."""

from __future__ import annotations

import base64
import importlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from slipway_runtime.errors import InferenceFailed, InvalidInput, ModelFault
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Continuous, Item, Limits, Listener, Loaded
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.generation.decoder import Decoder
from slipway_runtime.tasks.parameters import convert

from tests.support.asking import ask, load, run_items
from tests.support.feeds import Arrivals, arriving
from tests.support.tiny import multimodal
from tests.support.writing import engine_of, written

transformers: Any = importlib.import_module("transformers")  # half typed

IMAGES = [multimodal.image_bytes(96, 48), multimodal.image_bytes(50, 70, seed=1)]
CODED = [base64.b64encode(image).decode() for image in IMAGES]
QUESTION = "what is it ?"
MAKERS: dict[str, Callable[[Path], Path]] = {
    "llava": multimodal.llava,
    "qwen2-vl": multimodal.qwen2_vl,
    "idefics3": multimodal.smolvlm,
}


@pytest.fixture(scope="module", params=MAKERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = MAKERS[request.param](tmp_path_factory.mktemp("model") / "model")
    return folder, load(folder)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(multimodal.llava(tmp_path_factory.mktemp("model") / "model"))


def chat(*images: str, text: str = QUESTION) -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def said(loaded: Loaded, inputs: Any, **parameters: Any) -> Generated:
    answer: Generated = ask(loaded, inputs, **({"max_new_tokens": 8} | parameters))[0][0]
    return answer


def opened(n: int = 2) -> list[Image.Image]:
    return [Image.open(io.BytesIO(image)).convert("RGB") for image in IMAGES[:n]]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_chat_is_continued_as_by_transformers_pipeline_and_generate(model: tuple[Path, Loaded], n: int) -> None:
    folder, loaded = model
    pipeline = transformers.pipeline("image-text-to-text", model=str(folder))
    parts = [*({"type": "image", "image": image} for image in opened(n)), {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": parts}]
    options = {"max_new_tokens": 8, "do_sample": False}
    expected = pipeline(text=messages, return_full_text=False, generate_kwargs=options)[0]["generated_text"]
    found = said(loaded, chat(*CODED[:n]))
    assert found.text == expected
    made = pipeline.processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    size = made["input_ids"].shape[1]
    assert found.prompt_tokens == size
    written = pipeline.model.generate(**made, max_new_tokens=8, do_sample=False)[0, size:]
    assert [token.id for token in found.tokens] == written.tolist()


def test_images_count_as_the_tokens_that_they_take(model: tuple[Path, Loaded]) -> None:
    none, one, two = (said(model[1], chat(*CODED[:n])).prompt_tokens for n in range(3))
    assert none + 1 < one < two


def test_all_ways_to_send_an_image_are_one(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    expected = said(loaded, chat(CODED[0])).tokens
    text = {"type": "text", "text": QUESTION}
    for part in (
        {"type": "image", "image": CODED[0]},
        {"type": "image", "base64": CODED[0]},
        {"type": "image", "url": f"data:image/png;base64,{CODED[0]}"},
        {"type": "image_url", "image_url": f"data:image/png;base64,{CODED[0]}"},
        {"type": "input_image", "image_url": CODED[0]},
    ):
        assert said(loaded, {"messages": [{"role": "user", "content": [part, text]}]}).tokens == expected
    assert said(loaded, {"images": [CODED[0]], "text": QUESTION}).tokens == expected
    assert said(loaded, {"image": CODED[0], "text": QUESTION}).tokens == expected
    assert said(loaded, {"image": CODED[0], "text": QUESTION}).prompt == QUESTION


def test_a_prompt_with_its_own_marks_is_left_as_it_is(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    pipeline = transformers.pipeline("image-text-to-text", model=str(folder))
    mark = pipeline.processor.image_token
    mark = f"<|vision_start|>{mark}<|vision_end|>" if mark == "<|image_pad|>" else mark
    text = f"the film {mark} and {mark} of paris"
    expected = pipeline(
        images=opened(), text=text, return_full_text=False, generate_kwargs={"max_new_tokens": 8, "do_sample": False}
    )
    found = said(loaded, {"images": CODED, "text": text})
    assert found.text == expected[0]["generated_text"]
    assert found.prompt == text


def test_requests_of_all_kinds_together_are_answered_as_alone(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    adapter = loaded.adapters["image-text-to-text"]
    asked = [chat(), chat(CODED[0]), "the film", chat(*CODED), chat(text="a dog and a cat of the big red house ?")]
    parameters = convert({"max_new_tokens": 6}, adapter.parameters)
    items = [item for inputs in asked for item in adapter.preprocess(adapter.parse(inputs, parameters))]
    together = run_items(items)
    for inputs, answer in zip(asked, together, strict=True):
        assert answer.text == said(loaded, inputs, max_new_tokens=6).text


def generated(folder: Path, images: list[Image.Image], text: str, new: int) -> list[int]:
    """What `generate` adds to a chat with these images, alone."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    parts = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": text}]
    made = processor.apply_chat_template(
        [{"role": "user", "content": parts}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    whole: list[int] = model.generate(**made, max_new_tokens=new, do_sample=False)[0].tolist()
    return whole[made["input_ids"].shape[1] :]


def items_of(loaded: Loaded, asked: list[tuple[int, str, int]]) -> list[Item]:
    """Chats of (images, text, new tokens)."""
    adapter = loaded.adapters["image-text-to-text"]
    found = []
    for count, text, new in asked:
        parameters = convert({"max_new_tokens": new}, adapter.parameters)
        found += adapter.preprocess(adapter.parse(chat(*CODED[:count], text=text), parameters))
    return found


ASKED = [(1, QUESTION, 12), (0, "the film was a cat ?", 9), (2, "a dog", 7), (1, "rain", 5), (0, QUESTION, 6)]


def test_prompts_with_images_join_and_leave_a_running_batch(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    items = items_of(loaded, ASKED)
    assert all(isinstance(item.forward, Continuous) for item in items)
    feed = Arrivals({0: items[:1], 2: items[1:2], 3: items[2:4], 6: items[4:]})
    outputs = feed.run(items)
    assert feed.most_inside > 2
    expected = [generated(folder, opened(count), text, new) for count, text, new in ASKED]
    assert written(outputs) == expected


def test_a_model_whose_rows_with_images_are_not_those_of_generate_answers_them_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = multimodal.qwen2_vl(tmp_path / "model")
    # As if it did not say by how much an image moves the positions after it.
    monkeypatch.setattr(Decoder, "shift", lambda *_: 0)
    loaded = load(folder)
    engine = engine_of(loaded)
    assert (engine.mode, engine.joins_with_images) == ("continuous", False)
    items = items_of(loaded, ASKED)
    assert [isinstance(item.forward, Continuous) for item in items] == [not count for count, _, _ in ASKED]
    expected = [generated(folder, opened(count), text, new) for count, text, new in ASKED]
    assert written(run_items(items)) == expected
    # Were they admitted, their answers would be others.
    assert written(arriving([replace(item, forward=items[1].forward) for item in items], *[0] * 5)) != expected


def test_an_image_that_the_model_fails_on_fails_alone(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    items = items_of(loaded, ASKED)
    broken = replace(items[2].data, extra={**items[2].data.extra, "pixel_values": torch.zeros(1, 1)})
    outputs = arriving([*items[:2], replace(items[2], data=broken), *items[3:]], 0, 0, 1, 2, 3)
    assert [isinstance(one, InferenceFailed) for one in outputs] == [False, False, True, False, False]
    assert written([one for one in outputs if not isinstance(one, Exception)]) == written(
        [run_batch([item])[0] for item in (*items[:2], *items[3:])]
    )


def test_an_answer_streams_and_stops(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    adapter = loaded.adapters["image-text-to-text"]
    parameters = convert({"max_new_tokens": 8}, adapter.parameters)
    item = adapter.preprocess(adapter.parse(chat(CODED[0]), parameters))[0]
    heard: list[Any] = []
    answer = run_batch([replace(item, listener=Listener(heard.append))])[0]
    assert tuple(heard) == answer.tokens
    assert "".join(token.text for token in heard) == answer.text
    word = answer.tokens[2].piece
    stopped = said(loaded, chat(CODED[0]), stop=[word])
    assert stopped.finish_reason == "stop_sequence"
    assert answer.text.startswith(stopped.text + word)
    gone = Listener(lambda _: None)
    gone.gone = True
    assert len(run_batch([replace(item, listener=gone)])[0].tokens) <= 1


def test_an_image_alone_is_described(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    assert not loaded.adapters["image-text-to-text"].accepts(IMAGES[0], {})
    assert loaded.adapters["image-to-text"].accepts(IMAGES[0], {})
    expected = said(loaded, {"images": [CODED[0]], "text": "the film ?"}).text
    found = ask(loaded, IMAGES[0], "image-to-text", max_new_tokens=8, prompt="the film ?")
    assert found == [{"generated_text": expected}]
    both = ask(loaded, CODED, "image-to-text", generate_kwargs={"max_new_tokens": 8}, prompt="the film ?")
    assert both[0] == found
    assert len(both) == 2
    assert load(folder, "image-to-text").task == "image-to-text"


def test_the_first_forward_has_an_image(model: tuple[Path, Loaded]) -> None:
    for adapter in model[1].adapters.values():
        (item,) = adapter.warmup()
        assert item.data.extra
        assert isinstance(run_batch([item])[0], Generated)


def with_part(part: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [part]}]


@pytest.mark.parametrize(
    ("inputs", "parameters", "words"),
    [
        (with_part({"type": "image_url", "image_url": {"url": "https://localhost/a.png"}}), {},
         "inputs[0].content[0].image_url.url: is a URL, which is not fetched here"),
        (with_part({"type": "image", "url": "file:///etc/passwd"}), {}, "inputs[0].content[0].url: is a URL"),
        (with_part({"type": "image", "image": "/etc/passwd"}), {}, "inputs[0].content[0].image: looks like a path"),
        (with_part({"type": "image", "image": "QUJD"}), {}, "inputs[0].content[0].image: is no image"),
        (with_part({"type": "image", "path": "/etc/passwd"}), {}, "inputs[0].content[0].image: is missing"),
        (with_part({"type": "image_url", "image_url": {}}), {}, "inputs[0].content[0].image_url.url: must be"),
        (with_part({"type": "video", "video": "a"}), {}, "inputs[0].content[0]: must be a part of type text, image or"),
        (with_part("a"), {}, "inputs[0].content[0]: must be a part of type text, image or image_url; got a string"),
        (with_part({"type": "text", "text": 3}), {}, "inputs[0].content[0].text: must be a string"),
        ([{"role": "user", "content": 3}], {}, "inputs[0].content: must be a string or a list of parts"),
        (with_part({"type": "text", "text": "an <image> here"}), {}, "text: holds <image>, which stands for an image"),
        (chat(*[CODED[0]] * 17), {}, "content[16].image_url.url: is one too many; at most 16 images are allowed"),
        (chat(CODED[0]), {"truncate": 5}, "parameters.truncate: cannot cut a prompt with images"),
        (chat(CODED[0], text="rain " * 300), {},
         "inputs: has 322 tokens with its images, the model takes 255 and one of the answer; send fewer or smaller"),
        ({"images": CODED, "text": "one <image> here"}, {}, "inputs.text: does not go with 2 images"),
        ({"images": [], "text": "a"}, {}, "inputs.images: is empty"),
        ({"images": CODED}, {}, "inputs.text: must be a string, got null"),
        ({"images": CODED, "text": "a", "videos": []}, {}, 'inputs.videos: is unknown; send {"images"'),
        (7, {}, "inputs: must be"),
        (b"GIF", {}, "inputs: must be"),
    ],
)  # fmt: skip
def test_bad_input_is_named(llava: Loaded, inputs: Any, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(llava, inputs, **parameters)
    assert words in caught.value.message


def test_an_image_larger_than_allowed_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    loaded = load(multimodal.llava(tmp_path / "model"), limits=Limits(max_image_pixels=4000))
    with pytest.raises(InvalidInput, match=r"has .*4608 pixels, at most 4000 are allowed"):
        said(loaded, chat(CODED[0]))


def test_what_a_caption_cannot_be_asked_is_named(llava: Loaded) -> None:
    with pytest.raises(InvalidInput, match=r"kwargs\.num_beams: is not taken by this model; it takes do_sample"):
        ask(llava, IMAGES[0], "image-to-text", generate_kwargs={"num_beams": 2})


def test_a_model_without_a_chat_template_takes_prompts_alone(tmp_path: Path) -> None:
    folder = multimodal.llava(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    loaded = load(folder)
    assert said(loaded, {"images": [CODED[0]], "text": "<image> the film"}).text
    assert isinstance(run_batch(loaded.adapters["image-to-text"].warmup())[0], Generated)
    with pytest.raises(InvalidInput, match="this model has no chat template"):
        said(loaded, chat(CODED[0]))
    before = said(loaded, {"images": CODED, "text": "the film"})
    assert before.tokens == said(loaded, {"images": CODED, "text": "<image><image>\nthe film"}).tokens
    assert before.prompt == "the film"


def test_a_model_that_always_needs_an_image_says_so(tmp_path: Path) -> None:
    folder = multimodal.blip2(tmp_path / "model")
    loaded = load(folder)
    pipeline = transformers.pipeline("image-text-to-text", model=str(folder))
    options = {"max_new_tokens": 6, "do_sample": False}
    expected = pipeline(images=opened(1), text="the film", return_full_text=False, generate_kwargs=options)
    found = said(loaded, {"images": CODED[:1], "text": "the film"}, max_new_tokens=6)
    assert found.text == expected[0]["generated_text"]
    assert len(found.tokens) > 1
    with pytest.raises(InvalidInput, match="inputs: comes without an image, which this model needs"):
        said(loaded, "the film")


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    folder = multimodal.llava(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"is_encoder_decoder": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFault, match="writes with a decoder beside an encoder"):
        load(folder)
