"""How a run advances: what starts when, what is taken from observations, and what is not."""

import pytest

from controller.api.status import NodePhase, RunPhase
from controller.engine import Graph, JobLost, JobSubmitted, Observation, SubmissionRefused, WakeAt
from controller.engine.nodes import CompiledNode
from controller.engine.readiness import Omitted, omission
from controller.engine.state import RunState
from controller.engine.verdict import OVERDUE_GRACE
from tests.support.builders import START, Play, completed, dag, failed, node, queued, running, stopped

DIAMOND = dag(
    node("top"),
    node("left", after=["top"]),
    node("right", inputs=["top"]),
    node("bottom", after=["left"], reads=["right"]),
)


def test_nodes_start_when_their_dependencies_have_succeeded() -> None:
    play = Play(DIAMOND).go()
    assert play.started == ["top"]
    assert play.see(top=running()).started == []
    assert play.see(top=completed()).started == ["left", "right"]
    assert play.see(left=completed()).started == []
    assert play.see(right=completed(stdout="x")).started == ["bottom"]
    play.see(bottom=completed())
    assert play.run.phase is RunPhase.SUCCEEDED
    assert play.events == [("Succeeded", "All 4 nodes succeeded.")]


def test_a_join_is_looked_at_once_its_last_branch_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not whenever one has: every look costs what the join has branches."""
    looks: list[str] = []

    def counted(graph: Graph, state: RunState, node: CompiledNode) -> Omitted | None:
        looks.append(node.name)
        return omission(graph, state, node)

    monkeypatch.setattr("controller.engine.run.omission", counted)
    branches = [f"n{number}" for number in range(20)]
    play = Play(dag(*(node(name) for name in branches), node("join", after=branches))).go()
    looks.clear()
    for name in branches:
        play.see(**{name: completed()})
    assert (looks, play.started) == (["join"], ["join"])


def test_nodes_start_in_the_order_of_the_document() -> None:
    names = [f"n{number}" for number in range(12)]
    play = Play(dag(*(node(name) for name in names)), parallelism=5).go()
    assert play.started == names[:5]
    assert play.see(n3=completed(), n0=completed()).started == names[5:7]


def test_a_node_goes_through_its_phases() -> None:
    play = Play(dag(node("a")))
    assert play.phases == {"a": NodePhase.PENDING}
    assert play.go().phases == {"a": NodePhase.SUBMITTED}
    assert play.accept("a").phases == {"a": NodePhase.SUBMITTED}
    assert play.node("a").job_id == "j-a-1"
    assert play.see(a=queued(state_message="no room")).phases == {"a": NodePhase.QUEUED}
    assert play.node("a").message == "no room"
    assert play.see(a=running()).phases == {"a": NodePhase.RUNNING}
    assert play.node("a").message is None
    assert play.see(a=completed(cid="QmX", stdout="out")).phases == {"a": NodePhase.SUCCEEDED}
    state = play.node("a")
    assert (state.attempt, state.job_id, state.exit_code, state.stdout) == (1, "j-a-1", 0, "out")
    assert (state.started_at, state.finished_at) == (START, START + 3)
    assert state.artifact
    assert state.artifact.cid == "QmX"


def test_results_reach_the_nodes_that_read_them() -> None:
    play = Play(dag(node("a"), node("b", reads=["a"], inputs=["a"]))).go()
    play.see(a=completed(cid="QmX", stdout="seven"))
    task = play.jobs["b"]["Tasks"][0]
    assert task["Engine"]["Params"]["Parameters"] == ["seven"]
    assert task["InputSources"][0]["Source"]["Params"] == {"CID": "QmX"}


def test_a_job_that_cannot_be_rendered_is_an_error_of_its_node() -> None:
    play = Play(dag(node("a"), node("b", inputs=["a"]))).go()
    play.see(a=completed(cid=None, tasks=()))
    assert play.phases == {"a": NodePhase.SUCCEEDED, "b": NodePhase.ERROR}
    assert play.node("b").reason == "InvalidJob"
    assert 'node "a" published nothing' in (play.node("b").message or "")
    assert play.run.phase is RunPhase.ERROR


def test_a_refused_submission_is_an_error_of_its_node() -> None:
    play = Play(dag(node("a"))).go()
    play.go(SubmissionRefused(node="a", attempt=1, reason="TooLarge", message="x\n" * 5000))
    state = play.node("a")
    assert (state.phase, state.reason) == (NodePhase.ERROR, "TooLarge")
    assert state.message
    assert len(state.message) == 1000


def test_a_lost_job_is_an_error_of_its_node() -> None:
    play = Play(dag(node("a"))).go().accept("a")
    play.go(JobLost(node="a", attempt=1))
    state = play.node("a")
    assert (state.phase, state.reason) == (NodePhase.ERROR, "JobLost")
    assert state.message == "Bacalhau no longer knows job j-a-1."


def test_a_job_may_be_seen_before_its_submission_is_answered() -> None:
    play = Play(dag(node("a"))).go()
    play.see(a=running())
    assert (play.phases["a"], play.node("a").job_id) == (NodePhase.RUNNING, "j-a-1")
    play.accept("a")
    assert play.phases["a"] is NodePhase.RUNNING


def test_what_arrives_twice_or_late_changes_nothing() -> None:
    play = Play(dag(node("a"), node("b", after=["a"]))).go()
    seen = play.seen("a", completed())
    play.go(seen, seen)
    before = play.status["nodes"]["a"]
    late: list[Observation] = [
        play.seen("a", running()),
        play.seen("a", failed()),
        seen,
        JobLost(node="a", attempt=1),
        JobSubmitted(node="a", attempt=1, job_id="j-other"),
        SubmissionRefused(node="a", attempt=1, reason="x", message="x"),
        JobLost(node="b", attempt=0),
        JobSubmitted(node="b", attempt=7, job_id="j-other"),
    ]
    play.go(*late)
    assert play.status["nodes"]["a"] == before
    assert (play.phases["b"], play.node("b").job_id) == (NodePhase.SUBMITTED, None)


def test_news_of_unknown_nodes_is_ignored() -> None:
    play = Play(dag(node("a"))).go()
    play.go(JobLost(node="zz", attempt=1))
    assert play.effects == ()


def test_a_run_that_has_ended_ignores_everything() -> None:
    play = Play(dag(node("a"))).go().see(a=completed())
    completed_at = play.run.completed_at
    play.see(a=failed())
    assert (play.effects, play.run.phase) == ((), RunPhase.SUCCEEDED)
    assert play.run.completed_at == completed_at


# Jobs that only time makes hopeless


def test_a_waiting_job_is_judged_again_when_it_is_overdue() -> None:
    play = Play(dag(node("a"))).go().see(a=queued())
    overdue = START + 300 + OVERDUE_GRACE
    assert play.effects == (WakeAt(time=overdue),)
    assert play.go().effects == (WakeAt(time=overdue),)
    play.go(after=overdue - play.now)
    assert list(play.stops) == ["a"]
    reason = play.stops["a"]
    assert reason.startswith("GivenUp: no node had room")
    assert play.go().effects == (), "it is asked to stop once"
    play.see(a=stopped(reason))
    assert play.phases["a"] is NodePhase.ERROR


def test_the_earliest_of_several_times_wakes_the_run() -> None:
    play = Play(dag(node("a"), node("b"))).go()
    play.see(a=queued(created_at=START + 50), b=queued(created_at=START + 20))
    assert play.effects == (WakeAt(time=START + 20 + 300 + OVERDUE_GRACE),)
    play.see(b=running())
    assert play.effects == (WakeAt(time=START + 50 + 300 + OVERDUE_GRACE),)


def test_nothing_wakes_a_run_whose_jobs_run() -> None:
    play = Play(dag(node("a"))).go().see(a=queued()).see(a=running())
    assert play.effects == ()


# Controls


def test_parallelism_counts_everything_that_may_have_a_job() -> None:
    play = Play(dag(*(node(name) for name in "abcdef")), parallelism=2).go()
    assert play.started == ["a", "b"]
    assert play.see(a=queued(), b=running()).started == []
    assert play.see(b=completed()).started == ["c"]
    assert play.go(parallelism=1).started == []
    assert play.see(a=completed()).started == []
    assert play.see(c=completed()).started == ["d"]
    assert play.go(parallelism=None).started == ["e", "f"]


def test_a_node_that_cannot_be_rendered_takes_no_place() -> None:
    broken = node("a", job={"Type": "service"})
    play = Play(dag(broken, node("b"), failurePolicy="RunAll"), parallelism=1).go()
    assert play.started == ["b"]


def test_a_suspended_run_starts_nothing_and_lets_jobs_go_on() -> None:
    play = Play(dag(node("a"), node("b", after=["a"]))).go()
    play.go(suspend=True)
    assert play.run.phase is RunPhase.SUSPENDED
    assert play.events == [("Suspended", "Nothing new starts until spec.suspend is false.")]
    assert play.see(a=completed()).started == []
    assert play.run.phase is RunPhase.SUSPENDED
    assert play.go(suspend=False).started == ["b"]
    assert play.status["phase"] == "Running"


def test_a_run_may_end_while_it_is_suspended() -> None:
    play = Play(dag(node("a"))).go().go(suspend=True)
    assert play.see(a=completed()).run.phase is RunPhase.SUCCEEDED


def test_a_run_suspended_from_the_start_does_not_start() -> None:
    assert Play(dag(node("a")), suspend=True).go().started == []


def test_a_cancelled_run_stops_what_runs_and_leaves_out_the_rest() -> None:
    play = Play(dag(node("a"), node("b"), node("c", after=["a"]))).go().see(a=running())
    play.go(cancel=True)
    assert play.stops == {"a": "Cancelled: the DAG is being deleted"}
    assert play.phases == {"a": NodePhase.RUNNING, "b": NodePhase.SUBMITTED, "c": NodePhase.OMITTED}
    assert play.go().stops == {}, "each job is asked to stop once"
    assert list(play.accept("b").stops) == ["b"], "a job is stopped as soon as its ID is known"
    play.see(a=stopped("Cancelled: the DAG is being deleted"), b=completed())
    assert play.phases == {"a": NodePhase.CANCELLED, "b": NodePhase.SUCCEEDED, "c": NodePhase.OMITTED}
    assert play.run.phase is RunPhase.CANCELLED


def test_a_run_cancelled_before_it_started_is_cancelled() -> None:
    play = Play(dag(node("a"), node("b", after=["a"]))).go(cancel=True)
    assert play.run.phase is RunPhase.CANCELLED
    tally = "Nodes: succeeded 0, failed 0, running 0, waiting 0, omitted 2."
    assert play.events == [("Cancelled", f"{tally} It ended early: the DAG is being deleted.")]


@pytest.mark.parametrize("suspend", [True, False])
def test_a_cancelled_run_does_not_replace_lost_attempts(suspend: bool) -> None:
    play = Play(dag(node("a"))).go(suspend=False).see(a=running())
    play.go(suspend=suspend, cancel=True)
    play.see(a=failed("Failing due to node restart"))
    assert play.started == []
    assert play.phases == {"a": NodePhase.OMITTED}


def test_an_edge_chain_deeper_than_python_s_stack_is_left_out_at_once() -> None:
    chain = [node("n0"), *(node(f"n{number}", after=[f"n{number - 1}"]) for number in range(1, 2000))]
    play = Play(dag(*chain, failurePolicy="RunAll")).go().see(n0=completed(1))
    assert set(play.phases.values()) == {NodePhase.FAILED, NodePhase.OMITTED}
