"""Names of children. Why they are what they are: decisions/0001-names-and-labels.md."""

ENDPOINT_NAME_MAX = 45
"""Leaves 18 of a DNS label's 63 characters for the suffixes of later children."""

MODEL_CONTAINER = "serve"


def service_url(name: str, namespace: str) -> str:
    """The URL inside the cluster.

    Without the cluster's domain, which is not ours to know: pods resolve `.svc` by their search list.
    """
    return f"http://{name}.{namespace}.svc"
