"""The status that people and tools read."""

import pytest

from controller.api.status import DAGStatus, NodePhase, RunPhase
from controller.engine import Controls, Graph, Reporter, rejection
from controller.engine.outcome import first_failure, run_phase
from controller.engine.report import condition_statuses
from controller.engine.state import NodeState, RunState
from tests.support.builders import CONTEXT, START, Json, Play, completed, dag, failed, node, running, stopped

P = NodePhase
ABC = dag(node("a"), node("b"), node("c", after=["a"]))


def ended(*nodes: NodeState) -> tuple[Graph, RunState]:
    """A graph of independent nodes, and what became of them."""
    graph = Graph.compile(dag(*(node(f"n{number}") for number in range(len(nodes)))))
    return graph, RunState(list(nodes))


def ended_as(*phases: NodePhase) -> tuple[Graph, RunState]:
    return ended(*(NodeState(phase=phase) for phase in phases))


def conditions(status: Json) -> dict[str, Json]:
    return {condition["type"]: condition for condition in status["conditions"]}


# Phases


@pytest.mark.parametrize(
    ("phases", "phase"),
    [
        ([P.SUCCEEDED, P.SUCCEEDED], RunPhase.SUCCEEDED),
        ([P.SUCCEEDED, P.SKIPPED], RunPhase.SUCCEEDED),
        ([P.SUCCEEDED, P.FAILED, P.ERROR, P.CANCELLED, P.OMITTED], RunPhase.FAILED),
        ([P.SUCCEEDED, P.ERROR, P.CANCELLED, P.OMITTED], RunPhase.ERROR),
        ([P.SUCCEEDED, P.CANCELLED, P.OMITTED], RunPhase.CANCELLED),
        ([P.SUCCEEDED, P.OMITTED], RunPhase.SUCCEEDED),
        ([P.PENDING], RunPhase.RUNNING),
        ([P.FAILED, P.PENDING], RunPhase.RUNNING),
        ([P.FAILED, P.SUBMITTED], RunPhase.RUNNING),
        ([P.FAILED, P.QUEUED], RunPhase.RUNNING),
        ([P.FAILED, P.RUNNING], RunPhase.RUNNING),
    ],
)
def test_the_worst_end_of_a_node_is_the_run_s(phases: list[NodePhase], phase: RunPhase) -> None:
    assert run_phase(*ended_as(*phases), suspended=False) is phase


def test_only_a_run_that_goes_on_can_be_suspended() -> None:
    assert run_phase(*ended_as(P.PENDING), suspended=True) is RunPhase.SUSPENDED
    assert run_phase(*ended_as(P.RUNNING), suspended=True) is RunPhase.SUSPENDED
    assert run_phase(*ended_as(P.FAILED), suspended=True) is RunPhase.FAILED


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ([(P.SUCCEEDED, 1.0), (P.RUNNING, None)], None),
        ([(P.FAILED, 9.0), (P.ERROR, 8.0)], 1),
        ([(P.CANCELLED, 1.0), (P.OMITTED, None), (P.FAILED, 9.0)], 2),
        ([(P.CANCELLED, 3.0), (P.CANCELLED, 2.0)], 1),
        ([(P.FAILED, 5.0), (P.FAILED, 5.0)], 0),
    ],
)
def test_the_first_failure_is_a_cause_and_not_a_consequence(
    nodes: list[tuple[NodePhase, float | None]], first: int | None
) -> None:
    assert (
        first_failure(*ended(*(NodeState(phase=phase, finished_at=time) for phase, time in nodes))) == first
    )


@pytest.mark.parametrize(
    ("reason", "phase"),
    [
        ("Cancelled", RunPhase.CANCELLED),
        ("TimedOut", RunPhase.FAILED),
        ("FailFast", RunPhase.SUCCEEDED),
        ("DependencyNotMet", RunPhase.SUCCEEDED),
    ],
)
def test_what_an_omitted_node_means_depends_on_why_it_was(reason: str, phase: RunPhase) -> None:
    """The last two follow from another node's end, which counts by itself unless it is forgiven."""
    omitted = NodeState(phase=P.OMITTED, reason=reason)
    assert run_phase(*ended(NodeState(phase=P.SUCCEEDED), omitted), suspended=False) is phase


# Conditions


