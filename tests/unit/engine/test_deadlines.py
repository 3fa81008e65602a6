"""What takes too long: attempts, nodes, runs, and what is then stopped, tried again, or left out."""

from typing import Any

import pytest

from controller.api.bacalhau import JobSighting
from controller.api.dag import RunTimeouts
from controller.api.node import Node
from controller.api.status import NodePhase, RunPhase
from controller.engine import Graph
from controller.engine.deadlines import finally_deadline, node_deadline, nodes_deadline, run_deadline
from controller.engine.state import NodeState, RunState
from tests.support.builders import START, Json, Play, completed, dag, failed, node, queued, running, stopped
from tests.unit.engine.test_graph import problems

P = NodePhase


def play(*nodes: Json, **fields: Any) -> Play:
    return Play(dag(*nodes, **fields)).go()


def at(time: float, run: Play) -> float:
    """How long from now to a time since the start."""
    return START + time - run.now


# The times


@pytest.mark.parametrize(
    ("timeouts", "state", "time"),
    [
        ({}, NodeState(running_since=10.0, first_started_at=5.0), None),
        ({"timeout": "1m"}, NodeState(first_started_at=5.0), None),
        ({"timeout": "1m"}, NodeState(running_since=10.0, first_started_at=5.0), 70.0),
        ({"totalTimeout": "1m"}, NodeState(), None),
        ({"totalTimeout": "1m"}, NodeState(first_started_at=5.0), 65.0),
        ({"timeout": "1m", "totalTimeout": "1h"}, NodeState(running_since=9.0, first_started_at=5.0), 69.0),
        ({"timeout": "1h", "totalTimeout": "1m"}, NodeState(running_since=9.0, first_started_at=5.0), 65.0),
    ],
)
def test_a_node_has_the_earlier_of_its_deadlines(
    timeouts: Json, state: NodeState, time: float | None
) -> None:
    deadline = node_deadline(Node.model_validate({"name": "a"} | timeouts), state)
    assert (deadline.time if deadline else None) == time


@pytest.mark.parametrize(
    ("timeouts", "nodes", "last"),
    [
        ({}, None, None),
        ({"dag": "1h"}, 3600.0, 3600.0),
        ({"dag": "1h", "finally": "10m"}, 3000.0, 2600.0),
        ({"dag": "1h", "nodes": "20m"}, 1200.0, 3600.0),
        ({"dag": "1h", "nodes": "59m", "finally": "10m"}, 3000.0, 2600.0),
        ({"nodes": "20m"}, 1200.0, None),
        ({"finally": "10m"}, None, 2600.0),
        ({"dag": "5m", "finally": "10m"}, 0.0, 2600.0),
    ],
)
def test_time_for_finally_is_kept_out_of_the_time_for_nodes(
    timeouts: Json, nodes: float | None, last: float | None
) -> None:
    bounds = RunTimeouts.model_validate(timeouts)
    first, second = nodes_deadline(bounds, 0.0), finally_deadline(bounds, 0.0, 2000.0)
    assert (first.time if first else None) == nodes
    assert (second.time if second else None) == last


def test_no_timeouts_are_no_deadlines() -> None:
    for phase in (P.RUNNING, P.SUCCEEDED):
        assert run_deadline(None, RunState([NodeState(phase=phase)]), 0.0) is None


@pytest.mark.parametrize(
    ("ends", "opened_at"),
    [
        pytest.param([40.0, 90.0], 90.0, id="the last of the others has ended"),
        pytest.param([40.0, None], 40.0, id="one that never ran"),
        pytest.param([None], 20.0, id="none ran"),
        pytest.param([10.0], 20.0, id="a result that is older than the run"),
    ],
)
def test_time_for_finally_counts_from_the_end_of_all_others(
    ends: list[float | None], opened_at: float
) -> None:
    """And not from the end of one of its own."""
    others = [NodeState(phase=P.SUCCEEDED if end else P.OMITTED, finished_at=end) for end in ends]
    first, second = (NodeState(phase=P.SUCCEEDED, is_finally=True, finished_at=end) for end in (95.0, None))
    bounds = RunTimeouts.model_validate({"finally": "1m"})
    deadline = run_deadline(bounds, RunState([*others, first, second]), 20.0)
    assert deadline
    assert deadline.time == opened_at + 60


# An attempt


def test_an_attempt_s_time_counts_from_when_it_runs() -> None:
    run = play(node("a", timeout="1m")).see(a=queued(created_at=START))
    run.go(after=250)
    assert run.stops == {}
    run.see(a=running(modified_at=START + 252))
    assert run.wakes == [START + 312]
    assert run.go(after=at(311, run)).stops == {}
    assert run.go(after=1).stops == {"a": "TimedOut: attempt 1 ran longer than its timeout: 1m"}
    assert run.go().stops == {}, "it is asked to stop once"


