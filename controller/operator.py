"""The operator as a whole: what is started, in which order, and how it ends.

Everything that lives as long as the process starts before kopf, which regards tasks born later as its own. The Lease comes first of all:
whoever loses it stops writing at once and then ends, and the Deployment starts a new process, which needs nothing of the old one.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import partial
from typing import Any, cast

import kopf

from controller.handlers.watch import register
from controller.health import Health, serving
from controller.kube import kopf_settings
from controller.kube.backoff import Backoff
from controller.kube.budget import WriteBudget
from controller.kube.client import Cluster
from controller.kube.config_maps import read_config_map
from controller.kube.events import EventRecorder
from controller.kube.lease import Lease
from controller.kube.objects import Objects
from controller.kube.queue import WorkQueue
from controller.kube.secrets import read_secret_key
from controller.reconciler.connection import Key
from controller.reconciler.connections import ConnectionReconciler
from controller.reconciler.dags import DAGReconciler
from controller.reconciler.pool import ConnectionPool
from controller.reconciler.resources import CONNECTIONS, DAGS
from controller.settings import Settings

_log = logging.getLogger(__name__)

STALL_LIMIT = 300.0
"""Seconds in which a queue with work must move, or the process is restarted. Far above any bounded wait of a reconciliation."""

RETRIES = Backoff(base=0.2, cap=15)
"""Between tries of a DAG or connection that cannot go on. Short, since a try costs a few requests at most."""


class Operator:
    """Reconcilers, their queues and what they share, wired together but not started."""

    def __init__(self, cluster: Cluster, objects: Objects, settings: Settings) -> None:
        self._settings = settings
        self._cluster = cluster
        self._budget = WriteBudget()
        self._workers: list[asyncio.Task[None]] = []
        self._events = EventRecorder(cluster.client, instance=settings.identity)
        self._dag_queue: WorkQueue[Key] = WorkQueue("dags", backoff=RETRIES)
        self._connection_queue: WorkQueue[Key] = WorkQueue("connections", backoff=RETRIES)
        self._pool = ConnectionPool(
            objects,
            partial(read_secret_key, cluster.client),
            wake=self._dag_queue.add,
            recheck=self._connection_queue.add,
        )
        self._dags = DAGReconciler(
            objects=objects,
            pool=self._pool,
            events=self._events,
            queue=self._dag_queue,
            budget=self._budget,
            read_secret=partial(read_secret_key, cluster.client),
            read_config_map=partial(read_config_map, cluster.client),
            deletion_grace=settings.deletion_grace_seconds,
        )
        self._connections = ConnectionReconciler(
            objects=objects,
            pool=self._pool,
            events=self._events,
            queue=self._connection_queue,
            budget=self._budget,
        )

    async def run(self, *, health: Health, stop: asyncio.Event) -> None:
        """Watch and reconcile until ``stop`` is set or the process is told to end."""
        health.watch("dags", self._dag_queue.stalled_for, limit=STALL_LIMIT)
        health.watch("connections", self._connection_queue.stalled_for, limit=STALL_LIMIT)
        ready = asyncio.Event()
        async with self._working(_announce_ready(ready, health), stop):
            await kopf.operator(
                registry=self._registry(stop),
                settings=_kopf_settings(),
                standalone=True,
                # Left to itself, kopf asks for the user's name, which the numeric user of a container has not.
                identity=cast(Any, self._settings.identity),
                clusterwide=not self._settings.namespaces,
                namespaces=self._settings.namespaces,
                ready_flag=ready,
                stop_flag=stop,
            )

    @contextlib.asynccontextmanager
    async def _working(
        self, announcement: Coroutine[Any, Any, None], stop: asyncio.Event
    ) -> AsyncIterator[None]:
        """Process both queues and post Events for as long as the context lasts. If one of these breaks, the operator ends."""
        self._workers = [
            asyncio.create_task(
                self._dag_queue.run(self._dags.reconcile, workers=self._settings.workers), name="dags"
            ),
            asyncio.create_task(
                self._connection_queue.run(self._connections.reconcile, workers=self._settings.workers),
                name="connections",
            ),
        ]
        tasks = [
            *self._workers,
            asyncio.create_task(announcement, name="ready"),
            asyncio.create_task(self._events.run(), name="events"),
        ]
        for task in tasks:
            task.add_done_callback(partial(_end_if_broken, stop))
        try:
            yield
        finally:
            await _cancelled(tasks)

    def _registry(self, stop: asyncio.Event) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._cluster.login)
        kopf.on.cleanup(registry=registry)(partial(self._close, stop))
        register(registry, DAGS, self._dags.observe)
        register(registry, CONNECTIONS, self._connections.observe)
        return registry

    async def _close(self, stop: asyncio.Event, **_: Any) -> None:
        """Leave everything where it is: jobs go on, and the next process takes the runs up again."""
        stop.set()  # after a signal kopf would wait five seconds for its own task that waits for this
        self._dag_queue.close()
        self._connection_queue.close()
        await _cancelled(self._workers)  # or what they are about to begin would outlive what is closed now
        await self._dags.aclose()
        await self._connections.aclose()
        await self._pool.aclose()


async def _cancelled(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _end_if_broken(stop: asyncio.Event, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("The part %s of the operator broke; it ends.", task.get_name(), exc_info=error)
        stop.set()


async def _announce_ready(ready: asyncio.Event, health: Health) -> None:
    await ready.wait()
    health.not_ready_because = None
    _log.info("Watching DAGs.")


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    kopf_settings.configure(settings)
    return settings


async def run(settings: Settings) -> int:
    """Run the operator until it is told to end; gives the exit code of the process.

    Raises:
        ConfigException: there is no way to the API server.
        OSError: the port for probes and metrics is taken.
    """
    cluster = await Cluster.connect()
    objects = Objects(cluster.client)
    stop, health = asyncio.Event(), Health()
    try:
        async with serving(health, address=settings.http_address, port=settings.http_port):
            health.not_ready_because = None  # a process that waits for its turn must not hold up a rollout
            async with _leading(cluster, objects, settings, stop) as lost:
                health.not_ready_because = "starting to watch"
                await Operator(cluster, objects, settings).run(health=health, stop=stop)
    finally:
        await cluster.close()
    return 1 if lost.is_set() else 0


@contextlib.asynccontextmanager
async def _leading(
    cluster: Cluster, objects: Objects, settings: Settings, stop: asyncio.Event
) -> AsyncIterator[asyncio.Event]:
    """Hold the Lease for as long as the context lasts. Losing it seals all writing and stops the operator."""
    lost = asyncio.Event()
    if not settings.lease_enabled:
        yield lost
        return

    def lose() -> None:
        objects.seal()
        lost.set()
        stop.set()

    lease = Lease(
        objects,
        namespace=settings.lease_namespace or cluster.namespace,
        name=settings.lease_name,
        identity=settings.identity,
    )
    await lease.acquire()
    keeping = asyncio.create_task(lease.keep(lose), name="lease")
    try:
        yield lost
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await lease.release()
