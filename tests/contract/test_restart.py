"""A restart of the real orchestrator, as the tracker sees it."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest

from controller.api.bacalhau import JobSighting, JobState
from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.errors import BacalhauError
from controller.bacalhau.http import Channel, Endpoint
from controller.bacalhau.tracker import Tracker
from dev.plane import ControlPlane
from dev.servers.bacalhau import BacalhauOptions
from tests.support.bacalhau_jobs import a_job

pytestmark = pytest.mark.e2e


async def test_a_waiting_job_is_seen_to_be_older_than_the_orchestrator(plane: ControlPlane) -> None:
    server = await asyncio.to_thread(plane.start_bacalhau, "restarting", BacalhauOptions())
    sightings: asyncio.Queue[JobSighting] = asyncio.Queue()
    outages: asyncio.Queue[BacalhauError] = asyncio.Queue()
    recovered = asyncio.Event()
    async with BacalhauClient(Channel(Endpoint(url=server.url))) as client, asyncio.timeout(90):
        tracker = Tracker(
            client, requests_per_second=100, on_unreachable=outages.put_nowait, on_recovered=recovered.set
        )
        running = asyncio.create_task(tracker.run())
        tracker.track(
            "restart",
            await client.submit(a_waiting_job()),
            submitted_at=time.time(),
            on_change=sightings.put_nowait,
            on_lost=lambda: pytest.fail("The job is there."),
            exclusive_namespace=True,
        )
        before = await first(sightings, lambda sighting: sighting.orchestrator_epoch is not None)
        await asyncio.to_thread(server.kill)
        await outages.get()
        await asyncio.to_thread(server.start)
        await recovered.wait()
        after = await first(
            sightings, lambda sighting: sighting.orchestrator_epoch != before.orchestrator_epoch
        )
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert before.job.state is after.job.state is JobState.QUEUED
    assert before.orchestrator_epoch is not None
    assert after.orchestrator_epoch is not None
    assert before.orchestrator_epoch < before.job.created_at < after.orchestrator_epoch
    assert outages.empty()


def a_waiting_job() -> dict[str, object]:
    """A job that no node has room for."""
    job = a_job("impossible", namespace="restart")
    job["Tasks"][0]["Resources"]["CPU"] = "1000"
    job["Tasks"][0]["Timeouts"] = {"ExecutionTimeout": 60, "QueueTimeout": 600, "TotalTimeout": 900}
    return job


async def first(sightings: asyncio.Queue[JobSighting], wanted: Callable[[JobSighting], bool]) -> JobSighting:
    """The first sighting that is wanted."""
    while not wanted(sighting := await sightings.get()):
        pass
    return sighting
