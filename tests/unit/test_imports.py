"""What the operator's process may load, seen in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
{block}
import slipway_operator.__main__
import slipway_operator.handlers.operator
print("\\n".join(sorted(sys.modules)))
"""
BLOCK = """
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "slipway_runtime"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
"""


KOPFS = {"v1_managed_fields_entry", "v1_object_meta", "v1_owner_reference"}


def modules(block: str = "") -> set[str]:
    code = LOADED.format(block=block)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return modules()


@pytest.mark.parametrize(
    "unwanted",
    [
        "torch",
        "transformers",
        "slipway_runtime",
        "kubernetes_asyncio",  # kopf would load it eagerly: 0.3 s and 30 MiB
        "kubernetes.aio.client.api",  # typed APIs and their pydantic models: 0.5 s and 40 MiB for one class
        "kubernetes.aio.client.models",
        "kubernetes.client.models",  # kopf itself loads three small ones, to know them when it meets them
        "kubernetes.aio.leaderelection",
    ],
)
def test_it_does_not_load(loaded: set[str], unwanted: str) -> None:
    found = sorted(name for name in loaded if name == unwanted or name.startswith(f"{unwanted}."))
    found = [name for name in found if name.rpartition(".")[2] not in KOPFS]
    # Packages may be there as empty shells of lazy imports; a class in them may not.
    assert [name for name in found if name.count(".") > unwanted.count(".")] == []
    if "." not in unwanted:
        assert found == []


def test_it_works_where_torch_cannot_be_imported() -> None:
    assert "slipway_operator.process" in modules(BLOCK)


def test_the_upgrade_hook_does_not_load_kopf() -> None:
    code = "import sys, slipway_operator.__main__, slipway_operator.crds; print('kopf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    assert done.stdout.strip() == "False"
