"""What the ends of nodes come to for the run, and which of them is named as the cause."""

from typing import Any

import pytest

from controller.api.dag import Shutdown
from controller.api.status import NodePhase, RunPhase
from tests.support.builders import START, Play, completed, dag, failed, node, running, stopped

P = NodePhase


def play(*nodes: dict[str, Any], **fields: Any) -> Play:
    return Play(dag(*nodes, **fields)).go()


@pytest.mark.parametrize("forgiven", [{"continueOnFailure": True}, {}])
def test_a_node_that_took_too_long_is_forgiven_as_any_other(forgiven: dict[str, Any]) -> None:
    """Its reason is the same as that of a node which the run left out when it took too long itself."""
    run = play(node("slow", timeout="10s", **forgiven)).see(slow=running()).go(after=60)
    run.see(slow=stopped(run.stops["slow"]))
    assert (run.phases["slow"], run.node("slow").reason) == (P.FAILED, "TimedOut")
    assert run.run.phase is (RunPhase.SUCCEEDED if forgiven else RunPhase.FAILED)


def test_a_summary_counts_nodes_by_what_they_do() -> None:
    may_fail = [node(name, continueOnFailure=True) for name in ("bad", "broken", "stopped")]
    run = play(node("ok"), *may_fail, node("skipped", when="false"), node("omitted", depends="ok.Failed"))
    assert run.events == [("Running", "Running 6 nodes.")]
    assert run.status["message"] == "Nodes: succeeded 0, failed 0, running 4, waiting 1, skipped 1."
    run.see(bad=completed(1), broken=failed())
    assert run.status["message"] == "Nodes: succeeded 0, failed 2, running 2, waiting 1, skipped 1."
    run.see(ok=completed(), stopped=stopped("by hand"))
    ends = "succeeded 1, failed 2, running 0, waiting 0, skipped 1, omitted 1, cancelled 1"
    assert run.status["message"] == f"Nodes: {ends}."
    assert run.status["progress"] == "2/6"
    assert run.events[-1] == ("Succeeded", f"Nodes: {ends}.")


def test_what_ended_a_run_early_is_told_apart_from_nodes_that_others_left_out() -> None:
    """The reason of a node that took too long says nothing of the run."""
    nodes = [node("slow", timeout="10s", continueOnFailure=True), node("a"), node("b", after=["a"])]
    run = play(*nodes, failurePolicy="RunAll").see(slow=running(), a=running()).go(after=60)
    run.see(slow=stopped(run.stops["slow"]))
    run.go(shutdown=Shutdown.STOP_RUN_FINALLY).see(a=completed())
    assert run.run.phase is RunPhase.CANCELLED
    assert run.status["message"] == "spec.shutdown is StopRunFinally"


# Fan-outs, which fail before they have ended

ITEMS = {"items": ["a", "b", "c"], "parallelism": 2}


def test_a_fan_out_that_cannot_succeed_any_more_is_a_failure_at_once() -> None:
    run = play(node("count", forEach=ITEMS), node("other"), node("z", after=["other"]))
    run.see(**{"count[0]": completed(3), "other": completed()})
    assert (run.phases["count"], run.started) == (P.RUNNING, [])
    assert (run.phases["count[2]"], run.phases["z"]) == (P.OMITTED, P.OMITTED)
    assert run.node("z").message == 'node "count" did not succeed'
    assert not run.run.phase.is_terminal
    run.see(**{"count[1]": completed()})
    assert (run.phases["count"], run.run.phase) == (P.FAILED, RunPhase.FAILED)


@pytest.mark.parametrize(("ended", "named"), [(START + 3, "other"), (START + 999, "count")])
def test_the_failure_that_came_first_is_named(ended: float, named: str) -> None:
    """A fan-out fails when that is noticed, whenever its item ended."""
    run = play(node("count", forEach=ITEMS), node("other"), node("third"), node("z", after=["third"]))
    run.go(after=100).see(**{"count[0]": completed(3), "other": completed(3, modified_at=ended)})
    assert run.phases["count"] is P.RUNNING
    assert run.node("z").message == f'node "{named}" did not succeed'
