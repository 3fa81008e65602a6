"""One key of the work queue, one DAG: from what the API server and Bacalhau say to the next step of its run.

``reconcile`` is level-triggered: it looks at the newest copy of the object and at the run in memory, and can be called at any time, any
number of times. A process that starts anew finds its runs again through the objects and Bacalhau's jobs; it needs nothing else.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from controller.api.dag import DEFAULT_CONNECTION, BacalhauDAG, Decision, Shutdown, parse_dag
from controller.api.status import DAGStatus, RunPhase
from controller.bacalhau.errors import BacalhauError
from controller.engine import (
    Controls,
    Graph,
    Reporter,
    Run,
    RunContext,
    rejection,
    run_namespace,
)
from controller.engine.stopping import StopCause, stop_reason
from controller.kube import finalizer
from controller.kube.budget import WriteBudget
from controller.kube.errors import Conflict, Gone, KubeError, Refused
from controller.kube.events import EventRecorder
from controller.kube.objects import Body, ObjectRef, Objects
from controller.kube.queue import WorkQueue
from controller.kube.status import Lost, StatusWriter
from controller.kube.stored import StoredObject, is_outdated
from controller.reconciler.access import ReadSecret, Unresolved
from controller.reconciler.active import SPEC_CHANGED, ActiveRun
from controller.reconciler.connection import Connection, Key, Problem, problem_of
from controller.reconciler.parameters import ReadConfigMap, read_texts, record, with_values
from controller.reconciler.pool import ConnectionPool
from controller.reconciler.recovery import recover, stop_all
from controller.reconciler.rerun import Opening, refused, reopened
from controller.reconciler.resources import DAGS
from controller.reconciler.reuse import begun, read_earlier
from controller.reconciler.secrets import SecretReader
from controller.reconciler.specs import Unfit, compiled
from controller.reconciler.standing import has_ended, has_started, is_settled, status_of, wants_rerun

_log = logging.getLogger(__name__)

LAST_WRITES_SECONDS = 3.0
MAX_MESSAGE = 1024

DELETED = stop_reason(StopCause.CANCELLED, "the DAG is being deleted")


class DAGReconciler:
    """Runs DAGs.

    Args:
        read_secret: reads the values of parameters that are in Secrets.
        read_config_map: reads the values of parameters that are in ConfigMaps.
        deletion_grace: seconds that the deletion of a DAG may be held up while its jobs are being stopped.
    """

    def __init__(
        self,
        *,
        objects: Objects,
        pool: ConnectionPool,
        events: EventRecorder,
        queue: WorkQueue[Key],
        budget: WriteBudget,
        read_secret: ReadSecret,
        read_config_map: ReadConfigMap,
        deletion_grace: float,
    ) -> None:
        self._objects = objects
        self._pool = pool
        self._events = events
        self._queue = queue
        self._budget = budget
        self._read_secret = read_secret
        self._read_config_map = read_config_map
        self._deletion_grace = deletion_grace
        self._bodies: dict[Key, Body] = {}
        self._writers: dict[Key, StatusWriter] = {}
        self._active: dict[Key, ActiveRun] = {}
        self._said: dict[Key, Problem] = {}
        self._deadlines: dict[Key, float] = {}

    def observe(self, body: Body, *, deleted: bool) -> None:
        """Take note of a copy that the watch brought. Copies of DAGs that have ended for good are not kept."""
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        known, writer = self._bodies.get(key), self._writers.get(key)
        if is_outdated(body, known) or (writer and writer.is_stale(body)):
            return
        if writer:
            writer.observe(body)
        if deleted or (key not in self._active and is_settled(body)):
            self._bodies.pop(key, None)
            if known is None and writer is None:
                return
        else:
            self._bodies[key] = body
        self._queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Take a DAG one step further. Whatever goes wrong, it is tried again later, and disturbs no other DAG."""
        body = self._bodies.get(key)
        try:
            await self._step(key, body)
        except Gone:
            await self._forget(key, body)
        except KubeError as error:
            _log.info("%s in namespace %s is tried again: %s", key[1], key[0], error)
            self._queue.add_rate_limited(key)
        except Exception:
            await self._close(key)  # what is in memory may be wrong now; the next try builds it anew
            raise

    async def _step(self, key: Key, body: Body | None) -> None:
        writer = self._writers.get(key)
        if body is None and writer and not writer.idle:
            # The watch was faster than the answer to the last write.
            writer.when_idle(partial(self._queue.add, key))
            return
        if body is None:
            await self._forget(key, None)
            return
        if writer and writer.stored.is_another(body):
            self._deadlines.pop(key, None)
            await self._close(key)
            writer = None
        if writer and writer.lost:
            await self._part_with(key, body, writer)
            return
        if "deletionTimestamp" in body["metadata"]:
            await self._delete(key, body)
        elif key not in self._active and writer and writer.is_stale(body):
            return  # the watch will bring what is newer
        elif key not in self._active and has_ended(body, self._status(key, body)):
            await self._settle(key, body)
        else:
            await self._advance(key, body)

    async def aclose(self) -> None:
        """Leave all runs where they are. Another process, or this one later, takes them up again."""
        for active in self._active.values():
            active.report()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WRITES_SECONDS):
                await asyncio.gather(*(writer.flush() for writer in self._writers.values()))
        for key in {*self._active, *self._writers}:
            await self._close(key)

    async def _part_with(self, key: Key, body: Body, writer: StatusWriter) -> None:
        """Forget a DAG that this process may not write any more; see what is left to do if somebody else has finished it."""
        newest = await writer.stored.read() if writer.lost is Lost.FINISHED else None
        await self._forget(key, body)
        if newest:
            self.observe(newest, deleted=False)

    # Running

    async def _advance(self, key: Key, body: Body) -> None:
        active = self._active.get(key) or await self._begin(key, body)
        if active is None or self._bodies.get(key) is not body:
            return  # what came meanwhile has its own turn
        if not active.run.phase.is_terminal:
            spec, generation = body["spec"], body["metadata"]["generation"]
            active.advance(
                _controls(spec),
                generation=generation,
                hindrance=active.hindrance(generation, lambda: parse_dag(dict(body)).spec),
            )
        if active.run.phase.is_terminal:
            await self._finish(key, body, active)

    async def _begin(self, key: Key, body: Body) -> ActiveRun | None:
        """Start a run, or take up one that an earlier process left. Says in the status why it cannot."""
        try:
            dag, graph = compiled(body)
        except Unfit as error:
            self._reject(key, body, error.problem)
            return None
        if dag.status and dag.status.graph_hash not in (None, graph.hash):
            self._reject(key, body, SPEC_CHANGED)
            return None
        try:
            if dag.spec.reuse_from and not has_started(self._status(key, body)):
                await self._take_over(key, body, dag, graph)
            else:
                return await self._take_up(key, body, dag, graph)
        except Conflict:
            self.observe(await self._writer(key, body).stored.read(), deleted=False)
        except (Unresolved, BacalhauError) as error:
            self._postpone(key, body, error)
        return None

    async def _take_up(self, key: Key, body: Body, dag: BacalhauDAG, graph: Graph) -> ActiveRun:
        connection = await self._pool.require(_connection_key(body), user=key)
        status, context = dag.status or DAGStatus(), _context(body, connection)
        texts = await read_texts(graph, status.parameters, namespace=key[0], read=self._read_config_map)
        graph = with_values(graph, texts)
        writer = self._writer(key, body)
        await finalizer.hold(writer.stored)
        if texts != status.parameters:
            status = await record(writer.stored, graph, context, texts, now=time.time())
        run = Run(graph, context, status if status.start_time else None)
        recovered = await recover(run, connection.client, ipfs=connection.ipfs)
        active = ActiveRun(
            run=run,
            reporter=Reporter(run, status),
            connection=connection,
            exclusive=run.context.bacalhau_namespace == _own_namespace(body),
            writer=writer,
            events=self._events,
            secrets=SecretReader(self._read_secret, namespace=key[0]),
            wake=lambda delay: self._queue.add_after(key, delay),
        )
        self._active[key] = active
        self._said.pop(key, None)
        active.resume(recovered)
        return active

    async def _take_over(self, key: Key, body: Body, dag: BacalhauDAG, graph: Graph) -> None:
        """Write down what an earlier DAG leaves to this one. The run itself begins when the watch brings that back."""
        writer = self._writer(key, body)
        if not writer.idle:
            writer.when_idle(partial(self._queue.add, key))
            return
        earlier = await read_earlier(self._objects, dag)
        texts = await read_texts(graph, {}, namespace=key[0], read=self._read_config_map)
        if self._bodies.get(key) is body:
            self._open(key, body, begun(dag, graph, earlier, texts, now=time.time()))

    def _open(self, key: Key, body: Body, opening: Opening) -> None:
        """Write down how a run begins, or begins again, before anything starts, and tell people."""
        delta, event = opening
        writer = self._writer(key, body)
        announce = partial(
            self._events.emit, writer.stored.ref, type=event.type, reason=event.reason, message=event.message
        )
        writer.update(delta, urgent=True, on_written=announce)

    def _postpone(self, key: Key, body: Body, error: Unresolved | BacalhauError) -> None:
        """Say what the DAG waits for, and try again. The connection wakes it as soon as it can go on."""
        if isinstance(error, Unresolved):
            self._say(key, body, error.problem)
        else:
            self._say(key, body, problem_of(error))
            self._pool.recheck_for(key)
        self._queue.add_rate_limited(key)

    def _reject(self, key: Key, body: Body, problem: Problem) -> None:
        """End a DAG that cannot run as it is written. A new spec gives it another chance.

        One that has started only waits for its spec to be restored: its jobs may still run.
        """
        if has_started(self._status(key, body)):
            self._say(key, body, SPEC_CHANGED)
        else:
            self._say(key, body, problem, phase=RunPhase.ERROR)
            self._writers[key].when_idle(partial(self._queue.add, key))

    def _say(self, key: Key, body: Body, problem: Problem, *, phase: RunPhase | None = None) -> None:
        """Write why a DAG has no run, and tell people if that is news."""
        writer = self._writer(key, body)
        before = DAGStatus.model_validate(writer.stored.status)
        delta = rejection(
            before,
            phase=phase or before.phase or RunPhase.PENDING,
            reason=problem.reason,
            message=problem.message,
            generation=body["metadata"]["generation"],
            now=time.time(),
        )
        announce = None
        if self._said.get(key) != problem and before.message != problem.message:
            announce = partial(
                self._events.emit,
                writer.stored.ref,
                type="Warning",
                reason=problem.reason,
                message=problem.message,
            )
        self._said[key] = problem
        writer.update(delta, urgent=True, on_written=announce)

    # Ending

    async def _finish(self, key: Key, body: Body, active: ActiveRun) -> None:
        """See the last status stored, and only then let go of the object."""
        if not active.writer.idle:
            active.writer.when_idle(partial(self._queue.add, key))
            return
        if not active.writer.lost:
            await finalizer.release(active.writer.stored)
        await self._forget(key, body)

    async def _settle(self, key: Key, body: Body) -> None:
        """Deal with a DAG that has ended and has no run in memory: run it again if that is asked, or let go of it."""
        if wants_rerun(body, self._status(key, body)):
            self._reopen(key, body)
            return
        await finalizer.release(self._writer(key, body).stored)
        await self._forget(key, body)

    def _reopen(self, key: Key, body: Body) -> None:
        """Write down what runs again. The run itself begins when the watch brings that back."""
        try:
            dag, graph = compiled(body)
        except Unfit as error:
            self._open(key, body, refused(body["spec"]["retry"]["id"], error.problem.message))
        else:
            nodes = dag.status.nodes if dag.status else {}
            self._open(key, body, reopened(graph, dag.spec, nodes, now=time.time()))

    async def _delete(self, key: Key, body: Body) -> None:
        """Stop the jobs of a DAG that is being deleted, for a bounded time, and let it go.

        The time counts from when this process learned of the deletion: after an outage the jobs still get their chance to be stopped, and
        the clock of the API server does not matter.
        """
        stored = self._writer(key, body).stored
        if not finalizer.is_held(stored) and key not in self._active:
            await self._forget(key, body)
            return
        now = asyncio.get_running_loop().time()
        deadline = self._deadlines.setdefault(key, now + self._deletion_grace)
        if now > deadline:
            self._announce_leftovers(stored, body)
        elif not await self._cancel(key, body):
            self._queue.add_after(key, deadline - now + 0.001)
            return
        await finalizer.release(stored)
        await self._forget(key, body)

    def _announce_leftovers(self, stored: StoredObject, body: Body) -> None:
        namespace = stored.status.get("bacalhauNamespace")
        where = f" Look with: bacalhau job list --namespace {namespace}" if namespace else ""
        self._events.emit(
            stored.ref,
            type="Warning",
            reason="JobsNotStopped",
            message=f"Bacalhau did not confirm within {self._deletion_grace:g} s that the jobs have stopped; some may "
            f"still run.{where}",
        )

    async def _cancel(self, key: Key, body: Body) -> bool:
        """Stop what runs; tell whether nothing does any more."""
        active = self._active.get(key)
        if active is None:
            return has_ended(body, self._status(key, body)) or await self._sweep(key, body)
        active.advance(
            Controls(cancel=True),
            generation=body["metadata"]["generation"],
            hindrance=active.problem,
        )
        return active.run.phase.is_terminal

    async def _sweep(self, key: Key, body: Body) -> bool:
        """Stop the jobs of a DAG that has no run in memory, whatever its graph may be; tell whether none was left."""
        try:
            connection = await self._pool.require(_connection_key(body), user=key)
            namespace = _bacalhau_namespace(body, connection)
            uid = body["metadata"]["uid"]
            left = await stop_all(connection.client, namespace=namespace, uid=uid, reason=DELETED)
        except (Unresolved, BacalhauError) as error:
            self._postpone(key, body, error)
            return False
        if left:
            self._queue.add_rate_limited(key)
        return not left

    async def _forget(self, key: Key, body: Body | None) -> None:
        """Drop all that is held for a DAG, which was handled as ``body`` shows it.

        What arrived meanwhile is a matter of its own: a new spec after a rejection, or another object of the same name.
        """
        if self._bodies.get(key) is body:
            self._bodies.pop(key, None)
        self._deadlines.pop(key, None)
        await self._close(key)
        if key in self._bodies:
            self._queue.add(key)
        else:
            self._queue.discard(key)

    async def _close(self, key: Key) -> None:
        """End the run in memory. Its jobs go on."""
        active, writer = self._active.pop(key, None), self._writers.pop(key, None)
        self._said.pop(key, None)
        self._pool.forget_user(key)
        if active:
            await active.aclose()
        if writer:
            await writer.close()

    def _status(self, key: Key, body: Body) -> Mapping[str, Any]:
        """Give the newest known status, which a copy from the watch may lag behind."""
        writer = self._writers.get(key)
        return writer.stored.status if writer else status_of(body)

    def _writer(self, key: Key, body: Body) -> StatusWriter:
        if key not in self._writers:
            stored = StoredObject(self._objects, ObjectRef.of(DAGS, body), body)
            self._writers[key] = StatusWriter(
                stored, budget=self._budget, on_refused=partial(self._curtail, stored)
            )
        return self._writers[key]

    def _curtail(self, stored: StoredObject, error: Refused) -> dict[str, Any]:
        """Say that the details of a status cannot be stored any more. The run goes on, and its outcome is still written."""
        reason = "StatusTooLarge" if error.too_large else "StatusRefused"
        message = (
            f"The API server does not store the nodes' details any more, and shows the last ones: {error}"
        )
        self._events.emit(stored.ref, type="Warning", reason=reason, message=message)
        return {"message": message[:MAX_MESSAGE]}


