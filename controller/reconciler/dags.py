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

from pydantic import ValidationError

from controller.api.dag import (
    DEFAULT_CONNECTION,
    BacalhauDAG,
    DAGStatus,
    Decision,
    RunPhase,
    Shutdown,
    parse_dag,
)
from controller.bacalhau.errors import BacalhauError
from controller.engine import (
    Controls,
    Emit,
    Graph,
    InvalidDAG,
    Reporter,
    Run,
    RunContext,
    rejection,
    reset,
    run_namespace,
)
from controller.engine.problems import shown
from controller.engine.state import timestamp, unix_time
from controller.kube import finalizer
from controller.kube.budget import WriteBudget
from controller.kube.errors import Refused
from controller.kube.events import EventRecorder
from controller.kube.objects import Body, ObjectRef, Objects
from controller.kube.queue import WorkQueue
from controller.kube.status import StatusWriter
from controller.kube.stored import StoredObject
from controller.reconciler.access import Unresolved
from controller.reconciler.active import SPEC_CHANGED, ActiveRun
from controller.reconciler.connection import Connection, Key, Problem, problem_of
from controller.reconciler.pool import ConnectionPool
from controller.reconciler.recovery import recover
from controller.reconciler.resources import DAGS

_log = logging.getLogger(__name__)

FLUSH_SECONDS = 30.0
LAST_WRITES_SECONDS = 3.0
MAX_PROBLEMS_SHOWN = 5
MAX_MESSAGE = 1024


