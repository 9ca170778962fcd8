"""A model in a folder, for example a mounted volume. Nothing is written there.

Loading works on a view: a folder of links to just the selected files. Libraries then cannot meet anything else that
lies beside them (adapter_config.json would make transformers load an adapter, a .py file could be imported).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts import AdapterFiles, Artifact
from slipway_runtime.artifacts.lora import WEIGHTS, read_adapter, select_adapter
from slipway_runtime.artifacts.safety import check_descriptions, refuse_links_out
from slipway_runtime.artifacts.selection import select
from slipway_runtime.artifacts.store import locked
from slipway_runtime.artifacts.weights import check_weights
from slipway_runtime.errors import ModelFault


def open_folder(path: str, cache_dir: Path, check: Callable[[dict[str, Any], tuple[str, ...]], None]) -> Artifact:
    """Check the folder at `path`. Raises ModelFault."""
    folder = Path(path)
    if not folder.is_dir():
        raise ModelFault(
            "ModelNotFound",
            f"SLIPWAY_MODEL_PATH={path!r} is not a folder: check the path behind pvc://claim/",
            "model.uri",
        )
    try:
        names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
        refuse_links_out(folder, path)
        selection = select(names, path)
        view = _view(folder, [*selection.descriptions, *selection.weights], cache_dir)
    except OSError as error:
        raise ModelFault(
            "BadConfiguration", f"{error.filename or path} cannot be used ({error.strerror})", "model.uri"
        ) from None
    config, modules = check_descriptions(view, path)
    check(config, modules)
    size = check_weights(view, selection.weights, path)
    return Artifact(folder=view, id=folder.name, revision=None, config=config, modules=modules, size_bytes=size)


def open_adapter(name: str, path: str) -> AdapterFiles:
    """Check the LoRA adapter in the folder at `path`. Raises ModelFault."""
    folder = Path(path)
    if not folder.is_dir():
        raise ModelFault("ModelNotFound", f"{path!r} is not a folder", "model.adapters")
    names = [p.name for p in folder.iterdir() if p.is_file()]
    refuse_links_out(folder, path)
    selection = select_adapter(names, path)
    config = read_adapter(folder, path)
    check_weights(folder, selection.weights, path)
    return AdapterFiles(name=name, source=path, config=config, weights=folder / WEIGHTS)


def _view(folder: Path, names: list[str], cache_dir: Path) -> Path:
    """Left as it is where it is right: another worker may be loading from it."""
    views = cache_dir / "views"
    view = views / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    wanted = {view / name: (folder / name).resolve() for name in names}
    with locked(views):
        if {link: link.readlink() for link in view.rglob("*") if link.is_symlink()} != wanted:
            shutil.rmtree(view, ignore_errors=True)
            for link, file in wanted.items():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)
    return view
