"""`python3 hack/cluster COMMAND`: the local cluster and the images. `make help` lists the targets that call this."""

import argparse
import sys

from localcluster import paths

paths.require_python()

# Only after the check of the version.
from localcluster import packages, preflight, status, tools, up  # noqa: E402
from localcluster.shell import CommandFailed  # noqa: E402
from localimages import images  # noqa: E402

_EXTERNAL_ALLOWED = {"images", "env", "tools"}
# What the runtime's tests use of Debian's: a browser for the test page, a registry for oci:// models.
_TESTS_USE = {"chromium": "chromium", "docker-registry": "docker-registry"}


def _env() -> None:
    print(f'export PATH="{paths.BIN}:$PATH"')
    print(f'export KUBECONFIG="{paths.external() or paths.KUBECONFIG}"')
    if not paths.external():
        print(f'export SLIPWAY_REGISTRY="{paths.REGISTRY}"')


def _tools() -> None:
    for tool in (tools.ETCD, tools.KUBERNETES, tools.HELM, tools.KUBECONFORM, tools.VERSITYGW):
        tools.build(tool)
    packages.install(preflight.missing_packages(_TESTS_USE))
    print(paths.BIN)


_COMMANDS = {
    "up": (up.up, "start the cluster, or repair it"),
    "down": (up.down, "stop it and leave the machine as it was"),
    "status": (lambda: sys.exit(0 if status.show() else 1), "what runs"),
    "metrics": (up.add_metrics, "metrics-server, for kubectl top and autoscaling"),
    "purge": (up.purge, "stop it and remove the caches"),
    "env": (_env, "shell lines that set PATH, KUBECONFIG and SLIPWAY_REGISTRY"),
    "tools": (_tools, "build kubectl, helm, etcd, kube-apiserver into .cache/bin, install what tests use"),
    "images": (images.build_all, "build and push the operator's and the runtime's images"),
}


def main() -> None:
    """Runs one command."""
    parser = argparse.ArgumentParser(
        prog="hack/cluster", description="The local Kubernetes cluster of this repository."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, about) in _COMMANDS.items():
        choices = commands.add_parser(name, help=about)
        if name == "up":
            choices.add_argument(
                "--images", action="store_true", help="also build and push the images, at the same time"
            )
    arguments = parser.parse_args()
    command = arguments.command
    if paths.external() and command not in _EXTERNAL_ALLOWED:
        sys.exit(
            f"SLIPWAY_KUBECONFIG={paths.external()}: that cluster is yours, `{command}` does not touch it. "
            "Unset SLIPWAY_KUBECONFIG to work with the local cluster."
        )
    try:
        if command == "up":
            up.up(images=arguments.images)
        else:
            _COMMANDS[command][0]()
    except (CommandFailed, RuntimeError, OSError) as failure:
        sys.exit(f"error: {failure}")
    except KeyboardInterrupt:
        sys.exit("interrupted; `make cluster-up` goes on, `make cluster-down` removes what was started")


main()
