"""`make images`: what has changed is built and pushed, the rest is found in the registry by its tag."""

import fcntl
import os
import tempfile

from localcluster import packages, paths, preflight, registry
from localcluster.say import say, step

from . import base, engines, graft, oci, recipes

_NAMES = paths.REPOSITORY / ".cache" / "images.env"


def build_all() -> None:
    """Builds and pushes both images, and writes their names to `.cache/images.env`."""
    target = os.environ.get("SLIPWAY_REGISTRY") or (None if paths.external() else paths.REGISTRY)
    if target is None:
        raise SystemExit(
            "SLIPWAY_KUBECONFIG is set, SLIPWAY_REGISTRY is not: name a registry that your cluster can pull from."
        )
    local = target == paths.REGISTRY
    if local:
        _prepare_local()
    engine = engines.choose()
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with (paths.CACHE / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine.tidy()
        lines = []
        for recipe in recipes.ALL:
            image = build_grafted(engine, recipe) if local else build_whole(engine, recipe, target)
            lines.append(f"{recipe.variable}={image}\n")
        if local:
            _drop_superseded()
    _NAMES.parent.mkdir(parents=True, exist_ok=True)
    fresh = _NAMES.with_suffix(".new")
    fresh.write_text("".join(lines))
    fresh.replace(_NAMES)
    print("".join(lines), end="")


def _prepare_local() -> None:
    machine = preflight.look(fresh=False, packages=preflight.image_programs() | {"docker-registry": "docker-registry"})
    if found := preflight.problems(machine, go=False):
        raise SystemExit("The images cannot be built here:\n" + "\n".join(f"  - {problem}" for problem in found))
    packages.install(machine.missing_packages)
    registry.ensure()


def _index() -> str:
    return os.environ.get("PIP_INDEX_URL", "")


def build_whole(engine: engines.Engine, recipe: recipes.Recipe, target: str) -> str:
    """The plain way: one build of the whole Dockerfile, whose layers the engine caches in its own storage, and a
    push.
    """
    ground = os.environ.get("SLIPWAY_BASE_IMAGE", "")
    key = recipes.dependencies_key(paths.REPOSITORY, recipe, ground, _index())
    image = f"{target}/{recipe.name}:{recipes.tag(paths.REPOSITORY, recipe, key)}"
    plain_http = target.partition(":")[0] in {"localhost", "127.0.0.1"}
    if engine.remote_has(image, plain_http=plain_http):
        say(f"{recipe.name}: unchanged")
        return image
    with step(f"building {image} with {engine.name} (dependencies: {recipe.about})"):
        engine.build(recipe.dockerfile, image, arguments={"BASE": ground} if ground else {})
    with step(f"pushing {image}"):
        engine.push(image, plain_http=plain_http)
    return image


def build_grafted(engine: engines.Engine, recipe: recipes.Recipe) -> str:
    """The way for the local registry, which keeps the only packed copy of the dependencies (decision 0006)."""
    hub = oci.Registry(paths.REGISTRY)
    ground = os.environ.get("SLIPWAY_BASE_IMAGE") or base.IMAGE
    key = recipes.dependencies_key(paths.REPOSITORY, recipe, ground, _index())
    tag = recipes.tag(paths.REPOSITORY, recipe, key)
    repository = f"{paths.REGISTRY}/{recipe.name}"
    image, dependencies, code = f"{repository}:{tag}", f"{repository}:dependencies-{key}", f"{repository}:code-{tag}"
    if hub.has(image):
        say(f"{recipe.name}: unchanged")
        return image
    if ground == base.IMAGE:
        base.ensure()
    if not hub.has(dependencies):
        with step(f"building the dependencies of {recipe.name} with {engine.name} ({recipe.about})"):
            engine.build(
                recipe.dockerfile,
                dependencies,
                arguments={"BASE": ground},
                target="dependencies",
                layers=False,
            )
        with step(f"pushing the dependencies of {recipe.name}"):
            engine.push(dependencies, plain_http=True, quick=True)
        engine.forget(dependencies)
    with step(f"building the code of {recipe.name}"):
        with tempfile.NamedTemporaryFile("w", prefix="Dockerfile-") as file:
            file.write(recipes.on_bare_base(paths.REPOSITORY, recipe))
            file.flush()
            engine.build(file.name, code, arguments={"BASE": ground}, layers=False)
        engine.push(code, plain_http=True, quick=True)
        graft.graft(hub, built=code, onto=dependencies, base=ground, result=image)
        hub.delete(code)
        engine.forget(code)
    return image


def _drop_superseded() -> None:
    """Removes images on dependencies other than the present ones: 3 GB each. Their blobs go when the cluster next
    starts.
    """
    hub = oci.Registry(paths.REGISTRY)
    ground = os.environ.get("SLIPWAY_BASE_IMAGE") or base.IMAGE
    for recipe in recipes.ALL:
        repository = f"{paths.REGISTRY}/{recipe.name}"
        present = f"dependencies-{recipes.dependencies_key(paths.REPOSITORY, recipe, ground, _index())}"
        tags = hub.tags(recipe.name)
        if [tag for tag in tags if tag.startswith("dependencies-") and tag != present]:
            wanted = {layer["digest"] for layer in hub.manifest(f"{repository}:{present}")["layers"]}
            for tag in tags:
                if hub.has(f"{repository}:{tag}") and not wanted <= {
                    layer["digest"] for layer in hub.manifest(f"{repository}:{tag}")["layers"]
                }:
                    hub.delete(f"{repository}:{tag}")
            registry.GARBAGE.touch()
