"""What a look at a node's job means for the node.

Bacalhau's own words mislead: a program that exits 7 leaves a job that is "Completed"; a job whose every execution failed stays
"Queued" until its queue timeout; the message of a failed job is the scheduler's and not the reason. This module is the one place
that knows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from controller.api.artifact import Artifact
from controller.api.bacalhau import ComputeState, Execution, Job, JobSighting, JobState
from controller.api.status import NodePhase
from controller.engine.artifacts import artifact_of
from controller.engine.problems import one_line
from controller.engine.stopping import StopCause, read_stop_reason

MAX_EXECUTIONS_PER_NODE = 2
"""A compute node takes a job at most twice; a queued job with so many failures waits for nothing
(``pkg/orchestrator/selection/ranking/previous_executions.go``)."""

PENDING_GRACE = 15.0
"""Seconds after its last failure in which a pending job goes to another node, or is queued. One that nodes refused before they ran it stays
pending for ever."""

STRANDED_GRACE = 15.0
"""Seconds after an orchestrator's restart in which it may still look at the jobs that it found queued."""

ABANDONED_GRACE = 15.0
"""Seconds after the end of a running job's last execution in which the orchestrator should have drawn a conclusion."""

OVERDUE_GRACE = 90.0
"""Seconds past a job's queue timeout in which Bacalhau itself should have failed it: its scheduler looks each minute."""