class DAGReconciler:
    """Runs DAGs.

    Args:
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
        deletion_grace: float,
    ) -> None:
        self._objects = objects
        self._pool = pool
        self._events = events
        self._queue = queue
        self._budget = budget
        self._deletion_grace = deletion_grace
        self._bodies: dict[Key, Body] = {}
        self._writers: dict[Key, StatusWriter] = {}
        self._active: dict[Key, ActiveRun] = {}

    def observe(self, body: Body, *, deleted: bool) -> None:
        """Take note of a copy that the watch brought. Copies of DAGs that have ended for good are not kept."""
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        writer = self._writers.get(key)
        if writer:
            writer.observe(body)
        if deleted:
            self._bodies.pop(key, None)
        elif key in self._active or not _is_settled(body):
            if not (writer and writer.is_stale(body)):
                self._bodies[key] = body
        else:
            return
        self._queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Take a DAG one step further. An exception has it tried again later, and disturbs no other DAG."""
        body = self._bodies.get(key)
        writer = self._writers.get(key)
        if body is None:
            await self._forget(key, None)
            return
        if writer and writer.stored.is_another(body):
            await self._close(key, body)
        if "deletionTimestamp" in body["metadata"]:
            await self._delete(key, body)
        elif _wants_rerun(body) and key not in self._active:
            await self._rerun(key, body)
        elif _has_ended(body) and key not in self._active:
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
        for key, body in list(self._bodies.items()):
            await self._forget(key, body)

    # Running

    async def _advance(self, key: Key, body: Body) -> None:
        active = self._active.get(key) or await self._begin(key, body)
        if active is None:
            return
        spec, generation = body["spec"], body["metadata"]["generation"]
        changed = active.check_spec(generation, lambda: parse_dag(dict(body)).spec)
        active.advance(
            _controls(spec),
            generation=generation,
            hindrance=changed or active.problem,
        )
        if active.run.phase.is_terminal:
            await self._finish(key, body, active)

    async def _begin(self, key: Key, body: Body) -> ActiveRun | None:
        """Start a run, or take up one that an earlier process left. Says in the status why it cannot."""
        try:
            dag = parse_dag(dict(body))
            graph = Graph.compile(dag.spec)
        except ValidationError as error:
            await self._reject(key, body, Problem("InvalidSpec", _readable(error)))
            return None
        except InvalidDAG as error:
            await self._reject(key, body, Problem("InvalidDAG", str(error)))
            return None
        if dag.status and dag.status.graph_hash not in (None, graph.hash):
            await self._reject(key, body, SPEC_CHANGED)
            return None
        try:
            return await self._take_up(key, body, dag, graph)
        except Unresolved as error:
            self._postpone(key, body, error.problem)
        except BacalhauError as error:
            self._postpone(key, body, problem_of(error))
        return None

    async def _take_up(self, key: Key, body: Body, dag: BacalhauDAG, graph: Graph) -> ActiveRun:
        connection = await self._pool.require(_connection_key(body), user=key)
        writer = self._writer(key, body)
        await finalizer.hold(writer.stored)
        has_started = dag.status is not None and dag.status.start_time is not None
        run = Run(graph, _context(dag, connection), dag.status if has_started else None)
        recovered = await recover(run, connection.client)
        active = ActiveRun(
            run=run,
            reporter=Reporter(run, dag.status, now=time.time()),
            connection=connection,
            exclusive=connection.access.spec.bacalhau_namespace is None,
            writer=writer,
            events=self._events,
            wake=lambda delay: self._queue.add_after(key, delay),
        )
        self._active[key] = active
        active.resume(recovered)
        return active

    def _postpone(self, key: Key, body: Body, problem: Problem) -> None:
        """Say what the DAG waits for, and try again. The connection wakes it as soon as it can go on."""
        phase = RunPhase(_status(body).get("phase") or RunPhase.PENDING)
        self._say(key, body, phase, problem)
        self._queue.add_rate_limited(key)

    async def _reject(self, key: Key, body: Body, problem: Problem) -> None:
        """End a DAG that cannot run as it is written. A new spec gives it another chance."""
        self._say(key, body, RunPhase.ERROR, problem)
        await self._flush(self._writers[key])
        await self._forget(key, body)

    def _say(self, key: Key, body: Body, phase: RunPhase, problem: Problem) -> None:
        """Write why a DAG has no run, and tell people if that is news."""
        writer = self._writer(key, body)
        before = _parsed_status(body)
        delta = rejection(
            before,
            phase=phase,
            reason=problem.reason,
            message=problem.message,
            generation=body["metadata"]["generation"],
            now=time.time(),
        )
        announce = None
        if before is None or before.message != problem.message:
            announce = partial(
                self._events.emit,
                writer.stored.ref,
                type="Warning",
                reason=problem.reason,
                message=problem.message,
            )
        writer.update(delta, urgent=True, on_written=announce)

    # Ending

    async def _finish(self, key: Key, body: Body, active: ActiveRun) -> None:
        """See the last status stored, and only then let go of the object."""
        await self._flush(active.writer)
        if not active.writer.lost:
            await finalizer.release(active.writer.stored)
        await self._forget(key, body)

    async def _rerun(self, key: Key, body: Body) -> None:
        """Write down what runs again. The run itself begins when the watch brings that back."""
        try:
            delta, event = _reopened(body)
        except InvalidDAG as error:
            delta = {"retryID": body["spec"]["retry"]["id"]}
            event = Emit(type="Warning", reason="InvalidRetry", message=str(error))
        writer = self._writer(key, body)
        announce = partial(
            self._events.emit, writer.stored.ref, type=event.type, reason=event.reason, message=event.message
        )
        writer.update(delta, urgent=True, on_written=announce)
        await self._flush(writer)

    async def _settle(self, key: Key, body: Body) -> None:
        """Take the finalizer off a DAG that had ended when this process first saw it."""
        await finalizer.release(self._writer(key, body).stored)
        await self._forget(key, body)

    async def _delete(self, key: Key, body: Body) -> None:
        """Stop the jobs of a DAG that is being deleted, for a bounded time, and let it go."""
        stored = self._writer(key, body).stored
        if not finalizer.is_held(stored):
            await self._forget(key, body)
            return
        remaining = _deleted_at(body) + self._deletion_grace - time.time()
        if remaining <= 0:
            self._events.emit(
                stored.ref,
                type="Warning",
                reason="JobsNotStopped",
                message=f"Bacalhau did not confirm within {self._deletion_grace:g} s that the jobs have stopped; some may "
                f"still run. Look with: bacalhau job list --namespace {_status(body).get('bacalhauNamespace')}",
            )
        elif not await self._cancel(key, body):
            self._queue.add_after(key, remaining)
            return
        await finalizer.release(stored)
        await self._forget(key, body)

    async def _cancel(self, key: Key, body: Body) -> bool:
        """Stop what runs; tell whether nothing does any more."""
        if _has_ended(body) and key not in self._active:
            return True
        active = self._active.get(key) or await self._begin(key, body)
        if active is None:
            return not _status(body).get("startTime") and key not in self._writers
        active.advance(
            Controls(cancel=True),
            generation=body["metadata"]["generation"],
            hindrance=active.problem,
        )
        return active.run.phase.is_terminal

    async def _flush(self, writer: StatusWriter) -> None:
        async with asyncio.timeout(FLUSH_SECONDS):
            await writer.flush()

    async def _forget(self, key: Key, body: Body | None) -> None:
        """Drop all that is held for a DAG, which was handled as ``body`` shows it.

        What arrived meanwhile is a matter of its own: a new spec after a rejection, or another object of the same name.
        """
        if self._bodies.get(key) is body:
            self._bodies.pop(key, None)
        await self._close(key, body)
        if key in self._bodies:
            self._queue.add(key)
        else:
            self._queue.discard(key)

    async def _close(self, key: Key, body: Body | None) -> None:
        """End the run in memory. Its jobs go on."""
        active, writer = self._active.pop(key, None), self._writers.pop(key, None)
        if active:
            self._pool.forget_user(active.connection.key, user=key)
            await active.aclose()
        elif body is not None:
            self._pool.forget_user(_connection_key(body), user=key)
        if writer:
            await writer.close()

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


