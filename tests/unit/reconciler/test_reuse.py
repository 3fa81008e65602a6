"""A DAG that begins with the results of an earlier one: from the reading of that to the end of this, and whoever dies meanwhile."""

import asyncio
from typing import Any

import pytest

from controller.api.dag import parse_dag
from controller.engine.identity import NODE_LABEL
from controller.kube.objects import Objects
from controller.reconciler.access import Unresolved
from controller.reconciler.reuse import read_earlier
from controller.reconciler.standing import status_of
from tests.support.builders import job, node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import Moment, Process, Wire, World, dag_path, moments

pytestmark = pytest.mark.looptime

A, B, C = node("a"), node("b", inputs=["a"], reads=["a"]), node("c", after=["b"])
BETTER = B | {"when": "true"}
HEIR: dict[str, Any] = {"name": "heir", "reuseFrom": {"name": "count"}}


def failing(job: dict[str, Any]) -> Fate:
    """Node b fails in the DAG count, every node prints its name."""
    fails = job["Meta"][NODE_LABEL] == "b" and job["Name"].startswith("count-")
    return Fate(exit_code=7 if fails else 0, stdout=job["Meta"][NODE_LABEL])


async def failed(world: World) -> str:
    """The path of a DAG that has failed at b."""
    world.connect()
    world.script = failing
    async with world.operator():
        path = world.apply(A, B, C)
        await world.until_ended(path, "Failed")
    return path


async def test_only_what_changed_and_what_depends_on_it_runs(world: World) -> None:
    earlier = await failed(world)
    async with world.operator():
        path = world.apply(A, BETTER, C, **HEIR)
        status = await world.until_ended(path)
        await world.until(lambda: len(world.events("ResultsTakenOver")) == 1)
    assert world.attempts(path) == [("b", 1), ("c", 1)]
    first, taken = world.status(earlier)["nodes"]["a"], status["nodes"]["a"]
    assert (taken["phase"], taken["reason"]) == ("Succeeded", "Reused")
    assert taken["message"] == 'The result of DAG "count" was taken over.'
    assert {name: taken[name] for name in ("jobID", "outputs", "exitCode", "finishedAt")} == {
        name: first[name] for name in ("jobID", "outputs", "exitCode", "finishedAt")
    }
    assert taken["jobNamespace"] == world.status(earlier)["bacalhauNamespace"]
    assert "attempt" not in taken
    assert world.events("ResultsTakenOver") == [
        ("ResultsTakenOver", 'Took over 1 of 3 nodes from DAG "count".', 1)
    ]


async def test_output_that_is_read_is_that_of_the_earlier_job(world: World) -> None:
    await failed(world)
    async with world.operator():
        await world.until_ended(world.apply(A, BETTER, C, **HEIR))
    (job,) = [
        job.spec
        for job in world.bacalhau.jobs.values()
        if job.spec["Name"].startswith("heir-") and job.spec["Meta"][NODE_LABEL] == "b"
    ]
    assert job["Tasks"][0]["Engine"]["Params"]["Parameters"] == ["a"]


async def test_what_was_decided_stands_when_the_earlier_dag_is_gone(world: World) -> None:
    earlier = await failed(world)
    wire = Wire()
    process = Process(world, wire=wire)
    process.start()
    path = world.apply(A, BETTER, C, **HEIR)
    await world.until(lambda: world.status(path).get("startTime"))
    world.kube.delete(earlier)
    await process.kill()
    async with world.operator():
        await world.until_ended(path)
    assert earlier not in world.kube.objects
    assert world.attempts(path) == [("b", 1), ("c", 1)]


@pytest.mark.parametrize("moment", moments(24), ids=str)
async def test_a_controller_may_die_at_any_moment(world: World, moment: Moment) -> None:
    await failed(world)
    path = world.apply(A, BETTER, C, **HEIR)
    wire = Wire(at=moment)
    process = Process(world, wire=wire)
    process.start()
    await world.until(lambda: wire.dead.is_set() or world.has_ended(path))
    await process.kill()
    async with world.operator():
        status = await world.until_ended(path)
    assert world.attempts(path) == [("b", 1), ("c", 1)]
    assert status["progress"] == "3/3"
    assert len(world.events("ResultsTakenOver")) <= 1


