"""The tracker on a fake clock: what subscribers hear, how soon, and what it costs the server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.api.bacalhau import ComputeState, JobSighting, JobState
from controller.bacalhau.errors import BacalhauError, Unauthorized, Unreachable
from controller.bacalhau.http import Bearer
from controller.bacalhau.tracker import Tracker
from tests.support.bacalhau_jobs import a_job
from tests.support.fake_bacalhau import FakeBacalhau, Fate

pytestmark = pytest.mark.looptime

START = 1_700_000_000.0


def clock() -> float:
    """Unix time that follows the loop's fake time."""
    return START + asyncio.get_running_loop().time()


@dataclass
class Subscriber:
    """Hears about one job."""

    sightings: list[JobSighting] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    lost: bool = False
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def on_change(self, sighting: JobSighting) -> None:
        """Note a sighting."""
        self.sightings.append(sighting)
        self.times.append(clock() - START)
        self.heard.set()

    def on_lost(self) -> None:
        """Note the loss."""
        assert not self.lost
        self.lost = True
        self.heard.set()

    @property
    def states(self) -> list[JobState]:
        """The states that were told, in order."""
        return [sighting.job.state for sighting in self.sightings]

    async def until(self, satisfied: Callable[["Subscriber"], bool], *, within: float = 120.0) -> None:
        """Wait until something has been heard that satisfies."""
        async with asyncio.timeout(within):
            while not satisfied(self):
                self.heard.clear()
                await self.heard.wait()

    async def until_ended(self, *, within: float = 120.0) -> JobSighting:
        """Wait for the last sighting of the job."""
        await self.until(lambda s: bool(s.states) and s.states[-1].is_terminal, within=within)
        return self.sightings[-1]


@dataclass
class Lab:
    """A fake Bacalhau, a tracker that runs, and what it said about the connection."""

    fake: FakeBacalhau
    tracker: Tracker
    outages: list[BacalhauError] = field(default_factory=list)
    recoveries: int = 0

    async def submit(
        self, name: str, *, exclusive: bool = True, namespace: str = "run-1", **fields: Any
    ) -> Subscriber:
        """Submit a job and follow it."""
        job_id = await self.fake.client().submit(a_job(name, namespace=namespace, **fields))
        return self.follow(job_id, exclusive=exclusive, namespace=namespace)

    def follow(
        self,
        job_id: str,
        *,
        exclusive: bool = True,
        namespace: str = "run-1",
        submitted_at: float | None = None,
    ) -> Subscriber:
        """Follow a job."""
        subscriber = Subscriber()
        self.tracker.track(
            namespace,
            job_id,
            submitted_at=clock() if submitted_at is None else submitted_at,
            on_change=subscriber.on_change,
            on_lost=subscriber.on_lost,
            exclusive_namespace=exclusive,
        )
        return subscriber

    def count(self, method: str, part: str = "") -> int:
        """Requests so far with this method and part of a path."""
        return sum(m == method and part in path for m, path in self.fake.requests)

    @property
    def lists(self) -> int:
        """Lists so far."""
        return sum(m == "GET" and path.endswith("/jobs") for m, path in self.fake.requests)

    @property
    def gets(self) -> int:
        """Look-ups of single jobs so far."""
        return self.count("GET", "/jobs/")


@asynccontextmanager
async def lab(
    *, script: Callable[[dict[str, Any]], Fate | None] = lambda job: None, rate: float = 200.0, **options: Any
) -> AsyncIterator[Lab]:
    """A running tracker of a fake Bacalhau."""
    fake = FakeBacalhau(clock=clock, script=script, **options)

    def recovered() -> None:
        it.recoveries += 1

    tracker = Tracker(
        fake.client(),
        requests_per_second=rate,
        clock=clock,
        on_unreachable=lambda error: it.outages.append(error),
        on_recovered=recovered,
    )
    it = Lab(fake, tracker)
    running = asyncio.create_task(tracker.run())
    try:
        yield it
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_short_job_is_seen_to_end_at_once() -> None:
    async with lab(script=lambda job: Fate(ends_after=0.045)) as it:
        subscriber = await it.submit("a")
        sighting = await subscriber.until_ended()
        assert subscriber.times[-1] <= 0.075
        assert sighting.job.executions is not None
        assert sighting.job.executions[0].run_output is not None
        assert len(it.tracker) == 0


async def test_the_jobs_of_a_chain_cost_few_looks_once_it_is_known_how_long_they_take() -> None:
    async with lab(script=lambda job: Fate(ends_after=0.06)) as it:
        for i in range(20):
            began = clock()
            await (await it.submit(f"job-{i}")).until_ended()
            assert clock() - began < 0.08
        assert it.gets < 20 * 3


