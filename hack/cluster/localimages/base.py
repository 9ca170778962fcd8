"""The base image where no registry can be reached: Debian with Python, made by debootstrap.

It stands in for `python:3.12-slim`, which is what users build on. Debian's Python is called `python3`; the Dockerfiles
say `python`.
"""

import shutil
from pathlib import Path

from localcluster import mounts, paths
from localcluster.say import step
from localcluster.shell import run

from . import oci

_SUITE = "bookworm"
_RECIPE = 1  # counted up when what follows changes
_UNWANTED = (
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
)
IMAGE = f"{paths.REGISTRY}/slipway-base:{_SUITE}-{_RECIPE}"


def ensure() -> str:
    """Makes the base image unless the local registry has it; returns its name."""
    registry = oci.Registry(paths.REGISTRY)
    if not registry.has(IMAGE):
        with step("making the base image with debootstrap (about 1 min, once per machine)"):
            folder = paths.CACHE / "tmp" / "base"
            remove_tree(folder)
            folder.mkdir(parents=True)
            try:
                registry.push(
                    IMAGE,
                    layers=[_layer(folder)],
                    config={
                        "Cmd": ["bash"],
                        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                    },
                )
            finally:
                remove_tree(folder)
    return IMAGE


def remove_tree(folder: Path) -> None:
    """Removes a folder in which debootstrap or a builder was at work; one that was killed left its mounts (/proc)
    there.
    """
    mounts.remove([folder])
    shutil.rmtree(folder, ignore_errors=True)


def _layer(folder: Path) -> bytes:
    root = folder / "root"
    run(["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", _SUITE, root])
    for unwanted in _UNWANTED:
        shutil.rmtree(root / unwanted, ignore_errors=True)
        (root / unwanted).mkdir(parents=True)
    (root / "usr/bin/python").symlink_to("python3")
    # What debootstrap copied from this machine is nobody's business in an image.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/hostname").unlink(missing_ok=True)
    archive = folder / "layer.tar"
    run(
        [
            "tar",
            "--create",
            "--numeric-owner",
            "--file",
            archive,
            "--directory",
            root,
            "--exclude=./dev/*",
            "--exclude=./proc/*",
            "--exclude=./sys/*",
            ".",
        ]
    )
    return archive.read_bytes()
