"""A run in progress: the engine's ``Run`` with all that carries out its effects.

Observations from every side (submissions, the tracker, stops) are put into an inbox and the DAG's key is woken; ``advance`` then takes
them in together. Nothing here waits for the network: what takes time is a task of its own, and ends with the run.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from controller import metrics
from controller.api.bacalhau import Job, JobSighting
from controller.api.dag import DAGSpec
from controller.api.status import NodePhase
from controller.bacalhau.errors import BacalhauError, Refused, UnexpectedAnswer
from controller.bacalhau.listing import list_files
from controller.bacalhau.submission import Submitted, ensure_job
from controller.engine import (
    Controls,
    Emit,
    FilesListed,
    FilesUnknown,
    JobLost,
    JobSeen,
    JobSubmitted,
    ListFiles,
    Observation,
    Reporter,
    Run,
    StopJob,
    SubmissionRefused,
    SubmissionWithheld,
    SubmitJob,
    WakeAt,
    graph_hash,
    misdirected,
)
from controller.kube.backoff import Backoff
from controller.kube.events import EventRecorder
from controller.kube.status import StatusWriter
from controller.reconciler.access import Unresolved
from controller.reconciler.connection import Connection, Problem, problem_of
from controller.reconciler.last_words import has_last_words, with_last_words
from controller.reconciler.recovery import Recovered
from controller.reconciler.secrets import Filled, SecretReader

SPEC_CHANGED = Problem(
    "SpecChanged",
    "The graph was changed after the DAG had started, and it cannot change any more. Restore the spec, or create a "
    "DAG of another name; suspend and parallelism are what may change.",
)

RETRIES = Backoff(base=0.5, cap=30)

REPORT_SECONDS = 0.1
"""Between two reports, unless the phase changes. A status is not written more often than that, and in a wide run every
job that starts or ends would cost a report."""

STARTS_AT_ONCE = 50
"""Jobs that one advance starts at most. To render them takes time in which nobody else has a turn: other DAGs, the tracker, the Lease."""

REST_SECONDS = 10.0
"""How long a run rests that has failed in a way that nobody foresaw, before it is built anew; it may well fail again."""

Holder = tuple[str, str, int]
"""An attempt as it holds a place among the connection's jobs: UID of the DAG, node, number of the attempt."""

T = TypeVar("T")


