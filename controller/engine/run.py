"""How a run advances: observations in, effects out.

A ``Run`` is pure: it holds no clock, no connection and no task, and nothing in it fails for a reason outside its arguments. What it
decides follows from the graph, from what was observed and from the controls, so a run that is rebuilt from Bacalhau's jobs decides
as the lost one would have. A pass costs what changed: an observation touches its node and the nodes that depend on it.

The rules themselves are elsewhere, one to a file: ``verdict`` (what a job's state means), ``retry``, ``deadlines``, ``readiness`` (when a
node starts), ``outcome`` (what the run comes to).
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from controller.api.dag import (
    Approval,
    DAGStatus,
    FailurePolicy,
    ForEach,
    NodePhase,
    NodeStatus,
    RunPhase,
    Shutdown,
)
from controller.api.types import MAX_NODES
from controller.engine.alarms import Alarms
from controller.engine.approval import approval_deadline, decided
from controller.engine.deadlines import (
    Deadline,
    finally_deadline,
    node_deadline,
    nodes_deadline,
    total_deadline,
)
from controller.engine.effects import Effect, Emit, ListFiles, StopJob, SubmitJob, WakeAt
from controller.engine.expressions import condition_holds
from controller.engine.fan_out import FanOut, Item, cannot_succeed, item_name, items_of, parse_item
from controller.engine.fan_out import verdict as verdict_of
from controller.engine.graph import CompiledNode, Graph
from controller.engine.observations import (
    Controls,
    FilesListed,
    FilesUnknown,
    JobLost,
    JobObservation,
    JobSeen,
    JobSubmitted,
    Observation,
    SubmissionRefused,
)
from controller.engine.outcome import (
    CANCELLED,
    TIMED_OUT,
    closing_words,
    failure_summary,
    first_failure,
    outcome,
    run_phase,
    tally,
)
from controller.engine.problems import RenderError, one_line
from controller.engine.readiness import NOT_SUCCESSFUL, is_satisfied, omission, skip_message
from controller.engine.rendering import Result, RunContext, render_job, variables
from controller.engine.results import result_of, result_of_fan_out
from controller.engine.retry import is_within_budget, next_start
from controller.engine.state import REPLACED, RETRYING, NodeState, RunState, timestamp, unix_time
from controller.engine.stopping import ENDED_BY_THE_RUN, StopCause, stop_reason
from controller.engine.verdict import Broken, Finished, Hopeless, Unfinished, judge

MAX_REPLACEMENTS = 5
"""Attempts that the platform may lose before the node is an Error."""


class Scope(Enum):
    """Nodes that a decision about the run is about."""

    MAIN = "the nodes before finally"
    FINALLY = "the nodes of finally"
    ALL = "all nodes"

    def includes(self, node: NodeState) -> bool:
        """Tell whether a node is one of them."""
        return self is Scope.ALL or node.is_finally == (self is Scope.FINALLY)


class Run:
    """One run of one graph. Created anew or from a status; advanced by ``advance``."""

    def __init__(self, graph: Graph, context: RunContext, status: DAGStatus | None = None) -> None:
        self.graph = graph
        self.context = context
        self.nodes: list[CompiledNode] = list(graph.nodes)
        """The nodes of the graph, and behind them the items of fan-outs as they become known."""
        self.index = dict(graph.index)
        self.phase = (status.phase if status else None) or RunPhase.PENDING
        self.started_at = unix_time(status.start_time) if status else None
        self.completed_at = unix_time(status.completion_time) if status else None
        self._fan_outs = {node.index: FanOut() for node in graph.nodes if node.for_each}
        self.state = _recalled(graph, status.nodes if status else {})
        self._recall_items(status.nodes if status else {})
        self._ready: list[int] = []
        self._alarms: Alarms[JobSeen | None] = Alarms()
        self._effects: list[Effect] = []
        self._ended: deque[int] = deque()
        self._asked: set[int] = set()
        self._settled = False
        self._finally_is_open = False

    def advance(
        self, observations: Iterable[Observation], controls: Controls, now: float
    ) -> tuple[Effect, ...]:
        """Take in what was observed and say what to do next. ``now`` is Unix time in seconds.

        A run that has ended ignores everything.
        """
        if self.phase.is_terminal:
            return ()
        self._effects = []
        self.started_at = now if self.started_at is None else self.started_at
        for observation in observations:
            self._observe(observation, now)
        for index, seen in self._alarms.due(now):
            self._look_again(index, seen, now)
        if not self._settled:
            self._settle(now)
        self._decide_dependents(now)
        self._apply_decisions(controls, now)
        self._apply_failure_policy(now)
        self._apply_shutdown(controls, now)
        self._apply_timeouts(now)
        if not controls.cancel:
            self._open_finally(now)
            self._go_on(controls, now)
        self._conclude(controls, now)
        return tuple(self._effects)

    @property
    def wants_room(self) -> bool:
        """Whether nodes may be ready to start that were not allowed to, because enough ran already."""
        return bool(self._ready)

    def node(self, name: str) -> NodeState:
        """Give the state of a node by its name."""
        return self.state.nodes[self.index[name]]

    def is_news(self, name: str, attempt: int) -> bool:
        """Tell whether an attempt that was found says more than what is known.

        An older one does not, even if Bacalhau has lost those after it. An item may be found before it is known how many there are.
        """
        if name in self.index:
            node = self.node(name)
            return not node.phase.is_terminal and attempt >= node.attempt
        item = parse_item(name)
        fan_out = self.graph.fan_out(item[0]) if item else None
        if item is None or fan_out is None or item[1] >= MAX_NODES:
            return False
        node = self.state.nodes[fan_out.index]
        return not node.phase.is_terminal and attempt > node.attempt

    # What was observed

    def _observe(self, observation: Observation, now: float) -> None:
        match observation:
            case FilesListed():
                self._listed(self.index[observation.node], observation.files, now)
            case FilesUnknown():
                self._not_listed(self.index[observation.node], observation.message, now)
            case _:
                self._observe_job(observation, now)

    def _observe_job(self, observation: JobObservation, now: float) -> None:
        index = self._found(observation)
        if index is None or not self._is_current(index, observation):
            return
        match observation:
            case JobSubmitted():
                self.state.accept(index, observation.job_id)
            case SubmissionRefused():
                message = one_line(observation.message)
                self._end(
                    index,
                    Finished(phase=NodePhase.ERROR, reason=observation.reason, message=message),
                    now,
                    final=True,
                )
            case JobSeen():
                self._seen(index, observation, now)
            case JobLost():
                message = f"Bacalhau no longer knows job {self.state.nodes[index].job_id}."
                self._end(index, Finished(phase=NodePhase.ERROR, reason="JobLost", message=message), now)

    def _found(self, observation: JobObservation) -> int | None:
        """Give the number of the node that was observed. An item that is not known yet is from now on."""
        item = parse_item(observation.node)
        if (
            item
            and observation.node not in self.index
            and self.is_news(observation.node, observation.attempt)
        ):
            self._know_items(self.graph.index[item[0]], item[1] + 1)
        return self.index.get(observation.node)

    def _is_current(self, index: int, observation: JobObservation) -> bool:
        """Tell whether this is news of a node's latest attempt.

        A job found in Bacalhau may be of a newer attempt than what is known. Late news of an attempt that has been replaced is not news.
        """
        node = self.state.nodes[index]
        if isinstance(observation, JobSeen):
            is_newer = observation.attempt > node.attempt
            return is_newer or (observation.attempt == node.attempt and node.phase is not NodePhase.PENDING)
        return observation.attempt == node.attempt and node.phase.is_live

    def _seen(self, index: int, observation: JobSeen, now: float) -> None:
        node, job = self.state.nodes[index], observation.sighting.job
        self._alarms.drop(index)
        if node.phase.is_terminal:
            self._recall_stdout(node, observation, now)
            return
        node.attempt, node.started_at, node.retry_at = observation.attempt, job.created_at, None
        self.state.accept(index, job.id)
        node.first_started_at = job.created_at if node.first_started_at is None else node.first_started_at
        match judge(observation.sighting, now):
            case Unfinished() as verdict:
                self._unfinished(index, verdict, observation, now)
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

    def _unfinished(self, index: int, verdict: Unfinished, observation: JobSeen, now: float) -> None:
        node = self.state.nodes[index]
        node.running_since = verdict.running_since
        if (node.message, node.reason) != (verdict.message, None):
            node.message, node.reason = verdict.message, None
            self.state.changed.add(index)
        self._adopt(index, verdict.phase)
        if not node.stopping and not self._stop_if_late(index, now):
            self._set_alarm(index, observation, verdict.recheck_at)

    def _adopt(self, index: int, phase: NodePhase) -> None:
        if self.state.nodes[index].phase is not phase:
            self.state.move(index, phase)

    # What time alone changes

    def _set_alarm(self, index: int, seen: JobSeen, recheck_at: float | None) -> None:
        deadline = node_deadline(self.nodes[index].spec, self.state.nodes[index])
        times = [time for time in (recheck_at, deadline.time if deadline else None) if time is not None]
        if times:
            self._alarms.put(index, seen, min(times))

    def _stop_if_late(self, index: int, now: float) -> bool:
        """Stop a node that has taken too long; tell whether it has."""
        deadline = node_deadline(self.nodes[index].spec, self.state.nodes[index])
        is_late = deadline is not None and now >= deadline.time
        if deadline and is_late:
            self._stop(index, StopCause.TIMED_OUT, deadline.message)
        return is_late

    def _look_again(self, index: int, seen: JobSeen | None, now: float) -> None:
        if self.state.nodes[index].retry_at is not None:
            self.state.nodes[index].retry_at = None
            self._line_up(index)
        elif seen and self.state.nodes[index].phase.is_live:
            self._seen(index, seen, now)

    # How an attempt ends

    def _end(self, index: int, verdict: Finished, finished_at: float, *, final: bool = False) -> None:
        """Note how an attempt ended, and with it the node, unless another attempt follows. None does if this is ``final``."""
        node = self.state.nodes[index]
        self._alarms.drop(index)
        node.finished_at = finished_at
        node.reason, node.message = verdict.reason, verdict.message
        node.exit_code, node.artifact = verdict.exit_code, verdict.artifact
        node.stdout, node.stopping = verdict.stdout, False
        node.failures += verdict.phase is NodePhase.FAILED
        node.errors += verdict.phase is NodePhase.ERROR
        self.state.move(index, verdict.phase)
        if verdict.phase is not NodePhase.SUCCEEDED:
            if not final and verdict.reason not in ENDED_BY_THE_RUN and self._try_again(index):
                return
            self._report_failure(index)
        self._ended.append(index)

    def _try_again(self, index: int) -> bool:
        """Have a node wait for its next attempt, if its policy says so."""
        node = self.state.nodes[index]
        try:
            start = self._retry_time(self.nodes[index], node)
        except RenderError as error:
            node.message = one_line(f"{node.message or node.reason}; {error}")
            return False
        if start is None:
            return False
        said = f"attempt {node.attempt} {node.phase.value}: {node.message or node.reason}"
        self._warn(
            "AttemptFailed", f'Node "{self._name(index)}": {said}; the next starts at {timestamp(start)}.'
        )
        node.remember_attempt()
        node.clear_attempt()
        node.reason, node.message, node.retry_at = RETRYING, said, start
        self.state.move(index, NodePhase.PENDING)
        self._alarms.put(index, None, start)
        return True

    def _retry_time(self, compiled: CompiledNode, node: NodeState) -> float | None:
        retry = compiled.spec.retry
        if retry is None or not is_within_budget(
            retry, node.phase, failures=node.failures, errors=node.errors
        ):
            return None
        finished_at = node.finished_at or 0.0
        first_started_at = finished_at if node.first_started_at is None else node.first_started_at
        last = {
            "phase": node.phase.value,
            "attempt": node.attempt,
            "exitCode": node.exit_code,
            "reason": node.reason or "",
            "message": node.message or "",
            "stdout": node.stdout or "",
            "seconds": finished_at - (node.started_at or finished_at),
        }
        if compiled.retry_condition and not condition_holds(
            compiled.retry_condition,
            self._variables(compiled, last=last),
            field=f"{compiled.field}.retry.condition",
        ):
            return None
        start = next_start(
            retry.backoff,
            ended=node.failures + node.errors,
            finished_at=finished_at,
            first_started_at=first_started_at,
            salt=f"{self.context.uid}/{compiled.name}/{node.attempt}",
        )
        deadline = total_deadline(compiled.spec, node)
        return None if start is None or (deadline and start >= deadline.time) else start

    def _replace(self, index: int, verdict: Broken, finished_at: float) -> None:
        node = self.state.nodes[index]
        node.lost += 1
        if node.lost > MAX_REPLACEMENTS:
            message = f"{verdict.message} (the platform lost {node.lost} attempts)"
            self._end(
                index, Finished(phase=NodePhase.ERROR, reason=verdict.reason, message=message), finished_at
            )
            return
        message = f'Node "{self._name(index)}": attempt {node.attempt} is replaced: {verdict.message}.'
        self._warn("AttemptReplaced", message)
        node.clear_attempt()
        node.reason, node.message = REPLACED, verdict.message
        self.state.move(index, NodePhase.PENDING)
        self._line_up(index)

    def _line_up(self, index: int) -> None:
        """Have a node's next attempt start when there is room, if it is known that the node waits for no other."""
        if not self._settled or self.state.nodes[index].waiting_for:
            return
        item = self.nodes[index].item
        if item is None or self._fan_outs[item.index].admit(index, self.nodes[index].spec):
            heapq.heappush(self._ready, index)

    def _report_failure(self, index: int) -> None:
        node = self.state.nodes[index]
        self._warn(f"Node{node.phase.value}", f'Node "{self._name(index)}": {node.message or node.reason}')

    def _warn(self, reason: str, message: str) -> None:
        self._effects.append(Emit(type="Warning", reason=reason, message=message))

    # Approvals

    def _wait_for_approval(self, index: int, approval: Approval, now: float) -> None:
        node = self.state.nodes[index]
        node.started_at, node.reason = now, "WaitingForApproval"
        node.message = approval.message
        self.state.move(index, NodePhase.SUSPENDED)
        message = f'Node "{self._name(index)}" waits for a decision in spec.approvals.'
        self._effects.append(Emit(type="Normal", reason="WaitingForApproval", message=message))

    def _apply_decisions(self, controls: Controls, now: float) -> None:
        """Let approval nodes go on as somebody decided, or fail those that waited for too long."""
        for index in sorted(self.state.suspended):
            verdict = decided(self.nodes[index].spec, self.state.nodes[index], controls.decisions, now)
            if verdict:
                self._end(index, verdict, now, final=True)
        self._decide_dependents(now)

    # What follows for other nodes

    def _settle(self, now: float) -> None:
        """Work out once, from the phases that were found, who waits for what."""
        self._settled = True
        self._ended.clear()
        for index, node in enumerate(self.state.nodes):
            node.waiting_for = sum(
                not self.state.nodes[producer].phase.is_terminal
                for producer in self.nodes[index].dependencies
            )
        for index in range(self.graph.main):
            self._decide(index, now)

    def _decide_dependents(self, now: float) -> None:
        """Tell those who wait for the nodes that have ended. Iterative: a graph may be deeper than Python's stack."""
        while self._ended:
            ended = self.nodes[self._ended.popleft()]
            if ended.item:
                self._item_ended(ended.item.index, ended.index, now)
                continue
            went_well = is_satisfied(self.graph, self.state, ended.index)
            for dependent in ended.dependents:
                node = self.state.nodes[dependent]
                node.waiting_for -= 1
                # Nothing can be said of a node that waits for others still, and looking at all of these each time is quadratic.
                if dependent < self.graph.main and not (went_well and node.waiting_for):
                    self._decide(dependent, now)

    def _decide(self, index: int, now: float) -> None:
        """Omit a node, skip it, or let it start, if that can be said already."""
        node = self.state.nodes[index]
        if node.phase is not NodePhase.PENDING:
            if self._lacks_items(index):
                self._take_turn(index, now)
            return
        omitted = omission(self.graph, self.state, self.nodes[index])
        if omitted:
            self._leave_out(index, NodePhase.OMITTED, "DependencyNotMet", omitted.message)
        elif node.retry_at is not None:
            self._alarms.put(index, None, node.retry_at)
        else:
            self._take_turn(index, now)

    def _take_turn(self, index: int, now: float) -> None:
        """Skip a node, or let it or its items start, once all that it waits for is there."""
        if self.state.nodes[index].waiting_for or self._awaits_files(index) or self._skip(index, now):
            return
        if self.nodes[index].for_each:
            self._unfold(index, now)
        else:
            self._line_up(index)

    def _skip(self, index: int, now: float) -> bool:
        """Evaluate a node's condition; tell whether the node has ended by it. An attempt that was made is not skipped."""
        compiled = self.nodes[index]
        is_of_items = compiled.when_is_of_items and compiled.item is None
        if compiled.when is None or is_of_items or self.state.nodes[index].is_between_attempts:
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
        self._alarms.drop(index)
        node.reason, node.message, node.retry_at = reason, one_line(message), None
        self.state.move(index, phase)
        self._ended.append(index)
        for item in self._fan_outs[index].nodes if index in self._fan_outs else ():
            if self.state.nodes[item].phase is NodePhase.PENDING:
                self._leave_out(item, phase, reason, message)

    # What ends a run early

    def _apply_failure_policy(self, now: float) -> None:
        policy = self.graph.spec.failure_policy
        may_stop = policy is FailurePolicy.FAIL_FAST_CANCEL and self.state.stoppable
        if policy is FailurePolicy.RUN_ALL or not (self.state.pending or self.state.suspended or may_stop):
            return
        failed = first_failure(self.graph, self.state)
        if failed is None or failed >= self.graph.main:
            return
        why = f'node "{self._name(failed)}" did not succeed'
        if policy is FailurePolicy.FAIL_FAST_CANCEL:
            self._cancel(Scope.MAIN, "FailFast", why, now)
        else:
            # An attempt that the platform lost, or that is tried again, is nothing new: the next one still runs.
            self._omit_pending(Scope.MAIN, "FailFast", why, now, attempted=False)
        self._decide_dependents(now)

    def _apply_shutdown(self, controls: Controls, now: float) -> None:
        if controls.cancel:
            self._cancel(Scope.ALL, CANCELLED, "the DAG is being deleted", now)
        elif controls.shutdown is Shutdown.CANCEL:
            self._cancel(Scope.ALL, CANCELLED, "spec.shutdown is Cancel", now)
        elif controls.shutdown is Shutdown.CANCEL_RUN_FINALLY:
            self._cancel(Scope.MAIN, CANCELLED, "spec.shutdown is CancelRunFinally", now)
        elif controls.shutdown is Shutdown.STOP_RUN_FINALLY:
            why = "spec.shutdown is StopRunFinally"
            self._omit_pending(Scope.MAIN, CANCELLED, why, now, attempted=False)
        self._decide_dependents(now)

    def _apply_timeouts(self, now: float) -> None:
        """End what has taken too long."""
        scope = Scope.MAIN if self.state.unfinished else Scope.FINALLY
        deadline = self._deadline()
        if deadline and now >= deadline.time:
            self._cancel(scope, TIMED_OUT, deadline.message, now, StopCause.RUN_TIMED_OUT)
            self._decide_dependents(now)

    def _deadline(self) -> Deadline | None:
        timeouts, started_at = self.graph.spec.timeouts, self.started_at or 0.0
        if self.state.unfinished:
            return nodes_deadline(timeouts, started_at)
        ends = [
            node.finished_at for node in self.state.nodes[: self.graph.main] if node.finished_at is not None
        ]
        # A result that was taken over, or kept by a rerun, is older than the run.
        return finally_deadline(timeouts, started_at, max([started_at, *ends]))

    def _cancel(
        self, scope: Scope, reason: str, why: str, now: float, cause: StopCause = StopCause.CANCELLED
    ) -> None:
        """Start none of these nodes, and stop those that run."""
        self._omit_pending(scope, reason, why, now, attempted=True)
        for index in self._fan_outs:
            if scope.includes(self.state.nodes[index]) and self._lacks_items(index):
                self._settle_for_known_items(index, None, now)
        for index in sorted(self.state.stoppable):
            if scope.includes(self.state.nodes[index]):
                self._stop(index, cause, why)

    def _omit_pending(self, scope: Scope, reason: str, why: str, now: float, *, attempted: bool) -> None:
        """Leave out the nodes that wait; those between two attempts only if ``attempted``."""
        if self.state.pending or self.state.suspended or scope is not Scope.MAIN:
            for index, node in enumerate(self.state.nodes):
                waits = node.phase in (NodePhase.PENDING, NodePhase.SUSPENDED) and scope.includes(node)
                if waits and (attempted or node.is_new):
                    node.finished_at = now
                    self._leave_out(index, NodePhase.OMITTED, reason, why)

    def _stop(self, index: int, cause: StopCause, message: str) -> None:
        node = self.state.nodes[index]
        if node.stopping or node.job_id is None:
            return
        self._alarms.drop(index)
        self.state.ask_to_stop(index)
        reason = stop_reason(cause, message)
        self._effects.append(
            StopJob(node=self._name(index), attempt=node.attempt, job_id=node.job_id, reason=reason)
        )

    def _open_finally(self, now: float) -> None:
        """Let the last nodes start once all others have ended, however they ended."""
        if self._finally_is_open or self.state.unfinished:
            return
        self._finally_is_open = True
        for index in range(self.graph.main, len(self.graph.nodes)):
            self._decide(index, now)

    # How nodes start

    def _go_on(self, controls: Controls, now: float) -> None:
        """Start what may start. Some nodes end by that, as one whose job cannot be rendered, and let others start."""
        unfinished = -1
        while not controls.suspend and unfinished != self.state.unfinished:
            unfinished = self.state.unfinished
            self._start_ready(controls.parallelism, now)
            self._apply_decisions(controls, now)
            self._apply_failure_policy(now)
            self._open_finally(now)

    def _start_ready(self, parallelism: int | None, now: float) -> None:
        room = len(self.state.nodes) if parallelism is None else parallelism - self.state.live
        while self._ready and room > 0:
            index = heapq.heappop(self._ready)
            # A turn may have been used up by a job that was found, and the node be waiting for another one.
            if (
                self.state.nodes[index].phase is NodePhase.PENDING
                and self.state.nodes[index].retry_at is None
            ):
                room -= self._start(index, now)

    def _start(self, index: int, now: float) -> bool:
        """Submit a node's next attempt; tell whether it now takes a place."""
        node, compiled = self.state.nodes[index], self.nodes[index]
        if compiled.spec.suspend:
            self._wait_for_approval(index, compiled.spec.suspend, now)
            return False
        node.attempt += 1
        try:
            job = self._render(compiled, node.attempt)
        except RenderError as error:
            self._fail_to_start(index, error, now)
            self._decide_dependents(now)
            self._apply_failure_policy(now)
            return False
        # Why there is another attempt stays until its job is seen: a restart before that must not take it for a first one.
        self.state.move(index, NodePhase.SUBMITTED)
        self._effects.append(
            SubmitJob(node=compiled.name, attempt=node.attempt, job=job, bundles=self._bundles(compiled))
        )
        return True

    def _bundles(self, compiled: CompiledNode) -> tuple[str, ...]:
        return tuple(item.path for item in compiled.spec.inputs if self.index[item.from_] in self._fan_outs)

    def _fail_to_start(self, index: int, error: RenderError, now: float) -> None:
        verdict = Finished(phase=NodePhase.ERROR, reason="InvalidJob", message=one_line(str(error)))
        if index in self._fan_outs and self._fan_outs[index].nodes:
            self._settle_for_known_items(index, verdict, now)
        else:
            self._end(index, verdict, now, final=True)

    def _render(self, node: CompiledNode, attempt: int) -> dict[str, Any]:
        return render_job(
            node=node,
            context=self.context,
            attempt=attempt,
            results={item.from_: self._published(self.index[item.from_]) for item in node.spec.inputs},
            bindings=self._variables(node),
        )

    def _variables(self, node: CompiledNode, **more: Any) -> dict[str, Any]:
        """Give what the expressions of a node may read."""
        results = {self._name(index): self._result(index) for index in node.reads}
        if node.item:
            more |= {
                "item": self._fan_outs[node.item.index].value(node.item.number),
                "index": node.item.number,
            }
        if node.is_finally:
            # Not the nodes of finally: what one of them does must not change how another is rendered.
            ended = self.state.before_finally()
            more["run"] = {
                "phase": outcome(self.graph, ended).value,
                "message": failure_summary(self.graph, ended) or tally(ended),
            }
        return variables(self.graph, self.context, results, more)

    def _published(self, index: int) -> Result:
        node = self.state.nodes[index]
        if index not in self._fan_outs:
            return node.artifact
        items = enumerate(self._items(index))
        return {number: item.artifact for number, item in items if item.phase is NodePhase.SUCCEEDED}

    def _result(self, index: int) -> Mapping[str, Any]:
        node = self.state.nodes[index]
        return result_of_fan_out(node, self._items(index)) if index in self._fan_outs else result_of(node)

    def _items(self, index: int) -> list[NodeState]:
        return [self.state.nodes[item] for item in self._fan_outs[index].nodes]

    # Fan-outs

    def _recall_items(self, known: Mapping[str, NodeStatus]) -> None:
        """Take up what a status says of the items of fan-outs."""
        sizes: dict[int, int] = {}
        for name, number in filter(None, map(parse_item, known)):
            fan_out = self.graph.fan_out(name)
            if fan_out and number < MAX_NODES:
                sizes[fan_out.index] = max(sizes.get(fan_out.index, 0), number + 1)
        for index, size in sizes.items():
            for number in range(size):
                status = known.get(item_name(self._name(index), number))
                item = self._add_item(index, NodeState.from_status(status))
                if status is None or status.phase is not self.state.nodes[item].phase:
                    self.state.changed.add(item)

    def _know_items(self, index: int, size: int) -> None:
        """Have a fan-out hold so many items, which are under way then."""
        node = self.state.nodes[index]
        while len(self._fan_outs[index].nodes) < size:
            self.state.changed.add(self._add_item(index, NodeState(attempt=node.attempt)))
        if node.phase is NodePhase.PENDING:
            self.state.move(index, NodePhase.RUNNING)

    def _add_item(self, index: int, state: NodeState) -> int:
        fan_out, parent = self._fan_outs[index], self.nodes[index]
        number, item = len(fan_out.nodes), self.state.add_item(index, state)
        name = item_name(parent.name, number)
        self.nodes.append(parent.as_item(item, name, Item(parent.name, index, number)))
        self.index[name] = item
        fan_out.nodes.append(item)
        return item

    def _lacks_items(self, index: int) -> bool:
        """Tell whether a fan-out is under way of which it is not known what its items are, as after a restart."""
        fan_out = self._fan_outs.get(index)
        return fan_out is not None and fan_out.values is None and self.state.nodes[index].phase.is_live

    def _unfold(self, index: int, now: float) -> None:
        """Have the items of a fan-out take their turns."""
        compiled, fan_out, node = self.nodes[index], self._fan_outs[index], self.state.nodes[index]
        try:
            values = self._values(compiled, known=len(fan_out.nodes))
        except RenderError as error:
            self._fail_to_start(index, error, now)
            return
        if not values:
            self._leave_out(index, NodePhase.SKIPPED, "NoItems", "forEach has no items")
            return
        fan_out.values = values
        self._know_items(index, len(values))
        node.started_at = now if node.started_at is None else node.started_at
        fan_out.under_way.update(item for item in fan_out.nodes if self.state.nodes[item].phase.is_live)
        for item in fan_out.nodes:
            self._decide(item, now)
        self._check_on(index, now)

    def _values(self, compiled: CompiledNode, *, known: int) -> list[Any]:
        """Work out what the items of a fan-out are.

        Raises:
            RenderError: its list has no value, or is too long.
        """
        field = f"{compiled.field}.forEach"
        values = (
            items_of(compiled.for_each.render(self._variables(compiled)), field) if compiled.for_each else []
        )
        total = len(self.nodes) - known + len(values)
        if total > MAX_NODES:
            raise RenderError(
                field, f"{len(values)} items would make {total} nodes; a DAG has at most {MAX_NODES}."
            )
        return values

    def _settle_for_known_items(self, index: int, verdict: Finished | None, now: float) -> None:
        """Have no more items follow, and those that wait not start. ``verdict`` is how the fan-out ends then, if not by them."""
        fan_out = self._fan_outs[index]
        fan_out.values, fan_out.verdict = (None,) * len(fan_out.nodes), verdict
        if self.state.nodes[index].phase is NodePhase.PENDING:
            self.state.move(index, NodePhase.RUNNING)
        for item in fan_out.nodes:
            if verdict and self.state.nodes[item].phase is NodePhase.PENDING:
                self._leave_out(item, NodePhase.OMITTED, verdict.reason, verdict.message or "")
        self._check_on(index, now)

    def _item_ended(self, index: int, item: int, now: float) -> None:
        for following in self._fan_outs[index].released(item, self.nodes[index].spec):
            if self.state.nodes[following].phase is NodePhase.PENDING:
                heapq.heappush(self._ready, following)
        self._check_on(index, now)

    def _check_on(self, index: int, now: float) -> None:
        """End a fan-out whose items have ended, or note that it will fail."""
        node, spec = self.state.nodes[index], self.nodes[index].spec.for_each
        if spec is None or node.items is None or not node.phase.is_live or self._lacks_items(index):
            return
        if not any(count for phase, count in node.items.items() if not phase.is_terminal):
            self._end_fan_out(index, self._fan_outs[index].verdict or self._verdict(index, spec))
        elif node.failing_since is None and cannot_succeed(spec, node.items):
            node.failing_since, node.message = now, self._verdict(index, spec).message

    def _verdict(self, index: int, spec: ForEach) -> Finished:
        names = [self._name(item) for item in self._fan_outs[index].nodes]
        return verdict_of(spec, list(zip(names, self._items(index), strict=True)))

    def _end_fan_out(self, index: int, verdict: Finished) -> None:
        node = self.state.nodes[index]
        node.reason, node.message, node.failing_since = verdict.reason, verdict.message, None
        node.finished_at = max((item.finished_at or 0.0 for item in self._items(index)), default=0.0) or None
        self.state.move(index, verdict.phase)
        if verdict.phase in NOT_SUCCESSFUL:
            self._report_failure(index)
        self._ended.append(index)

    # Files in results

    def _awaits_files(self, index: int) -> bool:
        """Ask what lies in the results of which a node reads the files; tell whether an answer is outstanding."""
        awaits = False
        for producer in self.nodes[index].listings:
            node = self.state.nodes[producer]
            if node.artifact is None or node.files is not None:
                continue
            awaits = True
            if producer not in self._asked:
                self._asked.add(producer)
                self._effects.append(ListFiles(node=self._name(producer), artifact=node.artifact))
        return awaits

    def _listed(self, index: int, files: tuple[str, ...], now: float) -> None:
        self.state.nodes[index].files = files
        for reader in self._readers(index):
            self._decide(reader, now)

    def _not_listed(self, index: int, message: str, now: float) -> None:
        self._asked.discard(index)
        for reader in self._readers(index):
            field = f"{self.nodes[reader].field}: nodes.{self._name(index)}.outputs.files"
            self._fail_to_start(reader, RenderError(field, message), now)

    def _readers(self, index: int) -> list[int]:
        """Give the nodes that wait for nothing but the files in this result."""
        return [
            reader
            for reader in self.nodes[index].dependents
            if index in self.nodes[reader].listings
            and self.state.nodes[reader].waiting_for == 0
            and (self.state.nodes[reader].phase is NodePhase.PENDING or self._lacks_items(reader))
            and (reader < self.graph.main or self._finally_is_open)
        ]

    # What the run comes to

    def _conclude(self, controls: Controls, now: float) -> None:
        was = self.phase
        self.phase = run_phase(self.graph, self.state, suspended=controls.suspend)
        if self.phase.is_terminal:
            self.completed_at = now
        else:
            self._effects += [WakeAt(time=time) for time in self._wake_times()]
        if self.phase is not was:
            self._effects.append(self._announcement())

    def _wake_times(self) -> Iterator[float]:
        if (alarm := self._alarms.next_time()) is not None:
            yield alarm
        if (deadline := self._deadline()) is not None:
            yield deadline.time
        for index in self.state.suspended:
            limit = approval_deadline(self.nodes[index].spec, self.state.nodes[index])
            if limit:
                yield limit.time

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
                    message=closing_words(self.graph, self.state),
                )

    def missing_stdout(self) -> list[tuple[str, str]]:
        """Name the finished jobs, as pairs of node and job, whose stdout is read by nodes that may yet start.

        A node that runs already counts: if the platform loses its attempt, the next one is rendered again.
        """
        unfinished = [
            self.nodes[index] for index, node in enumerate(self.state.nodes) if not node.phase.is_terminal
        ]
        read = {producer for node in unfinished for producer in node.reads}
        needed = read | {
            item for index in read & self._fan_outs.keys() for item in self._fan_outs[index].nodes
        }
        return [
            (self._name(index), job_id)
            for index in sorted(needed)
            if self.state.nodes[index].phase.is_terminal
            and self.state.nodes[index].stdout is None
            and (job_id := self.state.nodes[index].job_id)
        ]

    def _name(self, index: int) -> str:
        return self.nodes[index].name


def _recalled(graph: Graph, known: Mapping[str, NodeStatus]) -> RunState:
    """Take up what a status says of the nodes. What cannot be taken up as it is written counts as changed."""
    nodes = [NodeState.from_status(known.get(node.name)) for node in graph.nodes]
    for node in graph.nodes[graph.main :]:
        nodes[node.index].is_finally = True
    state = RunState(nodes)
    state.changed.update(
        node.index
        for node in graph.nodes
        if node.name in known and known[node.name].phase is not state.nodes[node.index].phase
    )
    return state
