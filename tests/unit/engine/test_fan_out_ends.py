"""Fan-outs and how a run ends: failures under each policy, logic over items, early ends, ``finally``."""

from typing import Any

import pytest

from controller.api.dag import Shutdown
from controller.api.status import NodePhase, RunPhase
from tests.support.builders import Json, Play, completed, dag, failed, job, node, running, stopped
from tests.unit.engine.test_fan_out import MINUTE, RESTART, ended, fan_out, phases_of, play
from tests.unit.engine.test_graph import problems

P = NodePhase

# Failure policies


def test_fail_fast_starts_no_more_items_after_a_failure() -> None:
    run = play(fan_out(4, rules={"parallelism": 2}), node("b", after=["w"]))
    run.see(**{"w[0]": completed(3)})
    assert (run.started, run.stops) == ([], {})
    assert run.items("w") == [P.FAILED, P.SUBMITTED, P.OMITTED, P.OMITTED]
    assert run.phases["w"] is P.RUNNING
    assert not run.run.phase.is_terminal
    run.see(**{"w[1]": completed()})
    assert (run.phases["w"], run.phases["b"]) == (P.FAILED, P.OMITTED)
    assert run.run.phase is RunPhase.FAILED


def test_fail_fast_does_not_wait_for_the_fan_out_to_end() -> None:
    run = play(fan_out(2), node("a"), node("b", after=["a"]))
    run.see(**{"w[0]": completed(3)})
    assert run.see(a=completed()).started == []
    assert run.phases["b"] is P.OMITTED
    assert run.node("b").message == 'node "w" did not succeed'


def test_fail_fast_cancel_stops_items_that_run() -> None:
    run = play(fan_out(4, rules={"parallelism": 3}), node("z"), failurePolicy="FailFastCancel")
    run.accept("w[0]", "w[1]", "w[2]", "z")
    run.see(**{"w[0]": completed(3), "w[2]": completed()})
    why = 'Cancelled: node "w" did not succeed'
    assert run.stops == {"w[1]": why, "z": why}
    assert run.items("w") == [P.FAILED, P.SUBMITTED, P.SUCCEEDED, P.OMITTED]
    run.see(**{"w[1]": stopped(why), "z": stopped(why)})
    assert run.phases["w"] is P.FAILED
    assert run.run.phase is RunPhase.FAILED


def test_run_all_runs_all_items() -> None:
    run = play(fan_out(3, rules={"parallelism": 1}), failurePolicy="RunAll")
    assert run.see(**{"w[0]": completed(3)}).started == ["w[1]"]
    assert run.see(**{"w[1]": failed()}).started == ["w[2]"]
    run.see(**{"w[2]": completed()})
    assert run.phases["w"] is P.FAILED


@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel"])
def test_a_failure_that_enough_others_make_up_for_stops_nothing(policy: str) -> None:
    document = fan_out(4, rules={"parallelism": 1, "minSucceeded": 2})
    run = play(document, node("a"), node("b", after=["a"]), failurePolicy=policy)
    assert run.see(**{"w[0]": completed(3)}).started == ["w[1]"]
    assert run.see(**{"w[1]": completed(3)}).started == ["w[2]"]
    assert run.see(**{"w[2]": completed(), "a": completed()}).started == ["b", "w[3]"]
    run.see(**{"w[3]": completed(3)})
    assert run.phases["w"] is P.FAILED
    assert run.node("w").message == "w[0]: exit code 3 (2 more items did not succeed)"


@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel"])
def test_a_fan_out_fails_as_soon_as_too_few_items_can_succeed(policy: str) -> None:
    document = fan_out(4, rules={"parallelism": 2, "minSucceeded": 3})
    run = play(document, node("a"), node("b", after=["a"]), failurePolicy=policy).accept("w[0]", "w[1]", "a")
    assert run.see(**{"w[0]": completed(3)}).started == ["w[2]"]
    run.accept("w[2]").see(**{"w[1]": completed(3)})
    assert run.started == []
    assert run.items("w") == [P.FAILED, P.FAILED, P.SUBMITTED, P.OMITTED]
    assert sorted(run.stops) == (["a", "w[2]"] if policy == "FailFastCancel" else [])
    assert run.phases["b"] is P.OMITTED


def test_skipped_items_may_be_what_makes_too_few() -> None:
    few = fan_out(3, rules={"minSucceeded": 2}, when="index == 2")
    run = play(few, node("a"), node("b", after=["a"]))
    assert run.see(a=completed()).started == []
    assert run.phases["b"] is P.OMITTED


