"""Pace, budget and schedule: the arithmetic beneath the tracker."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.bacalhau.pace import Budget, Experience, demand, interval, list_cost, stretch
from controller.bacalhau.schedule import Schedule


@pytest.mark.parametrize(("age", "low", "high"), [(0.0, 0.006, 0.010), (10.0, 0.75, 1.25), (1e6, 7.5, 12.5)])
def test_the_interval_is_a_tenth_of_the_age_within_limits(age: float, low: float, high: float) -> None:
    assert interval(age, spread=0.0) == pytest.approx(low)
    assert interval(age, spread=1.0) == pytest.approx(high)


@pytest.mark.parametrize(
    ("needed", "factor"), [(0.0, 1 / 3), (1.0, 1 / 3), (5.0, 0.5), (20.0, 1.0), (75.0, 1.0), (150.0, 2.0)]
)
def test_intervals_follow_what_there_is_to_do(needed: float, factor: float) -> None:
    assert stretch(needed, budget=100.0) == pytest.approx(factor)


def test_the_shortest_interval_is_not_shortened() -> None:
    assert interval(0.0, stretch=1 / 3) == interval(0.0) == 0.008
    assert interval(10.0, stretch=1 / 3) == pytest.approx(1 / 3)


def test_the_first_look_comes_when_the_shortest_of_the_latest_jobs_had_ended() -> None:
    experience = Experience()
    assert experience.first_look() == interval(0.0)
    for seconds in (0.06, 0.05, 0.07):
        experience.add(seconds)
    assert experience.first_look() == pytest.approx(0.05)
    for _ in range(16):
        experience.add(0.09)
    assert experience.first_look() == pytest.approx(0.09)


def test_long_jobs_do_not_keep_the_end_of_a_short_one_from_being_seen() -> None:
    experience = Experience()
    experience.add(3600.0)
    assert experience.first_look() == pytest.approx(0.1)


def test_a_list_pays_for_two_jobs_in_a_small_namespace_and_never_for_few_in_a_large_one() -> None:
    assert list_cost(2) < 2
    assert list_cost(1000) > 30


def test_demand_takes_the_cheaper_way() -> None:
    ages = [100.0] * 50
    assert demand(ages, one_list=None) == pytest.approx(5.0)
    assert demand(ages, one_list=list_cost(50)) == pytest.approx(0.1 * list_cost(50))
    assert demand([100.0], one_list=list_cost(5000)) == pytest.approx(0.1)
    assert demand([], one_list=1.0) == 0.0


@pytest.mark.looptime
async def test_a_budget_holds_over_time_and_allows_a_burst() -> None:
    budget, loop = Budget(10.0), asyncio.get_running_loop()
    await asyncio.sleep(1)
    began = loop.time()
    for _ in range(100):
        await budget.available()
        budget.spend(1.0)
    assert loop.time() - began == pytest.approx(9.8, abs=0.15)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), max_size=50))
def test_a_schedule_gives_keys_in_the_order_of_their_last_times(entries: list[tuple[int, float]]) -> None:
    schedule: Schedule[int] = Schedule()
    for key, due in entries:
        schedule.set(key, due)
    last = dict(entries)
    popped = [schedule.pop(1000.0) for _ in range(len(schedule))]
    assert set(popped) == set(last)
    assert [last[key] for key in popped if key is not None] == sorted(last.values())


def test_a_schedule_gives_only_what_is_due_and_there() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.set("a", 5.0)
    schedule.set("b", 7.0)
    assert schedule.pop(4.0) is None
    assert schedule.is_due("a", 5.0)
    assert not schedule.is_due("b", 5.0)
    schedule.discard("a")
    assert schedule.first() == 7.0
    assert len(schedule) == 1
    assert schedule.pop(7.0) == "b"
    assert schedule.first() is None