def test_an_attempt_that_goes_back_to_the_queue_does_not_run() -> None:
    run = play(node("a", timeout="1m")).see(a=running(modified_at=START + 2))
    run.see(a=queued())
    assert run.go(after=100).stops == {}
    run.see(a=running(modified_at=START + 103))
    assert run.wakes == [START + 163]


def test_a_job_that_was_stopped_for_its_time_has_failed() -> None:
    run = play(node("a", timeout="1m")).see(a=running()).go(after=120)
    run.see(a=stopped(run.stops["a"]))
    state = run.node("a")
    assert (state.phase, state.reason) == (P.FAILED, "TimedOut")
    assert run.run.phase is RunPhase.FAILED
    assert run.status["message"] == 'node "a": attempt 1 ran longer than its timeout: 1m'


def test_a_job_that_ended_in_time_counts_although_it_was_seen_late() -> None:
    run = play(node("a", timeout="1m")).see(a=running())
    assert run.see(a=completed()).run.phase is RunPhase.SUCCEEDED


def test_a_job_that_ended_before_it_could_be_stopped_counts() -> None:
    run = play(node("a", timeout="1m")).see(a=running()).go(after=120)
    assert run.see(a=completed()).phases["a"] is P.SUCCEEDED


@pytest.mark.parametrize("backoff", [None, {"duration": "10m", "jitter": 0}])
@pytest.mark.parametrize("policy", ["OnFailure", "Always"])
def test_an_attempt_that_took_too_long_is_tried_again(policy: str, backoff: Json | None) -> None:
    retry = {"limit": 1, "policy": policy, "backoff": backoff}
    run = play(node("a", timeout="1m", retry=retry)).see(a=running()).go(after=120)
    reason = run.stops["a"]
    run.see(a=stopped(reason, modified_at=run.now))
    run.go(after=601)
    assert run.node("a").attempt == 2
    run.see(a=running(modified_at=run.now))
    assert run.wakes == [run.node("a").running_since + 60], "each attempt has its time"  # type: ignore[operator]
    run.go(after=60).see(a=stopped(run.stops["a"]))
    assert run.phases["a"] is P.FAILED


def test_on_error_does_not_try_a_timeout_again() -> None:
    run = play(node("a", timeout="1m", retry={"limit": 1, "policy": "OnError"})).see(a=running())
    run.go(after=120).see(a=stopped("TimedOut: late"))
    assert run.phases["a"] is P.FAILED


def test_a_deadline_survives_a_restart() -> None:
    run = play(node("a", timeout="1m")).see(a=running(modified_at=START + 2))
    run.restart()
    run.see(a=running(modified_at=START + 2))
    assert run.wakes == [START + 62]
    run.restart()
    run.go(after=100)
    assert run.see(a=running(modified_at=START + 2)).stops == {
        "a": "TimedOut: attempt 1 ran longer than its timeout: 1m"
    }


def test_why_a_job_was_stopped_survives_a_crash() -> None:
    run = play(node("a", timeout="1m")).see(a=running()).go(after=120)
    reason = run.stops["a"]
    run.restart()
    assert run.see(a=stopped(reason)).node("a").reason == "TimedOut"


# A node


def test_a_node_s_time_counts_from_its_first_attempt() -> None:
    retry = {"limit": 9, "backoff": {"duration": "20s", "factor": 1, "jitter": 0}}
    run = play(node("a", totalTimeout="1m", retry=retry)).see(a=completed(1, modified_at=START + 2))
    run.go(after=at(22, run))
    assert run.started == ["a"]
    run.see(a=running(created_at=START + 22, modified_at=START + 22))
    assert run.wakes == [START + 60]
    run.go(after=at(60, run))
    assert run.stops == {"a": "TimedOut: the node took longer than its totalTimeout: 1m"}
    run.see(a=stopped(run.stops["a"], created_at=START + 22, modified_at=run.now))
    assert (run.phases["a"], run.node("a").failures) == (P.FAILED, 2)
    assert run.run.phase is RunPhase.FAILED


def test_queueing_is_part_of_a_node_s_time() -> None:
    run = play(node("a", totalTimeout="1m")).see(a=queued())
    assert run.wakes == [START + 60]
    assert list(run.go(after=at(60, run)).stops) == ["a"]


def test_no_wait_goes_beyond_a_node_s_time() -> None:
    retry = {"limit": 9, "backoff": {"duration": "2m", "jitter": 0}}
    run = play(node("a", totalTimeout="1m", retry=retry)).see(a=completed(1))
    assert run.phases["a"] is P.FAILED