def test_a_failure_elsewhere_is_what_items_are_too_few_for() -> None:
    run = play(fan_out(3, rules={"minSucceeded": 2, "parallelism": 1}), node("z")).see(z=completed(3))
    run.see(**{"w[0]": completed()})
    assert (run.phases["w"], run.node("w").reason) == (P.OMITTED, "FailFast")


FEW: dict[str, tuple[Json, str]] = {
    "fewer items than must succeed": (
        {"forEach": {"items": "${{ nodes.a.json }}", "minSucceeded": 3}},
        "0 of 2 items succeeded; minSucceeded is 3",
    ),
    "too few that are not skipped": (
        {
            "forEach": {"items": "${{ nodes.a.json }}", "minSucceeded": 2, "parallelism": 1},
            "when": "item > 1",
        },
        "0 of 2 items succeeded; minSucceeded is 2",
    ),
}


@pytest.mark.parametrize("policy", ["FailFast", "FailFastCancel"])
@pytest.mark.parametrize(("document", "message"), FEW.values(), ids=FEW.keys())
def test_a_fan_out_that_omits_its_own_items_has_failed(document: Json, message: str, policy: str) -> None:
    run = play(node("a"), node("w", **document), failurePolicy=policy).see(a=completed(stdout="[1, 2]"))
    state = run.node("w")
    assert (state.phase, state.reason, state.message) == (P.FAILED, "TooFewItems", message)
    assert run.run.phase is RunPhase.FAILED


def test_an_item_between_attempts_goes_on_after_a_failure() -> None:
    document = fan_out(
        3, rules={"parallelism": 2}, retry={"limit": 1, "condition": "last.exitCode != 4", "backoff": MINUTE}
    )
    run = play(document)
    run.see(**{"w[0]": completed(3)}).see(**{"w[1]": completed(4)})
    assert run.items("w") == [P.PENDING, P.FAILED, P.OMITTED]
    assert run.go(after=100).started == ["w[0]"]
    run.see(**{"w[0]": completed()})
    assert run.items("w") == [P.SUCCEEDED, P.FAILED, P.OMITTED]
    assert run.phases["w"] is P.FAILED


def test_a_failure_elsewhere_leaves_out_items_that_wait() -> None:
    run = play(fan_out(3, rules={"parallelism": 1}), node("z")).see(z=completed(3))
    assert run.items("w") == [P.SUBMITTED, P.OMITTED, P.OMITTED]
    run.see(**{"w[0]": completed()})
    state = run.node("w")
    assert (state.phase, state.reason) == (P.OMITTED, "FailFast")
    assert run.status["message"] == 'node "z": exit code 3'


def test_a_fan_out_may_fail_without_harm() -> None:
    document = fan_out(3, rules={"parallelism": 1}, continueOnFailure=True)
    run = play(document, node("b", after=["w"]), node("c"))
    assert run.see(**{"w[0]": completed(3)}).started == ["w[1]"]
    assert run.see(**{"w[1]": failed()}).started == ["w[2]"]
    assert run.see(**{"w[2]": completed()}).started == ["b"]
    assert run.phases["w"] is P.FAILED
    assert run.see(b=completed(), c=completed()).run.phase is RunPhase.SUCCEEDED


# Logic over items

LOGIC: list[tuple[str, str, bool]] = [
    ("w.AnySucceeded", "SFF", True),
    ("w.AnySucceeded", "SSS", True),
    ("w.AnySucceeded", "FFE", False),
    ("w.AnySucceeded", "KKK", False),
    ("w.AllFailed", "FFF", True),
    ("w.AllFailed", "FEF", True),
    ("w.AllFailed", "FFS", False),
    ("w.AllFailed", "FFC", False),
    ("w.AllFailed", "FFK", False),
    ("w.AllFailed", "KKK", False),
    ("!w.AnySucceeded && !w.AllFailed", "FCF", True),
    ("w.Failed && w.AnySucceeded", "SFS", True),
    ("w", "SKS", True),
    ("w", "SFS", False),
    ("w.Failed || w.Errored", "SES", True),
    ("w.Skipped", "KKK", True),
]


@pytest.mark.parametrize(("depends", "letters", "runs"), LOGIC)
def test_depends_knows_how_items_ended(depends: str, letters: str, runs: bool) -> None:
    run = ended(phases_of(letters), node("b", depends=depends))
    assert (run.started == ["b"]) is runs


@pytest.mark.parametrize("result", ["AnySucceeded", "AllFailed"])
@pytest.mark.parametrize("list_", [[], "${{ nodes.a.json }}"])
def test_of_no_items_nothing_is_true(result: str, list_: Any) -> None:
    documents = [node("a"), node("w", forEach={"items": list_}), node("b", depends=f"w.{result}")]
    run = play(*documents, failurePolicy="RunAll").see(a=completed(stdout="no list"))
    assert run.phases["b"] is P.OMITTED


