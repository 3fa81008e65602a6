"""``finally``: what runs at the end, whatever the end was."""

from typing import Any

import pytest

from controller.api.dag import Shutdown
from controller.api.status import NodePhase, RunPhase
from tests.support.builders import Json, Play, completed, dag, failed, job, node, running, stopped
from tests.unit.engine.test_graph import problems

P = NodePhase


def reading(name: str, expression: str, **fields: Any) -> Json:
    """A node whose job is told the value of an expression."""
    return node(name, job=job(Env={"READ": f"${{{{ {expression} }}}}"}), **fields)


def read(run: Play, name: str) -> str:
    return str(run.jobs[name]["Tasks"][0]["Env"]["READ"])


def play(*nodes: Json, last: list[Json] | None = None, **fields: Any) -> Play:
    documents = [node("notify")] if last is None else last
    return Play(dag(*nodes, **{"finally": documents} | fields)).go()


def test_finally_starts_after_all_others_have_ended() -> None:
    run = play(node("a"), node("b"), last=[node("x"), node("y")])
    assert run.started == ["a", "b"]
    assert run.see(a=completed()).started == []
    assert run.see(b=running()).started == []
    assert run.see(b=completed()).started == ["x", "y"]
    assert run.run.phase is RunPhase.RUNNING
    run.see(x=completed())
    assert run.run.phase is RunPhase.RUNNING
    assert run.see(y=completed()).run.phase is RunPhase.SUCCEEDED


@pytest.mark.parametrize("last_one", [{"job": {"Type": "service"}}, {"when": "1"}])
def test_finally_starts_at_once_if_the_last_node_cannot(last_one: Json) -> None:
    """Nothing would wake the run again: there is no job to hear of."""
    run = play(node("a"), node("b", depends="a", **last_one)).see(a=completed())
    assert (run.phases["b"], run.started) == (P.ERROR, ["notify"])


@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel", "RunAll"])
def test_finally_runs_after_a_failure(policy: str) -> None:
    run = play(node("a"), node("b"), node("c", after=["b"]), failurePolicy=policy)
    run.see(a=completed(3, stderr="boom"), b=running())
    assert "notify" not in run.started
    if policy == "FailFastCancel":
        assert run.see(b=stopped(run.stops["b"])).started == ["notify"]
    else:
        run.see(b=completed())
        if policy == "RunAll":
            run.see(c=completed())
        assert run.started == ["notify"]
    run.see(notify=completed())
    assert run.run.phase is RunPhase.FAILED
    assert run.status["message"].startswith('node "a": exit code 3: boom')


def test_finally_waits_for_retries() -> None:
    retry = {"limit": 1, "backoff": {"duration": "1m", "jitter": 0}}
    run = play(node("a", retry=retry)).see(a=completed(1))
    assert run.started == []
    assert run.go(after=70).started == ["a"]
    assert run.see(a=completed(1)).started == ["notify"]


def test_finally_runs_if_all_others_were_skipped_or_omitted() -> None:
    run = play(node("a", when="false"), node("b", depends="a.Succeeded"))
    assert run.started == ["notify"]
    assert run.see(notify=completed()).run.phase is RunPhase.SUCCEEDED


def test_finally_waits_for_a_suspended_run() -> None:
    run = play(node("a")).go(suspend=True).see(a=completed())
    assert (run.started, run.run.phase) == ([], RunPhase.SUSPENDED)
    assert run.go(suspend=False).started == ["notify"]


def test_finally_keeps_to_parallelism() -> None:
    run = Play(dag(node("a"), **{"finally": [node("x"), node("y")]}), parallelism=1).go()
    assert run.see(a=completed()).started == ["x"]
    assert run.see(x=completed()).started == ["y"]


@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel", "RunAll"])
def test_nodes_of_finally_do_not_hinder_each_other(policy: str) -> None:
    run = play(node("a"), last=[node("x"), node("y")], failurePolicy=policy).see(a=completed())
    run.see(x=completed(1))
    assert (run.stops, run.phases["y"]) == ({}, P.SUBMITTED)
    run.see(y=completed())
    assert run.run.phase is RunPhase.FAILED
    assert run.status["message"] == 'node "x": exit code 1'


def test_a_node_of_finally_that_may_fail_does_not_fail_the_run() -> None:
    run = play(node("a"), last=[node("x", continueOnFailure=True)]).see(a=completed()).see(x=completed(1))
    assert run.run.phase is RunPhase.SUCCEEDED


def test_the_worse_end_is_the_run_s() -> None:
    run = play(node("a")).see(a=failed()).see(notify=completed(1))
    assert run.run.phase is RunPhase.FAILED
    assert run.status["message"].startswith('node "a": memory limit exceeded (1 more')


