"""What each report of Bacalhau means for the node."""

from typing import Any

import pytest

from controller.api.bacalhau import ComputeState, Execution, JobSighting, JobState, RunOutput, SpecConfig
from controller.api.status import NodePhase
from controller.engine.stopping import StopCause, stop_reason
from controller.engine.verdict import (
    ABANDONED_GRACE,
    OVERDUE_GRACE,
    PENDING_GRACE,
    STRANDED_GRACE,
    Broken,
    Finished,
    Hopeless,
    Unfinished,
    judge,
)
from tests.support.builders import (
    START,
    completed,
    execution,
    failed,
    queued,
    rendered_task,
    running,
    sighting,
    stopped,
)

NOW = START + 60
OVERDUE = START + 300 + OVERDUE_GRACE
RESTART = "Failing due to node restart"
LOST_INPUT = 'input source "/data/compute/executions/QmX" does not exist'


def finished(seen: JobSighting) -> Finished:
    """The verdict on a job that has ended."""
    verdict = judge(seen, NOW)
    assert isinstance(verdict, Finished)
    return verdict


def with_code(code: int, **fields: Any) -> Execution:
    """A completed execution that published a result named for its exit code."""
    published = SpecConfig(type="ipfs", params={"CID": f"Qm{code}"})
    return execution(**{"run_output": RunOutput(exit_code=code), "published_result": published} | fields)


def waiting(message: str | None = None, *, recheck_at: float | None = OVERDUE) -> Unfinished:
    return Unfinished(phase=NodePhase.QUEUED, message=message, recheck_at=recheck_at)


def at_work(*, recheck_at: float | None = None) -> Unfinished:
    since = running().job.modified_at
    return Unfinished(phase=NodePhase.RUNNING, running_since=since, recheck_at=recheck_at)


UNFINISHED: dict[str, tuple[JobSighting, Unfinished]] = {
    "running": (running(), at_work()),
    "running, its only execution has just completed": (
        running(executions=(execution(modified_at=NOW - 1),)),
        at_work(recheck_at=NOW - 1 + ABANDONED_GRACE),
    ),
    "running, its only execution has just failed": (
        running(executions=(execution(ComputeState.FAILED, modified_at=NOW - 1),)),
        at_work(recheck_at=NOW - 1 + ABANDONED_GRACE),
    ),
    "running, one execution completed and another goes on": (
        running(executions=(execution(), execution(ComputeState.BID_ACCEPTED, id="e-2"))),
        at_work(),
    ),
    "running, an execution of an older version completed": (
        running(executions=(execution(),), version=2),
        at_work(),
    ),
    "pending": (sighting(JobState.PENDING), waiting()),
    "a state of a newer Bacalhau": (sighting(JobState.UNDEFINED), waiting()),
    "queued, and why": (queued(state_message="not enough\n  nodes"), waiting("not enough nodes")),
    "queued, nobody asked for executions": (queued(executions=None), waiting()),
    "queued, one execution failed": (queued("memory limit exceeded"), waiting()),
    "queued, failures of an older version": (queued("boom", "boom", version=2), waiting()),
    "queued, two bids rejected": (
        queued(
            executions=(execution(ComputeState.ASK_FOR_BID_REJECTED), execution(ComputeState.BID_REJECTED))
        ),
        waiting(),
    ),
    "queued, two failed and the third goes on": (
        queued(executions=(*[execution(ComputeState.FAILED)] * 2, execution(ComputeState.BID_ACCEPTED))),
        waiting(recheck_at=None),
    ),
    "pending with two failures: the scheduler is about to decide": (
        sighting(JobState.PENDING, executions=(execution(ComputeState.FAILED, modified_at=NOW - 1),) * 2),
        waiting(recheck_at=NOW - 1 + PENDING_GRACE),
    ),
    "queued since before the orchestrator's restart, just now": (
        queued(epoch=NOW - 1, state_message="no room"),
        waiting("no room", recheck_at=NOW - 1 + STRANDED_GRACE),
    ),
    "queued since the orchestrator's restart": (queued(epoch=START), waiting()),
}


@pytest.mark.parametrize(("seen", "expected"), UNFINISHED.values(), ids=UNFINISHED.keys())
def test_a_job_goes_on(seen: JobSighting, expected: Unfinished) -> None:
    assert judge(seen, NOW) == expected