async def test_a_long_job_costs_little_and_is_late_by_a_tenth_at_most() -> None:
    async with lab(script=lambda job: Fate(ends_after=3600.0)) as it:
        subscriber = await it.submit("a")
        await subscriber.until_ended(within=4000)
        assert subscriber.times[-1] < 3600 + 13
        assert len(it.fake.requests) < 1500


@pytest.mark.parametrize("exclusive", [True, False])
async def test_every_change_is_told_once_and_the_end_with_executions(exclusive: bool) -> None:
    async with lab(script=lambda job: Fate(starts_after=1.0, ends_after=5.0, exit_code=7)) as it:
        subscribers = [await it.submit(f"job-{i}", exclusive=exclusive) for i in range(10)]
        for subscriber in subscribers:
            sighting = await subscriber.until_ended()
            assert subscriber.states[-2:] == [JobState.RUNNING, JobState.COMPLETED]
            assert len(subscriber.states) <= 4
            assert sighting.job.executions is not None
            assert sighting.job.executions[-1].run_output is not None
            assert sighting.job.executions[-1].run_output.exit_code == 7


async def test_many_jobs_of_one_run_are_listed() -> None:
    async with lab(script=lambda job: Fate(ends_after=30.0)) as it:
        subscribers = [await it.submit(f"job-{i}") for i in range(50)]
        for subscriber in subscribers:
            await subscriber.until_ended()
        assert it.lists > 5
        assert it.gets < 50 * 3


async def test_a_shared_namespace_is_never_listed() -> None:
    async with lab(script=lambda job: Fate(ends_after=5.0)) as it:
        for subscriber in [await it.submit(f"job-{i}", exclusive=False) for i in range(20)]:
            await subscriber.until_ended()
        assert it.lists == 0


async def test_a_few_jobs_in_a_large_namespace_are_not_listed_again() -> None:
    async with lab(script=lambda job: Fate(ends_after=None if job["Name"].startswith("new") else 0.0)) as it:
        client = it.fake.client()
        for i in range(1000):
            await client.submit(a_job(f"old-{i}"))
        subscribers = [await it.submit(f"new-{i}") for i in range(4)]
        await asyncio.sleep(20)
        for i in range(4):
            it.fake.complete(f"new-{i}")
        for subscriber in subscribers:
            await subscriber.until_ended()
        assert it.lists <= 1


async def test_namespaces_without_jobs_are_forgotten_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controller.bacalhau.tracker.KEPT_NAMESPACES", 3)
    async with lab(script=lambda job: Fate(ends_after=1.0 if job["Name"] != "long" else 50.0)) as it:
        long = await it.submit("long", namespace="long")
        for i in range(10):
            await (await it.submit("short", namespace=f"run-{i}")).until_ended()
        assert len(it.tracker._namespaces) <= 3
        await long.until_ended()


async def test_jobs_that_ended_long_ago_are_seen_at_once() -> None:
    async with lab(script=lambda job: Fate(ends_after=0.0)) as it:
        client = it.fake.client()
        ids = [await client.submit(a_job(f"job-{i}")) for i in range(300)]
        await asyncio.sleep(100)
        began = clock()
        for subscriber in [it.follow(job_id, submitted_at=START) for job_id in ids]:
            await subscriber.until_ended()
        assert clock() - began < 10


async def test_the_budget_holds_whatever_there_is_to_do() -> None:
    async with lab(rate=20.0, script=lambda job: Fate(ends_after=None)) as it:
        for i in range(200):
            await it.submit(f"job-{i}", exclusive=False)
        before = len(it.fake.requests)
        await asyncio.sleep(20)
        assert len(it.fake.requests) - before <= 20 * 20 + 5


async def test_short_jobs_stay_ahead_of_long_ones_when_the_budget_is_tight() -> None:
    def script(job: dict[str, Any]) -> Fate:
        return Fate(ends_after=None if job["Name"].startswith("long") else 0.05)

    async with lab(rate=10.0, script=script) as it:
        for i in range(100):
            await it.submit(f"long-{i}", exclusive=False)
        await asyncio.sleep(60)
        submitted = clock() - START
        subscriber = await it.submit("short", exclusive=False)
        await subscriber.until_ended()
        assert subscriber.times[-1] - submitted < 2.0


async def test_a_waiting_job_comes_with_its_failed_executions() -> None:
    async with lab() as it:
        subscriber = await it.submit("a")
        other = await it.submit("b")
        await subscriber.until(lambda s: bool(s.states))
        it.fake.queue("a", failed_executions=("failed to copy /inputs/big to volume",))
        await subscriber.until(lambda s: s.states[-1] is JobState.QUEUED)
        (execution,) = subscriber.sightings[-1].job.executions or ()
        assert execution.message == "failed to copy /inputs/big to volume"
        assert JobState.QUEUED not in other.states


