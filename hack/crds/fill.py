#!/usr/bin/env python3
"""Fill Kubernetes' own types into the CRDs, with every description, from a real API server's OpenAPI.

A line of a CRD that ends in `# kubernetes: io.k8s.api.core.v1.Affinity` keeps its key; everything indented deeper below
it is replaced. By hand such blocks would be incomplete, and x-kubernetes-preserve-unknown-fields accepts typos.

    .venv/operator/bin/python hack/crds/fill.py     (make crds)
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"^(?P<indent> *)\S.*:\s+# kubernetes: (?P<type>\S+)$")
# Not allowed in a CRD, or without meaning there. `default` on a required string is an artefact of Go's zero values.
DROPPED = {"default", "x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy", "x-kubernetes-unions"}
# Keys and values of labels: Kubernetes' own limits, spelled out so that rules on them have a bounded cost.
LONGEST = {"key": 253 + 1 + 63, "topologyKey": 253 + 1 + 63, "value": 63}
Schema = dict[str, Any]


def fill(text: str, schemas: dict[str, Schema]) -> str:
    """The CRD's text with all marked blocks written anew; `schemas` is components.schemas of an OpenAPI v3 document."""
    lines: list[str] = []
    inside: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if inside is not None and (not line.strip() or indent > inside):
            continue
        inside = None
        lines.append(line)
        if mark := MARK.match(line):
            inside = len(mark["indent"])
            block = yaml.safe_dump(
                expand(schemas[mark["type"]], schemas), sort_keys=False, width=120, allow_unicode=True
            )
            lines += [" " * (inside + 2) + written if written else "" for written in block.splitlines()]
    return "\n".join(lines) + "\n"


def expand(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """The schema with references resolved, as a structural schema of a CRD wants it."""
    schema = {key: value for key, value in schema.items() if key not in DROPPED}
    for reference in schema.pop("allOf", []):
        target = expand(schemas[reference["$ref"].rpartition("/")[2]], schemas)
        schema = target | schema  # the field's own description says more than the type's
    if "$ref" in schema:
        return expand(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    ordered = {key: schema.pop(key) for key in ("description", "type", "required") if key in schema}
    if "description" in ordered:  # the values are in `enum`
        ordered["description"] = ordered["description"].partition("\n\nPossible enum values")[0]
    if "properties" in schema:
        expanded = {name: expand(value, schemas) for name, value in schema["properties"].items()}
        schema["properties"] = {
            name: value | {"maxLength": LONGEST[name]} if name in LONGEST and value.get("type") == "string" else value
            for name, value in expanded.items()
        }
    for part in ("items", "additionalProperties"):
        if part in schema:
            schema[part] = expand(schema[part], schemas)
    return ordered | schema


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.support.apiserver import Cluster  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        schemas = cluster.http.get("/openapi/v3/apis/apps/v1").raise_for_status().json()["components"]["schemas"]
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        path.write_text(fill(path.read_text(), schemas))
        print(f"filled {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
