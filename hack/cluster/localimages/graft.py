"""Putting an image's own layers on top of another base, in the registry, without moving that base.

A build on the small base gives the layers with our code (kilobytes) and the image's settings. The dependencies
(gigabytes) are in the registry already. The result has the same layers and settings as one build of the whole
Dockerfile: an image is a list of layers. The same is known as `crane rebase`.
"""

from typing import Any

from . import oci


def graft(registry: oci.Registry, *, built: str, onto: str, base: str, result: str) -> None:
    """Writes `result` = layers of `onto` + those layers of `built` that are not in `base`, with `built`'s settings.

    `built`, `onto` and `result` are images of one repository. Raises ValueError when `built` was not built on `base`.
    """
    _, repository, _ = oci.split(result)
    built_manifest, onto_manifest = registry.manifest(built), registry.manifest(onto)
    built_config = oci.parse(registry.blob(repository, built_manifest["config"]["digest"]))
    onto_config = oci.parse(registry.blob(repository, onto_manifest["config"]["digest"]))
    _, base_repository, _ = oci.split(base)
    base_config = oci.parse(registry.blob(base_repository, registry.manifest(base)["config"]["digest"]))
    config, kept = combine(built_config, onto_config, base_config)
    registry.put_image(result, config, onto_manifest["layers"] + built_manifest["layers"][-kept:])


def combine(built: dict[str, Any], onto: dict[str, Any], base: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The configuration of the grafted image, and how many of `built`'s layers go on top. Compares uncompressed
    digests.
    """
    layers, ground = built["rootfs"]["diff_ids"], base["rootfs"]["diff_ids"]
    if layers[: len(ground)] != ground:
        raise ValueError("the image was not built on the base that its layers were to be lifted from")
    own = layers[len(ground) :]
    if not own:
        raise ValueError("the image adds no layer to its base")
    # History is only for people, and lists steps that have no layer; both parts are kept as they are.
    history = onto.get("history", []) + built.get("history", [])[len(base.get("history", [])) :]
    return {
        **built,
        "rootfs": {"type": "layers", "diff_ids": onto["rootfs"]["diff_ids"] + own},
        "history": history,
    }, len(own)
