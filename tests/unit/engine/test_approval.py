"""Nodes that wait for somebody's decision."""

from typing import Any

import pytest

from controller.api.dag import Decision, Shutdown
from controller.api.status import NodePhase, RunPhase
from controller.engine import Emit, Graph, InvalidDAG, misdirected
from tests.support.builders import START, Json, Play, completed, dag, node, running
from tests.unit.engine.test_graph import problems

P = NodePhase


def approval(name: str, **fields: Any) -> Json:
    return {"name": name, "suspend": fields.pop("suspend", {})} | fields


def decision(name: str, **fields: Any) -> dict[str, Decision]:
    return {name: Decision.model_validate({"name": name} | fields)}


def play(*nodes: Json, **fields: Any) -> Play:
    return Play(dag(*nodes, **fields)).go()


GATE = [node("a"), approval("gate", dependencies=["a"]), node("b", after=["gate"])]


def test_a_node_waits_until_somebody_decides() -> None:
    run = play(*GATE).see(a=completed())
    assert (run.started, run.phases["gate"]) == ([], P.SUSPENDED)
    assert not run.run.phase.is_terminal
    assert [effect for effect in run.effects if isinstance(effect, Emit)] == [
        Emit(
            type="Normal",
            reason="WaitingForApproval",
            message='Node "gate" waits for a decision in spec.approvals.',
        )
    ]
    assert run.go(after=3600).started == []
    assert run.go(decisions=decision("gate", approved=True)).started == ["b"]
    run.see(b=completed())
    assert run.run.phase is RunPhase.SUCCEEDED


def test_a_rejection_is_a_failure() -> None:
    run = play(*GATE).see(a=completed()).go(decisions=decision("gate", approved=False, message="too dear"))
    assert (run.phases["gate"], run.node("gate").reason) == (P.FAILED, "Rejected")
    assert run.phases["b"] is P.OMITTED
    assert run.status["message"] == 'node "gate": too dear'


def test_a_rejection_needs_no_words() -> None:
    run = play(*GATE).see(a=completed()).go(decisions=decision("gate", approved=False))
    assert run.status["message"] == 'node "gate": it was not approved'


def test_a_decision_may_come_before_the_node() -> None:
    """Nothing would wake the run again: it has no job to hear of."""
    run = Play(dag(*GATE[1:], node("a"))).go(decisions=decision("gate", approved=True))
    run = Play(
        dag(approval("gate"), node("b", after=["gate"])), decisions=decision("gate", approved=True)
    ).go()
    assert (run.phases["gate"], run.started) == (P.SUCCEEDED, ["b"])


def test_a_rejection_may_come_before_the_node() -> None:
    spec = dag(approval("gate"), node("b", after=["gate"]), **{"finally": [node("notify")]})
    run = Play(spec, decisions=decision("gate", approved=False)).go()
    assert (run.phases["b"], run.started) == (P.OMITTED, ["notify"])


def test_nobody_deciding_in_time_is_a_failure() -> None:
    run = play(approval("gate", suspend={"timeout": "1m"}), node("b", after=["gate"]))
    assert run.wakes == [START + 61]
    assert run.go(after=59).phases["gate"] is P.SUSPENDED
    run.go(after=1)
    assert (run.phases["gate"], run.node("gate").reason) == (P.FAILED, "TimedOut")
    assert run.run.phase is RunPhase.FAILED


def test_a_time_to_wait_ends_well() -> None:
    run = play(approval("gate", suspend={"duration": "1m"}), node("b", after=["gate"]))
    assert (run.node("gate").reason, run.wakes, run.events) == (
        "Waiting",
        [START + 61],
        [("Running", "Running 2 nodes.")],
    )
    run.restart()
    assert run.go(after=59).phases["gate"] is P.SUSPENDED
    run.go(after=1)
    assert (run.phases["gate"], run.node("gate").reason, run.started) == (P.SUCCEEDED, "Waited", ["b"])


def test_a_time_to_wait_may_be_cut_short() -> None:
    run = play(approval("gate", suspend={"duration": "1m"}), node("b", after=["gate"]))
    run.go(decisions=decision("gate", approved=True))
    assert (run.node("gate").reason, run.started) == ("Approved", ["b"])