@pytest.mark.parametrize(
    ("seen", "cause", "message"),
    [
        (queued("first", "memory limit\n exceeded"), StopCause.GIVEN_UP, "memory limit exceeded"),
        (queued("memory limit exceeded", LOST_INPUT), StopCause.REPLACED, LOST_INPUT),
        (queued(RESTART, "memory limit exceeded"), StopCause.GIVEN_UP, "memory limit exceeded"),
        (
            queued(epoch=NOW - STRANDED_GRACE),
            StopCause.REPLACED,
            "job j-1 was queued when the Bacalhau orchestrator restarted",
        ),
    ],
)
def test_a_job_that_waits_in_vain_is_stopped(seen: JobSighting, cause: StopCause, message: str) -> None:
    assert judge(seen, NOW) == Hopeless(cause=cause, message=message)


def test_a_pending_job_that_no_node_will_take_is_given_up() -> None:
    """It failed on its nodes before it ran there, and Bacalhau never looks at it again."""
    failures = tuple(
        execution(ComputeState.FAILED, message=message, modified_at=NOW - since - PENDING_GRACE)
        for message, since in (("no such URL", 0), ("first", 1))
    )
    verdict = judge(sighting(JobState.PENDING, executions=failures), NOW)
    assert verdict == Hopeless(cause=StopCause.GIVEN_UP, message="no such URL")


def test_a_job_is_overdue_when_bacalhau_should_have_failed_it() -> None:
    seen = queued(state_message="no room")
    assert isinstance(judge(seen, OVERDUE - 0.01), Unfinished)
    assert judge(seen, OVERDUE) == Hopeless(
        cause=StopCause.GIVEN_UP,
        message="no node had room for job j-1 within its QueueTimeout of 300 s: no room",
    )


def test_a_job_with_a_longer_queue_timeout_is_overdue_later() -> None:
    seen = queued(tasks=(rendered_task(queue_timeout=3600),))
    assert judge(seen, OVERDUE) == waiting(recheck_at=START + 3600 + OVERDUE_GRACE)


def test_a_job_that_waited_through_an_outage_is_replaced_and_not_given_up() -> None:
    verdict = judge(queued(epoch=OVERDUE + 1000), OVERDUE + 1000 + STRANDED_GRACE)
    assert isinstance(verdict, Hopeless)
    assert verdict.cause is StopCause.REPLACED


def test_an_orchestrator_that_restarted_has_a_while_to_look_at_its_jobs() -> None:
    seen = queued(epoch=START + 10)
    assert isinstance(judge(seen, START + 10 + STRANDED_GRACE - 0.01), Unfinished)
    assert isinstance(judge(seen, START + 10 + STRANDED_GRACE), Hopeless)


# Completed


def test_exit_code_zero_succeeds_with_the_result() -> None:
    verdict = finished(completed(cid="QmX", stdout="out"))
    assert (verdict.phase, verdict.reason, verdict.exit_code) == (NodePhase.SUCCEEDED, "Completed", 0)
    assert verdict.artifact
    assert verdict.artifact.cid == "QmX"
    assert (verdict.message, verdict.stdout) == (None, "out")


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("heads\n", "heads"),
        ("heads", "heads"),
        ("one\ntwo\n\n", "one\ntwo"),
        (" 7 \n", " 7 "),
        ("\n", ""),
        ("", ""),
    ],
)
def test_what_a_program_printed_is_read_as_in_a_shell(printed: str, read: str) -> None:
    assert finished(completed(cid="QmX", stdout=printed)).stdout == read
    assert finished(completed(1, stdout=printed)).stdout == read