async def test_results_are_handed_on_from_dag_to_dag(world: World) -> None:
    earlier = await failed(world)
    async with world.operator():
        second = world.apply(A, BETTER, C, **HEIR)
        await world.until_ended(second)
        world.kube.delete(earlier)
        third = world.apply(A, BETTER, C, node("d", reads=["a"]), name="third", reuseFrom={"name": "heir"})
        status = await world.until_ended(third)
    assert world.attempts(third) == [("d", 1)]
    assert {name: item.get("jobNamespace") for name, item in status["nodes"].items()} == {
        "a": world.status(second)["nodes"]["a"]["jobNamespace"],
        "b": world.status(second)["bacalhauNamespace"],
        "c": world.status(second)["bacalhauNamespace"],
        "d": None,
    }


async def test_a_dag_that_is_wholly_taken_over_submits_nothing(world: World) -> None:
    world.connect()
    outputs = [{"name": "result", "from": "b"}]
    async with world.operator():
        earlier = await world.until_ended(world.apply(A, B, outputs=outputs))
        path = world.apply(A, B, outputs=outputs, **HEIR)
        status = await world.until_ended(path)
    assert world.attempts(path) == []
    assert status["outputs"] == earlier["outputs"]


async def test_what_was_taken_over_can_run_again(world: World) -> None:
    await failed(world)
    async with world.operator():
        path = world.apply(A, BETTER, C, **HEIR)
        await world.until_ended(path)
        world.kube.change(path, retry={"id": "all", "nodes": ["a"]})
        await world.until(lambda: world.attempts(path)[-1] == ("c", 2))
        status = await world.until_ended(path)
    assert world.attempts(path) == [("a", 1), ("b", 1), ("b", 2), ("c", 1), ("c", 2)]
    assert {"message", "jobNamespace"}.isdisjoint(status["nodes"]["a"])
    assert status["nodes"]["a"]["reason"] == "Completed"


async def test_a_request_to_run_again_that_was_there_from_the_start_is_none(world: World) -> None:
    await failed(world)
    async with world.operator():
        path = world.apply(A, BETTER, C, **HEIR, retry={"id": "old", "nodes": ["a"]})
        await world.until_ended(path)
        await asyncio.sleep(60)
    assert world.attempts(path) == [("b", 1), ("c", 1)]


# What has to be waited for


