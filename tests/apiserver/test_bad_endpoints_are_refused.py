"""What only the object itself can be wrong about is refused by the API server, with a sentence for the user."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.apiserver import Cluster
from tests.support.builders import endpoint

NAME = 'at most 45 lower-case letters, digits and "-", starting with a letter and ending with a letter or digit'
SOURCE = (
    'set exactly one of id (a Hugging Face repository such as "org/name") and uri (a volume such as "pvc://claim/path")'
)
ADDRESS = "use org/name, not the page's address"
REPOSITORY = "is not the name of a repository; use org/name or name, each of at most 96 letters"
REVISION = "is not a revision; use a branch, a tag or a commit"
ONLY_VOLUMES = "only volumes are supported; use pvc://claim/path"
CLAIM = "use pvc://claim/path, where claim is the name of a PersistentVolumeClaim in this namespace"
AMOUNT = "is not an amount; use a quantity of zero or more: 2 or 500m for cpu"
UNKNOWN_RESOURCE = "unknown resource: use cpu, memory, ephemeral-storage or a device such as nvidia.com/gpu"
DEVICE = "a resource such as nvidia.com/gpu needs a limit, and a request equal to it; set it under"
OURS = "keys that start with slipway.dev/ belong to the operator; use a prefix of your own"
SET_BY_OPERATOR = "are set by the operator; use app.kubernetes.io/part-of or a key of your own"
SECRET_NAME = "use the name of a Secret in this namespace"


def refused(cluster: Cluster, **changes: Any) -> str:
    """What the API server says about an endpoint with these changes."""
    reply = cluster.post(endpoint(namespace="default", **changes), dry_run=True)
    assert not reply.is_success, f"accepted: {reply.json()['spec']}"
    return str(reply.json()["message"])


def accepted(cluster: Cluster, **changes: Any) -> dict[str, Any]:
    reply = cluster.post(endpoint(namespace="default", **changes), dry_run=True)
    assert reply.is_success, reply.json()["message"]
    spec: dict[str, Any] = reply.json()["spec"]
    return spec


@pytest.mark.parametrize("name", ["9lives", "a" * 46, "a.b", "-a", "a-", "Upper"])
def test_a_name_that_its_children_cannot_have(cluster: Cluster, name: str) -> None:
    assert f"metadata.name must be {NAME}" in refused(cluster, name=name)


@pytest.mark.parametrize("name", ["a", "a" * 45, "a-9", "x9"])
def test_a_name_that_its_children_can_have(cluster: Cluster, name: str) -> None:
    accepted(cluster, name=name)


def test_a_generated_name_is_checked_too(cluster: Cluster) -> None:
    made = endpoint(namespace="default")
    made["metadata"] = {"namespace": "default", "generateName": "9-"}
    assert "metadata.name must be" in cluster.post(made, dry_run=True).json()["message"]
    made["metadata"]["generateName"] = "emotions-"
    assert cluster.post(made, dry_run=True).is_success


@pytest.mark.parametrize("model", [{}, {"id": "org/name", "uri": "pvc://claim/path"}])
def test_none_or_two_model_sources(cluster: Cluster, model: dict[str, str]) -> None:
    said = refused(cluster, model=model)
    assert "spec.model: " in said
    assert SOURCE in said


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/org/name",
        "http://hub.example.com/org/name",
        "huggingface.co/org/name",
        "hf.co/org/name",
        "hf://org/name",
    ],
)
def test_the_address_of_a_page_instead_of_a_repository(cluster: Cluster, address: str) -> None:
    said = refused(cluster, model={"id": address})
    assert f'spec.model.id: Invalid value: "string": "{address}" is an address; {ADDRESS}' in said
    assert REPOSITORY not in said  # one sentence, not two


@pytest.mark.parametrize(
    "repository",
    [
        "",
        "a/b/c",
        "/b",
        "a/",
        "a b/c",
        "a--b/c",
        "a..b",
        "../../etc",
        "org/name.git",
        "-a/b",
        "a/b-",
        ".a",
        "a" * 97,
        "org/näme",
        "a\nb",
    ],
)
def test_a_repository_that_cannot_exist(cluster: Cluster, repository: str) -> None:
    assert REPOSITORY.partition("; ")[2] in refused(cluster, model={"id": repository})


@pytest.mark.parametrize(
    "repository", ["bert-base-uncased", "org/name", "Org_1/Name.v2-x_y", "0/1", "a" * 96, f"{'o' * 96}/{'n' * 96}"]
)
def test_repositories_as_the_hub_has_them(cluster: Cluster, repository: str) -> None:
    assert accepted(cluster, model={"id": repository})["model"] == {"id": repository}


@pytest.mark.parametrize("revision", ["", "a b", "../main", "a//b", "/main", "main/", "main\n"])
def test_a_revision_that_cannot_exist(cluster: Cluster, revision: str) -> None:
    said = refused(cluster, model={"id": "org/name", "revision": revision})
    assert "spec.model.revision: " in said
    assert REVISION.partition("; ")[2] in said


@pytest.mark.parametrize(
    "revision", ["main", "refs/pr/1", "v1.0", "feature/x_y", "0123456789abcdef0123456789abcdef01234567"]
)
def test_revisions_as_the_hub_has_them(cluster: Cluster, revision: str) -> None:
    accepted(cluster, model={"id": "org/name", "revision": revision})


@pytest.mark.parametrize(("field", "value"), [("revision", "main"), ("tokenSecretRef", {"name": "hugging-face"})])
def test_what_belongs_to_a_repository_beside_a_volume(cluster: Cluster, field: str, value: object) -> None:
    said = refused(cluster, model={"uri": "pvc://models/bert", field: value})
    assert f"spec.model.{field}: " in said
    assert f"{field} belongs to a Hugging Face repository and has no meaning with uri; remove it" in said


@pytest.mark.parametrize(
    "uri", ["s3://bucket/prefix", "https://example.com/x.tar.gz", "hf://org/name", "/mnt/model", "", "PVC://claim"]
)
def test_a_source_that_is_no_volume(cluster: Cluster, uri: str) -> None:
    said = refused(cluster, model={"uri": uri})
    assert f'"{uri}" cannot be read: {ONLY_VOLUMES}, or set id for a repository on the Hugging Face Hub' in said
    assert CLAIM not in said


@pytest.mark.parametrize(
    "uri",
    [
        "pvc://",
        "pvc:///path",
        "pvc://Claim/path",
        "pvc://a_b/path",
        "pvc://a..b",
        "pvc://-a",
        "pvc://a /b",
        "pvc://a/b\tc",
    ],
)
def test_a_volume_whose_claim_cannot_exist(cluster: Cluster, uri: str) -> None:
    said = refused(cluster, model={"uri": uri})
    assert "spec.model.uri: " in said
    assert CLAIM in said


def test_a_claim_with_too_long_a_name(cluster: Cluster) -> None:
    assert "has at most 253 characters" in refused(cluster, model={"uri": f"pvc://{'c' * 254}/path"})


@pytest.mark.parametrize("uri", ["pvc://claim/../other", "pvc://claim/..", "pvc://claim/a/../../b"])
def test_a_path_that_leaves_the_volume(cluster: Cluster, uri: str) -> None:
    assert f'the path of "{uri}" may not contain ".."' in refused(cluster, model={"uri": uri})


@pytest.mark.parametrize(
    "uri", ["pvc://claim", "pvc://claim/", "pvc://my.claim-1/a/b", "pvc://claim/with space/..hidden", "pvc://c/ünïcode"]
)
def test_volumes_as_kubernetes_has_them(cluster: Cluster, uri: str) -> None:
    accepted(cluster, model={"uri": uri})


@pytest.mark.parametrize("name", ["hf_AbCdEf", "", "My-Secret"])
def test_a_token_in_place_of_the_secrets_name_is_refused_and_not_repeated(cluster: Cluster, name: str) -> None:
    said = refused(cluster, model={"id": "org/name", "tokenSecretRef": {"name": name}})
    assert f'spec.model.tokenSecretRef.name: Invalid value: "string": {SECRET_NAME}' in said
    assert not name or name not in said


def test_a_key_that_no_secret_has(cluster: Cluster) -> None:
    said = refused(cluster, model={"id": "org/name", "tokenSecretRef": {"name": "hugging-face", "key": "a/b"}})
    assert 'spec.model.tokenSecretRef.key: Invalid value: "string": use a key of the Secret' in said


def test_a_task_that_is_not_served(cluster: Cluster) -> None:
    said = refused(cluster, task="text-genration")
    assert 'spec.task: Invalid value: "string": "text-genration" is not a task; leave it out to have it found ' in said
    assert "text-classification, text-generation, text-ranking, " in said


@pytest.mark.parametrize("task", ["translation_en_to_fr", "translation_zh-CN_to_en", "ner", "text2text-generation"])
def test_every_word_for_a_task_is_taken(cluster: Cluster, task: str) -> None:
    assert cluster.post(endpoint(namespace="default", task=task), dry_run=True).is_success


@pytest.mark.parametrize(
    ("replicas", "sentence"),
    [(-1, "should be greater than or equal to 0"), (1001, "should be less than or equal to 1000")],
)
def test_a_number_of_replicas_out_of_range(cluster: Cluster, replicas: int, sentence: str) -> None:
    assert f"spec.replicas: Invalid value: {replicas}: spec.replicas in body {sentence}" in refused(
        cluster, replicas=replicas
    )


@pytest.mark.parametrize(
    ("field", "value"), [("replicas", "two"), ("paused", "yes"), ("task", 3), ("model", "org/name"), ("resources", [])]
)
def test_a_value_of_another_type(cluster: Cluster, field: str, value: object) -> None:
    assert f"spec.{field}: Invalid value: " in refused(cluster, **{field: value})


@pytest.mark.parametrize("amount", ["lots", "", "1 Gi", "-1", -1, "2GB", "1e"])
@pytest.mark.parametrize("part", ["requests", "limits"])
def test_an_amount_that_is_none(cluster: Cluster, part: str, amount: object) -> None:
    said = refused(cluster, resources={part: {"memory": amount}})
    assert f'spec.resources.{part}[memory]: Invalid value: "": "{amount}" {AMOUNT}' in said


def test_requests_above_limits(cluster: Cluster) -> None:
    said = refused(
        cluster, resources={"requests": {"cpu": "1500m", "memory": "2Gi"}, "limits": {"cpu": 1, "memory": "1Gi"}}
    )
    assert "requests.cpu 1500m exceeds limits.cpu 1; raise the limit or lower the request" in said
    assert "requests.memory 2Gi exceeds limits.memory 1Gi; raise the limit or lower the request" in said
    said = refused(
        cluster, resources={"requests": {"ephemeral-storage": "2Gi"}, "limits": {"ephemeral-storage": "1Gi"}}
    )
    assert "a request may not exceed the limit of the same resource" in said


@pytest.mark.parametrize("name", ["cpus", "gpu", "Memory", "hugepages-2Mi", "a..b/gpu", "/gpu"])
def test_a_resource_that_kubernetes_does_not_know(cluster: Cluster, name: str) -> None:
    assert f'spec.resources.limits: Invalid value: "object": {UNKNOWN_RESOURCE}' in refused(
        cluster, resources={"limits": {name: 1}}
    )


@pytest.mark.parametrize(
    "resources",
    [{"requests": {"nvidia.com/gpu": 1}}, {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 2}}],
)
def test_a_device_asked_for_in_a_way_that_pods_may_not(cluster: Cluster, resources: dict[str, Any]) -> None:
    assert DEVICE in refused(cluster, resources=resources)


@pytest.mark.parametrize("amount", ["0.5", "500m"])
def test_a_part_of_a_device(cluster: Cluster, amount: str) -> None:
    said = refused(cluster, resources={"limits": {"nvidia.com/gpu": amount}})
    assert "devices such as nvidia.com/gpu are counted in whole numbers" in said


def test_hardware_in_every_spelling_that_kubernetes_knows(cluster: Cluster) -> None:
    hardware = {
        "requests": {
            "cpu": "0.5",
            "memory": "1e9",
            "ephemeral-storage": "5G",
            "nvidia.com/gpu": 2,
        },
        "limits": {
            "cpu": "1000m",
            "memory": "1.5Gi",
            "ephemeral-storage": "5000M",
            "nvidia.com/gpu": "2",
        },
    }
    assert accepted(cluster, resources=hardware)["resources"] == hardware


def test_a_fraction_without_quotes(cluster: Cluster) -> None:
    """Pods accept it. A CRD cannot: its type for quantities is integer or string."""
    said = refused(cluster, resources={"limits": {"cpu": 0.5}})
    assert "spec.resources.limits.cpu in body must be of type integer,string" in said


@pytest.mark.parametrize("part", ["labels", "annotations"])
@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("slipway.dev/endpoint", OURS),
        ("x.slipway.dev/y", OURS),
        ("app.kubernetes.io/name", SET_BY_OPERATOR),
        ("app.kubernetes.io/instance", SET_BY_OPERATOR),
        ("app.kubernetes.io/component", SET_BY_OPERATOR),
        ("app.kubernetes.io/managed-by", SET_BY_OPERATOR),
        ("a b", 'a key is "name" or "domain/name"'),
        ("/a", 'a key is "name" or "domain/name"'),
        ("a" * 64, 'a key is "name" or "domain/name"'),
    ],
)
def test_labels_and_annotations_that_are_not_the_users(cluster: Cluster, part: str, key: str, sentence: str) -> None:
    said = refused(cluster, podTemplate={part: {key: "value"}})
    assert f"spec.podTemplate.{part}: " in said
    assert sentence in said


@pytest.mark.parametrize("value", ["with space", "-a", "ä"])
def test_a_label_with_a_value_that_labels_cannot_have(cluster: Cluster, value: str) -> None:
    said = refused(cluster, podTemplate={"labels": {"team": value}})
    assert "spec.podTemplate.labels[team]: " in said
    assert "longer texts go into annotations" in said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SLIPWAY_TASK", "names that start with SLIPWAY_ belong to the operator; use another name"),
        ("HF_ENDPOINT", "huggingFace.endpoint in the chart's values"),
        ("HF_TOKEN", "put the token into a Secret and name it in spec.model.tokenSecretRef"),
        ("HUGGING_FACE_HUB_TOKEN", "put the token into a Secret and name it in spec.model.tokenSecretRef"),
        ("1ST", 'use letters, digits, "_", "-" and ".", not starting with a digit'),
        ("A=B", 'use letters, digits, "_", "-" and ".", not starting with a digit'),
        ("", 'use letters, digits, "_", "-" and ".", not starting with a digit'),
    ],
)
def test_an_environment_variable_that_may_not_be_set(cluster: Cluster, name: str, sentence: str) -> None:
    said = refused(cluster, podTemplate={"env": [{"name": name, "value": "x"}]})
    assert "spec.podTemplate.env[0].name: " in said
    assert sentence in said


def test_an_environment_variable_with_two_values_or_two_sources(cluster: Cluster) -> None:
    field, secret = {"fieldRef": {"fieldPath": "status.podIP"}}, {"secretKeyRef": {"name": "s", "key": "k"}}
    said = refused(cluster, podTemplate={"env": [{"name": "A", "value": "x", "valueFrom": field}]})
    assert "set value or valueFrom, not both" in said
    for source in ({}, field | secret):
        said = refused(cluster, podTemplate={"env": [{"name": "A", "valueFrom": source}]})
        assert "spec.podTemplate.env[0].valueFrom: " in said
        assert "set exactly one of configMapKeyRef, secretKeyRef and fieldRef" in said


TOLERATION = "without key the operator must be Exists, which tolerates every taint; add key or operator"
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {},
}
BLIND = {name: value for name, value in SPREAD.items() if name != "labelSelector"}


@pytest.mark.parametrize(
    ("template", "path", "sentence"),
    [
        ({"tolerations": [{}]}, "tolerations", TOLERATION),
        ({"tolerations": [{"effect": "NoSchedule"}]}, "tolerations", TOLERATION),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "tolerations",
            "with operator Exists there is no value",
        ),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 5}]}, "tolerations", "only with effect NoExecute"),
        (
            {"topologySpreadConstraints": [SPREAD | {"maxSkew": 0}]},
            "topologySpreadConstraints",
            "maxSkew is at least 1",
        ),
        (
            {"topologySpreadConstraints": [SPREAD | {"minDomains": 2}]},
            "topologySpreadConstraints",
            "minDomains is at least 1",
        ),
        (
            {"topologySpreadConstraints": [BLIND]},
            "topologySpreadConstraints",
            "without labelSelector a constraint counts no",
        ),
        ({"tolerations": [{"key": "a b", "operator": "Exists"}]}, "tolerations", "key is the key of a taint"),
        ({"tolerations": [{"key": "a", "value": "b c"}]}, "tolerations", "value is the value of a taint"),
        ({"imagePullSecrets": [{"name": "My Secret"}]}, "imagePullSecrets[0].name", "use the name of a Secret"),
        ({"nodeSelector": {"a b": "c"}}, "nodeSelector", 'a key is "name" or "domain/name"'),
        ({"nodeSelector": {"a..b/c": "c"}}, "nodeSelector", 'a key is "name" or "domain/name"'),
        ({"nodeSelector": {"a": "b c"}}, "nodeSelector[a]", "a label's value has at most 63"),
        ({"priorityClassName": "High Priority"}, "priorityClassName", "use the name of a PriorityClass"),
        ({"runtimeClassName": "NVIDIA"}, "runtimeClassName", "use the name of a RuntimeClass"),
    ],
)
def test_a_pod_template_that_no_pod_could_have(
    cluster: Cluster, template: dict[str, Any], path: str, sentence: str
) -> None:
    said = refused(cluster, podTemplate=template)
    assert f"spec.podTemplate.{path}: " in said
    assert sentence in said


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"secretKeyRef": {"name": "S", "key": "k"}}, "use the name of an object in this namespace"),
        ({"secretKeyRef": {"name": "s", "key": "a b"}}, "use a key of the object"),
        ({"configMapKeyRef": {"name": "s", "key": ".."}}, "use a key of the object"),
        (
            {"fieldRef": {"fieldPath": "spec.containers"}},
            "use metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY']",
        ),
        (
            {"fieldRef": {"fieldPath": "metadata.labels"}},
            "use metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY']",
        ),
    ],
)
def test_a_source_of_a_variable_that_no_pod_could_have(cluster: Cluster, source: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(cluster, podTemplate={"env": [{"name": "A", "valueFrom": source}]})


def test_the_same_environment_variable_twice(cluster: Cluster) -> None:
    said = refused(cluster, podTemplate={"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})
    assert 'spec.podTemplate.env[1]: Duplicate value: {"name":"A"}' in said


def test_a_bad_change_of_a_good_endpoint_is_refused_and_changes_nothing(cluster: Cluster, namespace: str) -> None:
    cluster.create(endpoint("good", namespace=namespace))
    change = ["patch", "mep/good", "-n", namespace, "--type=merge", "-p"]
    done = cluster.kubectl(*change, '{"spec": {"replicas": 3, "model": {"uri": "pvc://claim/path"}}}', check=False)
    assert SOURCE in done.stderr
    assert cluster.get("mep", "good", namespace)["spec"]["replicas"] == 1


def test_an_endpoint_as_large_as_the_limits_allow_is_within_the_cost_budget(cluster: Cluster) -> None:
    """Cost is counted while rules run, too: an object that is too dear would be refused in spite of being right."""
    many = range(64)
    accepted(
        cluster,
        model={"uri": "pvc://" + "c" * 253 + "/" + "a/" * 382},
        resources={"limits": {f"example.com/device-{i}": "1" * 18 for i in range(16)}},
        podTemplate={
            "labels": {f"{'d' * 200}.example.com/{'l' * 60}{i}": "v" * 63 for i in many},
            "annotations": {f"{'d' * 200}.example.com/{'l' * 60}{i}": "v" * 2000 for i in many},
            "env": [{"name": f"V{i}_{'x' * 200}", "value": "v" * 500} for i in range(128)],
        },
    )
