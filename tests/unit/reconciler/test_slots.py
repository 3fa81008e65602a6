"""Places for jobs: never more than there are, handed out in order, and lost by no way of giving up."""

import asyncio

import pytest

from controller.reconciler.slots import JobSlots

pytestmark = pytest.mark.looptime


class Line:
    """Those who wait, and those who were served, in order."""

    def __init__(self, slots: JobSlots) -> None:
        self.slots = slots
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, *names: str) -> None:
        """Have holders ask for places, one after another."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._wait(name))
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Let everybody run who can."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def _wait(self, name: str) -> None:
        await self.slots.acquire(name)
        self.served.append(name)


@pytest.fixture
def slots() -> JobSlots:
    return JobSlots(2)


@pytest.fixture
def line(slots: JobSlots) -> Line:
    return Line(slots)


async def test_no_more_are_taken_than_there_are(slots: JobSlots, line: Line) -> None:
    await line.join("a", "b", "c", "d")
    assert line.served == ["a", "b"]
    assert len(slots) == 2


async def test_whoever_waits_is_served_in_order(slots: JobSlots, line: Line) -> None:
    await line.join("a", "b", "c", "d", "e")
    for name in ("a", "b", "c"):
        slots.release(name)
        await line.settle()
    assert line.served == ["a", "b", "c", "d", "e"]
    assert len(slots) == 2


async def test_nobody_slips_in_before_the_first_in_line_runs(slots: JobSlots, line: Line) -> None:
    await line.join("a", "b", "c")
    slots.release("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await slots.acquire("late")  # asks before c, which was waiting, has had a chance to run
    assert line.served == ["a", "b", "c"]


async def test_a_holder_takes_one_place_however_often_it_asks(slots: JobSlots, line: Line) -> None:
    await line.join("a", "a", "b")
    assert line.served == ["a", "a", "b"]
    slots.release("a")
    slots.release("a")
    assert len(slots) == 1


async def test_giving_up_leaves_the_line(slots: JobSlots, line: Line) -> None:
    await line.join("a", "b", "c", "d")
    line.tasks["c"].cancel()
    await line.settle()
    slots.release("a")
    await line.settle()
    assert line.served == ["a", "b", "d"]


async def test_giving_up_when_the_turn_had_come_passes_it_on(slots: JobSlots, line: Line) -> None:
    await line.join("a", "b", "c", "d")
    slots.release("a")
    line.tasks["c"].cancel()  # it was given the place, but has not run yet
    await line.settle()
    assert line.served == ["a", "b", "d"]
    assert len(slots) == 2


async def test_more_places_serve_those_who_wait(slots: JobSlots, line: Line) -> None:
    await line.join("a", "b", "c", "d", "e")
    slots.resize(4)
    await line.settle()
    assert line.served == ["a", "b", "c", "d"]


async def test_fewer_places_let_nobody_in_until_enough_are_free(slots: JobSlots, line: Line) -> None:
    await line.join("a", "b", "c")
    slots.resize(1)
    slots.release("a")
    await line.settle()
    assert line.served == ["a", "b"]
    slots.release("b")
    await line.settle()
    assert line.served == ["a", "b", "c"]


async def test_a_job_that_runs_already_has_its_place_beyond_the_limit(slots: JobSlots, line: Line) -> None:
    for name in ("x", "y", "z"):
        slots.take(name)
    await line.join("a", "b")
    slots.release("x")
    await line.settle()
    assert line.served == []
    slots.release("y")
    slots.release("z")
    await line.settle()
    assert line.served == ["a", "b"]
