"""A ModelEndpoint's spec, parsed once into frozen dataclasses.

The CRD has checked and defaulted it already; what is refused here got past an older or a missing rule.
"""

from dataclasses import dataclass, field
from typing import Any

from slipway_operator import names
from slipway_operator.kinds import Key, Object

VOLUME_SCHEME = "pvc://"


class SpecError(Exception):
    """A spec that cannot be rendered; the text is for the user."""


@dataclass(frozen=True)
class SecretKey:
    name: str
    key: str


@dataclass(frozen=True)
class VolumeSource:
    """pvc://claim/path: the folder `path` (may be empty) of a PersistentVolumeClaim in the endpoint's namespace."""

    claim: str
    path: str


@dataclass(frozen=True)
class Model:
    """Where the weights come from: exactly one of `id` and `volume`."""

    id: str | None = None
    revision: str | None = None
    volume: VolumeSource | None = None
    token: SecretKey | None = None

    @property
    def display(self) -> str:
        if self.volume is not None:
            return f"{VOLUME_SCHEME}{self.volume.claim}/{self.volume.path}".rstrip("/")
        return self.id or ""


@dataclass(frozen=True)
class PodTemplate:
    """The user's additions to the pod, passed on as they are: the API server checks them when the Deployment is
    applied.
    """

    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    env: list[Object] = field(default_factory=list)
    pod_fields: dict[str, Any] = field(default_factory=dict)
    """nodeSelector, tolerations, affinity, …: fields of the same name in a PodSpec."""


@dataclass(frozen=True)
class Endpoint:
    key: Key
    uid: str
    generation: int
    model: Model
    task: str | None
    resources: Object
    replicas: int
    paused: bool
    pod_template: PodTemplate

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def namespace(self) -> str:
        return self.key.namespace

    @property
    def desired_replicas(self) -> int:
        """Pods that should run: pausing keeps the count in the spec."""
        return 0 if self.paused else self.replicas


def parse(obj: Object) -> Endpoint:
    """The object of a watch event as an Endpoint.

    Raises SpecError with a sentence that names field, value and what is allowed.
    """
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    name: str = metadata["name"]
    if len(name) > names.ENDPOINT_NAME_MAX:
        raise SpecError(
            f"metadata.name {name} has {len(name)} characters; at most {names.ENDPOINT_NAME_MAX} are allowed, "
            "because the "
            "names of its children derive from it. Create the endpoint under a shorter name."
        )
    return Endpoint(
        key=Key(metadata["namespace"], name),
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        model=_model(spec.get("model") or {}),
        task=spec.get("task"),
        resources=spec.get("resources") or {},
        replicas=spec.get("replicas", 1),
        paused=spec.get("paused", False),
        pod_template=_pod_template(spec.get("podTemplate") or {}),
    )


def _model(model: Object) -> Model:
    given = [name for name in ("id", "uri") if model.get(name)]
    if len(given) != 1:
        raise SpecError(f"spec.model has {' and '.join(given) or 'no source'}; give exactly one of id and uri.")
    token = model.get("tokenSecretRef")
    return Model(
        id=model.get("id"),
        revision=model.get("revision"),
        volume=_volume(model["uri"]) if model.get("uri") else None,
        token=SecretKey(token["name"], token.get("key", "token")) if token else None,
    )


def _volume(uri: str) -> VolumeSource:
    claim, _, path = uri.removeprefix(VOLUME_SCHEME).partition("/")
    if not uri.startswith(VOLUME_SCHEME) or not claim or ".." in path.split("/"):
        raise SpecError(f"spec.model.uri is {uri}; the form is pvc://claim/path, where path stays inside the volume.")
    return VolumeSource(claim, path.strip("/"))


def _pod_template(template: Object) -> PodTemplate:
    own = ("labels", "annotations", "env")
    return PodTemplate(
        labels=template.get("labels") or {},
        annotations=template.get("annotations") or {},
        env=template.get("env") or [],
        pod_fields={name: value for name, value in template.items() if name not in own},
    )
