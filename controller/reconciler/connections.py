"""One key of the work queue, one BacalhauConnection: does it work, and if not, why.

The check is what recovers a broken connection: it reads the Secrets again, and as soon as Bacalhau answers, every DAG that waits for it
is woken.
"""

import asyncio
import time
from functools import partial
from typing import Any

from controller.api.connection import ConnectionStatus
from controller.bacalhau.errors import BacalhauError
from controller.engine.report import condition
from controller.kube.budget import WriteBudget
from controller.kube.errors import KubeError
from controller.kube.events import EventRecorder
from controller.kube.objects import Body, ObjectRef, Objects
from controller.kube.queue import WorkQueue
from controller.kube.status import StatusWriter
from controller.kube.stored import StoredObject, is_outdated
from controller.reconciler.access import Unresolved
from controller.reconciler.connection import Connection, Key, Problem, problem_of
from controller.reconciler.pool import ConnectionPool
from controller.reconciler.resources import CONNECTIONS

RECHECK_SECONDS = 60.0
"""Between checks of a connection that works. One that does not is checked with the queue's backoff."""

CHECK_TIMEOUT = 20.0


class ConnectionReconciler:
    """Checks connections and writes what it finds into their status."""

    def __init__(
        self,
        *,
        objects: Objects,
        pool: ConnectionPool,
        events: EventRecorder,
        queue: WorkQueue[Key],
        budget: WriteBudget,
    ) -> None:
        self._objects = objects
        self._pool = pool
        self._events = events
        self._queue = queue
        self._budget = budget
        self._bodies: dict[Key, Body] = {}
        self._writers: dict[Key, StatusWriter] = {}

    def observe(self, body: Body, *, deleted: bool) -> None:
        """Take note of a copy that the watch brought. Only a changed spec is worth a check of its own."""
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        before, writer = self._bodies.get(key), self._writers.get(key)
        if is_outdated(body, before):
            return
        if deleted:
            self._bodies.pop(key, None)
        else:
            self._bodies[key] = body
        if writer and not writer.is_stale(body):
            writer.observe(body)
        if deleted or before is None or _identity(before) != _identity(body):
            self._queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Check a connection, and have it checked again."""
        body = self._bodies.get(key)
        if body is None:
            await self._forget(key)
            return
        version, problem = await self._check(key)
        self._say(key, body, version=version, problem=problem)
        if problem:
            self._queue.add_rate_limited(key)
        else:
            self._queue.add_after(key, RECHECK_SECONDS)

    async def _check(self, key: Key) -> tuple[str | None, Problem | None]:
        try:
            connection = await self._pool.refresh(key)
        except Unresolved as error:
            return None, error.problem
        except KubeError as error:
            return None, Problem("KubernetesUnavailable", str(error))
        version, problem = await _ask(connection)
        connection.report(problem)
        return version, problem

    def _say(self, key: Key, body: Body, *, version: str | None, problem: Problem | None) -> None:
        writer = self._writer(key, body)
        before = ConnectionStatus.model_validate(writer.stored.status)
        known = {item.type: item for item in before.conditions}.get("Ready")
        ready = condition(
            known,
            "Ready",
            status="False" if problem else "True",
            reason=problem.reason if problem else "Connected",
            message=problem.message if problem else f"Bacalhau {version} answers.",
            generation=body["metadata"]["generation"],
            now=time.time(),
        )
        delta: dict[str, Any] = {
            "observedGeneration": body["metadata"]["generation"],
            "conditions": [ready.model_dump(by_alias=True, mode="json")],
        }
        if version:
            delta["bacalhauVersion"] = version
        announce = None
        if problem and (known is None or known.message != problem.message):
            announce = partial(
                self._events.emit,
                writer.stored.ref,
                type="Warning",
                reason=problem.reason,
                message=problem.message,
            )
        writer.update(delta, urgent=True, on_written=announce)

    def _writer(self, key: Key, body: Body) -> StatusWriter:
        if key in self._writers and self._writers[key].lost:
            del self._writers[key]
        if key not in self._writers:
            stored = StoredObject(self._objects, ObjectRef.of(CONNECTIONS, body), body)
            self._writers[key] = StatusWriter(stored, budget=self._budget)
        return self._writers[key]

    async def _forget(self, key: Key) -> None:
        if writer := self._writers.pop(key, None):
            await writer.close()
        await self._pool.drop(key)
        if key in self._bodies:  # created anew meanwhile
            self._queue.add(key)
        else:
            self._queue.discard(key)

    async def aclose(self) -> None:
        """Stop writing."""
        for writer in list(self._writers.values()):
            await writer.close()


async def _ask(connection: Connection) -> tuple[str | None, Problem | None]:
    """See whether Bacalhau answers, and lets us in: its version can be read without credentials, its nodes cannot."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            version = await connection.client.version()
            await connection.client.nodes()
    except BacalhauError as error:
        return None, problem_of(error)
    except TimeoutError:
        return None, Problem(
            "BacalhauUnavailable", f"{connection.client} did not answer within {CHECK_TIMEOUT:g} s."
        )
    return version, None


def _identity(body: Body) -> tuple[str, int]:
    return body["metadata"]["uid"], body["metadata"]["generation"]