def _controls(spec: Mapping[str, Any]) -> Controls:
    shutdown = spec.get("shutdown")
    return Controls(
        suspend=spec.get("suspend", False),
        parallelism=spec.get("parallelism"),
        shutdown=Shutdown(shutdown) if shutdown else None,
        decisions={item["name"]: Decision.model_validate(item) for item in spec.get("approvals", ())},
    )


def _context(body: Body, connection: Connection) -> RunContext:
    metadata, defaults = body["metadata"], status_of(body).get("jobDefaults") or {}
    return RunContext(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        bacalhau_namespace=_bacalhau_namespace(body, connection),
        queue_timeout=defaults.get("queueTimeout", connection.queue_timeout),
        execution_timeout=defaults.get("executionTimeout", connection.execution_timeout),
    )


def _bacalhau_namespace(body: Body, connection: Connection) -> str:
    """Give the Bacalhau namespace of a run: the one that it started with, whatever the connection says by now."""
    recorded: str | None = status_of(body).get("bacalhauNamespace")
    return recorded or connection.access.spec.bacalhau_namespace or _own_namespace(body)


def _own_namespace(body: Body) -> str:
    metadata = body["metadata"]
    return run_namespace(namespace=metadata["namespace"], dag=metadata["name"], uid=metadata["uid"])


def _connection_key(body: Body) -> Key:
    name = (body["spec"].get("connectionRef") or {}).get("name", DEFAULT_CONNECTION.name)
    return body["metadata"]["namespace"], name
