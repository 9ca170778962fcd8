"""Reasons and messages of conditions and Events, side by side: what happened, what the user reads, when it clears.

A message names the object, the field, the value, what is allowed and what to do next. `stalled` marks faults that need
somebody: the condition Stalled stands beside Ready=False (decisions/0003). Nothing here is final: each clears by
itself.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """One row of the table of faults; `message` is a format string."""

    name: str
    message: str
    cause: str
    clears: str
    stalled: bool = False
    condition: str | None = None
    """The further condition that is False beside Ready: SpecValid, ModelAvailable or Scheduled."""


# States that are not faults.
RUNNING = "Running"
PAUSED = "Paused"
PAUSING = "Pausing"
STARTING = "PodsStarting"
UPDATING = "RollingOut"
SERVING = "PodsReady"
NOT_SERVING = "NoPodReady"


INVALID_SPEC = Reason(
    name="InvalidSpec",
    condition="SpecValid",
    stalled=True,
    message="{detail}",
    cause="a rule that the API server did not check, or a value that it refuses in a child",
    clears="when the spec is edited",
)
NAME_CONFLICT = Reason(
    name="NameConflict",
    stalled=True,
    message="{kind} {namespace}/{name} exists and is not controlled by ModelEndpoint {namespace}/{endpoint} "
    "({controller}). "
    "It is left as it is. Delete or rename it, or create the endpoint under another name.",
    cause="a child's name is taken by an object that belongs to somebody else",
    clears="when that object is gone",
)
APPLY_FORBIDDEN = Reason(
    name="ApplyForbidden",
    stalled=True,
    message="The API server refuses {kind} {namespace}/{name}: {detail}",
    cause="missing rights of the operator, or an admission policy",
    clears="when the right is granted or the policy changed",
)
QUOTA_EXCEEDED = Reason(
    name="QuotaExceeded",
    stalled=True,
    message="The namespace's quota does not admit another pod: {detail}. Raise the ResourceQuota, lower "
    "spec.resources or "
    "spec.replicas, or pause another endpoint.",
    cause="a ResourceQuota of the namespace",
    clears="when the quota allows the pod",
)
POD_REFUSED = Reason(
    name="PodRefused",
    stalled=True,
    message="The API server refuses the pods of Deployment {namespace}/{name}: {detail}",
    cause="an admission policy, a missing priority class, a limit range",
    clears="when the pod is admitted",
)
WAITING_FOR_GPU = Reason(
    name="WaitingForGPU",
    condition="Scheduled",
    message="Pod {pod} asks for {resource} and no node has it free. The scheduler says: {detail}. It starts when "
    "a GPU is freed or "
    "a node with one joins; to give up, pause the endpoint or lower spec.resources.",
    cause="no node with a free GPU",
    clears="when the pod is scheduled",
)
VOLUME_CLAIM_NOT_FOUND = Reason(
    name="VolumeClaimNotFound",
    condition="Scheduled",
    stalled=True,
    message="spec.model.uri names PersistentVolumeClaim {claim}, which does not exist in namespace {namespace}. "
    "Create it, or correct the uri.",
    cause="pvc:// names a claim that is not there",
    clears="when the claim is created",
)
UNSCHEDULABLE = Reason(
    name="Unschedulable",
    condition="Scheduled",
    message="Pod {pod} fits on no node. The scheduler says: {detail}. Lower spec.resources, change "
    "spec.podTemplate, or add a node.",
    cause="no node meets the pod's requests, selectors or tolerations",
    clears="when the pod is scheduled",
)
IMAGE_PULL = Reason(
    name="ImagePullFailed",
    stalled=True,
    message="Pod {pod} cannot pull image {image}: {detail}. Check the name, and the credentials in "
    "spec.podTemplate.imagePullSecrets.",
    cause="the image is not there, or the registry wants credentials",
    clears="when the kubelet has pulled the image",
)
SECRET_NOT_FOUND = Reason(
    name="SecretNotFound",
    stalled=True,
    message="{field} names Secret {secret}, which pod {pod} cannot use: {detail}. Create the Secret in namespace "
    "{namespace} with that key, "
    "or correct the reference; the pod then starts by itself, within about two minutes.",
    cause="a Secret that the spec names, or the key in it, does not exist",
    clears="when the kubelet has mounted it (it retries every two minutes at most)",
)
CONTAINER_CONFIG = Reason(
    name="ContainerConfigError",
    stalled=True,
    message="Pod {pod} cannot start its container: {detail}. Check spec.podTemplate.env and what it refers to.",
    cause="an environment variable refers to a ConfigMap, Secret or key that does not exist",
    clears="when the container starts",
)
CONTAINER_START = Reason(
    name="ContainerCannotStart",
    stalled=True,
    message="Pod {pod} cannot start its container: {detail}",
    cause="the container runtime refuses the container",
    clears="when the container starts",
)
OUT_OF_MEMORY = Reason(
    name="OOMKilled",
    message="The container of pod {pod} was killed because it used more memory than its limit of {limit} "
    "(restarts: {restarts}). "
    "Raise spec.resources.limits.memory.",
    cause="the model needs more memory than the container's limit; Stalled from the second kill on",
    clears="when the pod is ready, or the spec is edited",
)
CRASH_LOOP = Reason(
    name="CrashLoopBackOff",
    stalled=True,
    message="The container of pod {pod} keeps exiting (restarts: {restarts}, last exit code {code}): {detail}. "
    "kubectl logs -n {namespace} {pod} --previous shows more.",
    cause="the runtime's process ends",
    clears="when the pod is ready",
)
MOUNT_FAILED = Reason(
    name="MountFailed",
    stalled=True,
    message="Pod {pod} waits for a volume: {detail}",
    cause="a volume that cannot be mounted",
    clears="when the kubelet has mounted it",
)
ROLLOUT_STUCK = Reason(
    name="ProgressDeadlineExceeded",
    stalled=True,
    message="Deployment {namespace}/{name} has made no progress for {seconds} s and no pod says why: {detail}. "
    "kubectl describe pods -n {namespace} -l slipway.dev/endpoint={name} shows more.",
    cause="pods that never become ready, for none of the reasons above",
    clears="when the Deployment progresses",
)

# Said by the runtime in /status (decisions/0002). The message is the runtime's own: only it knows the details.
MODEL_NOT_FOUND = Reason(
    name="ModelNotFound",
    condition="ModelAvailable",
    stalled=True,
    message="{detail}",
    cause="the repository, revision or folder does not exist",
    clears="at the runtime's next try, at most 5 min after it is there",
)
MODEL_GATED = Reason(
    name="ModelGated",
    condition="ModelAvailable",
    stalled=True,
    message="{detail}",
    cause="the repository wants a token, or its licence accepted by the token's owner",
    clears="at the runtime's next try, at most 5 min after access is granted",
)
SOURCE_UNREACHABLE = Reason(
    name="SourceUnreachable",
    condition="ModelAvailable",
    message="{detail}",
    cause="the Hub or its mirror does not answer",
    clears="at the runtime's next try, at most 5 min after it answers",
)
UNSAFE_FORMAT = Reason(
    name="UnsafeFormat",
    condition="ModelAvailable",
    stalled=True,
    message="{detail}",
    cause="pickle weights only, or code in the repository",
    clears="at the runtime's next try after safetensors are published, or when the spec names another model",
)
MODEL_CORRUPT = Reason(
    name="ModelCorrupt",
    condition="ModelAvailable",
    stalled=True,
    message="{detail}",
    cause="a file that is cut short or does not match its digest",
    clears="at the runtime's next try after the file is mended",
)
NO_SPACE = Reason(
    name="NoSpace",
    condition="ModelAvailable",
    stalled=True,
    message="{detail}",
    cause="the node's disk or the volume is full",
    clears="at the runtime's next try after space is freed",
)
FORWARD_FAILED = Reason(
    name="ForwardFailed",
    message="{detail}",
    cause="a model that answered before hangs, or fails whatever it is given: a GPU, its driver or memory",
    clears="when a forward works again; else the kubelet restarts the container",
)
TASK_NOT_SUPPORTED = Reason(
    name="TaskNotSupported",
    condition="SpecValid",
    stalled=True,
    message="{detail}",
    cause="spec.task asks for what the model cannot do",
    clears="when spec.task or spec.model is edited",
)
BAD_CONFIGURATION = Reason(
    name="BadConfiguration",
    condition="SpecValid",
    stalled=True,
    message="{detail}",
    cause="a setting that the runtime refuses, for example in spec.podTemplate.env",
    clears="when the spec is edited",
)

BY_RUNTIME_REASON = {
    reason.name: reason
    for reason in (
        MODEL_NOT_FOUND,
        MODEL_GATED,
        SOURCE_UNREACHABLE,
        UNSAFE_FORMAT,
        MODEL_CORRUPT,
        NO_SPACE,
        FORWARD_FAILED,
        TASK_NOT_SUPPORTED,
        BAD_CONFIGURATION,
    )
}

FAULTS = tuple(value for value in list(globals().values()) if isinstance(value, Reason))
"""The whole table, in the order above; the README's table of faults is checked against it."""
