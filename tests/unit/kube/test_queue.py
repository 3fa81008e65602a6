"""The work queue keeps client-go's promises: one waiting entry per key, one worker per key, no lost change."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from controller.kube.backoff import Backoff
from controller.kube.queue import WorkQueue

pytestmark = pytest.mark.looptime

Process = Callable[[str], Awaitable[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def queue() -> WorkQueue[str]:
    return WorkQueue("test", backoff=Backoff(base=1, cap=8, jitter=0))


@asynccontextmanager
async def running(queue: WorkQueue[str], process: Process, *, workers: int = 1) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.run(process, workers=workers))
        yield
        queue.close()


class Recorder:
    """A process that notes when it saw which key, and can be held up."""

    def __init__(self, *, takes: float = 0.0) -> None:
        self.seen: list[tuple[str, float]] = []
        self.takes = takes
        self.running = 0
        self.most_running = 0

    async def __call__(self, key: str) -> None:
        self.seen.append((key, now()))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(self.takes)
        self.running -= 1

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.seen]


async def test_a_key_that_is_added_twice_waits_once(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "a", "b", "a"):
        queue.add(key)
    assert len(queue) == 2
    process = Recorder()
    async with running(queue, process):
        await asyncio.sleep(1)
    assert process.keys == ["a", "b"]


async def test_a_key_that_is_added_while_processed_runs_once_more_afterwards(queue: WorkQueue[str]) -> None:
    process = Recorder(takes=5)
    queue.add("a")
    async with running(queue, process, workers=3):
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("a")
        await asyncio.sleep(20)
    assert process.seen == [("a", 0), ("a", 5)]
    assert process.most_running == 1


async def test_workers_share_the_keys(queue: WorkQueue[str]) -> None:
    process = Recorder(takes=1)
    for number in range(6):
        queue.add(str(number))
    async with running(queue, process, workers=3):
        await asyncio.sleep(10)
    assert [moment for _, moment in process.seen] == [0, 0, 0, 1, 1, 1]


async def test_add_after_keeps_the_earliest(queue: WorkQueue[str]) -> None:
    process = Recorder()
    async with running(queue, process):
        queue.add_after("a", 10)
        queue.add_after("a", 3)
        queue.add_after("a", 7)
        await asyncio.sleep(30)
    assert process.seen == [("a", 3)]


async def test_add_after_no_delay_is_at_once(queue: WorkQueue[str]) -> None:
    queue.add_after("a", 0)
    assert len(queue) == 1


async def test_a_failing_key_is_tried_again_with_growing_delays_and_hurts_no_other(
    queue: WorkQueue[str], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str, float]] = []

    async def process(key: str) -> None:
        seen.append((key, now()))
        if key == "bad" and len(seen) < 5:
            raise ValueError("no")

    caplog.set_level(logging.ERROR)
    queue.add("bad")
    queue.add_after("good", 2)
    async with running(queue, process):
        await asyncio.sleep(60)
    assert seen == [("bad", 0), ("bad", 1), ("good", 2), ("bad", 3), ("bad", 7)]
    assert [record.getMessage() for record in caplog.records] == [
        "Processing bad failed; it will be tried again."
    ] * 3


async def test_success_starts_the_backoff_afresh(queue: WorkQueue[str]) -> None:
    moments: list[float] = []
    fails = {1, 2, 4}

    async def process(key: str) -> None:
        moments.append(now())
        if len(moments) in fails:
            raise ValueError("no")

    async with running(queue, process):
        queue.add("a")
        await asyncio.sleep(10)  # fails at 0 and 1, succeeds at 3
        queue.add("a")  # fails at 10, succeeds a first delay later
        await asyncio.sleep(10)
    assert moments == [0, 1, 3, 10, 11]


async def test_a_process_that_asks_for_a_retry_itself_keeps_its_backoff(queue: WorkQueue[str]) -> None:
    moments: list[float] = []

    async def process(key: str) -> None:
        moments.append(now())
        if len(moments) < 5:
            queue.add_rate_limited(key)

    queue.add("a")
    async with running(queue, process):
        await asyncio.sleep(60)
    assert moments == [0, 1, 3, 7, 15]


async def test_close_lets_the_key_in_hand_finish_and_drops_the_rest(queue: WorkQueue[str]) -> None:
    process = Recorder(takes=5)
    queue.add("a")
    queue.add("b")
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.run(process, workers=1))
        await asyncio.sleep(1)
        queue.add_after("c", 1)
        queue.add("a")
        queue.close()
        queue.add("d")
    assert process.keys == ["a"]
    assert process.running == 0
    assert now() == 5
    assert len(queue) == 0


async def test_close_ends_idle_workers(queue: WorkQueue[str]) -> None:
    async with asyncio.timeout(10), running(queue, Recorder(), workers=4):
        await asyncio.sleep(1)


async def test_cancelling_run_cancels_the_key_in_hand(queue: WorkQueue[str]) -> None:
    cancelled: list[str] = []

    async def process(key: str) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(key)
            raise

    queue.add("a")
    run = asyncio.create_task(queue.run(process, workers=2))
    await asyncio.sleep(1)
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run
    assert cancelled == ["a"]


async def test_discard_forgets_what_was_planned_for_a_key(queue: WorkQueue[str]) -> None:
    process = Recorder()
    async with running(queue, process):
        queue.add_rate_limited("a")
        queue.add_after("b", 5)
        queue.discard("a")
        await asyncio.sleep(60)
    assert process.keys == ["b"]


async def test_a_backlog_that_moves_is_no_stall(queue: WorkQueue[str]) -> None:
    for number in range(100):
        queue.add(str(number))
    async with running(queue, Recorder(takes=1)):
        await asyncio.sleep(50.5)
        assert queue.oldest() == 50.5
        assert queue.stalled_for() == 0.5


async def test_keys_that_nobody_takes_are_a_stall(queue: WorkQueue[str]) -> None:
    assert queue.stalled_for() == 0
    queue.add("a")
    await asyncio.sleep(30)
    assert queue.stalled_for() == 30


async def test_a_worker_stuck_on_a_key_is_a_stall(queue: WorkQueue[str]) -> None:
    queue.add("a")
    async with running(queue, Recorder(takes=100), workers=4):
        await asyncio.sleep(40)
        assert queue.stalled_for() == 40
