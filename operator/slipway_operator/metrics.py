"""Prometheus metrics, under the names that dashboards of controllers know (controller-runtime, client-go) where
they exist.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

QUEUE_DEPTH = Gauge("workqueue_depth", "Keys that wait for a worker", ["name"], registry=REGISTRY)
QUEUE_SECONDS = Histogram(
    "workqueue_queue_duration_seconds", "How long a key waited for a worker", ["name"], registry=REGISTRY
)
QUEUE_RETRIES = Counter("workqueue_retries", "Keys that were put back after an error", ["name"], registry=REGISTRY)

RECONCILES = Counter(
    "controller_runtime_reconcile",
    "Reconciles by result: success, requeue_after, error",
    ["controller", "result"],
    registry=REGISTRY,
)
RECONCILE_SECONDS = Histogram(
    "controller_runtime_reconcile_time_seconds",
    "Duration of one reconcile",
    ["controller"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

API_REQUESTS = Counter(
    "slipway_api_requests",
    "Requests to the API server; code is the HTTP status, or `unreachable`",
    ["verb", "resource", "code"],
    registry=REGISTRY,
)
API_SECONDS = Histogram(
    "slipway_api_request_seconds",
    "Time to the answer's headers; for a watch, to its opening",
    ["verb", "resource"],
    registry=REGISTRY,
)

WATCH_RESTARTS = Counter(
    "slipway_watch_restarts",
    "Watches opened anew: ended by the server (expired), silent, gone (410, lists anew), error",
    ["resource", "cause"],
    registry=REGISTRY,
)
CACHED = Gauge("slipway_cached_objects", "Objects held in the caches", ["resource"], registry=REGISTRY)

LEADER = Gauge("leader_election_master_status", "1 while this process leads", ["name"], registry=REGISTRY)
EVENTS_DROPPED = Counter("slipway_events_dropped", "Kubernetes Events that could not be written", registry=REGISTRY)
