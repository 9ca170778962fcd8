"""Starting the cluster, repairing a running one, and stopping it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from . import (
    access,
    cgroups,
    cleanup,
    containerd,
    controlplane,
    kubelet,
    lock,
    metrics,
    mountspace,
    network,
    packages,
    paths,
    pki,
    preflight,
    registry,
    services,
    storage,
    tools,
)
from .say import environment, say, step

_UP = paths.RUN / "up.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def _running() -> bool:
    """Whether a cluster that was once complete still has its mount namespace, so that what died can be started again.

    Without it the pods' mounts are gone: nothing is left to repair, and a new start is cleaner.
    """
    try:
        record = json.loads(_UP.read_text())
    except (OSError, ValueError):
        return False
    return record.get("boot") == _BOOT.read_text() and mountspace.inhabitant() is not None


def _mend_or_explain(*, fresh: bool, images: bool) -> None:
    machine = preflight.look(fresh=fresh, packages=preflight.PROGRAMS | (preflight.image_programs() if images else {}))
    if found := preflight.problems(machine):
        raise SystemExit(
            "The local cluster cannot be started here:\n" + "\n".join(f"  - {problem}" for problem in found)
        )
    packages.install(machine.missing_packages)


def up(*, images: bool = False) -> None:
    """Brings the cluster up, or repairs a running one; returns when pods can run.

    `images`: also builds the images, side by side with the programs, for a cold start takes most of its time for both.
    """
    if not _may_lock():
        _mend_or_explain(fresh=True, images=images)
    with lock.exclusive():
        running = _running()
        if running and cleanup.recorded_cache() != paths.CACHE:
            raise RuntimeError(
                f"the running cluster keeps its data in {cleanup.recorded_cache()}, you ask for one in {paths.CACHE}: "
                "set XDG_CACHE_HOME accordingly, or stop it first by `make cluster-down`"
            )
        if not running and cleanup.found():
            say("removing what an earlier run left")
            cleanup.remove_leftovers()
        _mend_or_explain(fresh=not running, images=images)
        _start(fresh=not running, images=images)
    say("the cluster is up; pods can run")
    say(f"kubeconfig: {paths.KUBECONFIG}")
    say(f"registry:   {paths.REGISTRY}")
    say('to use it:  eval "$(python3 hack/cluster env)"')


def _may_lock() -> bool:
    machine = preflight.look(fresh=False, packages={})
    return machine.system == "Linux" and machine.root


def _start(*, fresh: bool, images: bool) -> None:
    builds = tools.Builds(tools.CLUSTER)
    for folder in (paths.RUN, paths.STATE):
        folder.mkdir(parents=True, exist_ok=True)
    cleanup.record_cache()
    cgroups.prepare()
    network.remember_sysctls()
    network.up()
    if fresh:
        pki.make()
    registry.ensure()
    builder = _begin_images() if images else None
    builds.wait(tools.PAUSE)
    registry.push_own_images()
    containerd.ensure(fresh=fresh)
    builds.wait(tools.KUBERNETES)
    say("starting the control plane and the node" if fresh else "the cluster runs; looking after its parts")
    controlplane.ensure()
    kubelet.ensure()
    access.ensure()
    services.ensure_proxy()
    builds.wait(tools.COREDNS)
    services.ensure_dns()
    kubelet.await_node()
    controlplane.publish_kubeconfig()
    builds.wait(tools.HELM)
    builds.wait(tools.LOCAL_PATH)
    storage.ensure()
    if metrics.wanted():
        metrics.ensure()
    _UP.write_text(json.dumps({"boot": _BOOT.read_text(), "repository": str(paths.REPOSITORY)}))
    if builder:
        _await_images(builder)


def _begin_images() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(paths.SOURCES), "images"], env=environment())


def _await_images(builder: "subprocess.Popen[bytes]") -> None:
    if builder.wait() != 0:
        raise RuntimeError("building the images failed, see above; the cluster itself runs")


def add_metrics() -> None:
    """Adds metrics-server to the running cluster; builds it first if this machine has not done so yet."""
    tools.build(tools.METRICS_SERVER)
    with lock.exclusive():
        if not _running():
            raise RuntimeError("the cluster does not run: start it by `make cluster-up`")
        metrics.ensure()


def down() -> None:
    """Stops the cluster and leaves the machine as it was; built programs and images stay in the cache folder."""
    if not _may_lock():
        raise RuntimeError("only root can stop the local cluster")
    with lock.exclusive(), step("stopping the cluster"):
        cleanup.stop_in_order()
        cleanup.remove_leftovers()
        cleanup.remove_registry()
        cleanup.remove_build_mounts()
    if paths.CHECKOUT.exists():
        shutil.rmtree(paths.CHECKOUT)
    if paths.CACHE.exists():
        say(f"built programs and images stay in {paths.CACHE} for the next start; `make cluster-purge` removes them")


def purge() -> None:
    """Stops the cluster and removes its caches too."""
    down()
    with step(f"removing {paths.CACHE}"):
        shutil.rmtree(paths.CACHE, ignore_errors=True)
        shutil.rmtree(paths.BIN, ignore_errors=True)