@pytest.mark.parametrize("result", ["AnySucceeded", "AllFailed"])
def test_only_a_fan_out_has_results_of_items(result: str) -> None:
    (problem,) = problems(dag(node("a"), node("b", depends=f"a.{result}")))
    assert f'{result} is said of nodes with forEach, and "a" has none' in problem


def test_depends_waits_until_all_items_have_ended() -> None:
    run = play(fan_out(2), node("b", depends="w.AnySucceeded"))
    assert run.see(**{"w[0]": completed()}).started == []
    assert run.see(**{"w[1]": completed()}).started == ["b"]


def test_a_failure_that_is_dealt_with_fails_no_run() -> None:
    run = play(
        fan_out(2, rules={"parallelism": 1}),
        node("b", depends="w.AllFailed"),
        node("c", depends="w.AnySucceeded"),
    )
    assert run.see(**{"w[0]": completed(3)}).started == ["w[1]"]
    assert run.see(**{"w[1]": completed(3)}).started == ["b"]
    assert run.phases["c"] is P.OMITTED
    assert run.see(b=completed()).run.phase is RunPhase.SUCCEEDED


# Early ends


@pytest.mark.parametrize("shutdown", [Shutdown.CANCEL, Shutdown.CANCEL_RUN_FINALLY])
def test_cancelling_stops_items_and_starts_none(shutdown: Shutdown) -> None:
    run = play(fan_out(4, rules={"parallelism": 2})).accept("w[0]").go(shutdown=shutdown)
    why = f"spec.shutdown is {shutdown.value}"
    assert run.stops == {"w[0]": f"Cancelled: {why}"}
    assert run.items("w") == [P.SUBMITTED, P.SUBMITTED, P.OMITTED, P.OMITTED]
    assert list(run.accept("w[1]").stops) == ["w[1]"]
    run.see_items("w", stopped(f"Cancelled: {why}"), stopped(f"Cancelled: {why}"))
    state = run.node("w")
    assert (state.phase, state.reason) == (P.CANCELLED, "Cancelled")
    assert run.run.phase is RunPhase.CANCELLED


def test_stopping_lets_items_finish() -> None:
    run = play(fan_out(3, rules={"parallelism": 2})).go(shutdown=Shutdown.STOP_RUN_FINALLY)
    assert run.stops == {}
    assert run.items("w") == [P.SUBMITTED, P.SUBMITTED, P.OMITTED]
    run.see_items("w", completed(), completed())
    assert run.phases["w"] is P.OMITTED
    assert run.run.phase is RunPhase.CANCELLED


@pytest.mark.parametrize("shutdown", list(Shutdown))
def test_a_fan_out_that_has_not_begun_is_left_out_as_a_whole(shutdown: Shutdown) -> None:
    run = play(node("a"), fan_out(2, after=["a"])).go(shutdown=shutdown)
    assert run.phases == {"a": P.SUBMITTED, "w": P.OMITTED}


@pytest.mark.parametrize("shutdown", list(Shutdown))
def test_enough_items_do_not_make_up_for_an_early_end(shutdown: Shutdown) -> None:
    run = play(fan_out(3, rules={"parallelism": 2, "minSucceeded": 1}))
    run.see(**{"w[0]": completed()}).accept("w[1]", "w[2]").go(shutdown=shutdown)
    run.see(**{f"w[{index}]": stopped("Cancelled: x") for index in (1, 2)})
    assert run.phases["w"] is P.CANCELLED
    assert run.run.phase is RunPhase.CANCELLED


def test_a_deleted_dag_stops_its_items() -> None:
    run = play(fan_out(3, rules={"parallelism": 1})).accept("w[0]").go(cancel=True)
    assert list(run.stops) == ["w[0]"]
    run.see(**{"w[0]": stopped("Cancelled: x")})
    assert run.run.phase is RunPhase.CANCELLED


def test_lost_items_are_not_replaced_once_cancelled() -> None:
    run = play(fan_out(1)).go(shutdown=Shutdown.CANCEL).see(**{"w[0]": failed(RESTART)})
    assert (run.started, run.items("w"), run.phases["w"]) == ([], [P.OMITTED], P.OMITTED)
    assert run.run.phase is RunPhase.CANCELLED


