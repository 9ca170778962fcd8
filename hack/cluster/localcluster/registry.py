"""The image registry on 127.0.0.1, and what the cluster itself needs in it."""

import fcntl
import io
import json
import tarfile
from pathlib import Path

from localimages import oci

from . import paths, processes, tools
from .controlplane import answers
from .say import eventually
from .shell import run

NAME = "registry"
CGROUP = "registry"
# There when images were removed whose blobs still take up room.
GARBAGE = paths.REGISTRY_DATA / "garbage"


def ensure() -> None:
    """Starts the registry unless it runs. Its data outlive the cluster.

    It has a lock and a cgroup of its own: images are built and pushed while the cluster comes up, or is cleaned up.
    """
    paths.RUN.mkdir(parents=True, exist_ok=True)
    with (paths.RUN / "registry.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not processes.alive(NAME):
            paths.REGISTRY_DATA.mkdir(parents=True, exist_ok=True)
            configuration = paths.RUN / "registry.json"
            configuration.write_text(json.dumps(_configuration()))
            if GARBAGE.exists():
                # Only while the registry does not run: this knows nothing of an upload under way.
                run(["docker-registry", "garbage-collect", configuration])
                GARBAGE.unlink()
            processes.start(NAME, ["docker-registry", "serve", configuration], group=CGROUP)
        eventually(
            lambda: answers(f"http://{paths.REGISTRY}/v2/"), "the registry answers", 30, lambda: processes.died(NAME)
        )


def _configuration() -> dict[str, object]:
    return {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(paths.REGISTRY_DATA)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{paths.REGISTRY_PORT}"},
    }


def push_own_images() -> None:
    """The pause image, which holds pods' namespaces, and a busybox for the volume provisioner's helper pods and for
    tests.
    """
    registry = oci.Registry(paths.REGISTRY)
    if not registry.has(paths.PAUSE_IMAGE):
        layer = _layer({"pause": tools.binary("pause")})
        registry.push(paths.PAUSE_IMAGE, layers=[layer], config={"Entrypoint": ["/pause"], "User": "65535:65535"})
    if not registry.has(paths.BUSYBOX_IMAGE):
        applets = run(["busybox", "--list"]).split()
        layer = _layer(
            {"bin/busybox": Path("/bin/busybox")},
            links={f"bin/{name}": "busybox" for name in applets if name != "busybox"},
        )
        registry.push(paths.BUSYBOX_IMAGE, layers=[layer], config={"Cmd": ["sh"], "Env": ["PATH=/bin"]})


def _layer(files: dict[str, Path], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        for name, path in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o755
            with path.open("rb") as content:
                archive.addfile(entry, content)
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(entry)
    return buffer.getvalue()
