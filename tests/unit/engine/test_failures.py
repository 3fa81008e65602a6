"""What a node that did not succeed means for the others, and what follows when the platform loses an attempt."""

import pytest

from controller.api.bacalhau import JobSighting
from controller.api.status import DAGStatus, NodePhase, NodeStatus, RunPhase
from controller.engine import JobLost, JobSubmitted, Observation
from controller.engine.run import MAX_REPLACEMENTS
from tests.support.builders import Json, Play, completed, dag, failed, node, queued, running, stopped

RESTART = "Failing due to node restart"
FORK = [node("bad"), node("other"), node("after-bad", after=["bad"]), node("after-other", after=["other"])]

UNSUCCESSFUL: dict[str, tuple[JobSighting, NodePhase]] = {
    "exit code": (completed(3), NodePhase.FAILED),
    "error": (failed(), NodePhase.ERROR),
    "stopped by somebody else": (stopped("enough"), NodePhase.CANCELLED),
}


def fork(policy: str) -> Play:
    """Two branches that both run."""
    return Play(dag(*FORK, failurePolicy=policy)).go().see(bad=running(), other=running())


@pytest.mark.parametrize(("seen", "phase"), UNSUCCESSFUL.values(), ids=UNSUCCESSFUL.keys())
def test_fail_fast_starts_nothing_new_and_lets_jobs_finish(seen: JobSighting, phase: NodePhase) -> None:
    play = fork("FailFast").see(bad=seen)
    assert play.phases == {
        "bad": phase,
        "other": NodePhase.RUNNING,
        "after-bad": NodePhase.OMITTED,
        "after-other": NodePhase.OMITTED,
    }
    assert (play.stops, play.run.phase) == ({}, RunPhase.RUNNING)
    assert play.node("after-bad").reason == "DependencyNotMet"
    assert play.node("after-bad").message == 'node "bad" did not succeed'
    assert play.node("after-other").reason == "FailFast"
    assert play.see(other=completed()).started == []
    assert play.run.phase.value == phase.value


def test_fail_fast_is_the_default() -> None:
    play = Play(dag(*FORK)).go().see(bad=completed(1))
    assert play.phases["after-other"] is NodePhase.OMITTED


def test_fail_fast_starts_nothing_in_the_very_pass_that_failed() -> None:
    play = fork("FailFast").see(bad=completed(1), other=completed())
    assert play.started == []
    assert play.phases["after-other"] is NodePhase.OMITTED


def test_fail_fast_starts_nothing_after_a_job_that_cannot_be_rendered() -> None:
    play = Play(dag(node("a"), node("bad", job={"Type": "service"}), node("b"))).go()
    assert play.started == ["a"]
    assert play.phases["b"] is NodePhase.OMITTED


def test_fail_fast_leaves_out_nodes_that_wait_for_room() -> None:
    play = Play(dag(node("a"), node("b"), node("c")), parallelism=2).go()
    assert play.see(a=completed(1)).started == []
    assert play.phases["c"] is NodePhase.OMITTED


@pytest.mark.parametrize(("seen", "phase"), UNSUCCESSFUL.values(), ids=UNSUCCESSFUL.keys())
def test_fail_fast_cancel_stops_what_runs(seen: JobSighting, phase: NodePhase) -> None:
    play = fork("FailFastCancel").see(bad=seen)
    assert play.stops == {"other": 'Cancelled: node "bad" did not succeed'}
    assert play.phases["after-other"] is NodePhase.OMITTED
    play.see(other=stopped(play.stops["other"]))
    assert play.phases["other"] is NodePhase.CANCELLED
    assert play.run.phase.value == phase.value


def test_fail_fast_cancel_stops_a_job_as_soon_as_its_id_is_known() -> None:
    play = Play(dag(node("bad"), node("slow"), failurePolicy="FailFastCancel")).go()
    assert play.see(bad=completed(1)).stops == {}
    assert list(play.accept("slow").stops) == ["slow"]


def test_fail_fast_cancel_replaces_no_lost_attempt() -> None:
    play = fork("FailFastCancel").see(bad=completed(1), other=failed(RESTART))
    assert play.started == []
    assert play.phases["other"] is NodePhase.OMITTED
    assert play.run.phase is RunPhase.FAILED


def test_run_all_runs_what_does_not_depend_on_the_failure() -> None:
    play = fork("RunAll").see(bad=completed(1))
    assert play.phases["after-bad"] is NodePhase.OMITTED
    assert play.see(other=completed()).started == ["after-other"]
    play.see(**{"after-other": completed()})
    assert play.run.phase is RunPhase.FAILED


def test_all_that_follows_a_failure_is_left_out_with_its_nearest_reason() -> None:
    chain = [node("a"), node("b", after=["a"]), node("c", after=["b"]), node("d", after=["c", "a"])]
    play = Play(dag(*chain, failurePolicy="RunAll")).go().see(a=completed(1))
    assert [play.phases[name] for name in "bcd"] == [NodePhase.OMITTED] * 3
    assert play.node("c").message == 'node "b" did not succeed'
    assert play.run.phase is RunPhase.FAILED


def test_a_failure_is_told_once() -> None:
    play = fork("RunAll").see(bad=completed(3, stderr="boom"))
    assert play.events == [("NodeFailed", 'Node "bad": exit code 3: boom')]
    assert play.see(bad=completed(3)).events == []


