"""Values out of ConfigMaps: read once, written down before anything is submitted, and kept whatever becomes of the ConfigMap."""

import asyncio
from typing import Any

import pytest

from tests.support.builders import Json, job, node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import Wire, World, moments

pytestmark = pytest.mark.looptime

MODE: Json = {"name": "mode", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}}
SIZE: Json = {
    "name": "size",
    "type": "integer",
    "enum": [1, 2],
    "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "size"}},
}


def reader(name: str = "a", **more: Any) -> Json:
    """A node whose job holds the mode."""
    return node(name, job=job(Env={"MODE": "${{ params.mode }}"}), **more)


def modes(world: World) -> list[str]:
    """The mode in each job."""
    tasks = (item.spec["Tasks"][0] for item in world.bacalhau.jobs.values())
    return [task["Env"]["MODE"] for task in tasks if "Env" in task]


async def test_a_value_is_read_and_written_down(world: World) -> None:
    world.connect()
    world.config_map("settings", mode="full", size="2")
    sizes = node("b", job=job(Env={"MODE": "${{ params.size + 1 }}"}))
    async with world.operator():
        path = world.apply(reader(), sizes, parameters=[MODE, SIZE])
        status = await world.until_ended(path)
    assert sorted(modes(world)) == ["3", "full"]
    assert status["parameters"] == {"mode": "full", "size": "2"}


async def test_it_is_written_down_before_anything_is_submitted(world: World) -> None:
    world.connect()
    world.config_map("settings", mode="full")
    path = world.apply(reader(), parameters=[MODE])
    found: list[Json] = []

    def script(submitted: dict[str, Any]) -> Fate:
        found.append(world.status(path))
        return Fate()

    world.script = script
    async with world.operator():
        await world.until_ended(path)
    assert found[0]["parameters"] == {"mode": "full"}
    assert found[0]["startTime"]


async def test_a_run_keeps_its_values_after_a_restart(world: World) -> None:
    world.connect()
    world.config_map("settings", mode="before")
    world.script = lambda submitted: Fate(ends_after=30.0)
    path = world.apply(reader(), reader("b", after=["a"]), parameters=[MODE])
    async with world.operator():
        await world.until(lambda: world.attempts() == [("a", 1)])
    world.config_map("settings", mode="after")
    async with world.operator():
        await world.until_ended(path)
    assert modes(world) == ["before", "before"]


@pytest.mark.parametrize("moment", moments(14), ids=str)
async def test_a_run_has_the_values_that_it_began_with_wherever_a_process_dies(
    world: World, moment: Any
) -> None:
    """The ConfigMap changes together with the death of the process."""
    world.connect()
    world.config_map("settings", mode="before")
    wire = Wire(at=moment)
    path = world.apply(reader(), reader("b", after=["a"]), parameters=[MODE])
    async with world.operator(wire=wire):
        await world.until(lambda: wire.dead.is_set() or world.has_ended(path))
    world.config_map("settings", mode="after")
    async with world.operator():
        status = await world.until_ended(path)
    assert set(modes(world)) == {status["parameters"]["mode"]}
    assert world.attempts() == [("a", 1), ("b", 1)]


async def test_running_again_keeps_the_values(world: World) -> None:
    world.connect()
    world.config_map("settings", mode="before")
    world.script = lambda submitted: Fate(exit_code=1)
    async with world.operator():
        path = world.apply(reader(), parameters=[MODE])
        await world.until_ended(path, "Failed")
        world.config_map("settings", mode="after")
        world.script = lambda submitted: Fate()
        world.kube.change(path, retry={"id": "again"})
        await world.until(lambda: world.status(path).get("retryID") == "again")
        status = await world.until_ended(path)
    assert modes(world) == ["before", "before"]
    assert status["parameters"] == {"mode": "before"}


async def test_a_new_dag_with_a_request_to_run_again_runs_once(world: World) -> None:
    world.connect()
    world.config_map("settings", mode="full")
    async with world.operator():
        path = world.apply(reader(), parameters=[MODE], retry={"id": "from the start"})
        await world.until_ended(path)
        await asyncio.sleep(60)
    assert world.attempts() == [("a", 1)]
    assert world.events("RunningAgain", "InvalidRetry") == []


