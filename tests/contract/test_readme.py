"""What the README says is so: its table of faults, its files, its make targets, its first example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from slipway_operator.reasons import FAULTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_table_of_faults_is_that_of_reasons_py() -> None:
    rows = [f"| `{reason.name}` | {reason.cause} | {reason.clears} |" for reason in FAULTS]
    assert "\n".join(rows) in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    assert target.startswith("http") or (ROOT / target).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:examples|helm|hack|crds)/[\w./-]*", README))))
def test_files_named_exist(path: str) -> None:
    assert (ROOT / path.rstrip(".")).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z][a-z-]+)", README))))
def test_make_has_the_targets(target: str) -> None:
    rules = "\n".join(path.read_text() for path in [*(ROOT / "make").glob("*.mk"), ROOT / "Makefile"])
    name = "test-%" if target.startswith("test-") else target
    assert re.search(rf"^{re.escape(name)}:", rules, re.MULTILINE)


def test_the_first_manifest_is_the_first_example_cut_short() -> None:
    shown = yaml.safe_load(re.search(r"```yaml\n(.*?)```", README, re.DOTALL).group(1))  # type: ignore[union-attr]
    example = yaml.safe_load((ROOT / "examples/01-sentence-similarity.yaml").read_text())
    assert shown["metadata"]["name"] == example["metadata"]["name"]
    assert shown["spec"]["model"]["id"] == example["spec"]["model"]["id"]