async def test_a_dag_that_is_missing_is_waited_for(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(A, **HEIR)
        await world.until(lambda: world.condition(path).get("reason") == "EarlierDAGNotFound")
        await asyncio.sleep(300)
        assert (world.phase(path), world.attempts(path), len(world.writes(path))) == ("Pending", [], 1)
        message = world.status(path)["message"]
        assert message == (
            'There is no BacalhauDAG "count" in namespace "lab" whose results could be taken over; '
            "create it, or remove spec.reuseFrom."
        )
        assert world.events() == [("EarlierDAGNotFound", message, 1)]
        world.apply(A)
        await world.until(lambda: world.has_ended(path), within=90)
    assert world.status(path)["nodes"]["a"]["reason"] == "Reused"


async def test_a_dag_that_runs_is_waited_for(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=50.0)
    async with world.operator():
        world.apply(A)
        path = world.apply(A, **HEIR)
        await world.until(lambda: world.condition(path).get("reason") == "EarlierDAGRunning")
        assert 'the BacalhauDAG "count" has ended' in world.status(path)["message"]
        await world.until_ended(path)
    assert world.attempts(path) == []


async def test_a_dag_that_is_asked_to_run_again_is_waited_for(world: World) -> None:
    earlier = await failed(world)
    heir = parse_dag(world.kube.objects[world.apply(A, B, C, **HEIR)])
    objects = Objects(world.kube.client())
    assert status_of(await read_earlier(objects, heir))["phase"] == "Failed"
    world.kube.change(earlier, retry={"id": "again"})
    with pytest.raises(Unresolved) as caught:
        await read_earlier(objects, heir)
    assert caught.value.problem.reason == "EarlierDAGRunning"
    world.script = lambda job: Fate(ends_after=50.0)
    async with world.operator():
        await world.until(lambda: world.phase(earlier) == "Succeeded")
        await world.until_ended(dag_path("heir"))


async def test_waiting_can_be_given_up(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(A, **HEIR)
        await world.until(lambda: world.condition(path).get("reason") == "EarlierDAGNotFound")
        world.kube.change(path, reuseFrom=None)
        await world.until(lambda: world.has_ended(path), within=5)
        other = world.apply(A, name="other", reuseFrom={"name": "missing"})
        await world.until(lambda: world.condition(other).get("reason") == "EarlierDAGNotFound")
        world.kube.delete(other)
        await world.until(lambda: other not in world.kube.objects)
    assert world.attempts(path) == [("a", 1)]


# What is no witness


async def test_a_dag_that_was_rejected_leaves_nothing(world: World) -> None:
    world.connect()
    async with world.operator():
        await world.until_ended(world.apply(node("a", after=["nobody"])), "Error")
        path = world.apply(A, **HEIR)
        await world.until_ended(path)
    assert world.attempts(path) == [("a", 1)]


@pytest.mark.parametrize(
    "garbage",
    [
        {"status": {"graphHash": "of another graph"}},
        {"status": {"graphHash": None}},
        {"status": {"bacalhauNamespace": None}},
        {"status": {"nodes": {"a": {"phase": "Splendid"}}}},
        {"spec": {"nodes": [node("a", after=["nobody"])]}},
    ],
    ids=str,
)
async def test_nothing_is_taken_over_from_what_does_not_fit_together(
    world: World, garbage: dict[str, Any]
) -> None:
    earlier = await failed(world)
    world.kube.edit(earlier, garbage)
    async with world.operator():
        path = world.apply(A, BETTER, C, **HEIR)
        await world.until_ended(path)
        await world.until(lambda: world.events("ResultsTakenOver"))
    assert world.attempts(path) == [("a", 1), ("b", 1), ("c", 1)]
    assert world.events("ResultsTakenOver")[0][1] == (
        'Took over 0 of 3 nodes from DAG "count". Its spec and its status do not belong together.'
    )


async def test_the_earlier_dag_cannot_be_another_one_after_the_start(world: World) -> None:
    await failed(world)
    world.script = lambda job: Fate(ends_after=50.0)
    async with world.operator():
        path = world.apply(A, BETTER, C, **HEIR)
        await world.until(lambda: world.phase(path) == "Running")
        world.kube.change(path, reuseFrom={"name": "other"})
        await world.until(lambda: world.condition(path)["reason"] == "SpecChanged")
        await world.until_ended(path)
    assert world.attempts(path) == [("b", 1), ("c", 1)]


# Values from ConfigMaps

MODE = {"name": "mode", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}}
SET = node("a", job=job(Env={"MODE": "${{ params.mode }}"}))


@pytest.mark.parametrize(("value", "names"), [("fast", []), ("slow", [("a", 1), ("b", 1)])])
async def test_a_value_of_a_config_map_counts_as_it_was_read(
    world: World, value: str, names: list[tuple[str, int]]
) -> None:
    world.connect()
    world.config_map("settings", mode="fast")
    async with world.operator():
        await world.until_ended(world.apply(SET, node("b", after=["a"]), parameters=[MODE]))
        world.config_map("settings", mode=value)
        path = world.apply(SET, node("b", after=["a"]), parameters=[MODE], **HEIR)
        status = await world.until_ended(path)
    assert world.attempts(path) == names
    assert status["parameters"] == {"mode": value}


async def test_a_config_map_that_is_missing_is_waited_for(world: World) -> None:
    await failed(world)
    async with world.operator():
        path = world.apply(A, BETTER, C, SET | {"name": "d"}, parameters=[MODE], **HEIR)
        await world.until(lambda: world.condition(path).get("reason") == "ConfigMapNotFound")
        assert "startTime" not in world.status(path)
        world.config_map("settings", mode="fast")
        await world.until_ended(path)
    assert world.attempts(path) == [("b", 1), ("c", 1), ("d", 1)]
