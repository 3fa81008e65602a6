"""Places for jobs: never more than there are, handed out in order, and lost by no way of giving up."""

import pytest

from controller.reconciler.slots import JobSlots


class Line:
    """Runs that wait in line, and who was woken."""

    def __init__(self, slots: JobSlots) -> None:
        self.slots = slots
        self.woken: list[str] = []

    def join(self, *runs: str) -> None:
        """Have runs wait, one after another."""
        for run in runs:
            self.slots.wait(run, lambda run=run: self.woken.append(run))  # type: ignore[misc]


@pytest.fixture
def slots() -> JobSlots:
    return JobSlots(2)


@pytest.fixture
def line(slots: JobSlots) -> Line:
    return Line(slots)


def test_there_is_room_for_so_many(slots: JobSlots) -> None:
    rooms = []
    for job in ("a", "b", "c"):
        rooms.append(slots.room("run"))
        slots.take(job)
    assert rooms == [2, 1, 0]
    assert slots.room("run") == 0, "a job beyond the limit makes it no less than none"


def test_a_holder_takes_one_place_however_often_it_asks(slots: JobSlots) -> None:
    slots.take("a")
    slots.take("a")
    assert (len(slots), slots.room("run")) == (1, 1)
    slots.release("a")
    slots.release("a")
    assert (len(slots), slots.room("run")) == (0, 2)


def test_nobody_passes_those_who_wait(slots: JobSlots, line: Line) -> None:
    slots.take("a")
    line.join("first", "second")
    assert [slots.room(run) for run in ("late", "second", "first")] == [0, 0, 1]


def test_a_place_that_becomes_free_wakes_the_first_in_line(slots: JobSlots, line: Line) -> None:
    slots.take("a")
    slots.take("b")
    line.join("first", "second")
    slots.release("a")
    assert line.woken == ["first"]


def test_the_next_is_woken_when_the_first_has_left_places(slots: JobSlots, line: Line) -> None:
    slots.take("a")
    slots.take("b")
    line.join("first", "second")
    slots.release("a")
    slots.leave("first")
    assert line.woken == ["first", "second"]
    slots.take("c")
    slots.leave("second")
    assert line.woken == ["first", "second"]


def test_one_who_asks_again_keeps_its_place(slots: JobSlots, line: Line) -> None:
    line.join("first", "second", "first")
    assert slots.room("first") == 2
    slots.leave("first")
    assert slots.room("second") == 2


def test_leaving_and_joining_again_is_for_the_end_of_the_line(slots: JobSlots, line: Line) -> None:
    line.join("first", "second")
    slots.leave("first")
    line.join("first")
    assert (slots.room("first"), slots.room("second")) == (0, 2)


def test_leaving_a_line_that_one_is_not_in_is_fine(slots: JobSlots) -> None:
    slots.leave("nobody")
    assert slots.room("run") == 2


def test_more_places_wake_the_first_in_line(slots: JobSlots, line: Line) -> None:
    slots.take("a")
    slots.take("b")
    line.join("first")
    slots.resize(3)
    assert line.woken == ["first"]


def test_fewer_places_let_nobody_in_until_enough_are_free(slots: JobSlots, line: Line) -> None:
    slots.take("a")
    slots.take("b")
    slots.resize(1)
    line.join("first")
    slots.release("a")
    assert line.woken == []
    slots.release("b")
    assert line.woken == ["first"]
