"""A Bacalhau of a few lines, without network or clock, and around a run the shell in miniature: what carries out effects and loses its memory.

``World`` checks with every step what must always hold, so that whoever drives it only chooses what happens next.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from controller.api.bacalhau import ComputeState, Job, JobSighting, JobState, RunOutput, SpecConfig
from controller.api.dag import DAGSpec, FailurePolicy, Shutdown
from controller.api.node import Node, RetryPolicy
from controller.api.status import DAGStatus, NodePhase
from controller.api.types import duration_seconds
from controller.engine import (
    Controls,
    Effect,
    Emit,
    FilesListed,
    FilesUnknown,
    Graph,
    JobLost,
    JobSeen,
    JobSubmitted,
    ListFiles,
    Observation,
    Reporter,
    Run,
    StopJob,
    SubmissionRefused,
    SubmitJob,
    WakeAt,
)
from controller.engine.expressions import compile_expression
from controller.engine.identity import ATTEMPT_LABEL, fingerprint, node_of
from controller.engine.state import NodeState
from controller.kube.merge import apply
from tests.support.builders import CONTEXT, START, Json, execution
from tests.support.fan_out_rules import UNSUCCESSFUL, FanOutRules, parent_of

BROKEN = "Failing due to node restart"
MAX_ROUNDS = 1000
LEFT_OUT = (NodePhase.OMITTED, NodePhase.SKIPPED)

_TERM = re.compile(r"(n\d+)(?:\.([A-Z]\w+))?")
_RESULTS = {phase.value: phase for phase in NodePhase} | {"Errored": NodePhase.ERROR}


Asked = SubmitJob | StopJob | ListFiles
"""What is carried out in the world."""


def some_of(digest: str) -> list[str]:
    """A few texts, none to three of them, that follow from a fingerprint."""
    return [digest[4 * number : 4 * number + 4] for number in range(int(digest[0], 16) % 4)]


class Fate(Enum):
    """What becomes of a job."""

    SUCCEEDS = "exit code 0"
    EXITS = "exit code 3"
    FAILS = "failed by the platform, for good"
    BREAKS = "failed by the platform, through no fault of its own"
    STUCK = "queued for ever after two failures"
    STUCK_BROKEN = "queued for ever after two failures through no fault of its own"
    STRANDED = "queued when the orchestrator restarted"
    SLOW = "exit code 0 after 80 seconds"
    STOPPED = "stopped by somebody else"
    LOST = "forgotten by Bacalhau"
    REFUSED = "never accepted"

    @property
    def leaves_a_trace(self) -> bool:
        """Whether Bacalhau still knows in the end what became of the job."""
        return self not in (Fate.LOST, Fate.REFUSED)


_STATES: dict[Fate, Sequence[JobState | None]] = {
    Fate.SUCCEEDS: (JobState.PENDING, JobState.RUNNING, JobState.COMPLETED),
    Fate.EXITS: (JobState.PENDING, JobState.RUNNING, JobState.COMPLETED),
    Fate.FAILS: (JobState.PENDING, JobState.QUEUED, JobState.FAILED),
    Fate.BREAKS: (JobState.PENDING, JobState.RUNNING, JobState.FAILED),
    Fate.STUCK: (JobState.PENDING, JobState.RUNNING, JobState.QUEUED),
    Fate.STUCK_BROKEN: (JobState.PENDING, JobState.RUNNING, JobState.QUEUED),
    Fate.STRANDED: (JobState.PENDING, JobState.QUEUED),
    Fate.SLOW: (JobState.PENDING, *[JobState.RUNNING] * 8, JobState.COMPLETED),
    Fate.STOPPED: (JobState.PENDING, JobState.RUNNING, JobState.STOPPED),
    Fate.LOST: (JobState.PENDING, JobState.RUNNING, None),
    Fate.REFUSED: (),
}


@dataclass(slots=True)
class SimulatedJob:
    """A job as Bacalhau stores it, and how far it has come."""

    spec: Json
    id: str
    fate: Fate
    created_at: float
    modified_at: float
    step: int = 0
    stop_reason: str | None = None

    @property
    def name(self) -> str:
        """Its name, unique for ever."""
        return str(self.spec["Name"])

    @property
    def node(self) -> str:
        """The node that it belongs to."""
        return str(node_of(self.spec["Meta"]))

    @property
    def attempt(self) -> int:
        """The number of its attempt."""
        return int(self.spec["Meta"][ATTEMPT_LABEL])

    @property
    def state(self) -> JobState | None:
        """Its state; None once Bacalhau has forgotten it."""
        return JobState.STOPPED if self.stop_reason is not None else _STATES[self.fate][self.step]

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits or runs."""
        return self.state is not None and not self.state.is_terminal

    @property
    def succeeded(self) -> bool:
        """Whether its program ended with exit code 0."""
        return self.state is JobState.COMPLETED and self.fate in (Fate.SUCCEEDS, Fate.SLOW)

    @property
    def failed(self) -> bool:
        """Whether its program said no, or took too long."""
        is_late = (self.stop_reason or "").startswith("TimedOut: ")
        return is_late or (self.state is JobState.COMPLETED and not self.succeeded)

    @property
    def erred(self) -> bool:
        """Whether the platform failed, for good."""
        is_given_up = (self.stop_reason or "").startswith("GivenUp: ")
        return (
            is_given_up or self.state is None or (self.state is JobState.FAILED and self.fate is Fate.FAILS)
        )

    @property
    def printed(self) -> list[str]:
        """The list that its program prints."""
        return some_of(fingerprint(self.spec))

    @property
    def cid(self) -> str:
        """Where its result is."""
        return f"Qm{fingerprint(self.name)[:8]}"

    @property
    def files(self) -> tuple[str, ...]:
        """What lies in its result."""
        return tuple(sorted(f"outputs/{name}" for name in some_of(fingerprint(self.cid))))

    def seen(self) -> JobSeen:
        """Look at it, as the tracker would."""
        state = self.state
        assert state is not None
        known = Job(
            id=self.id,
            name=self.name,
            type="batch",
            state=state,
            state_message=self.stop_reason or ("not enough nodes" if state is JobState.QUEUED else ""),
            version=1,
            created_at=self.created_at,
            modified_at=self.modified_at,
            tasks=tuple(self.spec["Tasks"]),
            executions=None if state is JobState.RUNNING else self._executions(state),
        )
        epoch = self.created_at + 1 if self.fate is Fate.STRANDED else None
        return JobSeen(
            node=self.node, attempt=self.attempt, sighting=JobSighting(job=known, orchestrator_epoch=epoch)
        )

    def _executions(self, state: JobState) -> tuple[object, ...]:
        if state is JobState.COMPLETED:
            # What a job prints depends on all that it was given, so that nothing can be rendered wrongly unnoticed.
            output = RunOutput(exit_code=0 if self.succeeded else 3, stdout=json.dumps(self.printed))
            published = SpecConfig(type="ipfs", params={"CID": self.cid})
            return (execution(run_output=output, published_result=published),)
        if state is JobState.FAILED or (
            state is JobState.QUEUED and self.fate in (Fate.STUCK, Fate.STUCK_BROKEN)
        ):
            is_broken = self.fate in (Fate.BREAKS, Fate.STUCK_BROKEN)
            message = BROKEN if is_broken else "memory limit exceeded"
            return tuple(
                execution(ComputeState.FAILED, id=f"e-{number}", message=message) for number in range(2)
            )
        return ()


