"""One reconcile of a ModelEndpoint, told in order.

1. read     the endpoint from the cache; gone: its children go by their ownerReferences
2. parse    its spec, once
3. render   the children that should be
4. observe  what is there
5. plan     the difference
6. apply    it
7. status   from what was observed and what was refused
8. write    the status, if it says something new; Events follow
"""

from collections.abc import Callable
from datetime import UTC, datetime

from slipway_operator import kinds, labels, reasons
from slipway_operator.cluster.apply import Applier, Outcome
from slipway_operator.cluster.events import Recorder
from slipway_operator.cluster.fights import WINDOW
from slipway_operator.cluster.observe import Observer
from slipway_operator.cluster.store import Store
from slipway_operator.kinds import Key, Object
from slipway_operator.model_endpoint import announce, faults, spec, status
from slipway_operator.model_endpoint.faults import Fault
from slipway_operator.model_endpoint.pacing import Pacer
from slipway_operator.model_endpoint.plan import Plan, plan
from slipway_operator.model_endpoint.render import children
from slipway_operator.model_endpoint.spec import Endpoint
from slipway_operator.settings import Settings


class Reconciler:
    def __init__(
        self,
        endpoints: Store,
        observer: Observer,
        applier: Applier,
        recorder: Recorder,
        settings: Settings,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._endpoints = endpoints
        self._observer = observer
        self._applier = applier
        self._recorder = recorder
        self._settings = settings
        self._now = now
        self._pacer = Pacer(
            first_delay=settings.first_status_delay, soft_interval=settings.soft_status_interval, clock=clock
        )

    async def __call__(self, key: Key) -> float | None:
        """Brings `key` towards its spec; returns the seconds after which to look again without an event, or None."""
        obj = self._endpoints.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            self._pacer.forget(key)
            return None
        previous = status.own(obj.get("status") or {})
        try:
            endpoint = spec.parse(obj)
        except spec.SpecError as error:
            return await self._write(obj, status.invalid(obj, str(error), now=self._stamp()), starting=False)

        rendered = children(endpoint, self._settings)
        template = _template_digest(rendered)
        known = status.known_model(previous, endpoint.generation)
        observed = await self._observer.observe(endpoint, rendered, model_known=known)
        planned = plan(rendered, observed)
        outcome = await self._applier.execute(planned)
        self._warn_of_fights(obj, outcome)

        fault = _refused(endpoint, planned, outcome) or faults.find(endpoint, observed, template)
        new = status.compute(endpoint, observed, template=template, fault=fault, previous=previous, now=self._stamp())
        starting = fault is None and len(observed.pods) < endpoint.desired_replicas
        delay = await self._write(obj, new, starting=starting)
        # Whoever fights over a field may stop without an event.
        truce = WINDOW if outcome.passed_over else None
        return min((wait for wait in (delay, self._look_again(new, fault), truce) if wait is not None), default=None)

    async def _write(self, obj: Object, new: Object, *, starting: bool) -> float | None:
        """Writes a status that differs, unless it is paced; then returns the seconds to wait."""
        key, previous = kinds.key_of(obj), status.own(obj.get("status") or {})
        if new == previous:
            return None
        if delay := self._pacer.delay(key, previous, new, starting=starting):
            return delay
        await self._applier.apply_status(obj, new)
        self._pacer.written(key)
        for event in announce.announcements(previous, new):
            self._recorder.emit(obj, event.reason, event.message, warning=event.warning)
        return None

    def _look_again(self, new: Object, fault: Fault | None) -> float | None:
        """Whatever is not settled may change without an event: a pod's /status, a stranger's object, an Event."""
        if new["phase"] == "Paused" or (new["phase"] == "Running" and "model" in new):
            return None
        # Running without a word from the pods: another engine, or they cannot be reached; it costs nobody anything.
        patient = new["phase"] == "Running" or (fault is not None and fault.stalled)
        return self._settings.pod_poll * (3 if patient else 1)

    def _warn_of_fights(self, obj: Object, outcome: Outcome) -> None:
        for unsettled in outcome.unsettled:
            child = unsettled.child
            words = (
                f"{unsettled.path} of {child['kind']} {child['metadata']['name']} is changed back by somebody else "
                "(a mutating webhook or another controller). It is left so; exempt the object there, or set the field "
                "in spec.podTemplate."
            )
            self._recorder.emit(obj, "ApplyContested", words, warning=True)

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(endpoint: Endpoint, planned: Plan, outcome: Outcome) -> Fault | None:
    """A child that could not be applied is told before anything that its absence causes."""
    for taken in planned.taken:
        return Fault.of(
            reasons.NAME_CONFLICT,
            kind=taken.child["kind"],
            namespace=endpoint.namespace,
            name=taken.child["metadata"]["name"],
            endpoint=endpoint.name,
            controller=taken.controller,
        )
    for refused in outcome.refused:
        child, error = refused.child, refused.error
        if error.status == 403:
            words = {
                "kind": child["kind"],
                "namespace": endpoint.namespace,
                "name": endpoint.name,
                "detail": error.message,
            }
            if "exceeded quota" in error.message:
                return Fault.of(reasons.QUOTA_EXCEEDED, detail=error.message)
            return Fault.of(reasons.APPLY_FORBIDDEN, **words)
        detail = (
            f"The API server refuses the {child['kind']} that this spec asks for: {error.message}. Edit the "
            "field it names."
        )
        return Fault.of(reasons.INVALID_SPEC, detail=detail)
    return None


def _template_digest(rendered: list[Object]) -> str:
    deployment = next(child for child in rendered if child["kind"] == kinds.DEPLOYMENT.kind)
    digest: str = deployment["spec"]["template"]["metadata"]["annotations"][labels.TEMPLATE]
    return digest