def test_finally_is_tried_again_by_its_own_rules() -> None:
    run = play(node("a"), last=[node("x", retry={"limit": 1})]).see(a=completed(1)).go(after=10)
    assert run.see(x=completed(1)).started == ["x"]
    assert run.see(x=completed()).phases["x"] is P.SUCCEEDED


def test_a_lost_attempt_of_finally_is_replaced() -> None:
    run = play(node("a")).see(a=completed()).see(notify=failed("Failing due to node restart"))
    assert run.started == ["notify"]
    assert run.node("notify").attempt == 2


# What it reads


@pytest.mark.parametrize(
    ("seen", "phase", "message"),
    [
        (completed(), "Succeeded", ""),
        (completed(3, stderr="boom"), "Failed", 'node "a": exit code 3: boom'),
        (failed(), "Error", 'node "a": memory limit exceeded'),
        (stopped("by hand"), "Cancelled", 'node "a": job j-a-1 was stopped by somebody else: by hand'),
    ],
)
def test_finally_knows_how_the_run_went(seen: Any, phase: str, message: str) -> None:
    last = [reading("x", "run.phase"), reading("y", "run.message")]
    run = play(node("a"), last=last).see(a=seen)
    assert read(run, "x") == phase
    assert read(run, "y").startswith(message)


def test_finally_knows_how_each_node_ended() -> None:
    last = [reading("x", 'nodes.a.phase + " " + nodes["b-1"].phase + " " + nodes["b-1"].reason')]
    run = play(node("a"), node("b-1", after=["a"]), last=last).see(a=completed(1))
    assert read(run, "x") == "Failed Omitted DependencyNotMet"


def test_when_of_finally_may_look_at_the_run() -> None:
    last = [node("good", when='run.phase == "Succeeded"'), node("bad", when='run.phase != "Succeeded"')]
    run = play(node("a"), last=last).see(a=completed(1))
    assert (run.phases["good"], run.started) == (P.SKIPPED, ["bad"])
    assert "run.phase" in (run.node("good").message or "")
    assert '"Failed"' in (run.node("good").message or "")


def test_depends_of_finally_looks_at_how_nodes_ended() -> None:
    last = [node("good", depends="a"), node("bad", depends="a.Failed")]
    run = play(node("a"), last=last).see(a=completed(1))
    assert (run.phases["good"], run.started) == (P.OMITTED, ["bad"])
    run.see(bad=completed())
    assert run.run.phase is RunPhase.FAILED


def test_what_finally_reads_of_the_run_does_not_change_while_it_runs() -> None:
    """An attempt is rendered again after a crash, and must come out the same, whatever other nodes of finally did since."""
    last = [reading(name, 'run.phase + " " + run.message') for name in "xy"]
    run = play(node("a"), last=last).see(a=completed())
    before = run.jobs
    assert read(run, "x") == read(run, "y")
    run.restart()
    run.go(run.seen("x", completed(1), attempt=1))
    assert run.jobs["y"] == before["y"]


def test_inputs_of_finally_from_nodes_that_failed_must_be_optional() -> None:
    last = [node("x", inputs=["a"]), node("y", inputs=[{"from": "a", "optional": True}])]
    run = play(node("a"), last=last).see(a=completed(1, cid=None))
    assert (run.phases["x"], run.started) == (P.ERROR, ["y"])
    run = play(node("a"), last=last).see(a=completed(cid="QmA"))
    assert run.started == ["x", "y"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            dag(node("a", after=["x"]), **{"finally": [node("x")]}),
            'spec.nodes[a].dependencies[0]: "x" is a node of finally, which runs last.',
        ),
        (
            dag(node("a"), **{"finally": [node("x"), node("y", inputs=["x"])]}),
            'spec.finally[y].inputs[0].from: "x" is a node of finally, which runs last.',
        ),
        (
            dag(node("a"), **{"finally": [node("a")]}),
            'spec.finally[0].name: "a" is already the name of a node.',
        ),
        (
            dag(node("a"), **{"finally": [node("x", after=["zz"])]}),
            'spec.finally[x].dependencies[0]: "zz" is not a node of this DAG.',
        ),
    ],
)
def test_mistakes_are_told_before_the_run(spec: Any, problem: str) -> None:
    assert problem in problems(spec)


def test_only_finally_knows_the_run() -> None:
    assert "undeclared reference to 'run" in problems(dag(node("a", when='run.phase == "x"')))[0]


# Ends of other kinds