async def test_a_new_execution_of_a_waiting_job_is_told_although_the_job_did_not_change() -> None:
    async with lab() as it:
        subscriber = await it.submit("a")
        it.fake.queue("a")
        await subscriber.until(lambda s: JobState.QUEUED in s.states)
        await asyncio.sleep(60)
        told = len(subscriber.sightings)
        it.fake.queue("a", failed_executions=("disk full",))
        await subscriber.until(lambda s: len(s.sightings) > told, within=30)
        assert [e.message for e in subscriber.sightings[-1].job.executions or ()] == ["disk full"]


@pytest.mark.parametrize("jobs", [1, 20], ids=["a look at one", "a list"])
async def test_an_execution_that_completed_is_told_although_the_job_goes_on_running(jobs: int) -> None:
    async with lab() as it:
        subscribers = [await it.submit(f"j{number}") for number in range(jobs)]
        for number in range(jobs):
            it.fake.start(f"j{number}")
        await asyncio.sleep(30)
        it.fake.leave_unconcluded("j0")
        await subscribers[0].until(has_a_completed_execution, within=90)
        assert subscribers[0].states[-1] is JobState.RUNNING


def has_a_completed_execution(subscriber: Subscriber) -> bool:
    executions = subscriber.sightings[-1].job.executions or ()
    return any(execution.compute_state is ComputeState.COMPLETED for execution in executions)


async def test_a_restart_of_the_orchestrator_is_told_to_who_waits() -> None:
    async with lab() as it:
        subscriber = await it.submit("a")
        it.fake.queue("a")
        await asyncio.sleep(60)
        assert subscriber.sightings[-1].orchestrator_epoch == pytest.approx(START, abs=1)
        it.fake.restart()
        restarted = clock()
        await subscriber.until(lambda s: (s.sightings[-1].orchestrator_epoch or 0) > START + 1, within=30)
        sighting = subscriber.sightings[-1]
        assert sighting.orchestrator_epoch == pytest.approx(restarted, abs=0.001)
        assert sighting.job.created_at < restarted