def _context(dag: BacalhauDAG, connection: Connection) -> RunContext:
    metadata = dag.metadata
    recorded = dag.status.bacalhau_namespace if dag.status else None
    own = run_namespace(namespace=metadata.namespace, dag=metadata.name, uid=metadata.uid)
    return RunContext(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        bacalhau_namespace=recorded or connection.access.spec.bacalhau_namespace or own,
        queue_timeout=connection.queue_timeout,
        execution_timeout=connection.execution_timeout,
    )


def _status(body: Body) -> Mapping[str, Any]:
    status: Mapping[str, Any] = body.get("status") or {}
    return status


def _has_ended(body: Body) -> bool:
    """Tell whether nothing remains to be done. A DAG that was rejected before it started has a chance with each new spec."""
    status = _status(body)
    if not status.get("phase") or not RunPhase(status["phase"]).is_terminal:
        return False
    return bool(status.get("startTime")) or status.get("observedGeneration") == body["metadata"]["generation"]


def _wants_rerun(body: Body) -> bool:
    """Tell whether a DAG that ran and ended has been asked, since then, to go on with what did not go well."""
    asked = (body["spec"].get("retry") or {}).get("id")
    status = _status(body)
    return (
        bool(asked) and asked != status.get("retryID") and bool(status.get("startTime")) and _has_ended(body)
    )


def _reopened(body: Body) -> tuple[dict[str, Any], Emit]:
    """Give the merge patch that opens a run again, and what to tell people.

    Raises:
        InvalidDAG: it names a node that does not exist.
    """
    dag = parse_dag(dict(body))
    asked, known = dag.spec.retry, dag.status.nodes if dag.status else {}
    again = reset(Graph.compile(dag.spec), known, asked.nodes if asked else ())
    message = f"Running {len(again)} nodes again."
    delta = {
        "retryID": asked.id if asked else None,
        "phase": RunPhase.PENDING.value,
        "message": message,
        "startTime": timestamp(time.time()),
        "completionTime": None,
        "outputs": None,
        "nodes": {name: node.model_dump(by_alias=True, mode="json") for name, node in again.items()},
    }
    return delta, Emit(type="Normal", reason="RunningAgain", message=message)


def _is_settled(body: Body) -> bool:
    """Tell whether a DAG has ended, does not hold the finalizer any more, and is not asked to run again."""
    return (
        _has_ended(body)
        and not _wants_rerun(body)
        and finalizer.FINALIZER not in body["metadata"].get("finalizers", ())
    )


def _parsed_status(body: Body) -> DAGStatus | None:
    return DAGStatus.model_validate(body["status"]) if body.get("status") else None


def _connection_key(body: Body) -> Key:
    name = (body["spec"].get("connectionRef") or {}).get("name", DEFAULT_CONNECTION.name)
    return body["metadata"]["namespace"], name


def _deleted_at(body: Body) -> float:
    return unix_time(body["metadata"]["deletionTimestamp"]) or 0.0


def _readable(error: ValidationError) -> str:
    """Name each field and value that the schema does not allow."""
    problems = [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']} (it is {shown(problem['input'])})"
        for problem in error.errors(include_url=False)
    ]
    return "; ".join(problems[:MAX_PROBLEMS_SHOWN])
