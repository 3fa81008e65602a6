"""A controller that dies at any of its requests, and another one that takes over: every attempt runs once, and the result is the same."""

from typing import Any

import pytest

from controller.engine.identity import ATTEMPT_LABEL, NODE_LABEL
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import Process, Wire, World

pytestmark = pytest.mark.looptime

REQUESTS = 40
"""More than a controller sends for the run below."""

NODES = (node("a"), node("b", inputs=["a"], reads=["a"]), node("c", after=["b"]))


def fate(job: dict[str, Any]) -> Fate:
    """The platform loses the first attempt of c."""
    if (job["Meta"][NODE_LABEL], job["Meta"][ATTEMPT_LABEL]) == ("c", "1"):
        return Fate(failure='input source "/x" does not exist')
    return Fate(stdout=job["Meta"][NODE_LABEL])


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("cut_at", range(1, REQUESTS + 1))
async def test_a_run_goes_on_where_a_controller_died(world: World, cut_at: int, carried_out: bool) -> None:
    world.script = fate
    world.connect()
    path = world.apply(*NODES, outputs=[{"name": "result", "from": "c"}])
    wire = Wire(cut_at=cut_at, carried_out=carried_out)
    first = Process(world, wire=wire)
    first.start()
    await world.until(
        lambda: wire.dead.is_set() or (world.phase(path) == "Succeeded" and not world.finalizers(path))
    )
    await first.kill()
    async with world.operator():
        status = await world.until_ended(path)
    attempts = sorted(
        (job.spec["Meta"][NODE_LABEL], job.spec["Meta"][ATTEMPT_LABEL])
        for job in world.bacalhau.jobs.values()
    )
    assert attempts == [("a", "1"), ("b", "1"), ("c", "1"), ("c", "2")]
    assert {job.spec["Version"] for job in world.bacalhau.jobs.values()} == {1}, (
        "a job was updated, and ran twice"
    )
    assert status["progress"] == "3/3"
    assert {name: item["attempt"] for name, item in status["nodes"].items()} == {"a": 1, "b": 1, "c": 2}
    assert status["outputs"]["result"] == status["nodes"]["c"]["outputs"]
