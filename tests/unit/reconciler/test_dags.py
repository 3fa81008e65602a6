"""A DAG from its creation to its end: what is written, in which order, and what stays of it."""

import asyncio
from typing import Any

import pytest

from controller.kube.finalizer import FINALIZER
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import URL, World

pytestmark = pytest.mark.looptime

CHAIN = (node("a"), node("b", inputs=["a"]))


async def test_a_dag_runs_to_its_end(world: World) -> None:
    world.connect()
    async with world.operator():
        path = world.apply(*CHAIN, outputs=[{"name": "result", "from": "b"}])
        status = await world.until_ended(path)
    assert status["progress"] == "2/2"
    assert status["message"] == "All 2 nodes succeeded."
    assert status["observedGeneration"] == 1
    assert world.condition(path, "Succeeded")["status"] == "True"
    assert status["outputs"]["result"]["cid"] == status["nodes"]["b"]["outputs"]["cid"]
    assert world.attempts() == [("a", 1), ("b", 1)]
    assert world.events() == [("Running", "Running 2 nodes.", 1), ("Succeeded", "All 2 nodes succeeded.", 1)]


async def test_a_run_has_a_bacalhau_namespace_of_its_own_unless_the_connection_names_one(
    world: World,
) -> None:
    world.connect()
    world.connect("shared", bacalhauNamespace="everybody")
    async with world.operator():
        own = await world.until_ended(world.apply(node("a"), name="own"))
        shared = await world.until_ended(
            world.apply(node("a"), name="shared", connectionRef={"name": "shared"})
        )
    assert own["bacalhauNamespace"].startswith("lab.own-")
    assert shared["bacalhauNamespace"] == "everybody"
    assert {job.spec["Namespace"] for job in world.bacalhau.jobs.values()} == {
        own["bacalhauNamespace"],
        "everybody",
    }


async def test_a_run_stays_in_the_namespace_that_it_began_in(world: World) -> None:
    connection = world.connect()
    world.script = lambda job: Fate(ends_after=5.0)
    path = world.apply(*CHAIN)
    async with world.operator():
        await world.until(lambda: world.status(path).get("bacalhauNamespace") and world.jobs())
    world.kube.change(connection, bacalhauNamespace="elsewhere")
    async with world.operator():
        await world.until_ended(path)
    assert len({job.spec["Namespace"] for job in world.bacalhau.jobs.values()}) == 1
    assert world.attempts() == [("a", 1), ("b", 1)]


async def test_the_finalizer_is_there_before_the_first_job_and_until_the_end_is_written(world: World) -> None:
    world.connect()
    path = world.apply(node("a"))
    held: list[tuple[str, bool, str | None]] = []

    def note(kind: str) -> None:
        held.append((kind, FINALIZER in world.finalizers(path), world.phase(path)))

    def submitted(job: dict[str, Any]) -> Fate:
        note("submitted")
        return Fate()

    world.script = submitted
    world.kube.watchers.append(lambda path, body, deleted: note("changed"))
    async with world.operator():
        await world.until_ended(path)
        await asyncio.sleep(1)
    assert next(entry for entry in held if entry[0] == "submitted")[1]
    assert all(is_held for kind, is_held, phase in held if phase == "Running")
    assert not held[-1][1]


async def test_nothing_is_kept_or_done_for_a_dag_that_has_ended(world: World) -> None:
    world.connect()
    async with world.operator() as process:
        path = world.apply(node("a"))
        await world.until_ended(path)
        await asyncio.sleep(1)
        requests = len(world.kube.requests)
        process.notice(path, world.kube.edit(path, {"metadata": {"labels": {"seen": "yes"}}}), False)
        await asyncio.sleep(100)
        assert [request for request in world.kube.requests[requests:] if path in request.path] == []


async def test_a_dag_that_had_ended_is_let_go_by_the_next_process(world: World) -> None:
    world.connect()
    path = world.apply(node("a"))
    world.kube.edit(
        path,
        {
            "metadata": {"finalizers": [FINALIZER]},
            "status": {"phase": "Succeeded", "startTime": "2033-05-18T03:33:20.000Z"},
        },
    )
    async with world.operator():
        await world.until(lambda: world.finalizers(path) == [])
    assert world.jobs() == {}
    assert world.writes(path) == []


async def test_several_dags_run_at_once_and_end_on_their_own(world: World) -> None:
    world.connect()

    def script(job: dict[str, Any]) -> Fate:
        return Fate(exit_code=3) if "-bad-" in job["Name"] else Fate()

    world.script = script
    async with world.operator():
        good = [world.apply(*CHAIN, name=f"good-{number}") for number in range(5)]
        bad = world.apply(node("bad"), name="bad")
        for path in good:
            await world.until_ended(path)
        await world.until_ended(bad, "Failed")


async def test_events_come_only_after_the_status_that_says_the_same(world: World) -> None:
    world.connect()
    path = world.apply(node("a"))
    world.script = lambda job: Fate(exit_code=7)
    said: list[tuple[str, str | None]] = []

    def note() -> None:
        said.extend((reason, world.phase(path)) for reason, _, _ in world.events()[len(said) :])

    async with world.operator():
        world.kube.watchers.append(lambda path, body, deleted: note())
        await world.until_ended(path, "Failed")
        await world.until(lambda: len(world.events()) == 3)
        note()
    assert [reason for reason, _ in said] == ["Running", "NodeFailed", "Failed"]
    assert dict(said)["Failed"] == dict(said)["NodeFailed"] == "Failed"


async def test_no_event_says_what_could_not_be_written(world: World) -> None:
    world.connect()
    path = world.apply(node("a"))
    async with world.operator():
        await world.until(lambda: world.phase(path) == "Running")
        world.kube.edit(path, {"status": {"phase": "Cancelled"}})  # another process has finished it
        await world.until(lambda: not world.finalizers(path))
        await asyncio.sleep(10)
    assert world.phase(path) == "Cancelled"
    assert world.events("Succeeded") == []


async def test_suspended_nothing_new_starts(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=5.0)
    async with world.operator():
        path = world.apply(*CHAIN)
        await world.until(lambda: world.jobs())
        world.kube.change(path, suspend=True)
        await world.until(lambda: world.phase(path) == "Suspended")
        await asyncio.sleep(30)
        assert world.attempts() == [("a", 1)]
        world.kube.change(path, suspend=False)
        await world.until_ended(path)
    assert world.status(path)["observedGeneration"] == 3


async def test_no_more_nodes_run_at_once_than_asked_for(world: World) -> None:
    world.connect()
    most = 0

    def script(job: dict[str, Any]) -> Fate:
        nonlocal most
        most = max(most, 1 + sum(state in ("Pending", "Running") for state in world.jobs().values()))
        return Fate(ends_after=1.0)

    world.script = script
    async with world.operator():
        path = world.apply(*(node(f"n{number}") for number in range(6)), parallelism=2)
        await world.until_ended(path)
    assert most == 2


async def test_the_connection_is_that_of_the_spec(world: World) -> None:
    world.cluster("http://elsewhere.test:1234")
    world.connect()
    world.connect("far", endpoint="http://elsewhere.test:1234")
    async with world.operator():
        await world.until_ended(world.apply(node("a"), connectionRef={"name": "far"}))
    assert len(world.clusters["http://elsewhere.test:1234"].jobs) == 1
    assert len(world.clusters[URL].jobs) == 0
