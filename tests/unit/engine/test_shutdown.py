"""``shutdown`` and ``suspend``: ending a run early, and holding it."""

from typing import Any

import pytest

from controller.api.dag import Shutdown
from controller.api.status import NodePhase, RunPhase
from tests.support.builders import Json, Play, completed, dag, failed, node, queued, running, stopped

P = NodePhase
CHAIN = [node("a"), node("b"), node("c", after=["a", "b"])]


def play(*nodes: Json, **fields: Any) -> Play:
    """A run of which ``a`` runs and ``b`` was sent without an answer yet."""
    return Play(dag(*(nodes or CHAIN), **fields)).go().see(a=running())


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL, Shutdown.CANCEL_RUN_FINALLY])
def test_cancelling_stops_what_runs_and_starts_nothing(shutdown: Shutdown) -> None:
    run = play().go(shutdown=shutdown)
    assert run.stops == {"a": f"Cancelled: spec.shutdown is {shutdown.value}"}
    assert run.phases == {"a": P.RUNNING, "b": P.SUBMITTED, "c": P.OMITTED}
    assert (run.node("c").reason, run.node("c").message) == (
        "Cancelled",
        f"spec.shutdown is {shutdown.value}",
    )
    assert list(run.accept("b").stops) == ["b"]
    assert not run.run.phase.is_terminal, "it ends when its jobs have"
    run.see(a=stopped("Cancelled: x"), b=stopped("Cancelled: x"))
    assert run.run.phase is RunPhase.CANCELLED


def test_stopping_lets_jobs_finish_and_starts_nothing() -> None:
    run = play().go(shutdown=Shutdown.STOP_RUN_FINALLY)
    assert run.stops == {}
    assert run.phases == {"a": P.RUNNING, "b": P.SUBMITTED, "c": P.OMITTED}
    run.see(a=completed(), b=completed())
    assert run.run.phase is RunPhase.CANCELLED
    assert run.status["message"] == "spec.shutdown is StopRunFinally"


@pytest.mark.parametrize("shutdown", list(Shutdown))
def test_a_run_with_nothing_left_to_stop_ends_as_it_would(shutdown: Shutdown) -> None:
    run = Play(dag(node("a"))).go().go(shutdown=shutdown)
    assert run.see(a=completed()).run.phase is RunPhase.SUCCEEDED


@pytest.mark.parametrize("shutdown", list(Shutdown))
def test_a_failure_weighs_more_than_an_early_end(shutdown: Shutdown) -> None:
    run = play().go(shutdown=shutdown)
    run.see(a=completed(3), b=stopped("Cancelled: x"))
    assert run.run.phase is RunPhase.FAILED
    assert run.status["message"].startswith('node "a": exit code 3')


@pytest.mark.parametrize("shutdown", list(Shutdown))
def test_a_run_may_be_ended_before_it_starts(shutdown: Shutdown) -> None:
    run = Play(dag(*CHAIN), shutdown=shutdown).go()
    assert run.started == []
    assert run.run.phase is RunPhase.CANCELLED
    assert run.status["message"] == f"spec.shutdown is {shutdown.value}"


@pytest.mark.parametrize("shutdown", list(Shutdown))
def test_a_suspended_run_may_be_ended(shutdown: Shutdown) -> None:
    run = Play(dag(*CHAIN), suspend=True).go().go(shutdown=shutdown)
    assert run.run.phase is RunPhase.CANCELLED


def test_an_end_may_be_made_harder() -> None:
    run = play().go(shutdown=Shutdown.STOP_RUN_FINALLY).accept("b").go(shutdown=Shutdown.CANCEL)
    assert list(run.stops) == ["a", "b"]


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL, Shutdown.CANCEL_RUN_FINALLY])
def test_lost_attempts_are_not_replaced_once_cancelled(shutdown: Shutdown) -> None:
    run = play(node("a")).go(shutdown=shutdown).see(a=failed("Failing due to node restart"))
    assert (run.started, run.phases["a"]) == ([], P.OMITTED)
    assert run.run.phase is RunPhase.CANCELLED


def test_lost_attempts_are_replaced_while_stopping() -> None:
    run = play(node("a")).go(shutdown=Shutdown.STOP_RUN_FINALLY).see(a=failed("Failing due to node restart"))
    assert run.started == ["a"]


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL, Shutdown.CANCEL_RUN_FINALLY])
def test_a_cancellation_goes_on_after_a_restart(shutdown: Shutdown) -> None:
    run = play().go(shutdown=shutdown)
    run.restart()
    assert list(run.see(a=running()).stops) == ["a"]
    run.see(a=stopped("Cancelled: x"))
    run.restart()
    run.go()
    assert (run.started, run.phases["a"], run.phases["b"]) == ([], P.CANCELLED, P.OMITTED)
    assert run.run.phase is RunPhase.CANCELLED


def test_handlers_are_left_out_too() -> None:
    run = play(node("a"), node("cleanup", depends="a.Cancelled || a.Failed")).go(shutdown=Shutdown.CANCEL)
    run.see(a=stopped(run.stops["a"]))
    assert run.phases == {"a": P.CANCELLED, "cleanup": P.OMITTED}
    assert run.run.phase is RunPhase.CANCELLED


# Suspend, with all of these


def test_nothing_new_starts_in_a_suspended_run() -> None:
    retry = {"limit": 1}
    nodes = [
        node("retried", retry=retry),
        node("lost"),
        node("ok"),
        node("plain", after=["ok"]),
        node("logic", depends="ok.Succeeded"),
        node("asked", after=["ok"], when="nodes.ok.exitCode == 0"),
    ]
    run = Play(dag(*nodes, failurePolicy="RunAll")).go(after=10).go(suspend=True)
    run.see(retried=completed(1), lost=failed("Failing due to node restart"), ok=completed())
    assert run.started == []
    assert run.go(after=100).started == []
    assert run.run.phase is RunPhase.SUSPENDED
    assert run.go(suspend=False).started == ["retried", "lost", "plain", "logic", "asked"]


def test_a_suspended_run_still_keeps_its_nodes_times() -> None:
    run = play(node("a", timeout="1m")).go(suspend=True).go(after=120)
    assert list(run.stops) == ["a"]


def test_a_suspended_run_still_gives_up_what_is_hopeless() -> None:
    run = Play(dag(node("a"))).go().go(suspend=True).see(a=queued("boom", "boom"))
    assert run.stops == {"a": "GivenUp: boom"}


def test_a_run_that_was_suspended_when_its_controller_ended_stays_so() -> None:
    run = play(node("a"), node("b", after=["a"])).go(suspend=True)
    run.restart()
    assert run.see(a=completed()).started == []
    assert run.run.phase is RunPhase.SUSPENDED
    assert run.go(suspend=False).started == ["b"]
