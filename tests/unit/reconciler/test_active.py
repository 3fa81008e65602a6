"""A run in progress: its submissions, its stops, the places of its jobs, and that nothing of it stays."""

import asyncio
from typing import Any

import pytest

from controller.engine import Effect, Run, SubmitJob
from controller.engine.identity import NODE_LABEL
from controller.reconciler.active import STARTS_AT_ONCE
from controller.reconciler.connection import Connection
from tests.support.builders import node
from tests.support.fake_bacalhau import Fate
from tests.support.shell import NAMESPACE, Process, World

pytestmark = pytest.mark.looptime


async def connection_of(process: Process) -> Connection:
    """The connection that all DAGs of these tests use."""
    return await process.pool.require((NAMESPACE, "default"), user=(NAMESPACE, "the test"))


def job_of(world: World, name: str) -> str:
    """The name of the job of a node's only attempt."""
    specs = [job.spec for job in world.bacalhau.jobs.values()]
    return next(str(spec["Name"]) for spec in specs if spec["Meta"][NODE_LABEL] == name)


class TestSubmissions:
    async def test_they_are_tried_until_it_is_decided(self, world: World) -> None:
        world.connect()
        world.bacalhau.fault(method="PUT", lose_answer=True, times=1)
        world.bacalhau.fault(method="PUT", lose_request=True, times=4)
        world.bacalhau.fault(method="PUT", status=429, times=4)
        async with world.operator():
            await world.until_ended(world.apply(node("a"), node("b")))
        assert world.attempts() == [("a", 1), ("b", 1)]

    async def test_a_refusal_ends_the_node_and_frees_its_place(self, world: World) -> None:
        world.connect(limits={"maxActiveJobs": 1})
        world.bacalhau.fault(method="PUT", status=400, text="invalid job")
        async with world.operator() as process:
            path = world.apply(node("a"), node("b"), failurePolicy="RunAll")
            status = await world.until_ended(path, "Error")
            assert status["nodes"]["a"]["reason"] == "Refused"
            assert status["nodes"]["b"]["phase"] == "Succeeded"
            assert len((await connection_of(process)).slots) == 0

    async def test_only_so_many_are_under_way_at_once(self, world: World) -> None:
        world.connect()
        under_way = most = 0
        handle = world.bacalhau.handle

        async def counted(method: str, *args: Any, **options: Any) -> Any:
            nonlocal under_way, most
            under_way += method == "PUT"
            most = max(most, under_way)
            await asyncio.sleep(0.1)
            under_way -= method == "PUT"
            return await handle(method, *args, **options)

        world.bacalhau.handle = counted  # type: ignore[method-assign]
        async with world.operator():
            await world.until_ended(world.apply(*(node(f"n{number}") for number in range(40))))
        assert most == 16

    async def test_others_have_their_turn_while_a_wide_dag_starts(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[int] = []

        def advance(run: Run, *args: Any) -> tuple[Effect, ...]:
            effects = original(run, *args)
            started.append(sum(isinstance(effect, SubmitJob) for effect in effects))
            return effects

        original = Run.advance
        monkeypatch.setattr(Run, "advance", advance)
        world.connect()
        world.script = lambda job: Fate(ends_after=60.0)
        async with world.operator():
            path = world.apply(node("a", forEach={"range": {"count": 2 * STARTS_AT_ONCE + 1}}))
            await world.until_ended(path)
        assert [number for number in started if number] == [STARTS_AT_ONCE, STARTS_AT_ONCE, 1]


class TestPlaces:
    @pytest.mark.parametrize(
        ("fate", "phase"),
        [
            (Fate(), "Succeeded"),
            (Fate(exit_code=7), "Failed"),
            (Fate(failure="memory limit exceeded"), "Error"),
            (Fate(failure='input source "/x" does not exist'), "Error"),
        ],
        ids=["success", "failure", "error", "replacements"],
    )
    async def test_they_are_free_again_however_an_attempt_ends(
        self, world: World, fate: Fate, phase: str
    ) -> None:
        world.connect(limits={"maxActiveJobs": 1})
        world.script = lambda job: fate
        async with world.operator() as process:
            path = world.apply(node("a"), node("b"), failurePolicy="RunAll")
            await world.until_ended(path, phase)
            connection = await connection_of(process)
            assert (len(connection.slots), len(connection.tracker)) == (0, 0)

    async def test_a_job_that_somebody_stopped_frees_its_place(self, world: World) -> None:
        world.connect()
        world.script = lambda job: Fate(ends_after=None)
        async with world.operator() as process:
            path = world.apply(node("a"))
            await world.until(lambda: "Running" in world.jobs().values())
            job = world.bacalhau.job(job_of(world, "a"))
            await world.bacalhau.client().stop(job.id, namespace=job.spec["Namespace"], reason="by hand")
            status = await world.until_ended(path, "Cancelled")
            assert status["nodes"]["a"]["reason"] == "StoppedExternally"
            assert len((await connection_of(process)).slots) == 0

    async def test_a_job_that_bacalhau_lost_frees_its_place(self, world: World) -> None:
        world.connect()
        world.script = lambda job: Fate(ends_after=None)
        async with world.operator() as process:
            path = world.apply(node("a"))
            await world.until(lambda: world.jobs())
            await asyncio.sleep(1)
            world.bacalhau.lose(job_of(world, "a"))
            status = await world.until_ended(path, "Error")
            assert status["nodes"]["a"]["reason"] == "JobLost"
            connection = await connection_of(process)
            assert (len(connection.slots), len(connection.tracker)) == (0, 0)

    async def test_dags_of_a_connection_share_them(self, world: World) -> None:
        world.connect(limits={"maxActiveJobs": 3})
        most = 0

        def script(job: dict[str, Any]) -> Fate:
            nonlocal most
            most = max(most, 1 + sum(state in ("Pending", "Running") for state in world.jobs().values()))
            return Fate(ends_after=2.0)

        world.script = script
        async with world.operator():
            paths = [
                world.apply(*(node(f"n{i}") for i in range(4)), name=f"d{number}") for number in range(4)
            ]
            for path in paths:
                await world.until_ended(path)
        assert most <= 3

    async def test_jobs_found_after_a_restart_have_theirs(self, world: World) -> None:
        world.connect(limits={"maxActiveJobs": 2})
        world.script = lambda job: Fate(ends_after=100.0)
        path = world.apply(node("a"), node("b"))
        async with world.operator():
            await world.until(lambda: len(world.jobs()) == 2 and world.phase(path) == "Running")
        async with world.operator() as process:
            other = world.apply(node("c"), name="other")
            await asyncio.sleep(20)
            assert len((await connection_of(process)).slots) == 2
            assert world.attempts(other) == []
            await world.until_ended(path)
            await world.until_ended(other)

    @pytest.mark.parametrize("change", [{"suspend": True}, {"shutdown": "Cancel"}], ids=str)
    async def test_nothing_that_waits_for_one_starts_once_the_run_is_not_to(
        self, world: World, change: dict[str, Any]
    ) -> None:
        world.connect(limits={"maxActiveJobs": 2})
        world.script = lambda job: Fate(ends_after=20.0)
        async with world.operator():
            path = world.apply(*(node(f"n{number}") for number in range(6)))
            await world.until(lambda: len(world.jobs()) == 2)
            world.kube.change(path, **change)
            await asyncio.sleep(100)
            assert len(world.jobs()) == 2

    async def test_deleting_a_dag_does_not_wait_for_them(self, world: World) -> None:
        world.connect(limits={"maxActiveJobs": 2})
        world.script = lambda job: Fate(ends_after=None)
        async with world.operator():
            first = world.apply(node("a"), node("b"), name="first")
            await world.until(lambda: len(world.jobs()) == 2)
            second = world.apply(node("a"), name="second")
            await world.until(lambda: world.phase(second) == "Running")
            world.kube.delete(second)
            await world.until(lambda: second not in world.kube.objects, within=5)
            assert world.phase(first) == "Running"
        assert len(world.jobs()) == 2

    async def test_a_small_dag_does_not_wait_for_a_large_one_to_end(self, world: World) -> None:
        world.connect(limits={"maxActiveJobs": 3})
        world.script = lambda job: Fate(ends_after=1.0)
        async with world.operator():
            large = world.apply(*(node(f"n{number}") for number in range(60)), name="large")
            await world.until(lambda: len(world.jobs()) == 3)
            small = world.apply(node("a"), name="small")
            await world.until_ended(small)
            assert len(world.attempts(large)) < 12
            world.kube.delete(large)
            await world.until(lambda: large not in world.kube.objects)

    async def test_a_dag_that_vanishes_gives_back_its_own(self, world: World) -> None:
        world.connect(limits={"maxActiveJobs": 2})
        world.script = lambda job: Fate(ends_after=None)
        async with world.operator() as process:
            path = world.apply(*(node(f"n{number}") for number in range(5)))
            await world.until(lambda: len(world.jobs()) == 2)
            world.kube.destroy(path)
            await asyncio.sleep(5)
            connection = await connection_of(process)
            assert (len(connection.slots), len(connection.tracker)) == (0, 0)
            world.script = lambda job: Fate()
            await world.until_ended(world.apply(node("c"), name="other"))


class TestStops:
    async def test_a_job_is_stopped_until_bacalhau_says_so(self, world: World) -> None:
        world.connect()
        world.script = lambda job: (
            Fate(exit_code=1) if job["Meta"][NODE_LABEL] == "bad" else Fate(ends_after=None)
        )
        world.bacalhau.fault(method="DELETE", lose_request=True, times=7)
        world.bacalhau.fault(method="DELETE", status=500, text="not now", times=2)
        async with world.operator():
            path = world.apply(node("bad"), node("a"), failurePolicy="FailFastCancel")
            status = await world.until_ended(path, "Failed")
        assert status["nodes"]["a"]["phase"] == "Cancelled"
        assert world.bacalhau.job(job_of(world, "a")).state == "Stopped"

    async def test_a_job_that_ends_before_it_is_stopped_is_what_it_became(self, world: World) -> None:
        world.connect()
        world.script = lambda job: (
            Fate(exit_code=1) if job["Meta"][NODE_LABEL] == "bad" else Fate(ends_after=3.0)
        )
        world.bacalhau.fault(method="DELETE", lose_request=True, times=9)
        async with world.operator():
            path = world.apply(node("bad"), node("a"), failurePolicy="FailFastCancel")
            status = await world.until_ended(path, "Failed")
        assert status["nodes"]["a"]["phase"] == "Succeeded"


async def test_a_job_that_the_list_does_not_show_after_a_restart_is_followed_and_lost(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=None)
    path = world.apply(node("a"))
    async with world.operator():
        await world.until(lambda: world.status(path).get("nodes", {}).get("a", {}).get("jobID"))
    world.bacalhau.lose(job_of(world, "a"))
    async with world.operator():
        status = await world.until_ended(path, "Error")
    assert status["nodes"]["a"]["reason"] == "JobLost"
    assert world.jobs() == {}


async def test_ending_the_process_leaves_the_jobs_to_the_next_one(world: World) -> None:
    world.connect()
    world.script = lambda job: Fate(ends_after=10.0)
    path = world.apply(node("a"), node("b", after=["a"]))
    for _ in range(20):
        async with world.operator():  # which sees that nothing of the process stays
            await asyncio.sleep(1.3)
    assert world.has_ended(path)
    assert world.attempts() == [("a", 1), ("b", 1)]