_INFRASTRUCTURE = re.compile(
    r'input source ".*" does not exist'  # concurrent jobs shared a download folder
    r"|failed to copy .* to volume"
    r"|due to node restart"
    r"|node has disappeared"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """The job goes on. Look again at ``recheck_at`` (Unix seconds) even if nothing changes."""

    phase: NodePhase
    running_since: float | None = None
    """Since when it does not wait any more, in Unix seconds."""
    message: str | None = None
    recheck_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The attempt has ended, and the node with it."""

    phase: NodePhase
    reason: str
    message: str | None = None
    exit_code: int | None = None
    artifact: Artifact | None = None
    stdout: str | None = None
    """What the program printed; None unless it ended by itself. Nothing that a restart would forget may stand in for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The platform lost the attempt through no fault of the job: it deserves another one."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hopeless:
    """The job waits although it cannot end by itself: it must be stopped for ``cause``."""

    cause: StopCause
    message: str


Verdict = Unfinished | Finished | Broken | Hopeless


def judge(sighting: JobSighting, now: float) -> Verdict:
    """Say what a sighting of a job means. ``now`` is Unix time in seconds."""
    job = sighting.job
    match job.state:
        case JobState.COMPLETED:
            return _completed(job)
        case JobState.FAILED:
            return _failed(job)
        case JobState.STOPPED:
            return _stopped(job)
        case JobState.RUNNING:
            return _running(job, now)
        case _:
            return _waiting(sighting, now)


def _running(job: Job, now: float) -> Verdict:
    """Find jobs that do not run any more, and at which nobody will ever look again.

    An orchestrator that is killed between the end of a job's execution and what follows from it never gets to that.
    """
    executions = _current(job)
    goes_on = Unfinished(phase=NodePhase.RUNNING, running_since=job.modified_at)
    if not executions or any(not execution.compute_state.is_terminal for execution in executions):
        return goes_on
    newest = max(executions, key=lambda execution: execution.modified_at)
    abandoned_at = newest.modified_at + ABANDONED_GRACE
    if now < abandoned_at:
        return replace(goes_on, recheck_at=abandoned_at)
    if _has_run(job):
        return _completed(job)
    said = f": {one_line(newest.message)}" if newest.compute_state is ComputeState.FAILED else ""
    return Hopeless(
        cause=StopCause.REPLACED,
        message=f"job {job.id} stopped running, and the Bacalhau orchestrator did not look at it again{said}",
    )


def _has_run(job: Job) -> bool:
    """Tell whether nothing of a job is left to run: no partition, or, in a job of type ops, no compute node."""
    completed = [
        execution for execution in _current(job) if execution.compute_state is ComputeState.COMPLETED
    ]
    if job.type == "ops":
        return len(completed) == len(_current(job))
    return len({execution.partition_index for execution in completed}) >= max(job.count, 1)


def _completed(job: Job) -> Verdict:
    ended = _decisive(job)
    if ended is None or ended.run_output is None:
        return Finished(
            phase=NodePhase.ERROR,
            reason="NoExecution",
            message=f"Bacalhau reports job {job.id} as completed, but no completed execution of it.",
        )
    artifact = artifact_of(ended.published_result) if ended.published_result else None
    code = ended.run_output.exit_code
    if not _went_well(job, ended):
        return Finished(
            phase=NodePhase.FAILED,
            reason="ExitCode",
            message=_exit_message(code, ended),
            exit_code=code,
            artifact=artifact,
            stdout=_printed(ended.run_output.stdout),
        )
    if ended.published_result is None and _publishes(job):
        return Finished(
            phase=NodePhase.ERROR,
            reason="NothingPublished",
            message=f"Job {job.id} ended well but its publisher left no result.",
            exit_code=0,
        )
    return Finished(
        phase=NodePhase.SUCCEEDED,
        reason="Completed",
        exit_code=0,  # also where WebAssembly that returned says -1
        artifact=artifact,
        stdout=_printed(ended.run_output.stdout),
    )


def _printed(stdout: str) -> str:
    """Give what a program printed as a shell's ``$(…)`` would, so that a condition may say ``== "heads"``."""
    return stdout.rstrip("\n")


def _failed(job: Job) -> Verdict:
    failure = _newest(job, ComputeState.FAILED)
    message = one_line((failure.message if failure else "") or job.state_message)
    if failure and _INFRASTRUCTURE.search(failure.message):
        return Broken(reason="InfrastructureFailure", message=message)
    reason = "ExecutionFailed" if failure else "NotScheduled"
    return Finished(phase=NodePhase.ERROR, reason=reason, message=message)


def _stopped(job: Job) -> Verdict:
    cause, message = read_stop_reason(job.state_message)
    match cause:
        case StopCause.REPLACED:
            return Broken(reason="InfrastructureFailure", message=message)
        case StopCause.GIVEN_UP:
            return Finished(phase=NodePhase.ERROR, reason="ExecutionFailed", message=message)
        case StopCause.TIMED_OUT:
            return Finished(phase=NodePhase.FAILED, reason="TimedOut", message=message)
        case StopCause.RUN_TIMED_OUT:
            return Finished(phase=NodePhase.FAILED, reason=cause.value, message=message)
        case StopCause.CANCELLED:
            return Finished(phase=NodePhase.CANCELLED, reason="Cancelled", message=message)
        case None:
            said = f": {one_line(message)}" if message else ""
            return Finished(
                phase=NodePhase.CANCELLED,
                reason="StoppedExternally",
                message=f"job {job.id} was stopped by somebody else{said}",
            )


def _waiting(sighting: JobSighting, now: float) -> Verdict:
    job = sighting.job
    executions = _current(job)
    if any(not execution.compute_state.is_terminal for execution in executions):
        return Unfinished(phase=NodePhase.QUEUED)
    failures = [execution for execution in executions if execution.compute_state is ComputeState.FAILED]
    if len(failures) >= MAX_EXECUTIONS_PER_NODE:
        return _exhausted(job, failures, now)
    return _stranded(sighting, now)


def _exhausted(job: Job, failures: Sequence[Execution], now: float) -> Verdict:
    """Give up a job that every node has tried. One that is pending still may be on its way to another node."""
    newest = max(failures, key=lambda execution: execution.modified_at)
    settled_at = newest.modified_at + PENDING_GRACE
    if job.state is not JobState.QUEUED and now < settled_at:
        return _queued(job, recheck_at=settled_at)
    is_infrastructure = bool(_INFRASTRUCTURE.search(newest.message))
    cause = StopCause.REPLACED if is_infrastructure else StopCause.GIVEN_UP
    return Hopeless(cause=cause, message=one_line(newest.message))


def _stranded(sighting: JobSighting, now: float) -> Verdict:
    """Find jobs that nobody will ever look at again: those queued when their orchestrator was restarted."""
    job, epoch = sighting.job, sighting.orchestrator_epoch
    if epoch is None or job.created_at >= epoch:
        return _overdue(job, now)
    if now < epoch + STRANDED_GRACE:
        return _queued(job, recheck_at=epoch + STRANDED_GRACE)
    return Hopeless(
        cause=StopCause.REPLACED, message=f"job {job.id} was queued when the Bacalhau orchestrator restarted"
    )


def _overdue(job: Job, now: float) -> Verdict:
    """Find jobs that wait for longer than Bacalhau itself should have let them."""
    timeout = _queue_timeout(job)
    overdue_at = job.created_at + timeout + OVERDUE_GRACE
    if now < overdue_at:
        return _queued(job, recheck_at=overdue_at)
    said = f": {one_line(job.state_message)}" if job.state_message else ""
    return Hopeless(
        cause=StopCause.GIVEN_UP,
        message=f"no node had room for job {job.id} within its QueueTimeout of {timeout:g} s{said}",
    )


def _queued(job: Job, *, recheck_at: float) -> Unfinished:
    message = one_line(job.state_message) or None
    return Unfinished(phase=NodePhase.QUEUED, message=message, recheck_at=recheck_at)


def _current(job: Job) -> tuple[Execution, ...]:
    return tuple(execution for execution in job.executions or () if execution.job_version == job.version)


def _decisive(job: Job) -> Execution | None:
    """Give the execution that decides a completed job: the first that went wrong, or else the newest.

    Each partition has an execution of its own, and in a job of type ops each compute node.
    """
    completed = (
        execution for execution in _current(job) if execution.compute_state is ComputeState.COMPLETED
    )
    finished = sorted(
        (execution for execution in completed if execution.run_output),
        key=lambda execution: execution.modified_at,
    )
    newest = {
        execution.node_id if job.type == "ops" else execution.partition_index: execution
        for execution in finished
    }
    wrong = (execution for execution in newest.values() if not _went_well(job, execution))
    return next(wrong, finished[-1] if finished else None)


def _went_well(job: Job, execution: Execution) -> bool:
    """WebAssembly that returns without calling ``proc_exit``, as C and Rust do on success, reports -1."""
    code = execution.run_output.exit_code if execution.run_output else 0
    return code == 0 or (code == -1 and _engine(job) == "wasm")


def _newest(job: Job, state: ComputeState) -> Execution | None:
    matching = [execution for execution in _current(job) if execution.compute_state is state]
    return max(matching, key=lambda execution: execution.modified_at, default=None)


def _exit_message(code: int, execution: Execution) -> str:
    output = execution.run_output
    lines = (output.stderr if output else "").strip().splitlines()
    return f"exit code {code}: {one_line(lines[-1])}" if lines else f"exit code {code}"


def _engine(job: Job) -> str:
    task = job.tasks[0] if job.tasks else {}
    return str((task.get("Engine") or {}).get("Type", "")).lower()


def _publishes(job: Job) -> bool:
    task = job.tasks[0] if job.tasks else {}
    return str((task.get("Publisher") or {}).get("Type", "")).lower() not in ("", "noop")


def _queue_timeout(job: Job) -> float:
    task = job.tasks[0] if job.tasks else {}
    return float((task.get("Timeouts") or {}).get("QueueTimeout") or 0)