def test_a_run_that_takes_too_long_ends_its_items() -> None:
    document = fan_out(3, rules={"parallelism": 2, "minSucceeded": 1})
    run = play(document, timeouts={"dag": "1m"}).accept("w[1]").see(**{"w[0]": completed()}).accept("w[2]")
    run.go(after=70)
    assert sorted(run.stops) == ["w[1]", "w[2]"]
    run.see(**{name: stopped(reason) for name, reason in run.stops.items()})
    state = run.node("w")
    assert (state.phase, state.reason) == (P.FAILED, "RunTimedOut")
    assert run.run.phase is RunPhase.FAILED


# finally and targets


def test_a_fan_out_may_be_one_of_the_last_nodes() -> None:
    last = node(
        "last",
        forEach={"items": ["x", "y"], "parallelism": 1},
        job=job(Env={"A": "${{ item }} ${{ run.phase }}"}),
    )
    run = play(node("a"), **{"finally": [last]})
    assert run.started == ["a"]
    assert run.see(a=completed(3)).started == ["last[0]"]
    assert run.jobs["last[0]"]["Tasks"][0]["Env"]["A"] == "x Failed"
    assert run.see(**{"last[0]": completed()}).started == ["last[1]"]
    assert run.run.phase is RunPhase.RUNNING
    run.see(**{"last[1]": completed()})
    assert (run.phases["last"], run.run.phase) == (P.SUCCEEDED, RunPhase.FAILED)


def test_a_failed_item_of_finally_fails_the_run_but_stops_no_other() -> None:
    last = fan_out(3, "last", rules={"parallelism": 1})
    run = play(node("a"), **{"finally": [last, node("other")]}).see(a=completed())
    run.see(**{"last[0]": completed(3)})
    assert run.started == ["last[1]"]
    run.see(**{"last[1]": completed()}).see(**{"last[2]": completed(), "other": completed()})
    assert (run.phases["last"], run.run.phase) == (P.FAILED, RunPhase.FAILED)


def test_finally_waits_for_all_items() -> None:
    run = play(fan_out(2), **{"finally": [node("last")]})
    assert run.see(**{"w[0]": completed(3)}).started == []
    assert run.see(**{"w[1]": completed()}).started == ["last"]


@pytest.mark.parametrize("forgiveness", [{"rules": {"minSucceeded": 1}}, {"continueOnFailure": True}])
def test_the_last_nodes_are_told_of_fan_outs_and_not_of_items(forgiveness: Json) -> None:
    told = job(Env={"A": "${{ run.phase }}: ${{ run.message }}"})
    run = play(fan_out(2, **forgiveness), **{"finally": [node("last", job=told), node("more", job=told)]})
    run.see_items("w", completed(3), completed())
    assert (
        run.jobs["last"]["Tasks"][0]["Env"]["A"]
        == "Succeeded: Nodes: succeeded 1, failed 1, running 0, waiting 0."
    )


def test_the_last_nodes_are_told_which_item_failed() -> None:
    told = job(Env={"A": "${{ run.phase }}: ${{ run.message }}"})
    run = play(fan_out(2), **{"finally": [node("last", job=told)]})
    run.see_items("w", completed(), completed(3))
    assert run.jobs["last"]["Tasks"][0]["Env"]["A"] == 'Failed: node "w": w[1]: exit code 3'


def test_the_last_nodes_may_read_items() -> None:
    told = job(
        Env={
            "A": "${{ nodes.w.items.map(i, i.phase).join(' ') }} ${{ nodes.w.succeeded }}/${{ nodes.w.total }}"
        }
    )
    run = play(fan_out(2), failurePolicy="RunAll", **{"finally": [node("last", job=told)]})
    run.see_items("w", completed(3), completed())
    assert run.jobs["last"]["Tasks"][0]["Env"]["A"] == "Failed Succeeded 1/2"


def test_a_fan_out_may_be_a_target() -> None:
    documents = [node("a"), node("w", forEach={"items": "${{ nodes.a.json }}"}), node("x"), fan_out(2, "y")]
    run = play(*documents, targets=["w"])
    assert run.started == ["a"]
    assert run.see(a=completed(stdout="[1, 2]")).started == ["w[0]", "w[1]"]
    assert run.see_items("w", completed(), completed()).run.phase is RunPhase.SUCCEEDED
    assert set(run.phases) == {"a", "w", "w[0]", "w[1]"}


def test_what_ended_the_run_is_told_without_the_name_of_an_item() -> None:
    run = Play(dag(node("w", forEach={"items": [1, 2], "parallelism": 1}))).go()
    run.see(**{"w[0]": running()}).go(shutdown=Shutdown.STOP_RUN_FINALLY).see(**{"w[0]": completed()})
    assert (run.phases["w"], run.node("w").message) == (P.OMITTED, "spec.shutdown is StopRunFinally")
    assert run.status["message"] == "spec.shutdown is StopRunFinally"