class SimulatedBacalhau:
    """Jobs by name. ``fates`` gives what becomes of the attempts of each node; the rest succeeds."""

    def __init__(self, fates: Mapping[str, Sequence[Fate]]) -> None:
        self.fates = fates
        self.jobs: dict[str, SimulatedJob] = {}
        self.creations = 0

    def submit(self, spec: Json, now: float) -> SimulatedJob | None:
        """Take a job, or find the one that has its name. None if it is refused."""
        known = self.jobs.get(spec["Name"])
        if known is not None and known.state is not None:
            assert known.spec == spec, "a name was used for two jobs"
            return known
        node, attempt = node_of(spec["Meta"]) or "", int(spec["Meta"][ATTEMPT_LABEL])
        planned = self.fates.get(node, ())
        fate = planned[attempt - 1] if attempt <= len(planned) else Fate.SUCCEEDS
        if fate is Fate.REFUSED:
            return None
        assert not any(job.node == node for job in self.unfinished), "a node had two live jobs"
        self.creations += 1
        job = SimulatedJob(spec, f"j-{self.creations}", fate, created_at=now, modified_at=now)
        self.jobs[job.name] = job
        return job

    def stop(self, job_id: str, reason: str, now: float) -> None:
        """Stop a job, unless it has ended."""
        for job in self.unfinished:
            if job.id == job_id:
                job.stop_reason, job.modified_at = reason, now

    def progress(self, job: SimulatedJob, now: float) -> None:
        """Let a job come one state further, if its fate allows."""
        if job.is_unfinished and job.step + 1 < len(_STATES[job.fate]):
            before, job.step = job.state, job.step + 1
            job.modified_at = now if job.state is not before else job.modified_at

    @property
    def unfinished(self) -> list[SimulatedJob]:
        """Jobs that wait or run."""
        return [job for job in self.jobs.values() if job.is_unfinished]

    def attempts(self) -> list[SimulatedJob]:
        """The attempts of which it knows, those of each node together and oldest first."""
        known = (job for job in self.jobs.values() if job.state is not None)
        return sorted(known, key=lambda job: (job.node, job.attempt))