@pytest.mark.parametrize(
    ("engine", "code", "phase"),
    [
        ("wasm", -1, NodePhase.SUCCEEDED),
        ("WASM", -1, NodePhase.SUCCEEDED),
        ("docker", -1, NodePhase.FAILED),
        ("wasm", -2, NodePhase.FAILED),
        ("wasm", 1, NodePhase.FAILED),
        ("docker", 137, NodePhase.FAILED),
    ],
)
def test_only_webassembly_ends_well_with_minus_one(engine: str, code: int, phase: NodePhase) -> None:
    verdict = finished(completed(code, tasks=(rendered_task(engine=engine),)))
    assert verdict.phase is phase
    assert verdict.exit_code == (0 if phase is NodePhase.SUCCEEDED else code)


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("", "exit code 7"),
        ("\n \n", "exit code 7"),
        ("first\nno such file: x.txt\n\n", "exit code 7: no such file: x.txt"),
        ("x" * 2000, "exit code 7: " + "x" * 999 + "…"),
    ],
)
def test_a_program_that_says_no_fails_with_its_last_words(stderr: str, message: str) -> None:
    verdict = finished(completed(7, stderr=stderr))
    assert (verdict.phase, verdict.reason) == (NodePhase.FAILED, "ExitCode")
    assert verdict.message == message
    assert verdict.artifact, "its result is published all the same"


def test_a_publisher_that_left_nothing_is_an_error() -> None:
    verdict = finished(completed(cid=None))
    assert (verdict.phase, verdict.reason) == (NodePhase.ERROR, "NothingPublished")


@pytest.mark.parametrize("publisher", ["", "noop"])
def test_without_a_publisher_nothing_is_expected(publisher: str) -> None:
    verdict = finished(completed(cid=None, tasks=(rendered_task(publisher=publisher),)))
    assert (verdict.phase, verdict.artifact) == (NodePhase.SUCCEEDED, None)


def test_a_result_that_no_later_job_can_mount_is_a_result() -> None:
    managed = SpecConfig(type="s3managed", params={"JobID": "j-1", "ExecutionID": "e-1"})
    verdict = finished(completed(executions=(with_code(0, published_result=managed),)))
    assert (verdict.phase, verdict.artifact) == (NodePhase.SUCCEEDED, None)


@pytest.mark.parametrize("executions", [None, (), (execution(ComputeState.FAILED),), (execution(),)])
def test_completed_without_a_completed_execution_is_an_error(
    executions: tuple[Execution, ...] | None,
) -> None:
    assert finished(completed(executions=executions)).reason == "NoExecution"


def test_the_newest_execution_of_the_newest_version_counts() -> None:
    seen = completed(
        version=2,
        executions=(
            with_code(5, job_version=1, modified_at=START + 9),
            with_code(0, job_version=2, modified_at=START + 8),
            with_code(4, job_version=2, modified_at=START + 7),
            execution(ComputeState.FAILED, job_version=2, modified_at=START + 10, message="Running"),
        ),
    )
    verdict = finished(seen)
    assert verdict.exit_code == 0
    assert verdict.artifact
    assert verdict.artifact.cid == "Qm0"


def test_a_stale_message_of_a_completed_execution_is_not_read() -> None:
    assert finished(completed(executions=(with_code(0, message="Running"),))).message is None


def test_each_partition_must_end_well() -> None:
    seen = completed(
        executions=(
            with_code(0, partition_index=0, modified_at=START + 3),
            with_code(3, partition_index=1, modified_at=START + 4),
            with_code(0, partition_index=2, modified_at=START + 5),
        )
    )
    assert (finished(seen).phase, finished(seen).exit_code) == (NodePhase.FAILED, 3)


@pytest.mark.parametrize(("kind", "phase"), [("ops", NodePhase.FAILED), ("batch", NodePhase.SUCCEEDED)])
def test_each_node_of_an_ops_job_must_end_well(kind: str, phase: NodePhase) -> None:
    """In a batch job the second node took the partition over from the first."""
    seen = completed(
        type=kind,
        executions=(
            with_code(3, node_id="n-1", modified_at=START + 3),
            with_code(0, node_id="n-2", modified_at=START + 4),
        ),
    )
    assert finished(seen).phase is phase


# Failed


def test_a_failed_job_is_an_error_with_the_words_of_its_execution() -> None:
    verdict = finished(failed("memory limit exceeded"))
    assert (verdict.phase, verdict.reason, verdict.message) == (
        NodePhase.ERROR,
        "ExecutionFailed",
        "memory limit exceeded",
    )
    assert verdict.exit_code is None, "a failed execution reports exit code 0, which means nothing"


