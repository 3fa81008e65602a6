"""How a run advances: observations in, effects out.

A ``Run`` is pure: it holds no clock, no connection and no task, and nothing in it fails for a reason outside its arguments. What it
decides follows from the graph, from what was observed and from the controls, so a run that is rebuilt from Bacalhau's jobs decides
as the lost one would have. A pass costs what changed: an observation touches its node and the nodes that depend on it.

Who takes part is in ``roster``, what is known of each in ``state``, and what nodes read of each other in ``reading``. The rules themselves are
elsewhere, one to a file: ``verdict`` (what a job's state means), ``retry``, ``deadlines``, ``approval``, ``readiness`` (when a node starts), ``fan_out``
(what its items come to), ``cuts`` (what ends a run early), ``outcome`` (what the run comes to).
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from controller.api.bacalhau import JobState
from controller.api.node import Approval, ForEach
from controller.api.status import DAGStatus, NodePhase, RunPhase
from controller.engine.alarms import Alarms
from controller.engine.approval import WAITING_FOR_APPROVAL, approval_deadline, decided
from controller.engine.cuts import Cut, Scope, by_deadline, by_failure_policy, by_shutdown
from controller.engine.deadlines import Deadline, node_deadline, run_deadline
from controller.engine.effects import Effect, Emit, ListFiles, StopJob, SubmitJob, WakeAt
from controller.engine.expressions import as_text
from controller.engine.fan_out import cannot_succeed
from controller.engine.fan_out import verdict as verdict_of
from controller.engine.graph import Graph
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
    SubmissionWithheld,
)
from controller.engine.outcome import announcement, run_phase
from controller.engine.problems import RenderError, cut, one_line
from controller.engine.readiness import is_satisfied, omission, skip_message
from controller.engine.reading import Reader
from controller.engine.rendering import RunContext
from controller.engine.retry import next_attempt
from controller.engine.roster import Roster
from controller.engine.state import REPLACED, RETRYING, UNSUCCESSFUL, NodeState, timestamp, unix_time
from controller.engine.stopping import ENDED_BY_THE_RUN, StopCause, stop_reason
from controller.engine.verdict import Broken, Finished, Hopeless, Unfinished, judge

MAX_ITEM_SHOWN = 64
"""Characters of an item in the status. A DAG may have thousands."""

MAX_REPLACEMENTS = 5
"""Attempts that the platform may lose before the node is an Error."""

WITHHELD_SECONDS = 5.0
"""After which an attempt that lacked something is made again. All those of a run look for it together, so this costs little."""


class Run:
    """One run of one graph. Created anew or from a status; advanced by ``advance``."""

    def __init__(self, graph: Graph, context: RunContext, status: DAGStatus | None = None) -> None:
        self.graph = graph
        self.context = context
        self.phase = (status.phase if status else None) or RunPhase.PENDING
        self.started_at = unix_time(status.start_time) if status else None
        self.completed_at = unix_time(status.completion_time) if status else None
        self.roster = Roster(graph, status.nodes if status else {})
        self.reader = Reader(self.roster, context)
        self.nodes, self.state = self.roster.nodes, self.roster.state
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
        self._cut(by_failure_policy(self.graph, self.state), now)
        self._cut(by_shutdown(controls), now)
        self._cut(by_deadline(self.state, self._deadline(), now), now)
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
        return self.state.nodes[self.roster.index[name]]

    # What was observed

    def _observe(self, observation: Observation, now: float) -> None:
        match observation:
            case FilesListed():
                self._listed(self.roster.index[observation.node], observation.files, now)
            case FilesUnknown():
                self._not_listed(self.roster.index[observation.node], observation.message, now)
            case _:
                self._observe_job(observation, now)

    def _observe_job(self, observation: JobObservation, now: float) -> None:
        index = self.roster.locate(observation.node, observation.attempt)
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
            case SubmissionWithheld():
                self._withhold(index, observation, now)
            case JobSeen():
                self._seen(index, observation, now)
            case JobLost():
                message = f"Bacalhau no longer knows job {self.state.nodes[index].job_id}."
                self._end(index, Finished(phase=NodePhase.ERROR, reason="JobLost", message=message), now)

    def _withhold(self, index: int, observation: SubmissionWithheld, now: float) -> None:
        """Have an attempt that was not sent made again, as the same one, a while later."""
        node = self.state.nodes[index]
        node.attempt -= 1
        # Why there is another attempt stays, as in _start.
        node.reason = node.reason if node.reason in (RETRYING, REPLACED) else observation.reason
        node.message, node.retry_at = one_line(observation.message), now + WITHHELD_SECONDS
        self.state.move(index, NodePhase.PENDING)
        self._alarms.put(index, None, node.retry_at)

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
            self._recall_stdout(index, observation, now)
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
                runs = job.state is JobState.RUNNING
                self._adopt(index, NodePhase.RUNNING if runs else NodePhase.QUEUED)
                self._stop(index, verdict.cause, verdict.message)

    def _recall_stdout(self, index: int, observation: JobSeen, now: float) -> None:
        """After a restart, take up what a finished job printed: a status does not hold it."""
        node, verdict = self.state.nodes[index], judge(observation.sighting, now)
        if node.attempt == observation.attempt and isinstance(verdict, Finished):
            node.stdout = verdict.stdout
            self.reader.forget(index)

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
        self._settle_for_default(index)
        self._ended.append(index)

    def _settle_for_default(self, index: int) -> None:
        """Have a node that has ended without a result have the one that its author gave for this case."""
        node = self.state.nodes[index]
        if node.artifact is None and index not in self.roster.fan_outs:
            node.artifact = self.nodes[index].spec.default_outputs

    def _try_again(self, index: int) -> bool:
        """Have a node wait for its next attempt, if its policy says so."""
        node = self.state.nodes[index]
        try:
            salt = f"{self.context.uid}/{self._name(index)}/{node.attempt}"
            start = next_attempt(self.nodes[index], node, self.reader, salt=salt)
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
        if not self._settled or self.state.nodes[index].waiting_for or self._awaits_files(index):
            return
        item = self.nodes[index].item
        fan_out = self.roster.fan_outs[item.index] if item else None
        if fan_out is None or fan_out.admit(index, self.nodes[index].spec):
            heapq.heappush(self._ready, index)
        elif fan_out.verdict:
            self._leave_out(index, NodePhase.OMITTED, fan_out.verdict.reason, fan_out.verdict.message or "")

    def _report_failure(self, index: int) -> None:
        node = self.state.nodes[index]
        self._warn(f"Node{node.phase.value}", f'Node "{self._name(index)}": {node.message or node.reason}')

    def _warn(self, reason: str, message: str) -> None:
        self._effects.append(Emit(type="Warning", reason=reason, message=message))

    # Approvals

    def _wait_for_approval(self, index: int, approval: Approval, now: float) -> None:
        node = self.state.nodes[index]
        node.started_at, node.message = now, approval.message
        node.reason = "Waiting" if approval.duration else WAITING_FOR_APPROVAL
        self.state.move(index, NodePhase.SUSPENDED)
        if not approval.duration:
            message = f'Node "{self._name(index)}" waits for a decision in spec.approvals.'
            self._effects.append(Emit(type="Normal", reason=node.reason, message=message))

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
        for index in self.roster.fan_outs:
            self._check_on(index, now)
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
            if self.roster.lacks_items(index):
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
            message = skip_message(compiled, compiled.when, self.reader.variables(compiled))
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
        self._settle_for_default(index)
        self.state.move(index, phase)
        self._ended.append(index)
        for item in self.roster.fan_outs[index].nodes if index in self.roster.fan_outs else ():
            if self.state.nodes[item].phase is NodePhase.PENDING:
                self._leave_out(item, phase, reason, message)

    # What ends a run early

    def _cut(self, cut: Cut | None, now: float) -> None:
        """Start none of these nodes, and stop those that run if the cut has a cause."""
        if cut is None:
            return
        self._omit_pending(cut, now)
        if cut.cause:
            for index in sorted(self.state.stoppable):
                if cut.scope.includes(self.state.nodes[index]):
                    self._stop(index, cut.cause, cut.why)
            self._settle_for_known_items(cut.scope, now)
        self._decide_dependents(now)

    def _omit_pending(self, cut: Cut, now: float) -> None:
        pending = self.state.pending + (0 if cut.scope is Scope.MAIN else self.state.pending_finally)
        if not (pending or self.state.suspended):
            return
        for index, node in enumerate(self.state.nodes):
            if cut.scope.includes(node) and (node.is_waiting if cut.cause else node.is_new):
                node.finished_at = now
                self._leave_out(index, NodePhase.OMITTED, cut.reason, cut.why)

    def _settle_for_known_items(self, scope: Scope, now: float) -> None:
        """Have no more items become known than there are, since none of them would start."""
        for index in self.roster.fan_outs:
            if scope.includes(self.state.nodes[index]) and self.roster.lacks_items(index):
                self._close(index, None, now)

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
            self._cut(by_failure_policy(self.graph, self.state), now)
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
            job = self.reader.job(compiled, node.attempt)
        except RenderError as error:
            self._fail_to_start(index, error, now)
            self._decide_dependents(now)
            self._cut(by_failure_policy(self.graph, self.state), now)
            return False
        # Why there is another attempt stays until its job is seen: a restart before that must not take it for a first one.
        self.state.move(index, NodePhase.SUBMITTED)
        self._effects.append(
            SubmitJob(
                node=compiled.name,
                attempt=node.attempt,
                job=job,
                bundles=self.reader.bundles(compiled),
                secrets=compiled.secrets,
            )
        )
        return True

    def _fail_to_start(self, index: int, error: RenderError, now: float) -> None:
        verdict = Finished(phase=NodePhase.ERROR, reason="InvalidJob", message=one_line(str(error)))
        if index in self.roster.fan_outs and self.roster.fan_outs[index].nodes:
            self._close(index, verdict, now)
        else:
            self._end(index, verdict, now, final=True)

    # Fan-outs

    def _unfold(self, index: int, now: float) -> None:
        """Have the items of a fan-out take their turns."""
        compiled, fan_out, node = self.nodes[index], self.roster.fan_outs[index], self.state.nodes[index]
        try:
            values = self.reader.values(compiled)
        except RenderError as error:
            self._fail_to_start(index, error, now)
            return
        if not values:
            self._leave_out(index, NodePhase.SKIPPED, "NoItems", "forEach has no items")
            return
        fan_out.values = values
        self.roster.know_items(index, len(values))
        node.started_at = now if node.started_at is None else node.started_at
        fan_out.under_way.update(item for item in fan_out.nodes if self.state.nodes[item].is_under_way)
        for item, value in zip(fan_out.nodes, values, strict=False):
            self.state.name_item(item, cut(as_text(value), MAX_ITEM_SHOWN))
            self._decide(item, now)
        self._check_on(index, now)

    def _close(self, index: int, verdict: Finished | None, now: float) -> None:
        """Have no more items of a fan-out follow or start. ``verdict`` is how it ends then, if not by those that it has."""
        fan_out = self.roster.fan_outs[index]
        fan_out.is_closed, fan_out.verdict = True, verdict
        self.roster.know_items(index, len(fan_out.nodes))
        for item in fan_out.nodes:
            if verdict and self.state.nodes[item].phase is NodePhase.PENDING:
                self._leave_out(item, NodePhase.OMITTED, verdict.reason, verdict.message or "")
        self._check_on(index, now)

    def _item_ended(self, index: int, item: int, now: float) -> None:
        for following in self.roster.fan_outs[index].released(item, self.nodes[index].spec):
            if self.state.nodes[following].phase is NodePhase.PENDING:
                heapq.heappush(self._ready, following)
        self._check_on(index, now)

    def _check_on(self, index: int, now: float) -> None:
        """End a fan-out whose items have ended, or note that it will fail."""
        node, spec = self.state.nodes[index], self.nodes[index].spec.for_each
        if spec is None or node.items is None or not node.phase.is_live:
            return
        knows_all = not self.roster.lacks_items(index)
        if knows_all and not any(count for phase, count in node.items.items() if not phase.is_terminal):
            self._end_fan_out(index, self.roster.fan_outs[index].verdict or self._verdict(index, spec))
        elif node.failing_since is None and cannot_succeed(spec, node.items, all_known=knows_all):
            self.state.expect_failure(index, self._verdict(index, spec).message or "", now)

    def _verdict(self, index: int, spec: ForEach) -> Finished:
        names = [self._name(item) for item in self.roster.fan_outs[index].nodes]
        return verdict_of(spec, list(zip(names, self.roster.items(index), strict=True)))

    def _end_fan_out(self, index: int, verdict: Finished) -> None:
        node = self.state.nodes[index]
        node.reason, node.message = verdict.reason, verdict.message
        node.finished_at = (
            max((item.finished_at or 0.0 for item in self.roster.items(index)), default=0.0) or None
        )
        self.state.move(index, verdict.phase)
        if verdict.phase in UNSUCCESSFUL:
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
        self.reader.forget(index)
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
            and (self.state.nodes[reader].phase is NodePhase.PENDING or self.roster.lacks_items(reader))
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
            self._effects.append(announcement(self.graph, self.state, self.phase))

    def _wake_times(self) -> Iterator[float]:
        if (alarm := self._alarms.next_time()) is not None:
            yield alarm
        if (deadline := self._deadline()) is not None:
            yield deadline.time
        for index in self.state.suspended:
            limit = approval_deadline(self.nodes[index].spec, self.state.nodes[index])
            if limit:
                yield limit.time

    def _deadline(self) -> Deadline | None:
        return run_deadline(self.graph.spec.timeouts, self.state, self.started_at or 0.0)

    def _name(self, index: int) -> str:
        return self.nodes[index].name