class World:
    """A run, its shell and its Bacalhau. Nothing happens unless it is asked for. Files of ``unlisted`` nodes cannot be listed."""

    def __init__(
        self,
        spec: DAGSpec,
        *,
        fates: Mapping[str, Sequence[Fate]] | None = None,
        parallelism: int | None = None,
        unlisted: Collection[str] = (),
    ) -> None:
        self.graph = Graph.compile(spec)
        self.bacalhau = SimulatedBacalhau(fates or {})
        self.fan_outs = FanOutRules(self.graph, self.bacalhau)
        self.now = START
        self.parallelism = parallelism
        self.unlisted = unlisted
        self.suspend = self.cancel = False
        self.shutdown: Shutdown | None = None
        self.rendered: dict[tuple[str, int], str] = {}
        self.tasks: dict[str, str] = {}
        self.ended: dict[str, NodePhase] = {}
        self.history: list[Json] = [{}]
        self.begin({})
        self.advance(())

    @property
    def status(self) -> Json:
        """The status as it was written last."""
        return self.history[-1]

    @property
    def controls(self) -> Controls:
        """The controls as they are now."""
        return Controls(
            suspend=self.suspend, parallelism=self.parallelism, cancel=self.cancel, shutdown=self.shutdown
        )

    # What happens

    def begin(self, status: Json) -> None:
        """Start a process that knows this status and nothing else."""
        known = DAGStatus.model_validate(status) if status else None
        self.run = Run(self.graph, CONTEXT, known)
        self.reporter = Reporter(self.run, known)
        self.effects: list[Asked] = []
        self.inbox: list[Observation] = []
        self.wakes: list[float] = []
        self.unanswered: set[str] = set()

    def crash(self, status: Json) -> None:
        """Lose the process, and what was written since this status; start another one, which looks up what became of the run."""
        self.history.append(status)
        self.begin(status)
        self.advance(self.recovered(self.run))

    def recovered(self, run: Run) -> list[JobSeen]:
        """What a new process learns of a run from one list of its jobs."""
        found = [job for job in self.bacalhau.attempts() if run.roster.is_news(job.node, job.attempt)]
        asked = {job_id for _, job_id in run.reader.missing_stdout()}
        found += [job for job in self.bacalhau.attempts() if job.id in asked]
        return [job.seen() for job in found]

    def advance(self, observations: Iterable[Observation]) -> None:
        """Advance the run, check what it wants, and write its status."""
        self.now += 0.25
        had_failed = bool(self._unforgiven(self.ended))
        observations = list(observations)
        effects = self.run.advance(observations, self.controls, self.now)
        self._note_questions(observations, effects)
        self._check_phases()
        self.fan_outs.check_ends(self.states)
        self._check_submissions(effects, had_failed=had_failed)
        self.wakes = [effect.time for effect in effects if isinstance(effect, WakeAt)]
        self.effects += [effect for effect in effects if isinstance(effect, Asked)]
        delta = self.reporter.delta(generation=1, now=self.now, hindrance=None)
        self.history.append(apply(self.status, delta))

    def _note_questions(self, observations: Iterable[Observation], effects: Iterable[Effect]) -> None:
        self.unanswered |= {effect.node for effect in effects if isinstance(effect, ListFiles)}
        self.unanswered -= {
            answer.node for answer in observations if isinstance(answer, FilesListed | FilesUnknown)
        }

    def perform(self, effect: Asked, *, answered: bool = True) -> None:
        """Carry out an effect; the answer comes into the inbox."""
        self.effects.remove(effect)
        match effect:
            case StopJob():
                self.bacalhau.stop(effect.job_id, effect.reason, self.now)
            case ListFiles():
                self.inbox += [self._listing(effect)] if answered else []
            case SubmitJob():
                job = self.bacalhau.submit(effect.job, self.now)
                self.inbox += [_answer(effect, job)] if answered else []
                self._check_parallelism()

    def _listing(self, effect: ListFiles) -> Observation:
        if effect.node in self.unlisted:
            return FilesUnknown(node=effect.node, message="nobody knows")
        (files,) = (job.files for job in self.bacalhau.jobs.values() if job.cid == effect.artifact.cid)
        return FilesListed(node=effect.node, files=files)

    def look(self, name: str) -> None:
        """Look at the job of a node's latest attempt, as far as the run knows it."""
        node = self.run.node(name)
        if not node.phase.is_live or node.job_id is None:
            return
        job = next(job for job in self.bacalhau.jobs.values() if job.id == node.job_id)
        self.inbox.append(JobLost(node=name, attempt=job.attempt) if job.state is None else job.seen())

    def settle(self) -> None:
        """Let the run know all that there is to know now, and do all that it wants, while Bacalhau stands still."""
        for _ in range(MAX_ROUNDS):
            is_quiet = not self.effects and not self.inbox
            for effect in list(self.effects):
                self.perform(effect)
            for name in self.phases:
                self.look(name)
            inbox, self.inbox = self.inbox, []
            self.advance(inbox)
            if is_quiet and not self.effects:
                return
        raise AssertionError("the run never comes to rest")

    def let_jobs_progress(self) -> None:
        """Let time pass, and every job come one state further."""
        self.now += 10
        for job in self.bacalhau.unfinished:
            self.bacalhau.progress(job, self.now)

    def finish(self) -> None:
        """Let everything go on, fairly, until the run has ended."""
        self.suspend = False
        for _ in range(MAX_ROUNDS):
            self.settle()
            if self.run.phase.is_terminal:
                return
            if not self.bacalhau.unfinished:
                assert self.wakes, f"nothing would ever wake the run: {self.phases}"
                self.now = max(self.now, min(self.wakes))
            self.let_jobs_progress()
        raise AssertionError(f"the run never ends: {self.run.state.counts}")

    def rebuilt(self, status: Json) -> Run:
        """The run as another process would find it, from a status and Bacalhau's jobs. It must not start or stop anything."""
        run = Run(self.graph, CONTEXT, DAGStatus.model_validate(status) if status else None)
        effects = run.advance(self.recovered(run), self.controls, self.now)
        while questions := [effect for effect in effects if isinstance(effect, ListFiles)]:
            assert not [effect for effect in effects if isinstance(effect, SubmitJob | StopJob)]
            effects = run.advance(map(self._listing, questions), self.controls, self.now)
        assert not [effect for effect in effects if isinstance(effect, SubmitJob | StopJob)]
        return run

    # What must always hold

    def _unforgiven(self, phases: Mapping[str, NodePhase]) -> set[str]:
        """The nodes that ended so that the run fails, by the words of the documentation."""
        failed = {item.name for item in self.graph.spec.nodes if phases.get(item.name) in UNSUCCESSFUL}
        failed |= self.fan_outs.doomed(phases)
        may_fail = {item.name for item in self.graph.spec.nodes if item.continue_on_failure}
        handled = {
            name
            for item in self.graph.spec.nodes
            for name, _ in _TERM.findall(item.depends or "")
            if phases.get(item.name) is not NodePhase.OMITTED
        }
        return failed - may_fail - handled

    @property
    def phases(self) -> dict[str, NodePhase]:
        """The phases of all nodes, and of the items of fan-outs, as the run knows them."""
        return {name: state.phase for name, state in self.states.items()}

    @property
    def states(self) -> dict[str, NodeState]:
        """All nodes, and the items of fan-outs, as the run knows them."""
        return {item.name: self.run.node(item.name) for item in self.run.nodes}

    def _check_submissions(self, effects: Sequence[Effect], *, had_failed: bool) -> None:
        unforgiven = self._unforgiven(self.phases)
        for effect in effects:
            if isinstance(effect, Emit) and effect.reason.startswith("Node"):
                name = effect.message.split('"')[1]
                had_failed |= self._is_decisive(name) and parent_of(name) in unforgiven
            if isinstance(effect, SubmitJob):
                self._check_submission(effect, had_failed=had_failed)

    def _is_decisive(self, name: str) -> bool:
        """Tell whether the failure of a node, or item, is by itself one that the run knows of."""
        for_each = self.graph.nodes[self.graph.index[parent_of(name)]].spec.for_each
        is_item = parent_of(name) != name
        return not (is_item and for_each and for_each.min_succeeded is not None)

    def _check_submission(self, effect: SubmitJob, *, had_failed: bool) -> None:
        node = self.graph.nodes[self.graph.index[parent_of(effect.node)]]
        if node.for_each:
            self.fan_outs.check_item(effect, self.states)
        assert not self.cancel, "a node started after the run was cancelled"
        assert not self.suspend, "a node started while the run was suspended"
        if node.is_finally:
            assert self.shutdown is not Shutdown.CANCEL, "finally started although all was cancelled"
            assert all(self.phases[item.name].is_terminal for item in self.graph.spec.nodes), "too early"
        else:
            self._check_is_allowed(effect, had_failed=had_failed)
        self._check_dependencies(node.spec, is_finally=node.is_finally)
        self._check_retry(effect, node.spec)
        self._check_rendering(effect)
        self._check_mounts(effect, node.spec)

    def _check_is_allowed(self, effect: SubmitJob, *, had_failed: bool) -> None:
        policy = self.graph.spec.failure_policy
        is_new = effect.attempt == 1
        assert (
            policy is FailurePolicy.RUN_ALL
            or not had_failed
            or not (is_new or policy is FailurePolicy.FAIL_FAST_CANCEL)
        ), "something new started"
        assert self.shutdown is None or (self.shutdown is Shutdown.STOP_RUN_FINALLY and not is_new), (
            "something new started"
        )

    def _check_dependencies(self, node: Node, *, is_finally: bool) -> None:
        for producer in self.graph.nodes[self.graph.index[node.name]].dependencies:
            name = self.graph.nodes[producer].name
            assert self.phases[name].is_terminal, "a node started before its dependency had ended"
            jobs = [job for job in self.bacalhau.attempts() if job.node == name]
            assert self.phases[name] is not NodePhase.SUCCEEDED or not jobs or jobs[-1].succeeded
            if node.depends is None and not is_finally:
                assert self._went_well(name), "a node started although its dependency did not go well"
        if node.depends is not None:
            assert self._holds(node.depends), "a node started although its depends is false"

    def _went_well(self, name: str) -> bool:
        may_fail = self.graph.nodes[self.graph.index[name]].spec.continue_on_failure
        well = (NodePhase.SUCCEEDED, NodePhase.SKIPPED, *(UNSUCCESSFUL if may_fail else ()))
        return self.phases[name] in well

    def _holds(self, depends: str) -> bool:
        """Evaluate a ``depends`` by another program than the engine's: terms as truth values, the logic as CEL."""
        text = _TERM.sub(lambda term: str(self._ended_as(term[1], term[2])).lower(), depends)
        return compile_expression(text).evaluate({}) is True

    def _ended_as(self, name: str, result: str | None) -> bool:
        if result in ("AnySucceeded", "AllFailed"):
            return self.fan_outs.holds(name, result, self.phases)
        allowed = [_RESULTS[result]] if result else [NodePhase.SUCCEEDED, NodePhase.SKIPPED]
        return self.phases[name] in allowed

    def _check_retry(self, effect: SubmitJob, node: Node) -> None:
        """Check budgets and waits against the jobs themselves."""
        jobs = [job for job in self.bacalhau.jobs.values() if job.node == effect.node]
        ended = [job for job in jobs if job.attempt < effect.attempt and (job.failed or job.erred)]
        failures = sum(job.failed for job in ended)
        errors = len(ended) - failures
        retry = node.retry
        may_fail = retry.limit if retry and retry.policy is not RetryPolicy.ON_ERROR else 0
        may_err = 0
        if retry and retry.policy is not RetryPolicy.ON_FAILURE:
            may_err = retry.limit if retry.error_limit is None else retry.error_limit
        assert failures <= may_fail, "a node was tried again too often"
        assert errors <= may_err, "a node was tried again too often after errors"
        if retry and retry.backoff and ended and ended[-1].attempt == effect.attempt - 1:
            shortest = duration_seconds(retry.backoff.duration) * (1 - retry.backoff.jitter)
            if ended[-1].state is not None:
                assert self.now >= ended[-1].modified_at + shortest, "a node did not wait"

    def _check_rendering(self, effect: SubmitJob) -> None:
        rendered = json.dumps(effect.job)
        assert self.rendered.setdefault((effect.node, effect.attempt), rendered) == rendered
        tasks = json.dumps(effect.job["Tasks"])
        assert self.tasks.setdefault(effect.node, tasks) == tasks, "attempts of a node differ"

    def _check_mounts(self, effect: SubmitJob, node: Node) -> None:
        sources = effect.job["Tasks"][0].get("InputSources", [])
        targets = [source["Target"] for source in sources]
        for item in node.inputs:
            if self.graph.nodes[self.graph.index[item.from_]].for_each:
                found = [target for target in targets if target.startswith(f"/inputs/{item.from_}/")]
                assert found == self.fan_outs.mounted(item.from_, self.phases), (
                    "not what succeeded is mounted"
                )

    def _check_parallelism(self) -> None:
        live = len(self.bacalhau.unfinished)
        assert self.parallelism is None or live <= self.parallelism, "more nodes ran at once than allowed"
        self.fan_outs.check_parallelism()

    def _check_phases(self) -> None:
        for name, phase in self.phases.items():
            if phase.is_terminal:
                ended = self.ended.setdefault(name, phase)
                # With an old status, what else happened since may be what a node is left out for.
                assert ended is phase or (ended in LEFT_OUT and phase in LEFT_OUT), (
                    "a node that had ended changed"
                )
            else:
                # After a restart, a fan-out may have to ask for its list again before it is known that it had ended.
                assert name not in self.ended or self.unanswered, "a node that had ended went on"


def _answer(effect: SubmitJob, job: SimulatedJob | None) -> Observation:
    if job is None:
        return SubmissionRefused(
            node=effect.node, attempt=effect.attempt, reason="Refused", message="invalid job"
        )
    return JobSubmitted(node=effect.node, attempt=effect.attempt, job_id=job.id)