def test_finally_has_its_reserved_time_after_a_deadline() -> None:
    timeouts = {"dag": "10m", "finally": "4m"}
    run = play(node("a"), node("b", after=["a"]), timeouts=timeouts).see(a=running())
    run.go(after=360)
    assert list(run.stops) == ["a"]
    ended = run.now + 5
    run.see(a=stopped(run.stops["a"], modified_at=ended))
    assert run.started == ["notify"]
    run.see(notify=running())
    assert run.wakes == [ended + 240]
    assert run.go(after=ended + 240 - run.now).stops == {
        "notify": "RunTimedOut: finally took longer than timeouts.finally: 4m"
    }
    run.see(notify=stopped(run.stops["notify"]))
    assert run.run.phase is RunPhase.FAILED


def test_finally_has_its_time_from_when_it_may_start() -> None:
    """Nodes that never started have no end; the time of finally still does not count from the last that did."""
    timeouts = {"nodes": "10m", "finally": "4m"}
    run = play(node("a"), node("b", after=["a"]), timeouts=timeouts).go(suspend=True).see(a=completed())
    run.go(after=500)
    assert run.go(after=200).phases["b"] is P.OMITTED
    assert run.phases["notify"] is P.PENDING
    opened = run.now
    run.restart()
    assert run.go(suspend=False).started == ["notify"]
    assert run.wakes == [pytest.approx(opened + 240, abs=1)]


def test_a_deadline_of_finally_is_set_in_the_pass_that_opens_it() -> None:
    timeouts = {"nodes": "10m", "finally": "4m"}
    run = Play(dag(node("a"), timeouts=timeouts, **{"finally": [node("x")]}), suspend=True).go()
    run.go(after=600)
    assert run.wakes == [pytest.approx(run.now + 240, abs=1)]


def test_finally_may_take_what_is_left_of_the_run_s_time() -> None:
    run = play(node("a"), timeouts={"dag": "10m", "nodes": "5m"}).see(a=completed())
    run.see(notify=running())
    assert list(run.go(after=599 - 1).stops) == ["notify"]


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL_RUN_FINALLY, Shutdown.STOP_RUN_FINALLY])
def test_finally_runs_after_a_shutdown_that_says_so(shutdown: Shutdown) -> None:
    run = play(node("a"), node("b", after=["a"]), last=[reading("x", "run.phase")]).see(a=running())
    run.go(shutdown=shutdown)
    assert run.started == []
    run.see(a=stopped(run.stops["a"]) if run.stops else completed())
    assert run.started == ["x"]
    assert read(run, "x") == "Cancelled"
    run.see(x=completed())
    assert run.run.phase is RunPhase.CANCELLED


def test_finally_does_not_run_if_everything_is_cancelled() -> None:
    run = play(node("a")).see(a=running()).go(shutdown=Shutdown.CANCEL)
    assert run.phases["notify"] is P.OMITTED
    run.see(a=stopped(run.stops["a"]))
    assert (run.started, run.run.phase) == ([], RunPhase.CANCELLED)


def test_finally_does_not_run_if_the_dag_is_deleted() -> None:
    run = play(node("a")).see(a=running()).go(cancel=True)
    run.see(a=stopped(run.stops["a"]))
    assert (run.started, run.run.phase) == ([], RunPhase.CANCELLED)


@pytest.mark.parametrize("controls", [{"cancel": True}, {"shutdown": Shutdown.CANCEL}])
def test_finally_itself_can_be_cancelled(controls: Json) -> None:
    run = play(node("a"), last=[node("x"), node("y")]).see(a=completed()).see(x=running())
    run.accept("y").go(**controls)
    assert list(run.stops) == ["x", "y"]
    run.see(x=stopped(run.stops["x"]), y=stopped(run.stops["y"]))
    assert run.run.phase is RunPhase.CANCELLED


def test_finally_that_runs_is_not_cancelled_by_what_cancels_the_others() -> None:
    run = play(node("a")).see(a=completed()).see(notify=running())
    run.go(shutdown=Shutdown.CANCEL_RUN_FINALLY)
    assert run.stops == {}
    assert run.see(notify=completed()).run.phase is RunPhase.SUCCEEDED


@pytest.mark.parametrize("seen", [None, running(), completed(1)])
def test_finally_is_taken_up_after_a_restart(seen: Any) -> None:
    run = play(node("a")).see(a=completed(1))
    if seen:
        run.accept("notify")
    run.restart()
    run.go(*([run.seen("notify", seen, attempt=1)] if seen else []))
    assert run.started == ([] if seen else ["notify"])
    run.see(notify=completed())
    assert run.run.phase is RunPhase.FAILED
