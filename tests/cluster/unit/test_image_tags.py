"""A changed input gives a new tag, an unchanged one the old; only what concerns the dependencies rebuilds them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from localcluster import paths
from localimages import recipes
from localimages.recipes import RUNTIME

Change = Callable[[Path], object]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for place in ("pyproject.toml", ".dockerignore", RUNTIME.dockerfile, RUNTIME.requirements):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.REPOSITORY / place, tmp_path / place)
    code = tmp_path / RUNTIME.code[0]
    code.mkdir()
    (code / "__main__.py").write_text("print('hello')\n")
    return tmp_path


def _keys(checkout: Path) -> tuple[str, str]:
    dependencies = recipes.dependencies_key(checkout, RUNTIME, "base:1", "")
    return dependencies, recipes.tag(checkout, RUNTIME, dependencies)


def _append(place: str, text: str) -> Change:
    def change(checkout: Path) -> None:
        with (checkout / place).open("a") as file:
            file.write(text)

    return change


@pytest.mark.parametrize(
    ("change", "dependencies_change", "tag_changes"),
    [
        (lambda _: None, False, False),
        (_append("runtime-image/slipway_runtime/__main__.py", "# more\n"), False, True),
        (_append("runtime-image/slipway_runtime/new.py", ""), False, True),
        (_append("runtime-image/Dockerfile", "ENV A=b\n"), False, True),
        (_append("requirements/runtime.txt", "six==1\n"), True, True),
        (lambda c: (c / "runtime-image/slipway_runtime/__pycache__").mkdir(), False, False),
        (lambda c: (c / "runtime-image/slipway_runtime/old.pyc").write_bytes(b"x"), False, False),
    ],
    ids=["nothing", "code", "new file", "last stage", "lock", "cache folder", "byte code"],
)
def test_what_changes_what(checkout: Path, change: Change, dependencies_change: bool, tag_changes: bool) -> None:
    dependencies, tag = _keys(checkout)
    change(checkout)
    new_dependencies, new_tag = _keys(checkout)
    assert (new_dependencies != dependencies, new_tag != tag) == (dependencies_change, tag_changes)


def test_base_and_index_belong_to_the_dependencies(checkout: Path) -> None:
    keys = {recipes.dependencies_key(checkout, RUNTIME, base, index) for base in ("a:1", "b:1") for index in ("", "x")}
    assert len(keys) == 4


def test_a_moved_file_is_a_change(checkout: Path) -> None:
    _, tag = _keys(checkout)
    folder = checkout / RUNTIME.code[0]
    (folder / "__main__.py").rename(folder / "main.py")
    assert _keys(checkout)[1] != tag