class ActiveRun:
    """One run that has not ended.

    Args:
        run: the engine's run, before its first advance.
        reporter: writes the run down.
        connection: where its jobs go.
        exclusive: whether the run has its Bacalhau namespace for itself.
        writer: brings its status to the API server.
        events: tells people.
        secrets: reads what jobs hold of Secrets.
        wake: has ``advance`` called soon, or after so many seconds.
    """

    def __init__(
        self,
        *,
        run: Run,
        reporter: Reporter,
        connection: Connection,
        exclusive: bool,
        writer: StatusWriter,
        events: EventRecorder,
        secrets: SecretReader,
        wake: Callable[[float], None],
    ) -> None:
        self.run = run
        self.connection = connection
        self.writer = writer
        self._reporter = reporter
        self._exclusive = exclusive
        self._events = events
        self._secrets = secrets
        self._wake = wake
        self._inbox: list[Observation] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._announcements: list[Emit] = []
        self._generation = 0
        self._hindrance: Problem | None = None
        self._holders: set[Holder] = set()
        self._followed: set[str] = set()
        self._troubles: dict[Holder, Problem] = {}
        self._failure: BaseException | None = None
        self._resting = False
        self._said: tuple[str, Problem | None] | None = None
        self._report_planned = False
        self._checked: int | None = None
        self._spec_problem: Problem | None = None

    @property
    def _uid(self) -> str:
        return self.run.context.uid

    @property
    def problem(self) -> Problem | None:
        """What keeps the run from going on: something with the connection, or else with one of its own jobs."""
        return self.connection.problem or next(iter(self._troubles.values()), None)

    def hindrance(self, generation: int, spec: Callable[[], DAGSpec]) -> Problem | None:
        """Say what keeps the run from doing what its spec says."""
        if self._checked != generation:
            self._checked = generation
            self._spec_problem = self._problem_of(spec)
        if self._spec_problem is SPEC_CHANGED:
            return SPEC_CHANGED
        return self.problem or self._spec_problem

    def _problem_of(self, spec: Callable[[], DAGSpec]) -> Problem | None:
        """Notice that the graph was changed, or a decision misspelled. The run goes on with the graph that it started with."""
        try:
            newest = spec()
        except ValidationError:
            return SPEC_CHANGED
        if graph_hash(newest) != self.run.graph.hash:
            return SPEC_CHANGED
        problem = misdirected(newest)
        return Problem("UnknownApproval", str(problem)) if problem else None

    def observe(self, observations: Iterable[Observation]) -> None:
        """Take note of facts, and advance soon."""
        self._inbox.extend(observations)
        self._wake(0)

    def advance(self, controls: Controls, *, generation: int, hindrance: Problem | None) -> None:
        """Take in what was observed, do what follows, and report it soon; at once if the run has ended.

        Raises:
            Exception: something failed a while ago in a way that nobody foresaw. The run is to be closed, and to be built anew.
        """
        if self._failure:
            raise self._failure
        if self._resting:
            return
        observations, self._inbox = self._inbox, []
        now = time.time()
        for observation in observations:
            self._release(observation)
        room = self.connection.slots.room(self._uid)
        effects = self.run.advance(observations, self._within(controls, min(room, STARTS_AT_ONCE)), now)
        for effect in effects:
            match effect:
                case SubmitJob():
                    self._take(effect.node, effect.attempt)
                    self._spawn(self._submit(effect))
                case StopJob():
                    self._spawn(self._stop(effect))
                case ListFiles():
                    self._spawn(self._list(effect))
                case WakeAt():
                    self._wake(effect.time - now)
                case Emit():
                    self._announcements.append(effect)
        self._drop_idle_troubles()
        self._queue_up(room, started=sum(isinstance(effect, SubmitJob) for effect in effects))
        self._generation, self._hindrance = generation, hindrance
        self._plan_report()

    def _within(self, controls: Controls, room: int) -> Controls:
        """Let only so many more nodes run."""
        allowed = len(self._holders) + room
        return replace(controls, parallelism=min(controls.parallelism or allowed, allowed))

    def _queue_up(self, room: int, *, started: int) -> None:
        """Wait in line for more places, behind the others if some were to be had, or leave the line, and go on after them."""
        slots = self.connection.slots
        if room:
            slots.leave(self._uid)
        if self.run.wants_room and started == room:
            slots.wait(self._uid, partial(self._wake, 0))
            return
        slots.leave(self._uid)
        if self.run.wants_room and started == STARTS_AT_ONCE:
            self._wake(0)

    def track(self, node: str, attempt: int, job_id: str, *, submitted_at: float) -> None:
        """Have every change of a job observed from now on."""
        self._take(node, attempt)
        self._followed.add(job_id)
        self.connection.tracker.track(
            self.run.context.bacalhau_namespace,
            job_id,
            submitted_at=submitted_at,
            on_change=partial(self._seen, node, attempt),
            on_lost=partial(self._lost, node, attempt, job_id),
            exclusive_namespace=self._exclusive,
        )

    def resume(self, recovered: Recovered) -> None:
        """Go on where an earlier process stopped: take in what was found and follow the jobs that have not ended."""
        for seen in recovered.unfinished:
            job = seen.sighting.job
            self.track(seen.node, seen.attempt, job.id, submitted_at=job.created_at)
        self.observe(recovered.sightings)
        found = {seen.node for seen in recovered.sightings}
        for node in self.run.nodes:
            state = self.run.state.nodes[node.index]
            if state.phase.is_live and state.job_id and node.name not in found:
                submitted_at = state.started_at or time.time()
                self.track(node.name, state.attempt, state.job_id, submitted_at=submitted_at)

    async def aclose(self) -> None:
        """End everything that is under way for this run. Its jobs go on."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.connection.slots.leave(self._uid)
        for holder in self._holders:
            self.connection.slots.release(holder)
        for job_id in self._followed:
            self.connection.tracker.forget(job_id)
        await self.writer.close()

    # Carrying out effects

    async def _submit(self, effect: SubmitJob) -> None:
        """Submit until it is decided. The first try of a process may be in doubt too: see ``recovery``."""
        holder = self._holder(effect.node, effect.attempt)
        try:
            filled = await self._secrets.fill(effect.job, effect.secrets)
        except Unresolved as error:
            self._withhold(effect, error.problem)
            return
        outcome = await self._persist(holder, partial(self._try_to_submit, effect, filled))
        if isinstance(outcome, Refused):
            self._refused(effect, outcome)
        else:
            self._submitted(effect, outcome)

    def _withhold(self, effect: SubmitJob, problem: Problem) -> None:
        self._set_trouble(self._holder(effect.node, effect.attempt), problem)
        self.observe(
            [
                SubmissionWithheld(
                    node=effect.node, attempt=effect.attempt, reason=problem.reason, message=problem.message
                )
            ]
        )

    async def _try_to_submit(self, effect: SubmitJob, filled: Filled, failures: int) -> Submitted | Refused:
        try:
            async with self.connection.submissions:
                return await ensure_job(
                    self.connection.client,
                    filled.job,
                    # An earlier process may have sent the job with values that have changed since, and its request arrive only now.
                    doubtful=failures > 0 or bool(effect.secrets),
                    ipfs=self.connection.ipfs,
                    bundles=effect.bundles,
                )
        except BacalhauError as error:
            redacted = filled.redacted(error)
            if isinstance(redacted, Refused) and not isinstance(redacted, UnexpectedAnswer):
                return redacted
            raise redacted from None  # an unexpected answer says nothing about the job: somebody else gave it

    def _submitted(self, effect: SubmitJob, submitted: Submitted) -> None:
        metrics.JOB_SUBMISSIONS.labels("adopted" if submitted.adopted else "new").inc()
        if self.connection.problem:
            self.connection.recheck()
        submitted_at = submitted.job.created_at if submitted.job else time.time()
        self.track(effect.node, effect.attempt, submitted.job_id, submitted_at=submitted_at)
        self.observe([JobSubmitted(node=effect.node, attempt=effect.attempt, job_id=submitted.job_id)])

    def _refused(self, effect: SubmitJob, error: Refused) -> None:
        metrics.JOB_SUBMISSIONS.labels("refused").inc()
        reason = type(error).__name__
        self.observe(
            [SubmissionRefused(node=effect.node, attempt=effect.attempt, reason=reason, message=str(error))]
        )

    async def _stop(self, effect: StopJob) -> None:
        """Stop a job until Bacalhau has said what became of it."""
        holder = self._holder(effect.node, effect.attempt)
        job = await self._persist(holder, partial(self._try_to_stop, effect))
        if job:
            self._seen(effect.node, effect.attempt, JobSighting(job=job))
        else:
            self._lost(effect.node, effect.attempt, effect.job_id)

    async def _try_to_stop(self, effect: StopJob, failures: int) -> Job | None:
        client, namespace = self.connection.client, self.run.context.bacalhau_namespace
        await client.stop(effect.job_id, namespace=namespace, reason=effect.reason)
        return await client.get(effect.job_id, namespace=namespace, executions=True)

    async def _list(self, effect: ListFiles) -> None:
        """Find out what lies in a result, until it is said or nobody can say."""
        holder = self._holder(effect.node, 0)
        self.observe([await self._persist(holder, partial(self._try_to_list, effect))])

    async def _try_to_list(self, effect: ListFiles, failures: int) -> FilesListed | FilesUnknown:
        try:
            files = await list_files(effect.artifact, self.connection.ipfs)
        except UnexpectedAnswer:
            raise  # says nothing about the result: somebody else answered
        except Refused as error:
            return FilesUnknown(node=effect.node, message=str(error))
        return FilesListed(node=effect.node, files=files)

    async def _persist(self, holder: Holder, attempt: Callable[[int], Awaitable[T]]) -> T:
        """Try again until Bacalhau gives a clear answer; ``attempt`` is told how often it has failed.

        What is in the way is reported of this run only: it may lie with this one job. Whether it lies with the connection is for its
        check to find out.
        """
        failures = 0
        while True:
            try:
                result = await attempt(failures)
            except BacalhauError as error:
                failures += 1
                self._set_trouble(holder, problem_of(error))
                self.connection.recheck()
                await asyncio.sleep(RETRIES.delay(failures))
            else:
                self._set_trouble(holder, None)
                return result

    def _set_trouble(self, holder: Holder, problem: Problem | None) -> None:
        if self._troubles.get(holder) == problem:
            return
        if problem:
            self._troubles[holder] = problem
        else:
            del self._troubles[holder]
        self._wake(0)

    def _drop_idle_troubles(self) -> None:
        """Forget what was in the way of nodes that have been left out since."""
        for holder in [*self._troubles]:
            if self.run.node(holder[1]).phase is NodePhase.OMITTED:
                self._set_trouble(holder, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._resting = True
            self.connection.slots.leave(self._uid)
            asyncio.get_running_loop().call_later(REST_SECONDS, self._give_up, error)

    def _give_up(self, failure: BaseException) -> None:
        self._failure = failure
        self._wake(0)

    # What comes back

    def _seen(self, node: str, attempt: int, sighting: JobSighting) -> None:
        if sighting.job.state.is_terminal:
            self._unfollow(sighting.job.id)
        if self.connection.ipfs and has_last_words(sighting.job):
            self._spawn(self._explain(JobSeen(node=node, attempt=attempt, sighting=sighting)))
        else:
            self.observe([JobSeen(node=node, attempt=attempt, sighting=sighting)])

    async def _explain(self, seen: JobSeen) -> None:
        explained = await with_last_words(seen.sighting, self.connection.ipfs)
        self.observe([JobSeen(node=seen.node, attempt=seen.attempt, sighting=explained)])

    def _lost(self, node: str, attempt: int, job_id: str) -> None:
        self._unfollow(job_id)
        self.observe([JobLost(node=node, attempt=attempt)])

    def _unfollow(self, job_id: str) -> None:
        self._followed.discard(job_id)
        self.connection.tracker.forget(job_id)

    def _take(self, node: str, attempt: int) -> None:
        holder = self._holder(node, attempt)
        self._holders.add(holder)
        self.connection.slots.take(holder)

    def _release(self, observation: Observation) -> None:
        """Give back the place of an attempt that has ended."""
        match observation:
            case SubmissionRefused() | SubmissionWithheld() | JobLost():
                self._give_back(self._holder(observation.node, observation.attempt))
            case JobSeen() if observation.sighting.job.state.is_terminal:
                self._give_back(self._holder(observation.node, observation.attempt))

    def _give_back(self, holder: Holder) -> None:
        self._holders.discard(holder)
        self.connection.slots.release(holder)

    def _holder(self, node: str, attempt: int) -> Holder:
        return self._uid, node, attempt

    # Reporting

    @property
    def _saying(self) -> tuple[str, Problem | None]:
        """What is told without delay when it changes."""
        return self.run.phase.value, self._hindrance

    def _plan_report(self) -> None:
        """Report when it is time to, and never before the submissions that were decided on are under way."""
        if self.run.phase.is_terminal:
            self.report()
        elif self._saying != self._said:
            self._spawn(self._report_after(0))
        elif not self._report_planned:
            self._report_planned = True
            self._spawn(self._report_after(REPORT_SECONDS))

    async def _report_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.report()

    def report(self) -> None:
        """Hand what has changed to the status writer."""
        self._report_planned = False
        hindrance, saying = self._hindrance, self._saying
        announcements, self._announcements = self._announcements, []
        if hindrance and (self._said is None or self._said[1] != hindrance):
            announcements.append(Emit(type="Warning", reason=hindrance.reason, message=hindrance.message))
        delta = self._reporter.delta(
            generation=self._generation,
            now=time.time(),
            hindrance=(hindrance.reason, hindrance.message) if hindrance else None,
        )
        self.writer.update(
            delta, urgent=saying != self._said, on_written=partial(self._announce, announcements)
        )
        self._said = saying

    def _announce(self, announcements: Iterable[Emit]) -> None:
        for event in announcements:
            self._events.emit(
                self.writer.stored.ref, type=event.type, reason=event.reason, message=event.message
            )