def test_the_newest_failure_of_the_newest_version_counts() -> None:
    executions = (
        execution(ComputeState.FAILED, message="old version", job_version=1, modified_at=START + 9),
        execution(ComputeState.FAILED, message="second", job_version=2, modified_at=START + 8),
        execution(ComputeState.FAILED, message="first", job_version=2, modified_at=START + 7),
        execution(ComputeState.CANCELLED, message="cancelled", job_version=2, modified_at=START + 10),
    )
    assert finished(failed(version=2, executions=executions)).message == "second"


@pytest.mark.parametrize("executions", [(), (execution(ComputeState.BID_REJECTED, message="stale"),)])
def test_a_job_that_never_ran_has_the_scheduler_s_words(executions: tuple[Execution, ...]) -> None:
    verdict = finished(failed(executions=executions, state_message="not enough nodes"))
    assert (verdict.phase, verdict.reason) == (NodePhase.ERROR, "NotScheduled")
    assert verdict.message == "not enough nodes"


@pytest.mark.parametrize(
    "message",
    [
        LOST_INPUT,
        "failed to copy /inputs/big to volume: failed to write to /x",
        RESTART,
        "Failed due to node restart",
        "Execution stop requested because node has disappeared",
    ],
)
def test_a_failure_of_the_platform_deserves_another_attempt(message: str) -> None:
    assert judge(failed(message), NOW) == Broken(reason="InfrastructureFailure", message=message)


# Stopped


def test_what_this_operator_stopped_says_why() -> None:
    replaced = stopped(stop_reason(StopCause.REPLACED, RESTART))
    assert judge(replaced, NOW) == Broken(reason="InfrastructureFailure", message=RESTART)
    given_up = finished(stopped(stop_reason(StopCause.GIVEN_UP, "memory limit exceeded")))
    assert (given_up.phase, given_up.message) == (NodePhase.ERROR, "memory limit exceeded")
    cancelled = finished(stopped(stop_reason(StopCause.CANCELLED, "the DAG is being deleted")))
    assert (cancelled.phase, cancelled.reason) == (NodePhase.CANCELLED, "Cancelled")
    assert cancelled.message == "the DAG is being deleted"


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("", "job j-1 was stopped by somebody else"),
        ("not needed any more", "job j-1 was stopped by somebody else: not needed any more"),
        ("Whatever: it is", "job j-1 was stopped by somebody else: Whatever: it is"),
    ],
)
def test_what_somebody_else_stopped_is_cancelled(reason: str, message: str) -> None:
    verdict = finished(stopped(reason))
    assert (verdict.phase, verdict.reason) == (NodePhase.CANCELLED, "StoppedExternally")
    assert verdict.message == message


# A job that its orchestrator abandoned

LONG_AGO = NOW - ABANDONED_GRACE


@pytest.mark.parametrize("kind", ["batch", "ops"])
def test_a_job_that_has_run_is_over_although_its_orchestrator_never_said_so(kind: str) -> None:
    verdict = finished(running(executions=(with_code(0, modified_at=LONG_AGO),), type=kind))
    assert (verdict.phase, verdict.artifact and verdict.artifact.cid) == (NodePhase.SUCCEEDED, "Qm0")


def test_a_job_that_has_run_and_failed_has_failed() -> None:
    verdict = finished(running(executions=(with_code(3, modified_at=LONG_AGO),)))
    assert (verdict.phase, verdict.exit_code) == (NodePhase.FAILED, 3)


@pytest.mark.parametrize(
    ("job", "said"),
    [
        pytest.param(
            {"executions": (execution(ComputeState.FAILED, message=RESTART, modified_at=LONG_AGO),)},
            f": {RESTART}",
            id="its execution failed",
        ),
        pytest.param(
            {"executions": (with_code(0, modified_at=LONG_AGO),), "count": 2},
            "",
            id="one of its partitions ran",
        ),
        pytest.param(
            {
                "executions": (
                    execution(ComputeState.FAILED, message=RESTART, modified_at=LONG_AGO - 1),
                    with_code(0, id="e-2", modified_at=LONG_AGO),
                ),
                "type": "ops",
            },
            "",
            id="one of its nodes failed",
        ),
    ],
)
def test_a_job_that_stopped_running_is_replaced_if_nobody_looks_at_it(job: dict[str, Any], said: str) -> None:
    message = f"job j-1 stopped running, and the Bacalhau orchestrator did not look at it again{said}"
    assert judge(running(**job), NOW) == Hopeless(cause=StopCause.REPLACED, message=message)