@pytest.mark.parametrize("lost", [failed("Failing due to node restart"), completed(1)])
def test_a_node_s_time_survives_a_restart_between_attempts(lost: JobSighting) -> None:
    run = play(node("a", totalTimeout="1m", retry={"limit": 9})).go(after=10).see(a=lost)
    assert run.node("a").attempt == 2
    run.restart()
    run.go()
    run.see(a=running(created_at=START + 30, modified_at=START + 30))
    assert run.wakes == [START + 60]


def test_a_node_s_time_survives_a_restart_while_its_second_attempt_runs() -> None:
    run = play(node("a", totalTimeout="1m")).go(after=10).see(a=failed("Failing due to node restart"))
    later = running(created_at=START + 30, modified_at=START + 30)
    run.see(a=later)
    run.restart()
    assert run.see(a=later).wakes == [START + 60]


# A run


@pytest.mark.parametrize(
    ("timeouts", "message"),
    [
        ({"dag": "1m"}, "the DAG took longer than timeouts.dag: 1m"),
        ({"nodes": "1m"}, "the nodes took longer than timeouts.nodes: 1m"),
        (
            {"dag": "90s", "finally": "30s"},
            "the nodes took longer than 60s (timeouts.dag: 90s less timeouts.finally: 30s)",
        ),
    ],
)
def test_a_run_that_takes_too_long_is_stopped_and_has_failed(timeouts: Json, message: str) -> None:
    run = play(node("a"), node("b", after=["a"]), timeouts=timeouts).see(a=running())
    assert run.wakes == [START + 61], "the first pass was a second after the start of the clock"
    assert run.go(after=at(60, run)).stops == {}
    assert run.go(after=1).stops == {"a": f"RunTimedOut: {message}"}
    assert (run.phases["b"], run.node("b").reason) == (P.OMITTED, "TimedOut")
    run.see(a=stopped(run.stops["a"]))
    assert (run.phases["a"], run.node("a").reason) == (P.FAILED, "RunTimedOut")
    assert run.run.phase is RunPhase.FAILED
    assert run.status["message"] == f'node "a": {message}'


def test_a_run_that_never_began_in_its_time_says_so() -> None:
    run = Play(dag(node("a"), timeouts={"dag": "1m"}), suspend=True).go().go(after=60)
    assert run.run.phase is RunPhase.FAILED
    assert run.status["message"] == "the DAG took longer than timeouts.dag: 1m"


def test_what_the_run_stopped_for_its_time_is_not_tried_again() -> None:
    retry = {"limit": 3, "policy": "Always"}
    run = play(node("a", retry=retry), timeouts={"dag": "1m"}).see(a=running()).go(after=60)
    run.see(a=stopped(run.stops["a"], modified_at=run.now))
    assert (run.phases["a"], run.node("a").attempt) == (P.FAILED, 1)
    assert [reason for reason, _ in run.events] == ["NodeFailed", "Failed"]


def test_a_node_that_waits_for_its_next_attempt_is_left_out_when_time_is_up() -> None:
    retry = {"limit": 3, "backoff": {"duration": "1h"}}
    run = play(node("a", retry=retry), timeouts={"dag": "1m"}).see(a=completed(1)).go(after=60)
    assert (run.phases["a"], run.node("a").reason) == (P.OMITTED, "TimedOut")
    assert run.run.phase is RunPhase.FAILED


def test_a_job_without_id_is_stopped_as_soon_as_it_has_one() -> None:
    run = play(node("a"), timeouts={"dag": "1m"}).go(after=60)
    assert run.stops == {}
    assert list(run.accept("a").stops) == ["a"]


def test_a_run_s_deadline_survives_a_restart() -> None:
    run = play(node("a"), timeouts={"dag": "1m"}).accept("a")
    run.restart()
    run.see(a=running())
    assert run.wakes == [START + 61]
    run.restart()
    run.go(after=60)
    assert list(run.stops) == ["a"]


def test_a_run_that_ended_in_time_asks_for_nothing() -> None:
    run = play(node("a"), timeouts={"dag": "1m"}).see(a=completed())
    assert run.run.phase is RunPhase.SUCCEEDED
    assert run.wakes == []


def test_time_while_suspended_counts() -> None:
    run = play(node("a"), timeouts={"dag": "1m"}).see(a=running()).go(suspend=True)
    assert list(run.go(after=60).stops) == ["a"]


@pytest.mark.parametrize("last", ["1m", "61s", "1h"])
def test_finally_cannot_keep_all_of_the_time_for_itself(last: str) -> None:
    [problem] = problems(dag(node("a"), timeouts={"dag": "60s", "finally": last}))
    assert problem == (
        f'spec.timeouts.finally: "{last}" leaves no time for the other nodes; it is kept out of timeouts.dag: 60s, so make it shorter.'
    )
    Graph.compile(dag(node("a"), timeouts={"dag": "60s", "finally": "59s"}))