def test_a_wait_has_one_end() -> None:
    with pytest.raises(
        InvalidDAG, match=r"spec\.nodes\[gate\]\.suspend: a wait ends well after a duration or badly"
    ):
        Graph.compile(dag(approval("gate", suspend={"duration": "1m", "timeout": "2m"})))


def test_a_wait_survives_a_restart() -> None:
    run = play(approval("gate", suspend={"timeout": "1m"}), node("b", after=["gate"]))
    run.restart()
    assert run.go(after=30).phases["gate"] is P.SUSPENDED
    assert run.wakes == [pytest.approx(START + 61, abs=0.001)]
    assert run.go(decisions=decision("gate", approved=True)).started == ["b"]


@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel"])
@pytest.mark.parametrize("more", [[], [node("b", after=["gate"])]])
def test_a_failure_takes_back_the_question(more: list[Json], policy: str) -> None:
    run = play(approval("gate"), node("bad"), *more, failurePolicy=policy).see(bad=completed(1))
    assert (run.phases["gate"], run.node("gate").reason) == (P.OMITTED, "FailFast")
    assert run.run.phase is RunPhase.FAILED


@pytest.mark.parametrize(
    "forgiven",
    [
        pytest.param({"failurePolicy": "RunAll"}, id="all run"),
        pytest.param({"bad": {"continueOnFailure": True}}, id="it may fail"),
    ],
)
def test_a_failure_that_stops_nothing_leaves_the_question(forgiven: Json) -> None:
    bad = node("bad", **forgiven.pop("bad", {}))
    run = play(approval("gate"), bad, node("b", after=["gate"]), **forgiven).see(bad=completed(1))
    assert run.phases["gate"] is P.SUSPENDED
    assert run.go(decisions=decision("gate", approved=True)).started == ["b"]


def test_a_decision_counts_even_if_it_comes_together_with_a_failure() -> None:
    run = play(approval("gate"), node("bad"))
    run.go(run.seen("bad", completed(1)), decisions=decision("gate", approved=True))
    assert run.phases["gate"] is P.SUCCEEDED


@pytest.mark.parametrize("shutdown", list(Shutdown))
def test_a_run_that_ends_early_waits_for_nobody(shutdown: Shutdown) -> None:
    run = play(approval("gate"), node("a")).see(a=running()).go(shutdown=shutdown)
    assert run.phases["gate"] is P.OMITTED
    run.see(a=completed())
    assert run.run.phase is RunPhase.CANCELLED


# What is said


def test_a_run_says_who_is_asked() -> None:
    run = play(approval("gate"), approval("cool", suspend={"duration": "1m"}), node("a"))
    said = 'Waiting for a decision in spec.approvals about "gate". '
    assert run.status["message"] == f"{said}Nodes: succeeded 0, failed 0, running 1, waiting 0, suspended 2."
    run.restart()
    assert run.go().status["message"].startswith(said)
    run.go(decisions=decision("gate"))
    assert run.status["message"] == "Nodes: succeeded 1, failed 0, running 1, waiting 0, suspended 1."


def test_a_run_names_some_of_many_that_are_asked() -> None:
    run = play(*(approval(name) for name in "abcde"))
    assert run.status["message"].startswith(
        'Waiting for a decision in spec.approvals about "a", "b", "c" and 2 more. Nodes: '
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gate", None),
        ("last", None),
        ("gaet", 'spec.approvals[1].name: "gaet" is not a node with suspend; did you mean "gate"?'),
        ("a", 'spec.approvals[1].name: "a" is not a node with suspend.'),
    ],
)
def test_a_decision_about_no_approval_is_noticed(name: str, said: str | None) -> None:
    spec = dag(*GATE, **{"finally": [approval("last")]}, approvals=[{"name": "gate"}, {"name": name}])
    problem = misdirected(spec)
    assert (problem and str(problem)) == said
    Graph.compile(spec)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"timeout": "1h"}, '.timeout: "1h" bounds a job, and this node has none; write suspend.timeout.'),
        (
            {"totalTimeout": "1h"},
            '.totalTimeout: "1h" bounds a job, and this node has none; write suspend.timeout.',
        ),
        (
            {"retry": {"limit": 1}},
            ".retry: a decision is asked for once; retry needs a job or a template.",
        ),
    ],
)
def test_an_approval_has_nothing_that_belongs_to_a_job(fields: Json, said: str) -> None:
    assert problems(dag(approval("gate", **fields))) == [f"spec.nodes[gate]{said}"]
