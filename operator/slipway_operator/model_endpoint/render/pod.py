"""The pod that serves: restricted by Pod Security's standard, with the runtime's contract as its environment."""

from slipway_operator import contract, names
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.spec import Endpoint
from slipway_operator.settings import Settings


def pod_spec(endpoint: Endpoint, settings: Settings) -> Object:
    return {
        **endpoint.pod_template.pod_fields,
        "serviceAccountName": endpoint.name,
        "automountServiceAccountToken": False,
        # One variable per Service of the namespace is start-up work and noise.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": contract.GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": contract.RUN_AS,
            "runAsGroup": contract.RUN_AS,
            "fsGroup": contract.RUN_AS,
            # Without it the kubelet walks a whole model volume at every start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(endpoint, settings)],
        "volumes": _volumes(endpoint),
    }


def _container(endpoint: Endpoint, settings: Settings) -> Object:
    model = endpoint.model
    environment = contract.serve_environment(
        endpoint=endpoint.name,
        model_id=model.id,
        revision=model.revision,
        model_path=f"{contract.MODEL_VOLUME_DIR}/{model.volume.path}".rstrip("/") if model.volume else None,
        has_token=model.token is not None,
        task=endpoint.task,
        hub_endpoint=settings.hub_endpoint if model.id else None,
    )
    return {
        "name": names.MODEL_CONTAINER,
        "image": settings.runtime_image,
        "args": list(contract.SERVE_ARGS),
        "env": [*environment, *endpoint.pod_template.env],
        "ports": [
            {"name": "http", "containerPort": contract.HTTP_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": contract.ADMIN_PORT, "protocol": "TCP"},
        ],
        "resources": endpoint.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # Start-up ends when the process answers, not when the model is loaded: a slow download must not kill the pod.
        "startupProbe": _probe("/startupz", period=1, failures=120),
        "readinessProbe": _probe("/readyz", period=2, failures=2),
        "livenessProbe": _probe("/livez", period=10, failures=6),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(endpoint),
    }


def _probe(path: str, *, period: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _volumes(endpoint: Endpoint) -> list[Object]:
    # The cache has no size limit: how large a model may be is for the node's ephemeral storage and spec.resources to
    # say.
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "cache", "emptyDir": {}}]
    if endpoint.model.token is not None:
        token = endpoint.model.token
        items = [{"key": token.key, "path": "token"}]
        volumes.append({"name": "source-token", "secret": {"secretName": token.name, "items": items}})
    if endpoint.model.volume is not None:
        claim = {"claimName": endpoint.model.volume.claim, "readOnly": True}
        volumes.append({"name": "model", "persistentVolumeClaim": claim})
    return volumes


def _mounts(endpoint: Endpoint) -> list[Object]:
    mounts: list[Object] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
        {"name": "cache", "mountPath": contract.CACHE_DIR},
    ]
    if endpoint.model.token is not None:
        # The folder, not a subPath: only whole mounts follow a rotated Secret.
        mounts.append({"name": "source-token", "mountPath": contract.SOURCE_TOKEN_DIR, "readOnly": True})
    if endpoint.model.volume is not None:
        mounts.append({"name": "model", "mountPath": contract.MODEL_VOLUME_DIR, "readOnly": True})
    return mounts
