"""A DAG from its creation to its end: what is written, in which order, and what stays of it."""

import pytest

from tests.support.builders import node
from tests.support.shell import World

pytestmark = pytest.mark.looptime

CHAIN = (node("a"), node("b", inputs=["a"]))


async def test_a_dag_runs_to_its_end(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(*CHAIN, outputs=[{"name": "result", "from": "b"}])
        status = await world.until_ended(path)
        print(world.events(), len(world.kube.requests), world.now())
    assert status["progress"] == "2/2"
    assert set(world.jobs().values()) == {"Completed"}
    assert len(world.jobs()) == 2