@pytest.mark.parametrize("phase", RunPhase)
def test_conditions_are_what_kstatus_reads(phase: RunPhase) -> None:
    """Current: Ready. In progress: Reconciling. Failed: Stalled. Never two of them."""
    statuses = condition_statuses(phase)
    true = {kind for kind, status in statuses.items() if status == "True"}
    if phase is RunPhase.SUCCEEDED:
        assert true == {"Succeeded", "Ready"}
    elif phase.is_terminal:
        assert true == {"Stalled"}
        assert statuses["Succeeded"] == statuses["Ready"] == statuses["Reconciling"] == "False"
    else:
        assert true == {"Reconciling"}
        assert statuses["Succeeded"] == "Unknown"


def test_a_transition_is_dated_when_the_status_changes_and_only_then() -> None:
    play = Play(ABC).go()
    started = play.status["startTime"]
    began = conditions(play.status)["Reconciling"]["lastTransitionTime"]
    play.see(a=running(), b=running())
    assert conditions(play.status)["Reconciling"]["lastTransitionTime"] == began
    assert conditions(play.status)["Reconciling"]["message"].startswith("Nodes: succeeded 0")
    play.restart()
    play.see(a=completed(), b=completed())
    assert conditions(play.status)["Reconciling"]["lastTransitionTime"] == began
    play.see(c=completed())
    ended = conditions(play.status)
    assert ended["Reconciling"]["lastTransitionTime"] == play.status["completionTime"] != began
    assert ended["Stalled"]["lastTransitionTime"] == began, "it was never true"
    assert play.status["startTime"] == started


def test_conditions_say_of_which_generation_they_are() -> None:
    play = Play(ABC)
    play.run.advance((), Controls(), START)
    delta = play.reporter.delta(generation=7, now=START, hindrance=None)
    assert delta["observedGeneration"] == 7
    assert {condition["observedGeneration"] for condition in delta["conditions"]} == {7}


# Messages


def test_a_run_counts_its_nodes() -> None:
    play = Play(ABC).go()
    assert (play.status["progress"], play.status["message"]) == (
        "0/3",
        "Nodes: succeeded 0, failed 0, running 2, waiting 1.",
    )
    play.see(a=completed())
    assert play.status["progress"] == "1/3"
    assert play.status["message"] == "Nodes: succeeded 1, failed 0, running 2, waiting 0."
    play.see(b=completed(), c=completed())
    assert (play.status["phase"], play.status["progress"]) == ("Succeeded", "3/3")
    assert play.status["message"] == "All 3 nodes succeeded."


def test_a_run_that_failed_names_the_node_and_why() -> None:
    play = Play(ABC).go().see(a=completed(7, stderr="boom"), b=completed())
    assert play.status["phase"] == "Failed"
    assert play.status["message"] == 'node "a": exit code 7: boom'
    assert conditions(play.status)["Stalled"]["message"] == 'node "a": exit code 7: boom'
    assert conditions(play.status)["Succeeded"]["reason"] == "Failed"


def test_a_run_with_several_failures_names_the_first_and_counts_the_rest() -> None:
    play = Play(ABC).go().see(a=failed("late", modified_at=START + 9))
    play.see(b=failed("early", modified_at=START + 4))
    assert play.status["message"].startswith('node "b": early (1 more')


def test_a_node_without_message_is_named_with_its_reason() -> None:
    play = Play(dag(node("a"))).go().see(a=stopped("Cancelled: "))
    assert play.status["message"] == 'node "a": Cancelled'


def test_what_keeps_a_run_from_going_on_is_its_message() -> None:
    play = Play(ABC).go()
    hindrance = ("BacalhauUnavailable", "Bacalhau does not answer.")
    delta = play.reporter.delta(generation=1, now=play.now, hindrance=hindrance)
    assert delta["message"] == "Bacalhau does not answer."
    assert conditions(delta)["Reconciling"]["reason"] == "BacalhauUnavailable"
    assert delta["phase"] == "Running"
    play.see(a=completed(1), b=completed())
    delta = play.reporter.delta(generation=1, now=play.now, hindrance=hindrance)
    assert delta["message"] == 'node "a": exit code 1'
    assert conditions(delta)["Stalled"]["reason"] == "Failed"


# Nodes and outputs


