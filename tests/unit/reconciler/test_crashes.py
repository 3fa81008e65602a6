"""A controller that dies at any of its requests, and another one that takes over: every attempt runs once, and the result is the same."""

from typing import Any

import pytest

from controller.engine.identity import ATTEMPT_LABEL, NODE_LABEL, node_of
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import Moment, Process, Wire, World, moments

pytestmark = pytest.mark.looptime

NODES = (node("a"), node("b", inputs=["a"], reads=["a"]), node("c", after=["b"]))


def fate(job: dict[str, Any]) -> Fate:
    """The platform loses the first attempt of c."""
    if (job["Meta"][NODE_LABEL], job["Meta"][ATTEMPT_LABEL]) == ("c", "1"):
        return Fate(failure='input source "/x" does not exist')
    return Fate(stdout=job["Meta"][NODE_LABEL])


@pytest.mark.parametrize("moment", moments(30), ids=str)
async def test_a_run_goes_on_where_a_controller_died(world: World, moment: Moment) -> None:
    world.script = fate
    world.connect()
    path = world.apply(*NODES, outputs=[{"name": "result", "from": "c"}])
    await killed_at(world, moment, path)
    async with world.operator():
        status = await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1), ("c", 1), ("c", 2)]
    assert status["progress"] == "3/3"
    assert {name: item["attempt"] for name, item in status["nodes"].items()} == {"a": 1, "b": 1, "c": 2}
    assert status["outputs"]["result"] == status["nodes"]["c"]["outputs"]


FAN_OUT = (
    node("a"),
    node("w", forEach={"items": "${{ nodes.a.json }}", "parallelism": 2}, inputs=["a"]),
    node("b", inputs=["w"]),
)


def fate_of_items(job: dict[str, Any]) -> Fate:
    """One node prints the list, and the platform loses the first attempt of an item."""
    if (node_of(job["Meta"]), job["Meta"][ATTEMPT_LABEL]) == ("w[1]", "1"):
        return Fate(failure='input source "/x" does not exist')
    return Fate(stdout='["x", "y", "z"]')


@pytest.mark.parametrize("moment", moments(45), ids=str)
async def test_a_fan_out_goes_on_where_a_controller_died(world: World, moment: Moment) -> None:
    world.script = fate_of_items
    world.connect()
    path = world.apply(*FAN_OUT)
    await killed_at(world, moment, path)
    async with world.operator():
        status = await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1), ("w[0]", 1), ("w[1]", 1), ("w[1]", 2), ("w[2]", 1)]
    assert status["progress"] == "5/5"
    assert status["nodes"]["w"]["items"]["succeeded"] == 3


@pytest.mark.parametrize("moment", moments(21), ids=str)
async def test_a_failed_run_stays_failed(world: World, moment: Moment) -> None:
    world.script = lambda job: Fate(exit_code=7, stderr="no such word")
    world.connect()
    path = world.apply(node("a"), node("b", after=["a"]))
    await killed_at(world, moment, path, "Failed")
    async with world.operator():
        status = await world.until_ended(path, "Failed")
    assert world.attempts() == [("a", 1)]
    assert status["message"] == 'node "a": exit code 7: no such word'
    assert status["nodes"]["b"]["phase"] == "Omitted"


@pytest.mark.parametrize("moment", moments(24), ids=str)
async def test_a_rerun_is_taken_up(world: World, moment: Moment) -> None:
    world.script = lambda job: Fate(exit_code=7 if job["Meta"][NODE_LABEL] == "b" else 0)
    world.connect()
    path = world.apply(*NODES)
    async with world.operator():
        await world.until_ended(path, "Failed")
    world.script = lambda job: Fate(stdout=job["Meta"][NODE_LABEL])
    world.kube.change(path, retry={"id": "again"})
    await killed_at(world, moment, path)
    async with world.operator():
        await world.until(lambda: world.phase(path) == "Succeeded")
        status = await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1), ("b", 2), ("c", 1)]
    assert (status["retryID"], status["progress"]) == ("again", "3/3")
    assert len(world.events("RunningAgain")) <= 1


@pytest.mark.parametrize("moment", moments(18), ids=str)
async def test_a_deletion_is_taken_up(world: World, moment: Moment) -> None:
    world.script = lambda job: Fate(ends_after=None)
    world.connect()
    path = world.apply(node("a"), node("b"))
    wire = Wire(at=moment)
    first = Process(world, wire=wire)
    first.start()
    await world.until(lambda: wire.dead.is_set() or len(world.jobs()) == 2)
    world.kube.delete(path)
    await world.until(lambda: wire.dead.is_set() or path not in world.kube.objects)
    await first.kill()
    async with world.operator():
        await world.until(lambda: path not in world.kube.objects)
    assert set(world.jobs().values()) <= {"Stopped"}
    assert world.events("JobsNotStopped") == []


async def killed_at(world: World, moment: Moment, path: str, phase: str = "Succeeded") -> None:
    """Have a controller work on a DAG, and die at a moment, or once the DAG has ended in a phase."""
    wire = Wire(at=moment)
    process = Process(world, wire=wire)
    process.start()
    await world.until(
        lambda: wire.dead.is_set() or (world.phase(path) == phase and not world.finalizers(path))
    )
    await process.kill()


@pytest.mark.parametrize("requests", range(1, 24))
async def test_ending_at_any_moment_leaves_nothing_behind(world: World, requests: int) -> None:
    world.script = fate
    world.connect()
    path = world.apply(*NODES)
    async with world.operator() as process:  # which sees that nothing of the process stays
        await world.until(lambda: process.wire.requests >= requests)
    async with world.operator():
        await world.until_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1), ("c", 1), ("c", 2)]
