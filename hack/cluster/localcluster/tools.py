"""The cluster's Go programs: built once per machine from pinned sources, cached outside the checkout.

The key of the cache is go.sum, go.mod, the Go version and the flags: a fresh clone finds what another one built.
"""

import fcntl
import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .say import say, step
from .shell import run

_KUBERNETES_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Tool:
    """One Go module folder below hack/cluster. `renamed`: binaries whose name in their own repository says too
    little.
    """

    folder: str
    binaries: tuple[str, ...]
    ldflags: str = "-s -w"
    renamed: tuple[tuple[str, str], ...] = ()
    about: str = ""
    polite: bool = False


ETCD = Tool("etcd", ("etcd",), renamed=(("v3", "etcd"), ("server", "etcd")), about="1 min")
KUBERNETES = Tool(
    "kubernetes",
    ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
    ldflags=f"-s -w -X {_KUBERNETES_VERSION}.gitVersion=v1.34.4 -X {_KUBERNETES_VERSION}.gitMajor=1 "
    f"-X {_KUBERNETES_VERSION}.gitMinor=34 -X {_KUBERNETES_VERSION}.gitTreeState=clean",
    about="5 min",
)
PAUSE = Tool("pause", ("pause",))
HELM = Tool("helm", ("helm",), about="1 min")
COREDNS = Tool("coredns", ("coredns",), about="1 min")
LOCAL_PATH = Tool("local-path-provisioner", ("local-path-provisioner",), about="1 min", polite=True)
METRICS_SERVER = Tool("metrics-server", ("metrics-server",), about="3 min")
KUBECONFORM = Tool("kubeconform", ("kubeconform",))
# An S3 server for the tests of the runtime's sources.
VERSITYGW = Tool("versitygw", ("versitygw",), about="1 min", polite=True)

# In the order in which a cold start needs them.
CLUSTER = (PAUSE, ETCD, KUBERNETES, COREDNS, HELM, LOCAL_PATH)


def key(tool: Tool, go_version: str) -> str:
    """What the built binaries depend on, as 16 hex digits."""
    digest = hashlib.sha256()
    for file in sorted((paths.SOURCES / tool.folder).iterdir()):
        if file.suffix in {".go", ".mod", ".sum"}:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    digest.update(f"{go_version}\0{tool.ldflags}".encode())
    return digest.hexdigest()[:16]


_go_version: list[str] = []


def _go() -> str:
    if not _go_version:
        _go_version.append(run(["go", "env", "GOVERSION", "GOOS", "GOARCH"]))
    return _go_version[0]


def folder(tool: Tool) -> Path:
    """The cache folder of the built binaries (which may not be there yet)."""
    return paths.BUILDS / f"{tool.folder}-{key(tool, _go())}"


def binary(name: str) -> Path:
    """The path of a built binary of any tool."""
    tool = next(t for t in (*CLUSTER, METRICS_SERVER, KUBECONFORM, VERSITYGW) if name in t.binaries)
    return folder(tool) / name


def build(tool: Tool) -> None:
    """Builds a tool unless the cache has it, and links its binaries into the checkout's `.cache/bin`."""
    target = folder(tool)
    if not target.exists():
        paths.BUILDS.mkdir(parents=True, exist_ok=True)
        # Two checkouts building the same thing: the second waits and then finds it.
        with (paths.BUILDS / f".{tool.folder}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _install(tool, target)
    paths.BIN.mkdir(parents=True, exist_ok=True)
    for name in tool.binaries:
        link = paths.BIN / name
        if not link.is_symlink() or link.readlink() != target / name:
            fresh = link.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}")
            fresh.symlink_to(target / name)
            fresh.replace(link)


def _install(tool: Tool, target: Path) -> None:
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(fresh), "GOFLAGS": "-buildvcs=false -mod=readonly"}
    about = f" (about {tool.about} on 2 cores, once per machine)" if tool.about else ""
    with step(f"building {tool.folder}{about}"):
        politeness = ["nice", "-n", "10"] if tool.polite else []
        run(
            [*politeness, "go", "install", "-trimpath", "-ldflags", tool.ldflags, "tool"],
            cwd=paths.SOURCES / tool.folder,
            env=environment,
        )
    for built, wanted in tool.renamed:
        if (fresh / built).exists():
            (fresh / built).rename(fresh / wanted)
    if missing := [name for name in tool.binaries if not (fresh / name).exists()]:
        raise RuntimeError(
            f"building {tool.folder} gave no {', '.join(missing)}, only {sorted(p.name for p in fresh.iterdir())}"
        )
    fresh.rename(target)


class Builds:
    """Builds tools one after the other in the background, in the order in which they are needed.

    One after the other, because each build by itself keeps all cores busy, and the first ones are waited for.
    """

    def __init__(self, tools: tuple[Tool, ...]) -> None:
        self._done = {tool.folder: threading.Event() for tool in tools}
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, args=(tools,), daemon=True).start()

    def _run(self, tools: tuple[Tool, ...]) -> None:
        try:
            for tool in tools:
                build(tool)
                self._done[tool.folder].set()
        except BaseException as failure:
            self._failure = failure
            for done in self._done.values():
                done.set()

    def wait(self, tool: Tool) -> None:
        """Returns once `tool` is built. Raises what the build raised."""
        self._done[tool.folder].wait()
        if self._failure:
            say("a build failed")
            raise self._failure
