"""Requests to run again: which are granted, which are not, and what is said then. Crashes on the way are tested with the others."""

import asyncio
from typing import Any

import pytest

from controller.engine.identity import ATTEMPT_LABEL, NODE_LABEL
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import World

pytestmark = pytest.mark.looptime

NODES = (node("a"), node("b", after=["a"]), node("c"))
FIRST = [("a", 1), ("b", 1), ("c", 1)]


def flaky(job: dict[str, Any]) -> Fate:
    """The first attempt of b fails."""
    return Fate(exit_code=7 if (job["Meta"][NODE_LABEL], job["Meta"][ATTEMPT_LABEL]) == ("b", "1") else 0)


async def ended(world: World, phase: str = "Failed", **spec: Any) -> str:
    """The path of a DAG that has ended; unless it should succeed, it failed at b."""
    world.connect()
    world.script = flaky if phase == "Failed" else lambda job: Fate()
    path = world.apply(*NODES, failurePolicy="RunAll", **spec)
    await world.until_ended(path, phase)
    return path


async def test_a_request_is_granted_once(world: World) -> None:
    async with world.operator():
        path = await ended(world)
        world.kube.change(path, retry={"id": "again", "nodes": ["c"]})
        await world.until(lambda: world.phase(path) == "Succeeded")
        await world.until_ended(path)
        world.kube.change(path, description="Not another request.")
        await asyncio.sleep(60)
    assert world.attempts() == sorted([*FIRST, ("b", 2), ("c", 2)])
    assert world.events("RunningAgain") == [("RunningAgain", "Running 2 of 3 nodes again.", 1)]


@pytest.mark.parametrize(
    ("phase", "retry", "spec", "said"),
    [
        pytest.param(
            "Failed",
            {"id": "again", "nodes": ["bb"]},
            {},
            'spec.retry.nodes[0]: "bb" is not a node of this DAG; did you mean "b"?',
            id="an unknown node",
        ),
        pytest.param(
            "Succeeded",
            {"id": "again"},
            {},
            "Every node has succeeded or was skipped; name nodes in spec.retry.nodes to run them again.",
            id="nothing that failed",
        ),
        pytest.param(
            "Failed",
            {"id": "again"},
            {"shutdown": "CancelRunFinally"},
            "spec.shutdown is CancelRunFinally, which would end the run again.",
            id="a shutdown",
        ),
        pytest.param(
            "Failed", {"id": "again"}, {"failurePolicy": "Sometimes"}, "spec.failurePolicy: ", id="a bad spec"
        ),
    ],
)
async def test_a_request_that_cannot_be_granted_is_answered_and_noted(
    world: World, phase: str, retry: dict[str, Any], spec: dict[str, Any], said: str
) -> None:
    async with world.operator():
        path = await ended(world, phase)
        world.kube.change(path, retry=retry, **spec)
        await world.until(lambda: world.events("InvalidRetry"))
        await world.until(lambda: world.has_ended(path))
        await asyncio.sleep(60)
        ((_, message, count),) = world.events("InvalidRetry")
    assert said in message
    assert message.startswith("Nothing runs again: ")
    assert message.endswith(" Change that, and ask again with another spec.retry.id.")
    assert (count, world.attempts(), world.phase(path)) == (1, FIRST, phase)
    assert world.status(path)["retryID"] == "again"


async def test_after_an_unknown_node_another_request_is_granted(world: World) -> None:
    async with world.operator():
        path = await ended(world)
        world.kube.change(path, retry={"id": "1", "nodes": ["bb"]})
        await world.until(lambda: world.events("InvalidRetry"))
        world.kube.change(path, retry={"id": "2", "nodes": None})
        await world.until(lambda: world.phase(path) == "Succeeded")
        await world.until_ended(path)
    assert world.attempts() == sorted([*FIRST, ("b", 2)])


async def test_a_request_made_during_a_run_waits_for_its_end(world: World) -> None:
    world.connect()
    world.script = flaky
    async with world.operator():
        path = world.apply(*NODES, failurePolicy="RunAll")
        await world.until(lambda: world.phase(path) == "Running")
        world.kube.change(path, retry={"id": "again"})
        await world.until(lambda: world.phase(path) == "Succeeded")
        await world.until_ended(path)
    assert world.attempts() == sorted([*FIRST, ("b", 2)])
