"""Taking a run up again, from a status that may be old, and from Bacalhau's jobs."""

from typing import Any

import pytest

from controller.api.status import DAGStatus, NodePhase, NodeStatus, RunPhase
from controller.engine.state import NodeState, timestamp, unix_time
from tests.support.builders import START, Json, Play, completed, dag, failed, node, queued, running, stopped

CHAIN = dag(node("a"), node("b", reads=["a"]), node("c", after=["b"]))


def taken_up(spec: Any = CHAIN, **nodes: Json) -> Play:
    """A run in a new process, from a status that says this of the nodes."""
    return Play(spec, status=DAGStatus.model_validate({"phase": "Running", "nodes": nodes}))


def test_a_run_goes_on_from_its_status_alone() -> None:
    play = Play(CHAIN).go().see(a=completed(stdout="seven"))
    expected = play.jobs["b"]
    play.see(b=running())
    play.restart()
    play.go(play.seen("a", completed(stdout="seven")))
    assert play.effects == ()
    assert play.phases == {"a": NodePhase.SUCCEEDED, "b": NodePhase.RUNNING, "c": NodePhase.PENDING}
    play.see(b=failed("Failing due to node restart"))
    assert play.jobs["b"]["Tasks"] == expected["Tasks"]
    play.see(b=completed())
    assert play.started == ["c"]


def test_a_submission_without_an_answer_is_made_again_under_the_same_name() -> None:
    play = Play(CHAIN).go()
    name = play.jobs["a"]["Name"]
    play.restart()
    assert play.go().jobs["a"]["Name"] == name
    assert play.node("a").attempt == 1


def test_a_submission_without_an_answer_that_took_place_is_found() -> None:
    play = Play(CHAIN).go()
    play.restart()
    play.go(play.seen("a", running(), attempt=1))
    assert (play.effects, play.phases["a"]) == ((), NodePhase.RUNNING)


def test_a_status_takes_back_a_submission_that_is_not_made_again() -> None:
    play = Play(CHAIN).go()
    assert play.status["nodes"]["a"]["phase"] == "Submitted"
    play.restart()
    play.go(suspend=True)
    assert play.status["nodes"]["a"] == {"phase": "Pending"}


def test_a_job_that_was_accepted_is_not_submitted_again() -> None:
    play = Play(CHAIN).go().accept("a")
    play.restart()
    assert play.go().effects == ()
    assert play.phases["a"] is NodePhase.SUBMITTED


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Error", "Cancelled", "Omitted", "Skipped"])
def test_a_node_that_has_ended_stays_as_it_is(phase: str) -> None:
    spec = dag(node("a"), node("z"), failurePolicy="RunAll")
    play = taken_up(spec, a={"phase": phase, "attempt": 1, "jobID": "j-a-1"})
    for sighting in (running(), failed(), completed(), stopped()):
        play.go(play.seen("a", sighting, attempt=1), play.seen("a", sighting, attempt=2))
        assert play.phases["a"].value == phase
    assert "a" not in play.started


def test_a_newer_attempt_in_bacalhau_is_taken_up() -> None:
    play = taken_up(a={"phase": "Running", "attempt": 1, "jobID": "j-a-1"})
    play.go(play.seen("a", running(), attempt=2))
    assert (play.node("a").attempt, play.node("a").job_id) == (2, "j-a-2")
    assert play.status["nodes"]["a"]["attempt"] == 2
    assert play.status["nodes"]["a"]["jobID"] == "j-a-2"


def test_an_older_attempt_in_bacalhau_is_no_news() -> None:
    play = taken_up(a={"phase": "Running", "attempt": 2, "jobID": "j-a-2"})
    play.go(play.seen("a", stopped("Replaced: x"), attempt=1))
    assert (play.effects, play.phases["a"]) == ((), NodePhase.RUNNING)


def test_all_is_found_in_bacalhau_if_the_status_is_lost() -> None:
    play = Play(CHAIN)
    play.go(
        play.seen("b", stopped("Replaced: Failing due to node restart"), attempt=3),
        play.seen("a", completed(stdout="seven"), attempt=2),
    )
    assert (play.node("a").phase, play.node("a").attempt) == (NodePhase.SUCCEEDED, 2)
    assert play.started == ["b"]
    assert play.node("b").attempt == 4
    assert play.jobs["b"]["Tasks"][0]["Engine"]["Params"]["Parameters"] == ["seven"]


def test_a_replacement_waits_for_dependencies_that_are_not_known() -> None:
    play = Play(CHAIN)
    play.go(play.seen("b", stopped("Replaced: x"), attempt=1))
    assert play.started == ["a"]
    assert play.see(a=completed()).started == ["b"]


