"""Deleting a DAG: its jobs are stopped first, for a bounded time."""

import asyncio

import pytest

from controller.kube.finalizer import FINALIZER
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.fake_kube import Failure
from tests.support.shell import World

pytestmark = pytest.mark.looptime

GRACE = 60.0


@pytest.fixture
def path(world: World) -> str:
    """A DAG of two jobs that run for ever, and one that would follow."""
    world.connect()
    world.script = lambda job: Fate(ends_after=None)
    return world.apply(node("a"), node("b"), node("c", after=["a", "b"]))


async def running(world: World) -> None:
    """Wait for both jobs."""
    await world.until(lambda: list(world.jobs().values()) == ["Running", "Running"])


async def test_jobs_are_stopped_before_the_object_goes(world: World, path: str) -> None:
    states: list[set[str]] = []
    world.kube.watchers.append(
        lambda path, body, deleted: states.append(set(world.jobs().values())) if deleted else None
    )
    async with world.operator():
        await running(world)
        world.kube.delete(path)
        await world.until(lambda: path not in world.kube.objects, within=5)
        await asyncio.sleep(1)
    assert states == [{"Stopped"}]
    assert world.attempts() == [("a", 1), ("b", 1)]
    messages = {job.spec["State"]["Message"] for job in world.bacalhau.jobs.values()}
    assert messages == {"Cancelled: the DAG is being deleted"}


async def test_a_dag_that_ended_goes_at_once(world: World, path: str) -> None:
    world.script = lambda job: Fate()
    async with world.operator():
        await world.until_ended(path)
        world.kube.delete(path)
        assert path not in world.kube.objects


async def test_bacalhau_being_away_holds_a_deletion_up_for_a_bounded_time(world: World, path: str) -> None:
    async with world.operator(deletion_grace=GRACE):
        await running(world)
        namespace = world.status(path)["bacalhauNamespace"]
        world.bacalhau.down = True
        world.kube.delete(path)
        with pytest.raises(TimeoutError):
            await world.until(lambda: path not in world.kube.objects, within=GRACE - 1)
        await world.until(lambda: path not in world.kube.objects, within=2)
        await world.until(lambda: world.events("JobsNotStopped"))
    ((_, message, _),) = world.events("JobsNotStopped")
    assert f"bacalhau job list --namespace {namespace}" in message


async def test_bacalhau_coming_back_in_time_ends_the_wait(world: World, path: str) -> None:
    async with world.operator(deletion_grace=GRACE):
        await running(world)
        world.bacalhau.down = True
        world.kube.delete(path)
        await asyncio.sleep(20)
        world.bacalhau.down = False
        await world.until(lambda: path not in world.kube.objects, within=GRACE - 21)
    assert set(world.jobs().values()) == {"Stopped"}
    assert world.events("JobsNotStopped") == []


async def test_after_an_outage_of_the_operator_jobs_are_still_stopped(world: World, path: str) -> None:
    async with world.operator(deletion_grace=GRACE):
        await running(world)
    world.kube.delete(path)
    await asyncio.sleep(10 * GRACE)
    async with world.operator(deletion_grace=GRACE):
        await world.until(lambda: path not in world.kube.objects, within=5)
    assert set(world.jobs().values()) == {"Stopped"}
    assert world.events("JobsNotStopped") == []


async def test_jobs_without_a_status_are_stopped_too(world: World, path: str) -> None:
    async with world.operator():
        await running(world)
    world.kube.edit(path, {"status": None})
    world.kube.delete(path)
    async with world.operator():
        await world.until(lambda: path not in world.kube.objects, within=5)
    assert set(world.jobs().values()) == {"Stopped"}


async def test_jobs_of_others_are_left_alone(world: World) -> None:
    world.connect(bacalhauNamespace="shared")
    world.script = lambda job: Fate(ends_after=None)
    async with world.operator():
        mine, other = (world.apply(node("a"), name=name) for name in ("mine", "other"))
        await running(world)
    world.kube.delete(mine)
    async with world.operator():
        await world.until(lambda: mine not in world.kube.objects, within=5)
        assert sorted(world.jobs().values()) == ["Running", "Stopped"]
        assert world.phase(other) == "Running"


async def test_without_its_connection_a_run_in_progress_still_stops_its_jobs(world: World, path: str) -> None:
    async with world.operator():
        await running(world)
        world.kube.destroy(world.connection)
        await asyncio.sleep(5)
        world.kube.delete(path)
        await world.until(lambda: path not in world.kube.objects, within=5)
    assert set(world.jobs().values()) == {"Stopped"}


async def test_without_its_connection_a_deletion_does_not_wait_for_ever(world: World, path: str) -> None:
    async with world.operator():
        await running(world)
    world.kube.destroy(world.connection)
    world.kube.delete(path)
    async with world.operator(deletion_grace=GRACE):
        await world.until(lambda: path not in world.kube.objects, within=GRACE + 1)
        await world.until(lambda: world.events("JobsNotStopped"))


async def test_a_dag_that_waits_for_its_connection_goes_at_once(world: World) -> None:
    async with world.operator():
        path = world.apply(node("a"))
        await world.until(lambda: world.phase(path) == "Pending")
        world.kube.delete(path)
        assert path not in world.kube.objects
        await asyncio.sleep(30)
    assert world.jobs() == {}


async def test_a_submission_under_way_is_stopped_as_soon_as_it_is_decided(world: World, path: str) -> None:
    world.bacalhau.fault(method="PUT", lose_answer=True, delay=5.0, times=2)
    async with world.operator():
        await world.until(lambda: world.phase(path) == "Running")
        world.kube.delete(path)
        await world.until(lambda: path not in world.kube.objects)
    assert set(world.jobs().values()) == {"Stopped"}
    assert world.attempts() == [("a", 1), ("b", 1)]


async def test_others_finalizers_are_left_alone(world: World, path: str) -> None:
    world.kube.edit(path, {"metadata": {"finalizers": ["example.org/other"]}})
    async with world.operator():
        await running(world)
        world.kube.delete(path)
        await world.until(lambda: world.finalizers(path) == ["example.org/other"])
        await asyncio.sleep(10)
    assert set(world.jobs().values()) == {"Stopped"}


async def test_a_dag_that_is_on_its_way_out_does_not_start(world: World) -> None:
    world.connect()
    path = world.apply(node("a"))
    world.kube.edit(path, {"metadata": {"finalizers": ["example.org/other"]}})
    old = dict(world.kube.objects[path])
    world.kube.delete(path)
    async with world.operator() as process:
        process.notice(path, old, False)  # an old copy, as after a list from a cache
        await asyncio.sleep(30)
    assert world.jobs() == {}
    assert world.finalizers(path) == ["example.org/other"]


async def test_a_finalizer_that_somebody_took_away_does_not_keep_jobs_running(
    world: World, path: str
) -> None:
    world.kube.edit(path, {"metadata": {"finalizers": ["example.org/other"]}})
    async with world.operator():
        await running(world)
        world.kube.edit(path, {"metadata": {"finalizers": ["example.org/other"]}})
        assert FINALIZER not in world.finalizers(path)
        world.kube.delete(path)
        await world.until(lambda: set(world.jobs().values()) == {"Stopped"})


async def test_the_api_server_failing_holds_up_nothing_for_good(world: World, path: str) -> None:
    async with world.operator():
        await running(world)
        world.kube.failures = [Failure(500, "etcd is away") for _ in range(5)]
        world.kube.delete(path)
        await world.until(lambda: path not in world.kube.objects)
    assert set(world.jobs().values()) == {"Stopped"}