async def test_an_argument_takes_the_place_of_a_config_map(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(reader(), parameters=[MODE], arguments={"mode": "given"})
        status = await world.until_ended(path)
    assert modes(world) == ["given"]
    assert "parameters" not in status


async def test_a_default_takes_the_place_of_what_may_be_missing_for_the_whole_run(world: World) -> None:
    world.connect()
    world.script = lambda submitted: Fate(ends_after=30.0)
    ref = {"name": "settings", "key": "mode", "optional": True}
    optional = {"name": "mode", "default": "usual", "valueFrom": {"configMapKeyRef": ref}}
    path = world.apply(reader(), reader("b", after=["a"]), parameters=[optional])
    async with world.operator():
        await world.until(lambda: world.attempts() == [("a", 1)])
    world.config_map("settings", mode="late")
    async with world.operator():
        status = await world.until_ended(path)
    assert modes(world) == ["usual", "usual"]
    assert status["parameters"] == {"mode": "usual"}


WAITS: dict[str, tuple[dict[str, str] | None, str, str]] = {
    "no config map": (
        None,
        "ConfigMapNotFound",
        'spec.parameters[mode].valueFrom.configMapKeyRef: There is no ConfigMap "settings" in namespace "lab". Create '
        "it, or correct the reference. spec.parameters[size].valueFrom.configMapKeyRef: There is no ConfigMap "
        '"settings" in namespace "lab". Create it, or correct the reference.',
    ),
    "no key": (
        {"mode": "full"},
        "ConfigMapNotFound",
        'spec.parameters[size].valueFrom.configMapKeyRef: The ConfigMap "settings" in namespace "lab" has no key "size". '
        "Add it.",
    ),
    "no number": (
        {"mode": "full", "size": "two"},
        "InvalidParameter",
        'spec.parameters[size].valueFrom.configMapKeyRef: "two" is not JSON of type integer.',
    ),
    "not allowed": (
        {"mode": "full", "size": "3"},
        "InvalidParameter",
        'spec.parameters[size].valueFrom.configMapKeyRef: 3 is not among the values that "size" may have: 1, 2.',
    ),
}


@pytest.mark.parametrize(("data", "reason", "message"), WAITS.values(), ids=WAITS)
async def test_a_dag_waits_until_its_values_are_there(
    world: World, data: dict[str, str] | None, reason: str, message: str
) -> None:
    world.connect()
    if data is not None:
        world.config_map("settings", **data)
    async with world.operator():
        path = world.apply(reader(), parameters=[MODE, SIZE])
        await world.until(lambda: world.condition(path).get("reason") == reason)
        assert world.status(path)["message"] == message
        assert world.phase(path) == "Pending"
        assert "startTime" not in world.status(path)
        assert world.finalizers(path) == []
        await asyncio.sleep(100)
        assert world.events() == [(reason, message, 1)]
        reads = len(world.kube.requested("GET", "/configmaps/settings"))
        assert reads < 30
        world.config_map("settings", mode="full", size="2")
        await world.until_ended(path)
    assert modes(world) == ["full"]


async def test_other_dags_do_not_wait_with_it(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(reader(), name="waiting", parameters=[MODE])
        await world.until(lambda: world.condition(path).get("reason") == "ConfigMapNotFound")
        await world.until_ended(world.apply(node("a"), name="other"))
        world.kube.delete(path)
        await world.until(lambda: path not in world.kube.objects)


async def test_a_config_map_is_read_once_for_all_its_keys(world: World) -> None:
    world.connect()
    world.config_map("settings", mode="full", size="2")
    async with world.operator():
        await world.until_ended(world.apply(reader(), parameters=[MODE, SIZE]))
    assert len(world.kube.requested("GET", "/configmaps/settings")) == 1


async def test_without_config_maps_a_run_starts_without_a_write(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(node("a"))
        await world.until(lambda: world.jobs())
        assert world.writes(path) == []
        await world.until_ended(path)


async def test_a_run_keeps_the_timeouts_that_it_began_with(world: World) -> None:
    """A submission in doubt must render as before, or its own job would look like another one of the same name."""
    connection = world.connect(jobDefaults={"queueTimeout": "10m", "executionTimeout": "1h"})
    path = world.apply(node("a"), node("b"), parallelism=1)
    world.script = lambda submitted: Fate(ends_after=30.0)
    async with world.operator():
        await world.until(lambda: world.status(path).get("jobDefaults"))
    assert world.status(path)["jobDefaults"] == {"queueTimeout": 600, "executionTimeout": 3600}
    world.kube.change(connection, jobDefaults={"queueTimeout": "20m", "executionTimeout": "2h"})
    async with world.operator():
        await world.until_ended(path)
        world.kube.change(path, retry={"id": "again", "nodes": ["b"]})
        await world.until(lambda: world.status(path).get("retryID") == "again")
        await world.until_ended(path)
    timeouts = [item.spec["Tasks"][0]["Timeouts"]["QueueTimeout"] for item in world.bacalhau.jobs.values()]
    assert timeouts == [600, 600, 1200]


# Results of an earlier DAG


@pytest.mark.parametrize(("later", "taken"), [("same", True), ("other", False)])
async def test_a_result_is_taken_over_if_it_was_made_with_the_same_value(
    world: World, later: str, taken: bool
) -> None:
    world.connect()
    world.config_map("settings", mode="same")
    async with world.operator():
        await world.until_ended(world.apply(reader(), name="first", parameters=[MODE]))
        world.config_map("settings", mode=later)
        path = world.apply(reader(), name="second", parameters=[MODE], reuseFrom={"name": "first"})
        status = await world.until_ended(path)
    assert status["parameters"] == {"mode": later}
    assert (world.attempts(path) == []) is taken


async def test_a_default_is_not_taken_for_the_value_that_a_result_was_made_with(world: World) -> None:
    world.connect()
    ref = {"name": "settings", "key": "mode", "optional": True}
    optional = {"name": "mode", "default": "usual", "valueFrom": {"configMapKeyRef": ref}}
    world.config_map("settings", mode="full")
    async with world.operator():
        await world.until_ended(world.apply(reader(), name="first", parameters=[optional]))
        world.config_map("settings")
        path = world.apply(reader(), name="second", parameters=[optional], reuseFrom={"name": "first"})
        await world.until_ended(path)
    assert modes(world) == ["full", "usual"]


async def test_a_dag_that_takes_results_over_waits_for_its_values_too(world: World) -> None:
    world.connect()
    async with world.operator():
        await world.until_ended(world.apply(node("a"), name="first"))
        path = world.apply(reader(), name="second", parameters=[MODE], reuseFrom={"name": "first"})
        await world.until(lambda: world.condition(path).get("reason") == "ConfigMapNotFound")
        world.config_map("settings", mode="full")
        await world.until_ended(path)
    assert modes(world)[-1:] == ["full"]
