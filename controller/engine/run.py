"""How a run advances: observations in, effects out.

A ``Run`` is pure: it holds no clock, no connection and no task, and nothing in it fails for a reason outside its arguments. What it
decides follows from the graph, from what was observed and from the controls, so a run that is rebuilt from Bacalhau's jobs decides
as the lost one would have. A pass costs what changed: an observation touches its node and the nodes that depend on it.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from controller.api.dag import Artifact, DAGStatus, FailurePolicy, NodePhase, NodeStatus, RunPhase
from controller.engine.effects import Effect, Emit, StopJob, SubmitJob, WakeAt
from controller.engine.graph import CompiledNode, Graph
from controller.engine.observations import (
    Controls,
    JobLost,
    JobSeen,
    JobSubmitted,
    Observation,
    SubmissionRefused,
)
from controller.engine.outcome import failure_summary, first_failure, run_phase, tally
from controller.engine.problems import RenderError, one_line
from controller.engine.readiness import omission, skip_message
from controller.engine.rechecks import Rechecks
from controller.engine.rendering import RunContext, render_job, variables
from controller.engine.state import NodeState, RunState, unix_time
from controller.engine.stopping import StopCause, stop_reason
from controller.engine.verdict import Broken, Finished, Hopeless, Unfinished, judge

MAX_REPLACEMENTS = 5
"""Attempts that the platform may lose before the node is an Error."""


class Run:
    """One run of one graph. Created anew or from a status; advanced by ``advance``."""

    def __init__(self, graph: Graph, context: RunContext, status: DAGStatus | None = None) -> None:
        self.graph = graph
        self.context = context
        self.phase = (status.phase if status else None) or RunPhase.PENDING
        self.completed_at = unix_time(status.completion_time) if status else None
        self.state = _recalled(graph, status.nodes if status else {})
        self._ready: list[int] = []
        self._rechecks = Rechecks()
        self._effects: list[Effect] = []
        self._ended: deque[int] = deque()
        self._settled = False
        self._cancelled = False

    def advance(
        self, observations: Iterable[Observation], controls: Controls, now: float
    ) -> tuple[Effect, ...]:
        """Take in what was observed and say what to do next. ``now`` is Unix time in seconds.

        A run that has ended ignores everything.
        """
        if self.phase.is_terminal:
            return ()
        self._effects = []
        for observation in observations:
            self._observe(observation, now)
        for index, seen in self._rechecks.due(now):
            self._seen(index, seen, now)
        if not self._settled:
            self._settle(now)
        self._decide_dependents(now)
        self._apply_failure_policy()
        if controls.cancel:
            self._cancelled = True
            self._cancel("Cancelled", "the DAG is being deleted")
        elif not controls.suspend:
            self._start_ready(controls.parallelism, now)
        self._conclude(controls, now)
        return tuple(self._effects)

    def node(self, name: str) -> NodeState:
        """Give the state of a node by its name."""
        return self.state.nodes[self.graph.index[name]]

    # What was observed

    def _observe(self, observation: Observation, now: float) -> None:
        index = self.graph.index.get(observation.node)
        if index is None or not self._is_current(index, observation):
            return
        match observation:
            case JobSubmitted():
                self._submitted(index, observation.job_id)
            case SubmissionRefused():
                message = one_line(observation.message)
                self._end(
                    index, Finished(phase=NodePhase.ERROR, reason=observation.reason, message=message), now
                )
            case JobSeen():
                self._seen(index, observation, now)
            case JobLost():
                message = f"Bacalhau no longer knows job {self.state.nodes[index].job_id}."
                self._end(index, Finished(phase=NodePhase.ERROR, reason="JobLost", message=message), now)

    def _is_current(self, index: int, observation: Observation) -> bool:
        """Tell whether this is news of a node's latest attempt.

        A job found in Bacalhau may be of a newer attempt than what is known. Late news of an attempt that has been replaced is not news.
        """
        node = self.state.nodes[index]
        if isinstance(observation, JobSeen):
            is_newer = observation.attempt > node.attempt
            return is_newer or (observation.attempt == node.attempt and node.phase is not NodePhase.PENDING)
        return observation.attempt == node.attempt and node.phase.is_live

    def _submitted(self, index: int, job_id: str) -> None:
        node = self.state.nodes[index]
        if node.job_id != job_id:
            node.job_id = job_id
            self.state.changed.add(index)

    def _seen(self, index: int, observation: JobSeen, now: float) -> None:
        node, job = self.state.nodes[index], observation.sighting.job
        self._rechecks.drop(index)
        if node.phase.is_terminal:
            self._recall_stdout(node, observation, now)
            return
        if (node.attempt, node.job_id) != (observation.attempt, job.id):
            self.state.changed.add(index)
        node.attempt, node.job_id, node.started_at = observation.attempt, job.id, job.created_at
        match judge(observation.sighting, now):
            case Unfinished() as verdict:
                self._unfinished(index, verdict, observation)
            case Finished() as verdict:
                self._end(index, verdict, job.modified_at)
            case Broken() as verdict:
                self._replace(index, verdict, job.modified_at)
            case Hopeless() as verdict:
                self._adopt(index, NodePhase.QUEUED)
                self._stop(index, verdict.cause, verdict.message)

    def _recall_stdout(self, node: NodeState, observation: JobSeen, now: float) -> None:
        """After a restart, take up what a finished job printed: a status does not hold it."""
        verdict = judge(observation.sighting, now)
        if node.attempt == observation.attempt and isinstance(verdict, Finished):
            node.stdout = verdict.stdout

    def _unfinished(self, index: int, verdict: Unfinished, observation: JobSeen) -> None:
        node = self.state.nodes[index]
        if verdict.recheck_at is not None and not node.stopping:
            self._rechecks.put(index, observation, verdict.recheck_at)
        if node.message != verdict.message:
            node.message = verdict.message
            self.state.changed.add(index)
        self._adopt(index, verdict.phase)

    def _adopt(self, index: int, phase: NodePhase) -> None:
        if self.state.nodes[index].phase is not phase:
            self.state.move(index, phase)

    # How an attempt ends

    def _end(self, index: int, verdict: Finished, finished_at: float) -> None:
        node = self.state.nodes[index]
        node.finished_at = finished_at
        node.reason, node.message = verdict.reason, verdict.message
        node.exit_code, node.artifact = verdict.exit_code, verdict.artifact
        node.stdout, node.stopping = verdict.stdout, False
        self.state.move(index, verdict.phase)
        if verdict.phase is not NodePhase.SUCCEEDED:
            self._report_failure(index)
        self._ended.append(index)

    def _replace(self, index: int, verdict: Broken, finished_at: float) -> None:
        node = self.state.nodes[index]
        if node.attempt > MAX_REPLACEMENTS:
            message = f"{verdict.message} (the platform lost {node.attempt} attempts)"
            self._end(
                index, Finished(phase=NodePhase.ERROR, reason=verdict.reason, message=message), finished_at
            )
            return
        self._effects.append(
            Emit(
                type="Warning",
                reason="AttemptReplaced",
                message=f'Node "{self._name(index)}": attempt {node.attempt} is replaced: {verdict.message}.',
            )
        )
        node.job_id = node.started_at = None
        node.stopping, node.message = False, None
        self.state.move(index, NodePhase.PENDING)
        if self._settled and node.waiting_for == 0:
            heapq.heappush(self._ready, index)

    def _report_failure(self, index: int) -> None:
        node = self.state.nodes[index]
        reason = f"Node{node.phase.value}"
        message = f'Node "{self._name(index)}": {node.message or node.reason}'
        self._effects.append(Emit(type="Warning", reason=reason, message=message))

    # What follows for other nodes

    def _settle(self, now: float) -> None:
        """Work out once, from the phases that were found, who waits for what."""
        self._settled = True
        self._ended.clear()
        for index, node in enumerate(self.state.nodes):
            node.waiting_for = sum(
                not self.state.nodes[producer].phase.is_terminal
                for producer in self.graph.nodes[index].dependencies
            )
        for index in range(len(self.state.nodes)):
            self._decide(index, now)

    def _decide_dependents(self, now: float) -> None:
        """Tell those who wait for the nodes that have ended. Iterative: a graph may be deeper than Python's stack."""
        while self._ended:
            for dependent in self.graph.nodes[self._ended.popleft()].dependents:
                self.state.nodes[dependent].waiting_for -= 1
                self._decide(dependent, now)

    def _decide(self, index: int, now: float) -> None:
        """Omit a node, skip it, or let it start, if that can be said already."""
        node = self.state.nodes[index]
        if node.phase is not NodePhase.PENDING:
            return
        omitted = omission(self.graph, self.state, self.graph.nodes[index])
        if omitted:
            self._leave_out(index, NodePhase.OMITTED, "DependencyNotMet", omitted.message)
        elif node.waiting_for == 0 and not self._skip(index, now):
            heapq.heappush(self._ready, index)

    def _skip(self, index: int, now: float) -> bool:
        """Evaluate a node's condition; tell whether the node has ended by it. An attempt that was made is not skipped."""
        compiled = self.graph.nodes[index]
        if compiled.when is None or self.state.nodes[index].attempt:
            return False
        try:
            message = skip_message(compiled, compiled.when, self._variables(compiled))
        except RenderError as error:
            self._fail_to_start(index, error, now)
            return True
        if message:
            self._leave_out(index, NodePhase.SKIPPED, "ConditionFalse", message)
        return message is not None

    def _leave_out(self, index: int, phase: NodePhase, reason: str, message: str) -> None:
        node = self.state.nodes[index]
        node.reason, node.message = reason, one_line(message)
        self.state.move(index, phase)
        self._ended.append(index)

    # What happens next

    def _apply_failure_policy(self) -> None:
        policy = self.graph.spec.failure_policy
        undecided = self.state.pending if policy is FailurePolicy.FAIL_FAST else self.state.unfinished
        if policy is FailurePolicy.RUN_ALL or not undecided:
            return
        failed = first_failure(self.graph, self.state)
        if failed is None:
            return
        why = f'node "{self._name(failed)}" did not succeed'
        if policy is FailurePolicy.FAIL_FAST_CANCEL:
            self._cancel("FailFast", why)
        else:
            # An attempt that the platform lost is nothing new: its replacement still runs.
            self._omit_pending("FailFast", why, attempted=False)

    def _cancel(self, reason: str, why: str) -> None:
        """Start nothing at all, and stop what runs."""
        self._omit_pending(reason, why, attempted=True)
        self._stop_live(why)

    def _omit_pending(self, reason: str, why: str, *, attempted: bool) -> None:
        """Leave out the nodes that wait; those whose attempt the platform lost only if ``attempted``."""
        if self.state.pending:
            for index, node in enumerate(self.state.nodes):
                if node.phase is NodePhase.PENDING and (attempted or node.attempt == 0):
                    self._leave_out(index, NodePhase.OMITTED, reason, why)

    def _stop_live(self, why: str) -> None:
        for index, node in enumerate(self.state.nodes):
            if node.phase.is_live and node.job_id is not None:
                self._stop(index, StopCause.CANCELLED, why)

    def _stop(self, index: int, cause: StopCause, message: str) -> None:
        node = self.state.nodes[index]
        if node.stopping or node.job_id is None:
            return
        node.stopping = True
        self._effects.append(
            StopJob(
                node=self._name(index),
                attempt=node.attempt,
                job_id=node.job_id,
                reason=stop_reason(cause, message),
            )
        )

    def _start_ready(self, parallelism: int | None, now: float) -> None:
        room = len(self.state.nodes) if parallelism is None else parallelism - self.state.live
        while self._ready and room > 0:
            index = heapq.heappop(self._ready)
            if self.state.nodes[index].phase is NodePhase.PENDING:
                room -= self._start(index, now)

    def _start(self, index: int, now: float) -> bool:
        """Submit a node's next attempt; tell whether it now takes a place."""
        node, compiled = self.state.nodes[index], self.graph.nodes[index]
        node.attempt += 1
        try:
            job = self._render(compiled, node.attempt)
        except RenderError as error:
            self._fail_to_start(index, error, now)
            self._decide_dependents(now)
            self._apply_failure_policy()
            return False
        self.state.move(index, NodePhase.SUBMITTED)
        self._effects.append(SubmitJob(node=compiled.name, attempt=node.attempt, job=job))
        return True

    def _fail_to_start(self, index: int, error: RenderError, now: float) -> None:
        message = one_line(str(error))
        self._end(index, Finished(phase=NodePhase.ERROR, reason="InvalidJob", message=message), now)

    def _variables(self, node: CompiledNode) -> dict[str, Any]:
        return variables(self.graph, self.context, self._results(node))

    def _results(self, node: CompiledNode) -> dict[str, Mapping[str, Any]]:
        return {self._name(index): self._result(index) for index in node.reads}

    def _render(self, node: CompiledNode, attempt: int) -> dict[str, Any]:
        return render_job(
            graph=self.graph,
            node=node,
            context=self.context,
            attempt=attempt,
            artifacts={item.from_: self._artifact(item.from_) for item in node.spec.inputs},
            results=self._results(node),
        )

    def _artifact(self, name: str) -> Artifact | None:
        return self.node(name).artifact

    def _result(self, index: int) -> Mapping[str, Any]:
        """Give what expressions may read of a node that has ended."""
        node = self.state.nodes[index]
        return {
            "phase": node.phase.value,
            "exitCode": node.exit_code,
            "jobID": node.job_id,
            "stdout": node.stdout,
            "outputs": node.artifact.model_dump(by_alias=True, exclude_none=True) if node.artifact else {},
        }

    def _conclude(self, controls: Controls, now: float) -> None:
        was = self.phase
        self.phase = run_phase(self.graph, self.state, suspended=controls.suspend, cancelled=self._cancelled)
        if self.phase.is_terminal:
            self.completed_at = now
        elif (wake_at := self._rechecks.next_time()) is not None:
            self._effects.append(WakeAt(time=wake_at))
        if self.phase is not was:
            self._effects.append(self._announcement())

    def _announcement(self) -> Emit:
        match self.phase:
            case RunPhase.SUCCEEDED:
                return Emit(type="Normal", reason="Succeeded", message=tally(self.state))
            case RunPhase.RUNNING:
                return Emit(
                    type="Normal", reason="Running", message=f"Running {len(self.state.nodes)} nodes."
                )
            case RunPhase.SUSPENDED:
                return Emit(
                    type="Normal",
                    reason="Suspended",
                    message="Nothing new starts until spec.suspend is false.",
                )
            case _:
                return Emit(
                    type="Warning",
                    reason=self.phase.value,
                    message=failure_summary(self.graph, self.state) or "The DAG was cancelled.",
                )

    def missing_stdout(self) -> list[tuple[str, str]]:
        """Name the finished jobs, as pairs of node and job, whose stdout is read by nodes that may yet start.

        A node that runs already counts: if the platform loses its attempt, the next one is rendered again.
        """
        unfinished = [
            self.graph.nodes[index]
            for index, node in enumerate(self.state.nodes)
            if not node.phase.is_terminal
        ]
        needed = {producer for node in unfinished for producer in node.reads}
        return [
            (self._name(index), job_id)
            for index in sorted(needed)
            if self.state.nodes[index].phase.is_terminal
            and self.state.nodes[index].stdout is None
            and (job_id := self.state.nodes[index].job_id)
        ]

    def _name(self, index: int) -> str:
        return self.graph.nodes[index].name


def _recalled(graph: Graph, known: Mapping[str, NodeStatus]) -> RunState:
    """Take up what a status says of the nodes. What cannot be taken up as it is written counts as changed."""
    state = RunState([NodeState.from_status(known.get(node.name)) for node in graph.nodes])
    state.changed.update(
        node.index
        for node in graph.nodes
        if node.name in known and known[node.name].phase is not state.nodes[node.index].phase
    )
    return state
