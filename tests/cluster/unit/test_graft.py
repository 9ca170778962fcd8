"""Layers lifted from one base onto another."""

from typing import Any

import pytest
from localimages.graft import combine
from localimages.oci import split


def _image(*layers: str, history: int | None = None, **settings: Any) -> dict[str, Any]:
    steps = [{"created_by": layer} for layer in layers][: history if history is not None else len(layers)]
    return {"config": settings, "rootfs": {"type": "layers", "diff_ids": list(layers)}, "history": steps}


def test_own_layers_and_settings_go_on_top() -> None:
    config, kept = combine(_image("base", "copy", "compile", User="10001"), _image("base", "deps"), _image("base"))
    assert config["rootfs"]["diff_ids"] == ["base", "deps", "copy", "compile"]
    assert [step["created_by"] for step in config["history"]] == ["base", "deps", "copy", "compile"]
    assert config["config"] == {"User": "10001"}
    assert kept == 2


def test_another_base_is_refused() -> None:
    with pytest.raises(ValueError, match="not built on the base"):
        combine(_image("other", "copy"), _image("base", "deps"), _image("base"))


def test_an_image_without_layers_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="adds no layer"):
        combine(_image("base"), _image("base", "deps"), _image("base"))


def test_a_reference_needs_a_tag() -> None:
    assert split("localhost:5001/a/b:1") == ("localhost:5001", "a/b", "1")
    with pytest.raises(ValueError, match="host:port/repository:tag"):
        split("localhost:5001/a")