def test_failures_that_nobody_saw_are_told() -> None:
    play = taken_up(a={"phase": "Running", "attempt": 1, "jobID": "j-a-1"})
    play.see(a=completed(3))
    closing = 'Nodes: succeeded 0, failed 1, running 0, waiting 0, omitted 2. The first that did not succeed was "a".'
    assert play.events == [("NodeFailed", 'Node "a": exit code 3'), ("Failed", closing)]
    assert play.phases["c"] is NodePhase.OMITTED


def test_failures_that_the_status_tells_still_count() -> None:
    spec = dag(node("a"), node("b", after=["a"]), node("c"))
    play = taken_up(spec, a={"phase": "Failed", "attempt": 1, "jobID": "j-a-1", "exitCode": 3}).go()
    assert play.started == []
    assert play.node("b").reason == "DependencyNotMet"
    assert play.node("c").reason == "FailFast"
    assert play.run.phase is RunPhase.FAILED


def test_stops_that_may_be_lost_are_asked_for_again() -> None:
    spec = dag(node("a"), node("b"), failurePolicy="FailFastCancel")
    play = Play(spec).go().see(a=completed(1), b=running())
    assert list(play.stops) == ["b"]
    play.restart()
    assert list(play.go().stops) == ["b"]
    play.restart()
    play.see(b=queued("boom", "boom"))
    assert play.stops == {"b": "GivenUp: boom"}


def test_stdout_that_may_still_be_read_is_asked_for() -> None:
    spec = dag(node("a"), node("b"), node("c", reads=["a", "b"]), node("d", reads=["a"], after=["c"]))
    ended = {"phase": "Succeeded", "attempt": 1}
    play = taken_up(
        spec,
        a=ended | {"jobID": "j-a-1"},
        b=ended | {"jobID": "j-b-1"},
        c={"phase": "Running", "attempt": 1, "jobID": "j-c-1"},
    )
    assert play.run.reader.missing_stdout() == [("a", "j-a-1"), ("b", "j-b-1")], "c may have to be replaced"
    play.go(play.seen("b", completed(stdout="x")))
    assert play.run.reader.missing_stdout() == [("a", "j-a-1")]
    play.see(c=completed())
    assert play.run.reader.missing_stdout() == [("a", "j-a-1")]
    play.go(play.seen("d", completed(), attempt=1))
    assert play.run.reader.missing_stdout() == []


def test_a_run_that_has_ended_stays_as_it_is() -> None:
    play = Play(CHAIN).go().see(a=completed(1))
    before = play.status
    play.restart()
    play.go(play.seen("b", running(), attempt=1), after=100)
    assert play.effects == ()
    assert play.status == before
    assert play.run.completed_at == pytest.approx(unix_time(before["completionTime"]))


# The nodes' part of a status


@pytest.mark.parametrize(
    "document",
    [
        {"phase": "Pending"},
        {"phase": "Pending", "attempt": 2},
        {"phase": "Running", "attempt": 1, "jobID": "j-1", "startedAt": "2027-01-15T08:00:00.123Z"},
        {
            "phase": "Failed",
            "attempt": 3,
            "jobID": "j-1",
            "startedAt": "2027-01-15T08:00:00.123Z",
            "finishedAt": "2027-01-15T08:00:01.000Z",
            "exitCode": 3,
            "reason": "ExitCode",
            "message": "exit code 3",
            "outputs": {"uri": "ipfs://QmX", "cid": "QmX"},
        },
        {"phase": "Omitted", "reason": "FailFast", "message": "…"},
    ],
)
def test_a_node_s_status_is_taken_up_as_it_was_written(document: Json) -> None:
    state = NodeState.from_status(NodeStatus.model_validate(document))
    assert state.to_status().model_dump(by_alias=True, mode="json", exclude_none=True) == document


@pytest.mark.parametrize("attempt", [1, 3])
@pytest.mark.parametrize("phase", ["Submitted", "Queued", "Running"])
def test_a_job_without_id_was_never_sent(phase: str, attempt: int) -> None:
    state = NodeState.from_status(NodeStatus.model_validate({"phase": phase, "attempt": attempt}))
    assert state == NodeState(attempt=attempt - 1)


def test_no_status_is_a_node_that_waits() -> None:
    assert NodeState.from_status(None) == NodeState()


@pytest.mark.parametrize("time", [START, START + 0.5, START + 0.1239, 0.0])
def test_times_are_written_in_milliseconds(time: float) -> None:
    text = timestamp(time)
    assert text
    assert text.endswith("Z")
    assert unix_time(text) == pytest.approx(time, abs=0.001)
    assert timestamp(unix_time(text)) == text


def test_no_time_is_no_time() -> None:
    assert (timestamp(None), unix_time(None)) == (None, None)
