"""Endpoints that between them use every field: rendered in the golden files, and applied to a real API server."""

from __future__ import annotations

from typing import Any

from tests.support.builders import stored

Object = dict[str, Any]

MODEL = "sentence-transformers/all-MiniLM-L6-v2"

CASES: dict[str, Object] = {
    "minimal": stored(),
    "private-model": stored(
        model={"id": "org/gated", "revision": "v1.2", "tokenSecretRef": {"name": "hub", "key": "read"}},
        task="text-classification",
        resources={"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1536Mi"}},
    ),
    "volume": stored(model={"uri": "pvc://weights/minilm/v2"}),
    "replicas": stored(replicas=3),
    "paused": stored(replicas=2, paused=True),
    "gpu": stored(resources={"limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}}),
    "pod-template": stored(
        podTemplate={
            "labels": {"team": "search"},
            "annotations": {"example.com/owner": "search"},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 1,
                            "podAffinityTerm": {
                                "topologyKey": "kubernetes.io/hostname",
                                "labelSelector": {"matchLabels": {"team": "search"}},
                            },
                        }
                    ]
                }
            },
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "topology.kubernetes.io/zone",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"team": "search"}},
                }
            ],
            "imagePullSecrets": [{"name": "registry"}],
            "env": [
                {"name": "LOG_FORMAT", "value": "json"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "FLAG", "valueFrom": {"secretKeyRef": {"name": "flags", "key": "a", "optional": True}}},
            ],
        }
    ),
}
