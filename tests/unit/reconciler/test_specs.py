"""Specs that cannot run, specs that are corrected, and specs that change under a run."""

import asyncio
from typing import Any

import pytest

from controller.kube.finalizer import FINALIZER
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import Moment, Wire, World, moments

pytestmark = pytest.mark.looptime

CYCLE = (node("a", after=["b"]), node("b", after=["a"]))


async def test_a_graph_that_cannot_run_is_an_error_that_names_the_field(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(*CYCLE)
        status = await world.until_ended(path, "Error")
        await world.until(world.events)
        await asyncio.sleep(30)
    assert "spec.nodes" in status["message"]
    assert world.condition(path)["reason"] == "InvalidDAG"
    assert world.condition(path, "Stalled")["status"] == "True"
    assert "startTime" not in status
    assert world.events() == [("InvalidDAG", status["message"], 1)]
    assert world.jobs() == {}
    assert len(world.writes(path)) == 1


async def test_the_event_is_not_lost_if_the_watch_is_faster_than_the_answer_to_the_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = world.kube.request

    async def late(*args: Any, **options: Any) -> Any:
        response = await answer(*args, **options)
        await asyncio.sleep(1)
        return response

    monkeypatch.setattr(world.kube, "request", late)
    world.connect()
    async with world.operator():
        status = await world.until_ended(world.apply(*CYCLE), "Error")
        await world.until(world.events)
    assert world.events() == [("InvalidDAG", status["message"], 1)]


async def test_a_spec_that_the_schema_does_not_allow_names_field_and_value(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(node("a"), failurePolicy="Sometimes")
        status = await world.until_ended(path, "Error")
    assert world.condition(path)["reason"] == "InvalidSpec"
    assert "spec.failurePolicy" in status["message"]
    assert "Sometimes" in status["message"]


async def test_a_rejected_dag_is_not_looked_at_again(world: World) -> None:
    world.connect()
    path = world.apply(*CYCLE)
    for _ in range(2):
        async with world.operator():
            await world.until_ended(path, "Error")
            await asyncio.sleep(30)
    assert len(world.writes(path)) == 1
    assert len(world.events()) == 1


@pytest.mark.parametrize("moment", [None, *moments(6)], ids=str)
async def test_a_corrected_spec_gets_its_chance(world: World, moment: Moment | None) -> None:
    world.connect()
    path = world.apply(*CYCLE)

    def correct() -> None:
        world.kube.change(path, nodes=[node("a"), node("b", after=["a"])])

    async with world.operator(wire=Wire(at=moment or (10_000, "before"), then=correct)) as process:
        await world.until(lambda: process.wire.has_come or world.phase(path) == "Error")
        if not process.wire.has_come:
            await asyncio.sleep(5)
            correct()
        await world.until(lambda: world.phase(path) == "Succeeded")
        status = await world.until_ended(path)
    assert status["observedGeneration"] == 2
    assert world.attempts() == [("a", 1), ("b", 1)]
    assert world.condition(path, "Stalled")["status"] == "False"


async def test_a_spec_corrected_into_another_wrong_one_is_rejected_again(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(*CYCLE)
        first = await world.until_ended(path, "Error")
        world.kube.change(path, nodes=[node("a", after=["nobody"])])
        await world.until(lambda: world.status(path)["observedGeneration"] == 2)
    assert "nobody" in world.status(path)["message"] != first["message"]
    assert len(world.events("InvalidDAG")) == 2


async def test_a_rejected_dag_that_held_the_finalizer_is_let_go(world: World) -> None:
    world.connect()
    path = world.apply(*CYCLE)
    world.kube.edit(path, {"metadata": {"finalizers": [FINALIZER]}})
    async with world.operator():
        await world.until_ended(path, "Error")


async def test_a_rejected_dag_can_be_deleted(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(*CYCLE)
        await world.until_ended(path, "Error")
        world.kube.delete(path)
        assert path not in world.kube.objects


BAD_POLICY = {"failurePolicy": "Sometimes"}
OTHER_GRAPH = {"nodes": [node("a"), node("z", after=["a"])]}


@pytest.mark.parametrize(
    "change", [BAD_POLICY, OTHER_GRAPH, {"nodes": list(CYCLE)}], ids=["schema", "graph", "cycle"]
)
async def test_a_graph_that_changes_under_a_run_is_not_followed(
    world: World, change: dict[str, object]
) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=20.0)
    async with world.operator():
        path = world.apply(node("a"), node("b", after=["a"]))
        await world.until(lambda: world.phase(path) == "Running")
        world.kube.change(path, **change)
        await world.until(lambda: world.condition(path)["reason"] == "SpecChanged")
        assert world.phase(path) == "Running"
        await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1)]
    assert len(world.events("SpecChanged")) == 1


@pytest.mark.parametrize(
    "change", [BAD_POLICY, OTHER_GRAPH, {"nodes": list(CYCLE)}], ids=["schema", "graph", "cycle"]
)
async def test_a_graph_that_changed_while_nobody_looked_waits_to_be_restored(
    world: World, change: dict[str, object]
) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=20.0)
    path = world.apply(node("a"), node("b", after=["a"]))
    before = dict(world.kube.objects[path]["spec"])
    async with world.operator():
        await world.until(lambda: world.status(path).get("graphHash") and world.jobs())
    world.kube.change(path, **change)
    async with world.operator():
        await world.until(lambda: world.condition(path)["reason"] == "SpecChanged")
        await asyncio.sleep(60)
        assert world.phase(path) == "Running"
        assert world.attempts() == [("a", 1)]
        world.kube.change(path, **dict.fromkeys(change) | before)
        await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1)]
    assert len(world.events("SpecChanged")) == 1


async def test_a_misspelled_decision_is_told_and_can_be_corrected(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply({"name": "release", "suspend": {}}, node("a", after=["release"]))
        await world.until(lambda: "release" in world.status(path).get("message", ""))
        world.kube.change(path, approvals=[{"name": "relaese"}])
        await world.until(lambda: world.condition(path)["reason"] == "UnknownApproval")
        assert world.status(path)["message"] == (
            'spec.approvals[0].name: "relaese" is not a node with suspend; did you mean "release"?'
        )
        world.kube.change(path, approvals=[{"name": "release"}])
        await world.until_ended(path)
    assert len(world.events("UnknownApproval")) == 1


async def test_a_dag_whose_graph_changed_while_nobody_looked_can_be_deleted(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=None)
    path = world.apply(node("a"), node("b"))
    async with world.operator():
        await world.until(lambda: world.status(path).get("graphHash") and len(world.jobs()) == 2)
    world.kube.change(path, nodes=list(CYCLE))
    async with world.operator():
        await world.until(lambda: world.condition(path)["reason"] == "SpecChanged")
        world.kube.delete(path)
        await world.until(lambda: path not in world.kube.objects)
    assert set(world.jobs().values()) == {"Stopped"}
    assert world.events("JobsNotStopped") == []


async def test_a_job_that_bacalhau_refuses_is_an_error_of_its_node(world: World) -> None:
    world.connect()
    world.bacalhau.fault(method="PUT", status=400, text="invalid job")
    async with world.operator():
        path = world.apply(node("a"), node("b", after=["a"]))
        status = await world.until_ended(path, "Error")
    assert status["nodes"]["a"]["reason"] == "Refused"
    assert status["nodes"]["b"]["phase"] == "Omitted"
    assert world.jobs() == {}
