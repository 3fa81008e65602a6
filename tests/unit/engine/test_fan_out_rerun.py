"""Fan-outs that run again: which items keep their results."""

from collections.abc import Sequence

import pytest

from controller.api.status import DAGStatus, NodePhase, RunPhase
from controller.engine import InvalidDAG, reset
from controller.kube.merge import apply
from tests.support.builders import Json, Play, completed, failed, node, running
from tests.unit.engine.test_fan_in import mounts, told
from tests.unit.engine.test_fan_out import RESTART, fan_out, play

P = NodePhase


def again(run: Play, *chosen: str) -> Play:
    """The run, opened again as the reconciler does it, in a new process."""
    known = DAGStatus.model_validate(run.status)
    nodes = {
        name: status.model_dump(by_alias=True, mode="json") if status else None
        for name, status in reset(run.graph, known.nodes, chosen).items()
    }
    run.status = apply(run.status, {"phase": "Pending", "completionTime": None, "nodes": nodes})
    run.restart()
    return run.go()


def test_only_items_that_did_not_succeed_run_again() -> None:
    run = play(fan_out(4, when="index != 3"), node("b", inputs=["w"]), failurePolicy="RunAll")
    run.see_items("w", completed(cid="Qm0"), completed(3), failed())
    assert run.run.phase is RunPhase.FAILED
    assert again(run).started == ["w[1]", "w[2]"]
    assert [run.node(f"w[{index}]").attempt for index in range(3)] == [1, 2, 2]
    run.see(**{"w[1]": completed(cid="Qm1"), "w[2]": completed(cid="Qm2")})
    assert mounts(run.jobs["b"]) == {f"/inputs/w/{index}": f"Qm{index}" for index in range(3)}
    assert run.see(b=completed()).run.phase is RunPhase.SUCCEEDED


def test_items_that_were_left_out_run_again() -> None:
    run = play(fan_out(4, rules={"parallelism": 2}))
    run.see_items("w", completed(3), completed())
    assert run.items("w") == [P.FAILED, P.SUCCEEDED, P.OMITTED, P.OMITTED]
    assert again(run).started == ["w[0]", "w[2]"]
    assert [run.node(f"w[{index}]").attempt for index in (0, 2)] == [2, 1]


@pytest.mark.parametrize(
    ("chosen", "started"),
    [
        (["w"], ["w[0]", "w[1]", "w[2]"]),
        (["w[2]"], ["w[1]", "w[2]"]),
        (["w[0]", "w[2]"], ["w[0]", "w[1]", "w[2]"]),
        ([], []),
    ],
)
def test_items_may_be_chosen(chosen: Sequence[str], started: list[str]) -> None:
    """A fan-out that succeeded, since enough items did. What failed runs again with what was chosen."""
    run = play(fan_out(3, rules={"minSucceeded": 2}), node("b", after=["w"]))
    run.see_items("w", completed(), completed(3), completed()).see(b=completed())
    if started:
        assert again(run, *chosen).started == started
    else:
        assert reset(run.graph, DAGStatus.model_validate(run.status).nodes) == {}


@pytest.mark.parametrize("name", ["w[3]", "w[x]", "b[0]", "w[]"])
def test_items_that_never_were_are_named(name: str) -> None:
    run = play(fan_out(3), node("b")).see_items("w", completed(), completed(), completed()).see(b=completed())
    with pytest.raises(InvalidDAG, match="is not a node of this DAG"):
        reset(run.graph, DAGStatus.model_validate(run.status).nodes, [name])


LISTED: list[Json] = [node("a"), node("w", forEach={"items": "${{ nodes.a.json }}"}, job=told("item"))]


@pytest.mark.parametrize("second", ['["x"]', '["x", "y", "z", "more"]', "[]"])
def test_a_list_that_is_made_again_may_be_another(second: str) -> None:
    run = play(*LISTED).see(a=completed(stdout='["p", "q"]'))
    run.see_items("w", completed(), completed())
    assert again(run, "a").started == ["a"]
    assert run.items("w") == []
    assert "w[0]" not in run.status["nodes"]
    run.see(a=completed(stdout=second))
    values = [document["Tasks"][0]["Env"]["A"] for document in run.jobs.values()]
    assert values == ["x", "y", "z", "more"][: len(values)]
    assert len(values) == len(run.items("w")) == second.count(chr(34)) // 2
    assert {run.node(name).attempt for name in run.started} <= {2}
    run.see(**{name: completed() for name in run.started})
    assert run.run.phase is RunPhase.SUCCEEDED


def test_jobs_of_items_that_were_forgotten_are_no_news() -> None:
    run = play(*LISTED).see(a=completed(stdout='["p", "q"]')).see_items("w", completed(), completed())
    again(run, "a")
    for attempt in (1, 0):
        run.go(run.seen("w[1]", completed(), attempt=attempt))
        assert run.items("w") == []
    run.see(a=completed(stdout='["x", "y"]'))
    assert run.started == ["w[0]", "w[1]"]


def test_a_rerun_goes_on_after_a_restart() -> None:
    run = play(fan_out(3), failurePolicy="RunAll").see_items("w", completed(), completed(3), completed(3))
    again(run).see(**{"w[1]": running()})
    run.restart()
    run.go(run.seen("w[2]", running(), attempt=2))
    assert run.started == []
    assert run.items("w") == [P.SUCCEEDED, P.RUNNING, P.RUNNING]
    run.see(**{"w[1]": failed(RESTART), "w[2]": completed()})
    assert run.started == ["w[1]"]
    assert run.see(**{"w[1]": completed()}).run.phase is RunPhase.SUCCEEDED


def test_items_that_were_forgotten_are_no_news_after_a_restart() -> None:
    run = play(*LISTED).see(a=completed(stdout='["p", "q"]')).see_items("w", completed(), completed())
    again(run, "a").see(a=completed(stdout='["x"]')).see(**{"w[0]": running()})
    run.restart()
    run.go(run.seen("a", completed(stdout='["x"]')), run.seen("w[1]", completed(), attempt=1))
    assert run.items("w") == [P.RUNNING]
    assert run.see(**{"w[0]": completed()}).run.phase is RunPhase.SUCCEEDED
