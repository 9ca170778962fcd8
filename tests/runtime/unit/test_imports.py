"""What may import what: the HTTP side without torch, the runtime without kopf."""

from __future__ import annotations

import json
import subprocess
import sys

LIST = "import json, sys, slipway_runtime.serve.workers; print(json.dumps(sorted(sys.modules)))"


def test_the_server_starts_without_torch_transformers_or_a_download_library() -> None:
    done = subprocess.run([sys.executable, "-c", LIST], check=True, capture_output=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded.isdisjoint(
        {"torch", "transformers", "huggingface_hub", "numpy", "opentelemetry", "kopf", "kubernetes", "slipway_operator"}
    )


def test_the_page_and_the_api_document_cost_nothing_before_the_port_opens() -> None:
    done = subprocess.run([sys.executable, "-c", LIST], check=True, capture_output=True)
    assert set(json.loads(done.stdout)).isdisjoint(
        {"yaml", "slipway_runtime.serve.openapi.document", "slipway_runtime.serve.openapi.answers"}
    )


def test_an_unknown_subcommand_is_refused_with_those_that_exist() -> None:
    done = subprocess.run([sys.executable, "-m", "slipway_runtime", "fly"], capture_output=True, check=False)
    assert done.returncode == 64
    assert done.stderr.decode() == "usage: python -m slipway_runtime {serve}; got fly\n"
