"""Which failures a run forgives: those that another node deals with, and those of nodes that may fail."""

from typing import Any

import pytest

from controller.api.bacalhau import JobSighting
from controller.api.dag import Shutdown
from controller.api.status import NodePhase, RunPhase
from tests.support.builders import Json, Play, completed, dag, failed, node, running, stopped

P = NodePhase

UNSUCCESSFUL: dict[str, tuple[JobSighting, RunPhase]] = {
    "failed": (completed(3), RunPhase.FAILED),
    "error": (failed(), RunPhase.ERROR),
    "stopped by somebody else": (stopped("by hand"), RunPhase.CANCELLED),
}
ends = pytest.mark.parametrize(("seen", "phase"), UNSUCCESSFUL.values(), ids=UNSUCCESSFUL.keys())


def play(*nodes: Json, **fields: Any) -> Play:
    return Play(dag(*nodes, **fields)).go(after=10)


@ends
@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel", "RunAll"])
def test_a_failure_that_is_dealt_with_does_not_fail_the_run(
    policy: str, seen: JobSighting, phase: RunPhase
) -> None:
    run = play(
        node("a"),
        node("cleanup", depends="!a.Succeeded"),
        node("other"),
        node("after-other", after=["other"]),
        failurePolicy=policy,
    ).see(a=seen, other=running())
    assert (run.started, run.stops) == (["cleanup"], {})
    assert run.see(other=completed(), cleanup=completed()).started == ["after-other"]
    run.see(**{"after-other": completed()})
    assert run.run.phase is RunPhase.SUCCEEDED
    assert run.status["message"].startswith("Nodes: succeeded 3, failed ")


def test_nothing_is_decided_while_the_handler_may_still_run() -> None:
    run = play(
        node("a"), node("slow"), node("cleanup", depends="a.Failed && slow"), node("z", after=["slow"])
    )
    run.see(a=completed(1))
    assert (run.phases["cleanup"], run.phases["z"]) == (P.PENDING, P.PENDING)
    assert run.see(slow=completed()).started == ["cleanup", "z"]


@ends
def test_a_failure_whose_handler_is_omitted_fails_the_run(seen: JobSighting, phase: RunPhase) -> None:
    run = play(
        node("a"), node("cleanup", depends="a.Succeeded"), node("other"), node("z", after=["other"])
    ).see(a=seen)
    assert run.phases["cleanup"] is P.OMITTED
    assert (run.phases["z"], run.node("z").reason) == (P.OMITTED, "FailFast")
    run.see(other=completed())
    assert run.run.phase is phase
    assert run.status["message"].startswith('node "a": ')


def test_one_handler_that_runs_is_enough() -> None:
    run = play(node("a"), node("no", depends="a.Errored"), node("yes", depends="a.Failed"))
    assert run.see(a=completed(1)).started == ["yes"]
    run.see(yes=completed())
    assert run.run.phase is RunPhase.SUCCEEDED


def test_a_handler_that_is_skipped_by_its_own_condition_has_dealt_with_the_failure() -> None:
    run = play(node("a"), node("cleanup", depends="a.Failed", when="false")).see(a=completed(1))
    assert run.phases["cleanup"] is P.SKIPPED
    assert run.run.phase is RunPhase.SUCCEEDED


@ends
def test_a_handler_that_fails_fails_the_run(seen: JobSighting, phase: RunPhase) -> None:
    run = play(node("a"), node("cleanup", depends="a.Failed"), node("other"), node("z", after=["other"]))
    run.see(a=completed(9)).see(cleanup=seen)
    assert run.node("z").reason == "FailFast"
    run.see(other=completed())
    assert run.run.phase is phase
    assert run.status["message"].startswith('node "cleanup": ')


def test_plain_dependants_deal_with_nothing() -> None:
    run = play(node("a"), node("b", after=["a"]), node("c", after=["a"], continueOnFailure=True))
    assert run.see(a=completed(1)).run.phase is RunPhase.FAILED


def test_finally_deals_with_nothing() -> None:
    last = [node("notify", depends="a.Failed")]
    run = play(node("a"), **{"finally": last}).see(a=completed(1))
    run.see(notify=completed())
    assert run.run.phase is RunPhase.FAILED


@ends
@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel", "RunAll"])
def test_a_node_that_may_fail_changes_nothing_for_the_others(
    policy: str, seen: JobSighting, phase: RunPhase
) -> None:
    run = play(
        node("a", continueOnFailure=True),
        node("b", after=["a"]),
        node("other"),
        node("z", after=["other"]),
        failurePolicy=policy,
    ).see(a=seen, other=running())
    assert (run.started, run.stops) == (["b"], {})
    assert run.see(other=completed()).started == ["z"]
    run.see(b=completed(), z=completed())
    assert run.run.phase is RunPhase.SUCCEEDED


def test_a_leaf_that_may_fail_does_not_fail_the_run() -> None:
    run = play(node("a"), node("b", after=["a"], continueOnFailure=True)).see(a=completed())
    run.see(b=completed(1))
    assert run.run.phase is RunPhase.SUCCEEDED
    assert run.status["conditions"][0]["status"] == "True"
    assert run.status["progress"] == "1/2"


def test_the_summary_names_what_is_not_forgiven() -> None:
    run = play(node("a", continueOnFailure=True), node("b"), node("c"), failurePolicy="RunAll").see(
        a=completed(1, modified_at=1.0), b=completed(2)
    )
    run.see(c=completed(4, modified_at=run.now + 9))
    assert run.status["message"].startswith('node "b": exit code 2 (1 more')


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL, Shutdown.CANCEL_RUN_FINALLY])
def test_ending_a_run_early_is_not_forgiven(shutdown: Shutdown) -> None:
    run = play(node("a", continueOnFailure=True)).see(a=running()).go(shutdown=shutdown)
    run.see(a=stopped(run.stops["a"]))
    assert run.phases == {"a": P.CANCELLED}
    assert run.run.phase is RunPhase.CANCELLED


def test_a_run_that_took_too_long_is_not_forgiven() -> None:
    run = play(node("a", continueOnFailure=True), timeouts={"dag": "1m"}).see(a=running()).go(after=60)
    run.see(a=stopped(run.stops["a"]))
    assert run.phases == {"a": P.FAILED}
    assert run.run.phase is RunPhase.FAILED
    assert "timeouts.dag: 1m" in run.status["message"]