# Replacements


def test_an_attempt_that_the_platform_lost_is_replaced() -> None:
    play = Play(dag(node("a"))).go()
    first = play.jobs["a"]
    play.see(a=failed(RESTART))
    assert play.started == ["a"]
    assert play.jobs["a"]["Name"] != first["Name"]
    assert play.jobs["a"]["Meta"]["dag.bacalhau.org/attempt"] == "2"
    assert play.events == [("AttemptReplaced", f'Node "a": attempt 1 is replaced: {RESTART}.')]
    state = play.node("a")
    assert (state.phase, state.attempt, state.job_id, state.started_at) == (
        NodePhase.SUBMITTED,
        2,
        None,
        None,
    )
    play.see(a=completed())
    assert play.run.phase is RunPhase.SUCCEEDED


def test_a_job_that_waits_in_vain_is_replaced_after_it_was_stopped() -> None:
    play = Play(dag(node("a"))).go().see(a=queued(RESTART, RESTART))
    assert (play.started, play.stops) == ([], {"a": f"Replaced: {RESTART}"})
    assert play.see(a=queued(RESTART, RESTART)).effects == ()
    assert play.see(a=stopped(f"Replaced: {RESTART}")).started == ["a"]
    assert play.node("a").attempt == 2


def test_a_job_that_ended_before_it_could_be_stopped_counts() -> None:
    play = Play(dag(node("a"))).go().see(a=queued(RESTART, RESTART))
    play.see(a=completed())
    assert play.phases["a"] is NodePhase.SUCCEEDED


def test_a_node_has_a_budget_of_replacements() -> None:
    play = Play(dag(node("a"))).go()
    for attempt in range(1, MAX_REPLACEMENTS + 1):
        play.see(a=failed(RESTART))
        assert play.node("a").attempt == attempt + 1
    play.see(a=failed(RESTART))
    state = play.node("a")
    assert (state.phase, state.attempt) == (NodePhase.ERROR, 6)
    assert state.message == f"{RESTART} (the platform lost 6 attempts)"


@pytest.mark.parametrize(
    ("earlier", "left"),
    [
        ({"attempt": 1}, MAX_REPLACEMENTS),
        ({"attempt": 9}, MAX_REPLACEMENTS),  # of which a rerun has forgotten what they came to
        ({"attempt": 9, "failures": 8}, MAX_REPLACEMENTS),
        ({"attempt": 9, "lost": 2}, MAX_REPLACEMENTS - 2),
        ({"attempt": 9, "failures": 4, "errors": 2, "lost": 2}, MAX_REPLACEMENTS - 2),
        ({"attempt": 9, "lost": MAX_REPLACEMENTS}, 0),
    ],
    ids=str,
)
def test_only_lost_attempts_are_on_the_budget_of_replacements(earlier: Json, left: int) -> None:
    known = NodeStatus.model_validate({"phase": "Running", "jobID": "j-a"} | earlier)
    play = Play(dag(node("a")), status=DAGStatus(phase=RunPhase.RUNNING, nodes={"a": known})).go()
    for _ in range(left):
        assert play.see(a=failed(RESTART)).started == ["a"]
        play.restart()
        play.go()
    assert play.see(a=failed(RESTART)).phases["a"] is NodePhase.ERROR


def test_what_cannot_succeed_is_given_up() -> None:
    play = Play(dag(node("a"))).go().see(a=queued("boom", "boom"))
    assert play.stops == {"a": "GivenUp: boom"}
    play.see(a=stopped("GivenUp: boom"))
    assert (play.phases["a"], play.node("a").message) == (NodePhase.ERROR, "boom")


def test_late_news_of_a_replaced_attempt_is_no_news() -> None:
    play = Play(dag(node("a"), node("b")), parallelism=2).go().see(b=running())
    lost = play.seen("a", failed(RESTART))
    play.go(lost, suspend=True)
    assert (play.phases["a"], play.node("a").attempt) == (NodePhase.PENDING, 1)
    late: list[Observation] = [
        lost,
        play.seen("a", running()),
        JobLost(node="a", attempt=1),
        JobSubmitted(node="a", attempt=1, job_id="j-a-1"),
    ]
    play.go(*late)
    assert (play.phases["a"], play.node("a").job_id) == (NodePhase.PENDING, None)
    assert play.go(suspend=False).started == ["a"]
    play.go(*late)
    assert (play.phases["a"], play.node("a").attempt) == (NodePhase.SUBMITTED, 2)


def test_a_replacement_takes_a_place_like_any_other() -> None:
    play = Play(dag(node("a"), node("b")), parallelism=1).go()
    assert play.see(a=failed(RESTART)).started == ["a"]
    assert play.phases["b"] is NodePhase.PENDING


def test_a_replacement_under_fail_fast_is_nothing_new() -> None:
    play = fork("FailFast").see(bad=completed(1))
    assert play.see(other=failed(RESTART)).started == ["other"]
    play.see(other=completed())
    assert play.run.phase is RunPhase.FAILED


@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel"])
def test_a_replacement_is_nothing_new_to_another_process_either(policy: str) -> None:
    play = Play(dag(*FORK, failurePolicy=policy)).go().see(other=failed(RESTART))
    assert play.started == ["other"]
    play.restart()
    play.go(play.seen("bad", completed(1), attempt=1))
    assert play.started == (["other"] if policy == "FailFast" else [])
