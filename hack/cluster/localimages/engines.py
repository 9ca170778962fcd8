"""buildah, docker or podman, whichever is there: their common subset, and where they differ."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from localcluster import paths
from localcluster.preflight import builds
from localcluster.shell import run

from . import base, oci

_STORAGE = paths.CACHE / "buildah"
_TEMPORARY = paths.CACHE / "tmp"
_CERTIFICATES = Path("/etc/ssl/certs")


@dataclass(frozen=True)
class Engine:
    """A program that builds and pushes images."""

    name: str
    command: tuple[str, ...]
    build_flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def build(
        self, dockerfile: str, image: str, *, arguments: dict[str, str], target: str | None = None, layers: bool = True
    ) -> None:
        """Builds an image from the repository's root. `layers=False` keeps no intermediate images where the engine can
        do so.
        """
        words = [*self.command, "build", *self.build_flags, "--file", dockerfile, "--tag", image]
        if self.name != "docker":
            words += [f"--layers={str(layers).lower()}"]
        if target:
            words += ["--target", target]
        if os.environ.get("PIP_INDEX_URL"):
            # By name only: the engine takes the value, which may have a password in it, from the environment.
            words += ["--build-arg", "PIP_INDEX_URL"]
        for name, value in arguments.items():
            words += ["--build-arg", f"{name}={value}"]
        run([*words, "."], cwd=paths.REPOSITORY, env=self._environment())

    def push(self, image: str, *, plain_http: bool, quick: bool = False) -> None:
        """Pushes an image. `quick`: zstd at its fastest, which unpacks at three times the speed of gzip."""
        words = [*self.command, "push"]
        if self.name != "docker":
            words += ["--format", "oci", *(["--tls-verify=false"] if plain_http else [])]
            words += ["--compression-format", "zstd", "--compression-level", "1"] if quick else []
        target = [f"docker://{image}"] if self.name == "buildah" else []
        run([*words, image, *target], env=self._environment())

    def forget(self, image: str) -> None:
        """Removes a local image and whatever no other image shares with it."""
        run([*self.command, "rmi", "--force", image], check=False, env=self._environment())

    def remote_has(self, image: str, *, plain_http: bool) -> bool:
        """Whether a registry has this image. False where the engine cannot tell: a cached build and push follow."""
        if plain_http:
            return oci.Registry(oci.split(image)[0]).has(image)
        if self.name == "buildah":
            return False
        return bool(run([*self.command, "manifest", "inspect", image], check=False, env=self._environment()).strip())

    def tidy(self) -> None:
        """Ends what an interrupted build left in our own storage; nobody else's is touched."""
        if self.name == "buildah":
            run([*self.command, "rm", "--all"], check=False, env=self._environment())
            base.remove_tree(_TEMPORARY)

    def _environment(self) -> dict[str, str]:
        _TEMPORARY.mkdir(parents=True, exist_ok=True)
        return {**os.environ, **self.environment}


def _buildah() -> Engine:
    # A storage of its own below the cache folder, so that it is found again, and removed, for certain. chroot: no
    # namespaces are needed, and the build uses this machine's network and certificates to reach the package index.
    return Engine(
        "buildah",
        (
            "buildah",
            "--root",
            str(_STORAGE / "root"),
            "--runroot",
            str(_STORAGE / "run"),
            "--storage-driver",
            "overlay",
        ),
        ("--isolation", "chroot", "--network", "host", "--pull=missing", "--tls-verify=false", *_certificates()),
        {"TMPDIR": str(_TEMPORARY), "BUILDAH_FORMAT": "oci"},
    )


def _certificates() -> tuple[str, ...]:
    return ("--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro") if _CERTIFICATES.is_dir() else ()


def choose() -> Engine:
    """The engine named by SLIPWAY_ENGINE, or the first that is there. Ends with a sentence when there is none."""
    wanted = os.environ.get("SLIPWAY_ENGINE")
    known: dict[str, Callable[[], Engine]] = {
        "buildah": _buildah,
        "docker": lambda: Engine("docker", ("docker",)),
        "podman": lambda: Engine("podman", ("podman",), ("--network", "host", *_certificates())),
    }
    if wanted and wanted not in known:
        raise SystemExit(f"SLIPWAY_ENGINE={wanted}: known are {', '.join(known)}")
    for name in [wanted] if wanted else known:
        if shutil.which(name) if name == "buildah" else builds(name):
            return known[name]()
    raise SystemExit(
        f"No program to build images with: install {wanted or 'buildah, docker or podman'}; docker's daemon must run."
    )
