"""What the operator counts and measures, for Prometheus.

No metric carries the name of a DAG, a node or a namespace: their number has no bound, and a time series for each
would cost more than the DAGs themselves. Everything is registered in a registry of the operator's own.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)

DAGS = Gauge("bacalhau_dags", "DAGs known to the operator, by phase.", ["phase"], registry=REGISTRY)
NODES_FINISHED = Counter(
    "bacalhau_dag_nodes_finished", "Nodes that reached a final phase.", ["phase"], registry=REGISTRY
)
JOB_SUBMISSIONS = Counter(
    "bacalhau_dag_job_submissions",
    "Jobs handed to Bacalhau, by result: new, adopted (it was already there), refused or failed.",
    ["result"],
    registry=REGISTRY,
)
BACALHAU_REQUESTS = Histogram(
    "bacalhau_dag_bacalhau_request_seconds",
    "Requests to Bacalhau's API, by operation and by HTTP status code (or the kind of failure).",
    ["operation", "code"],
    buckets=_FAST,
    registry=REGISTRY,
)
BACALHAU_BYTES = Counter(
    "bacalhau_dag_bacalhau_bytes",
    "Bytes of bodies exchanged with Bacalhau's API, by direction: sent or received.",
    ["direction"],
    registry=REGISTRY,
)
RECONCILE_SECONDS = Histogram(
    "bacalhau_dag_reconcile_seconds",
    "Time to process one key of a work queue.",
    ["queue"],
    buckets=_FAST,
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge("bacalhau_dag_queue_depth", "Keys that wait for a worker.", ["queue"], registry=REGISTRY)
QUEUE_OLDEST_SECONDS = Gauge(
    "bacalhau_dag_queue_oldest_seconds",
    "For how long the first of the waiting keys has been waiting.",
    ["queue"],
    registry=REGISTRY,
)
QUEUE_STALLED_SECONDS = Gauge(
    "bacalhau_dag_queue_stalled_seconds",
    "For how long no waiting key was taken, or one worker has been busy with one key.",
    ["queue"],
    registry=REGISTRY,
)
QUEUE_RETRIES = Counter(
    "bacalhau_dag_queue_retries", "Keys that were put back with backoff.", ["queue"], registry=REGISTRY
)
STATUS_WRITES = Counter(
    "bacalhau_dag_status_writes",
    "Attempts to write a status, by result: written, unchanged, conflict, refused, unavailable, failed or lost.",
    ["result"],
    registry=REGISTRY,
)
STATUS_WRITE_BYTES = Counter(
    "bacalhau_dag_status_write_bytes", "Bytes of the status patches that were written.", registry=REGISTRY
)
STATUS_WRITE_SECONDS = Histogram(
    "bacalhau_dag_status_write_seconds", "Time of one status write.", buckets=_FAST, registry=REGISTRY
)
EVENTS = Counter(
    "bacalhau_dag_events",
    "Kubernetes Events, by result: posted, or dropped because there were too many or the API server refused.",
    ["result"],
    registry=REGISTRY,
)
LEADER = Gauge("bacalhau_dag_leader", "1 while this process holds the operator's Lease.", registry=REGISTRY)


class QueueMetrics:
    """One work queue's share of the metrics; what only the queue knows is asked for when it is scraped."""

    def __init__(
        self,
        queue: str,
        *,
        depth: Callable[[], float],
        oldest: Callable[[], float],
        stalled: Callable[[], float],
    ) -> None:
        QUEUE_DEPTH.labels(queue).set_function(depth)
        QUEUE_OLDEST_SECONDS.labels(queue).set_function(oldest)
        QUEUE_STALLED_SECONDS.labels(queue).set_function(stalled)
        self.duration = RECONCILE_SECONDS.labels(queue)
        self.retries = QUEUE_RETRIES.labels(queue)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
