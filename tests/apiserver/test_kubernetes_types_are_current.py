"""The types that crds/ takes over from Kubernetes are those of the API server that we test with."""

from __future__ import annotations

import runpy

from tests.support.apiserver import ROOT, Cluster


def test_the_crds_hold_kubernetes_own_types(cluster: Cluster) -> None:
    fill = runpy.run_path(str(ROOT / "hack" / "crds" / "fill.py"))["fill"]
    document = cluster.http.get("/openapi/v3/apis/apps/v1").json()
    for path in (ROOT / "crds").glob("*.yaml"):
        text = path.read_text()
        assert fill(text, document["components"]["schemas"]) == text, f"{path.name} is stale: run `make crds`"
