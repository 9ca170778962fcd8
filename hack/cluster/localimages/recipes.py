"""What each image is made of, and the tags that follow from it: a changed input gives a new tag, an unchanged one the
old.
"""

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

# The first line of the stage that everything cheap to build is in.
_LAST_STAGE = re.compile(r"^FROM dependencies$", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """One image. Paths are relative to the repository; `code` are the files and folders that its last stage copies."""

    name: str
    dockerfile: str
    requirements: str
    code: tuple[str, ...]
    variable: str
    about: str


OPERATOR = Recipe(
    "slipway-operator",
    "operator/Dockerfile",
    "requirements/operator.txt",
    ("operator/slipway_operator", "crds"),
    "SLIPWAY_OPERATOR_IMAGE",
    "160 MB",
)
RUNTIME = Recipe(
    "slipway-runtime",
    "runtime-image/Dockerfile",
    "requirements/runtime.txt",
    ("runtime-image/slipway_runtime",),
    "SLIPWAY_RUNTIME_IMAGE",
    "6 GB, some 4 min, once per machine",
)
ALL = (OPERATOR, RUNTIME)


def dependencies_key(repository: Path, recipe: Recipe, base: str, index: str) -> str:
    """What the dependency layer follows from, as 12 hex digits: the Dockerfile's first stage, the lock, the base and
    the index.
    """
    first_stage, _ = stages(repository, recipe)
    # Comments build nothing.
    lines = [line for line in first_stage.splitlines() if not line.startswith("#")]
    return _digest(
        "\n".join(lines).encode(), (repository / recipe.requirements).read_bytes(), base.encode(), index.encode()
    )


def stages(repository: Path, recipe: Recipe) -> tuple[str, str]:
    """The Dockerfile's two parts: what builds the dependencies, and what follows `FROM dependencies`."""
    first, last = _LAST_STAGE.split((repository / recipe.dockerfile).read_text())
    return first, last


def on_bare_base(repository: Path, recipe: Recipe) -> str:
    """A Dockerfile of the last stage alone, on the base. As text: the engines have no common way to replace a stage."""
    return f"ARG BASE\nFROM ${{BASE}}{stages(repository, recipe)[1]}"


def tag(repository: Path, recipe: Recipe, dependencies: str) -> str:
    """The tag of the whole image: the project's version, and a digest of Dockerfile, dependencies and code."""
    parts = [
        dependencies.encode(),
        (repository / recipe.dockerfile).read_bytes(),
        (repository / ".dockerignore").read_bytes(),
    ]
    for place in recipe.code:
        for file in code_files(repository / place):
            parts += [
                str(file.relative_to(repository)).encode(),
                file.read_bytes(),
                str(file.stat().st_mode & 0o111).encode(),
            ]
    version = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    return f"{version}-{_digest(*parts)}"


def code_files(folder: Path) -> list[Path]:
    """The files below `folder` that .dockerignore lets through: no byte code."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".pyc")


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]