@pytest.mark.parametrize("jobs", [1, 20], ids=["a look at one", "a list"])
async def test_a_failure_that_nobody_foresaw_stops_no_look_for_good(
    jobs: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab(script=lambda job: Fate(ends_after=30.0)) as it:
        subscribers = [await it.submit(f"job-{i}") for i in range(jobs)]
        await asyncio.sleep(1)
        with monkeypatch.context() as broken:
            broken.setattr("controller.bacalhau.client.BacalhauClient._read", _raise_unforeseen)
            await asyncio.sleep(10)
        for subscriber in subscribers:
            await subscriber.until_ended()
    assert any(record.exc_info for record in caplog.records)


def _raise_unforeseen(*_: Any) -> None:
    raise RuntimeError("nobody foresaw this")


async def test_the_budget_can_change() -> None:
    async with lab(rate=1000.0, script=lambda job: Fate(ends_after=None)) as it:
        for i in range(200):
            await it.submit(f"job-{i}", exclusive=False)
        it.tracker.allow(requests_per_second=5.0)
        await asyncio.sleep(1)
        before = len(it.fake.requests)
        await asyncio.sleep(20)
        assert len(it.fake.requests) - before <= 20 * 5 + 5


async def test_nobody_asks_for_nodes_while_jobs_run() -> None:
    async with lab(script=lambda job: Fate(ends_after=100.0)) as it:
        await (await it.submit("a")).until_ended()
        assert it.count("GET", "/nodes") == 0


@pytest.mark.parametrize("exclusive", [True, False])
async def test_a_lost_job_is_told_after_a_grace_and_once(exclusive: bool) -> None:
    async with lab() as it:
        subscribers = [await it.submit(f"job-{i}", exclusive=exclusive) for i in range(5)]
        await asyncio.sleep(1)
        it.fake.lose("job-3")
        await subscribers[3].until(lambda s: s.lost)
        lost_after = clock() - START - 1
        await asyncio.sleep(200)
        assert 10 <= lost_after < 40
        assert [subscriber.lost for subscriber in subscribers] == [False, False, False, True, False]


async def test_a_job_that_was_missing_for_a_moment_is_not_lost() -> None:
    async with lab() as it:
        subscriber = await it.submit("a")
        await subscriber.until(lambda s: bool(s.states))
        gone = '{"Message": "job not found", "Code": "NotFound", "Component": "JobStore"}'
        it.fake.fault(method="GET", path="/jobs/", status=404, text=gone, times=4)
        await asyncio.sleep(30)
        it.fake.complete("a")
        await subscriber.until_ended()
        assert not subscriber.lost


async def test_an_outage_is_told_once_and_no_job_is_forgotten() -> None:
    async with lab() as it:
        subscribers = [await it.submit(f"job-{i}") for i in range(20)]
        await asyncio.sleep(5)
        it.fake.down = True
        for i in range(20):
            it.fake.complete(f"job-{i}")
        await asyncio.sleep(300)
        assert [type(error) for error in it.outages] == [Unreachable]
        assert it.recoveries == 0
        it.fake.down = False
        for subscriber in subscribers:
            await subscriber.until_ended(within=60)
        assert (len(it.outages), it.recoveries) == (1, 1)


async def test_an_outage_is_probed_with_few_requests() -> None:
    async with lab() as it:
        for i in range(50):
            await it.submit(f"job-{i}", exclusive=False)
        it.fake.down = True
        await asyncio.sleep(60)
        before = len(it.fake.requests)
        await asyncio.sleep(600)
        assert len(it.fake.requests) - before < 120


async def test_a_new_job_does_not_wait_for_the_pauses_of_an_old_outage() -> None:
    async with lab() as it:
        subscriber = await it.submit("a")
        it.fake.down = True
        await asyncio.sleep(600)
        it.tracker.forget(it.fake.job("a").id)
        await asyncio.sleep(60)
        it.fake.down = False
        began = clock()
        subscriber = await it.submit("b")
        it.fake.complete("b")
        await subscriber.until_ended()
        assert clock() - began < 2


async def test_rejected_credentials_are_an_outage_too() -> None:
    async with lab(auth=Bearer("right")) as it:
        subscriber = await it.submit("a")
        it.fake._auth = Bearer("changed")
        await asyncio.sleep(60)
        assert [type(error) for error in it.outages] == [Unauthorized]
        it.fake._auth = Bearer("right")
        it.fake.complete("a")
        await subscriber.until_ended()


async def test_trouble_with_one_job_does_not_hold_up_the_others() -> None:
    async with lab(script=lambda job: Fate(ends_after=20.0)) as it:
        cursed = await it.submit("cursed", exclusive=False)
        path = f"/jobs/{it.fake.job('cursed').id}"
        it.fake.fault(method="GET", path=path, status=500, text="Internal server error", times=10**9)
        subscriber = await it.submit("blessed", exclusive=False)
        await subscriber.until_ended()
        assert subscriber.times[-1] < 23
        assert it.outages == []
        it.fake.faults.clear()
        await cursed.until_ended()


async def test_a_namespace_that_cannot_be_listed_is_followed_by_gets() -> None:
    async with lab(script=lambda job: Fate(ends_after=20.0)) as it:
        it.fake.fault(method="GET", path="/orchestrator/jobs", status=200, text="too much", times=1)
        for subscriber in [await it.submit(f"job-{i}") for i in range(10)]:
            await subscriber.until_ended()
        assert it.lists == 1
        assert it.outages == []


async def test_a_forgotten_job_is_not_heard_of() -> None:
    async with lab() as it:
        subscriber = await it.submit("a")
        await subscriber.until(lambda s: bool(s.states))
        told = len(subscriber.sightings)
        it.tracker.forget(it.fake.job("a").id)
        it.tracker.forget("j-unknown")
        it.fake.complete("a")
        await asyncio.sleep(60)
        assert len(subscriber.sightings) == told


async def test_forgetting_while_the_look_is_under_way() -> None:
    async with lab() as it:
        it.fake.fault(method="GET", delay=5.0)
        subscriber = await it.submit("a")
        await asyncio.sleep(1)
        it.tracker.forget(it.fake.job("a").id)
        await asyncio.sleep(60)
        assert subscriber.sightings == []


async def test_following_again_moves_the_job_to_the_new_subscriber() -> None:
    async with lab() as it:
        first = await it.submit("a")
        await first.until(lambda s: bool(s.states))
        told = len(first.sightings)
        second = it.follow(it.fake.job("a").id)
        await second.until(lambda s: bool(s.states))
        it.fake.complete("a")
        await second.until_ended()
        assert len(first.sightings) == told
        assert len(it.tracker) == 0


async def test_a_subscriber_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def broken(sighting: JobSighting) -> None:
        raise RuntimeError("broken subscriber")

    async with lab(script=lambda job: Fate(ends_after=1.0)) as it:
        job_id = await it.fake.client().submit(a_job("a"))
        it.tracker.track(
            "run-1",
            job_id,
            submitted_at=clock(),
            on_change=broken,
            on_lost=lambda: None,
            exclusive_namespace=True,
        )
        await (await it.submit("b")).until_ended()
    assert "broken subscriber" in caplog.text


async def test_large_jobs_on_a_slow_server_are_asked_less() -> None:
    async with lab() as it:
        it.fake.fault(method="GET", delay=1.0, times=10**9)
        await it.submit("a")
        await asyncio.sleep(60)
        assert len(it.fake.requests) < 25
