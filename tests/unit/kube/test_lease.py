"""The Lease has one holder, changes hands when it should, and is given up before another may take it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from controller.kube.lease import Lease
from controller.kube.objects import Objects
from tests.support.fake_kube import Failure, FakeKube, Request

pytestmark = pytest.mark.looptime

PATH = "/apis/coordination.k8s.io/v1/namespaces/operator/leases/leader"


def now() -> float:
    return asyncio.get_running_loop().time()


def lease(kube: FakeKube, identity: str) -> Lease:
    return Lease(Objects(kube.client()), namespace="operator", name="leader", identity=identity)


def spec(kube: FakeKube) -> Any:
    return kube.objects[PATH]["spec"]


class Losses(list[float]):
    """When the Lease was lost."""

    def note(self) -> None:
        self.append(now())


@asynccontextmanager
async def kept(holder: Lease) -> AsyncIterator[Losses]:
    losses = Losses()
    task = asyncio.create_task(holder.keep(losses.note))
    yield losses
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_first_one_creates_it(kube: FakeKube) -> None:
    await lease(kube, "a").acquire()
    assert spec(kube)["holderIdentity"] == "a"
    assert spec(kube)["leaseDurationSeconds"] == 15
    assert spec(kube)["leaseTransitions"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", spec(kube)["renewTime"])


async def test_a_second_one_waits_while_the_first_renews(kube: FakeKube) -> None:
    first = lease(kube, "a")
    await first.acquire()
    async with kept(first) as losses:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300):
                await lease(kube, "b").acquire()
        assert losses == []
    assert spec(kube)["holderIdentity"] == "a"


async def test_a_second_one_takes_over_once_the_first_was_silent_for_the_duration(kube: FakeKube) -> None:
    await lease(kube, "a").acquire()
    await lease(kube, "b").acquire()
    assert spec(kube)["holderIdentity"] == "b"
    assert spec(kube)["leaseTransitions"] == 1
    assert 15 <= now() < 20


async def test_the_written_times_do_not_matter(kube: FakeKube) -> None:
    await lease(kube, "a").acquire()
    kube.edit(PATH, {"spec": {"renewTime": "1970-01-01T00:00:00.000000Z"}})
    await lease(kube, "b").acquire()
    assert now() >= 15


async def test_a_released_one_is_free_at_once(kube: FakeKube) -> None:
    first = lease(kube, "a")
    await first.acquire()
    async with kept(first):
        await asyncio.sleep(5)
    await first.release()
    await lease(kube, "b").acquire()
    assert now() == 5
    assert spec(kube)["holderIdentity"] == "b"


async def test_release_leaves_anothers_alone(kube: FakeKube) -> None:
    first = lease(kube, "a")
    await first.acquire()
    await lease(kube, "b").acquire()
    await first.release()
    assert spec(kube)["holderIdentity"] == "b"


async def test_release_does_not_hang(kube: FakeKube) -> None:
    first = lease(kube, "a")
    await first.acquire()
    kube.latency = 1000
    await first.release()
    assert now() == 2


async def test_of_many_only_one_gets_it(kube: FakeKube) -> None:
    kube.latency = 0.1
    tasks = [asyncio.create_task(lease(kube, str(number)).acquire()) for number in range(5)]
    await asyncio.sleep(10)
    assert sum(task.done() for task in tasks) == 1
    for task in tasks:
        task.cancel()


async def test_it_is_renewed(kube: FakeKube) -> None:
    holder = lease(kube, "a")
    await holder.acquire()
    async with kept(holder) as losses:
        await asyncio.sleep(60)
    assert losses == []
    assert len(kube.requested("PATCH")) == 30


async def test_it_is_lost_when_the_deadline_passes_and_before_another_may_take_it(kube: FakeKube) -> None:
    holder = lease(kube, "a")
    await holder.acquire()
    async with kept(holder) as losses:
        await asyncio.sleep(20)
        kube.down = True
        await asyncio.sleep(60)
    (lost,) = losses
    assert 28 <= lost <= 30.01


async def test_a_request_that_hangs_does_not_outlive_the_deadline(kube: FakeKube) -> None:
    holder = lease(kube, "a")
    await holder.acquire()
    async with kept(holder) as losses:
        await asyncio.sleep(20)
        kube.latency = 1000
        await asyncio.sleep(60)
    (lost,) = losses
    assert 28 <= lost <= 30.01


async def test_short_trouble_is_survived(kube: FakeKube) -> None:
    holder = lease(kube, "a")
    await holder.acquire()
    async with kept(holder) as losses:
        for trouble in range(5):
            kube.down = True
            await asyncio.sleep(6)
            kube.down = False
            await asyncio.sleep(6)
            kube.failures = [Failure(500, "etcd leader changed")] * trouble
            kube.lost_answers = 1
            await asyncio.sleep(6)
        assert losses == []


async def test_it_is_lost_at_once_when_another_holds_it(kube: FakeKube) -> None:
    holder = lease(kube, "a")
    await holder.acquire()
    async with kept(holder) as losses:
        await asyncio.sleep(5)
        kube.edit(PATH, {"spec": {"holderIdentity": "b"}})
        await asyncio.sleep(60)
    (lost,) = losses
    assert lost <= 7
    assert spec(kube)["holderIdentity"] == "b"


async def test_somebody_elses_edit_is_no_loss(kube: FakeKube) -> None:
    holder = lease(kube, "a")
    await holder.acquire()
    async with kept(holder) as losses:
        await asyncio.sleep(5)
        kube.edit(PATH, {"metadata": {"labels": {"team": "lab"}}})
        await asyncio.sleep(60)
    assert losses == []


async def test_a_deleted_one_is_created_again(kube: FakeKube) -> None:
    holder = lease(kube, "a")
    await holder.acquire()
    async with kept(holder) as losses:
        await asyncio.sleep(5)
        del kube.objects[PATH]
        await asyncio.sleep(60)
    assert losses == []
    assert spec(kube)["holderIdentity"] == "a"


async def test_a_bug_in_renewing_is_a_loss(kube: FakeKube) -> None:
    def stumble(request: Request) -> None:
        raise LookupError("a bug")

    holder = lease(kube, "a")
    await holder.acquire()
    losses = Losses()
    kube.before = stumble
    with pytest.raises(LookupError):
        await holder.keep(losses.note)
    assert losses == [0]


async def test_an_answer_that_got_lost_while_acquiring_does_no_harm(kube: FakeKube) -> None:
    kube.lost_answers = 1
    await lease(kube, "a").acquire()
    assert spec(kube)["holderIdentity"] == "a"
    assert spec(kube)["leaseTransitions"] == 0