def test_only_nodes_that_changed_are_written() -> None:
    play = Play(ABC)
    assert Reporter(play.run, None).delta(generation=1, now=START, hindrance=None)["nodes"] == {}
    play.run.advance((), Controls(), START)
    delta = play.reporter.delta(generation=1, now=START, hindrance=None)
    assert set(delta["nodes"]) == {"a", "b"}
    assert play.reporter.delta(generation=1, now=START, hindrance=None)["nodes"] == {}
    play.run.advance([play.seen("b", running())], Controls(), START)
    assert set(play.reporter.delta(generation=1, now=START, hindrance=None)["nodes"]) == {"b"}
    play.run.advance([play.seen("b", running())], Controls(), START)
    assert play.reporter.delta(generation=1, now=START, hindrance=None)["nodes"] == {}


def test_what_a_replaced_attempt_left_is_taken_away() -> None:
    play = Play(dag(node("a"))).go().see(a=running())
    assert play.status["nodes"]["a"]["jobID"] == "j-a-1"
    play.see(a=failed("Failing due to node restart"))
    assert play.status["nodes"]["a"] == {
        "phase": "Submitted",
        "attempt": 2,
        "firstStartedAt": "2027-01-15T08:00:00.000Z",
        "reason": "Replaced",
        "message": "Failing due to node restart",
        "lost": 1,
    }
    play.see(a=running())
    assert "message" not in play.status["nodes"]["a"]
    assert "reason" not in play.status["nodes"]["a"]


def test_a_finished_node_is_written_in_full() -> None:
    play = Play(dag(node("a"))).go().see(a=completed(3, cid="QmX"))
    assert play.status["nodes"]["a"] == {
        "phase": "Failed",
        "attempt": 1,
        "jobID": "j-a-1",
        "startedAt": "2027-01-15T08:00:00.000Z",
        "finishedAt": "2027-01-15T08:00:03.000Z",
        "exitCode": 3,
        "reason": "ExitCode",
        "message": "exit code 3",
        "outputs": {"uri": "ipfs://QmX", "cid": "QmX"},
        "failures": 1,
    }


def test_outputs_are_written_at_the_end_for_nodes_that_succeeded() -> None:
    outputs = [
        {"name": "whole", "from": "a"},
        {"name": "part", "from": "a", "output": "outputs"},
        {"name": "failed", "from": "b"},
    ]
    play = Play(dag(node("a"), node("b"), outputs=outputs)).go().see(a=completed(cid="QmA"))
    assert "outputs" not in play.status
    play.see(b=completed(1))
    assert play.status["outputs"] == {
        "whole": {"uri": "ipfs://QmA", "cid": "QmA"},
        "part": {"uri": "ipfs://QmA/outputs"},
    }


def test_a_status_says_where_the_jobs_are_and_of_which_graph() -> None:
    play = Play(ABC).go()
    assert play.status["bacalhauNamespace"] == CONTEXT.bacalhau_namespace
    assert play.status["graphHash"] == play.graph.hash


def test_a_message_fits_the_schema_however_long_it_is() -> None:
    play = Play(ABC).go()
    delta = play.reporter.delta(generation=1, now=play.now, hindrance=("Outage", "x" * 10_000))
    DAGStatus.model_validate(delta | {"nodes": {}})
    wrong = rejection(
        None, phase=RunPhase.ERROR, reason="InvalidSpec", message="x" * 10_000, generation=1, now=START
    )
    assert len(DAGStatus.model_validate(wrong).message or "") == 4096


def test_every_status_follows_the_schema() -> None:
    play = Play(ABC)
    for sightings in ({}, {"a": completed(1)}, {"b": failed()}):
        play.see(**sightings)
        DAGStatus.model_validate(play.status)
    assert play.run.phase.is_terminal


# A DAG without a run


def test_a_rejected_dag_is_stalled_and_says_why() -> None:
    message = 'spec.nodes[b].dependencies[0]: "x" is not a node of this DAG.'
    status = rejection(
        None, phase=RunPhase.ERROR, reason="InvalidDAG", message=message, generation=2, now=START
    )
    assert (status["phase"], status["message"], status["observedGeneration"]) == ("Error", message, 2)
    assert conditions(status)["Stalled"]["status"] == "True"
    assert conditions(status)["Stalled"]["reason"] == "InvalidDAG"


def test_a_dag_that_waits_for_its_connection_is_reconciling_since_it_began() -> None:
    waiting: Json = {
        "phase": RunPhase.PENDING,
        "reason": "ConnectionMissing",
        "message": "…",
        "generation": 1,
    }
    first = rejection(None, **waiting, now=START)
    then = rejection(DAGStatus.model_validate(first), **waiting, now=START + 60)
    assert conditions(then) == conditions(first)
    assert conditions(then)["Reconciling"]["status"] == "True"
