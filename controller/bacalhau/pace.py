"""How often to look at a job, and what looking costs the server.

A job is looked at after another tenth of its age: a job that lasts 50 ms is seen to end within a few milliseconds
of the earliest possible moment, one that lasts an hour costs a request every few seconds, and in both cases the end
is noticed late by a tenth of the running time at most. Where there is little to do, up to three times as often, since
the end of a late job is what the rest of a graph waits for. Where there is too much to do, less. The first look at a
job comes when the shortest of the jobs before it had ended: earlier ones would be in vain.

Costs are in units of one GET, and were measured on Bacalhau 1.9.3: a GET takes 1.5 ms of the server's time at any
size, a list 2 ms and 0.047 ms more for every job that its namespace ever held.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

__all__ = ["Budget", "Experience", "demand", "interval", "list_cost", "stretch"]

SHORTEST_SECONDS = 0.008
LONGEST_SECONDS = 10.0
SHARE_OF_AGE = 0.1

REMEMBERED_JOBS = 16
LATEST_FIRST_LOOK_SECONDS = 0.1
"""However long the jobs before took, the next may be another kind of job."""

GET_MS = 1.5
LIST_MS = 2.0
LIST_MS_PER_JOB = 0.047

BURST_SECONDS = 0.1

PLANNED_SHARE = 0.75
"""How much of the budget is planned for; the rest keeps the queue short, so that new jobs do not wait in it."""

EASY_SHARE = 0.1
"""Up to this share of the budget, looks are made more often than need be."""

EASY_STRETCH = 1 / 3


def interval(age: float, *, stretch: float = 1.0, spread: float = 0.5) -> float:
    """Seconds until the next look at a job of this age (seconds).

    Args:
        stretch: A factor for all intervals, which the shortest ones are not shortened by.
        spread: Between 0 and 1; a quarter less to a quarter more, so that jobs do not march in step.
    """
    even = min(max(age * SHARE_OF_AGE, SHORTEST_SECONDS), LONGEST_SECONDS)
    return max(even * stretch, SHORTEST_SECONDS) * (0.75 + 0.5 * spread)


class Experience:
    """How long a run's latest jobs took."""

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=REMEMBERED_JOBS)

    def add(self, seconds: float) -> None:
        """Take note of a job that has ended."""
        self._durations.append(seconds)

    def first_look(self, *, spread: float = 0.5) -> float:
        """Seconds from the submission of a job to the first look at it.

        Args:
            spread: As of ``interval``.
        """
        shortest = min(self._durations, default=0.0)
        return max(interval(0.0, spread=spread), min(shortest, LATEST_FIRST_LOOK_SECONDS))


def stretch(needed: float, *, budget: float) -> float:
    """By how much to stretch all intervals when looking needs so much of the budget, both in GETs a second."""
    if needed > PLANNED_SHARE * budget:
        return needed / (PLANNED_SHARE * budget)
    return min(max(needed / (EASY_SHARE * budget), EASY_STRETCH), 1.0)


def list_cost(jobs: float) -> float:
    """What one list of a namespace that holds so many jobs costs, in GETs."""
    return (LIST_MS + LIST_MS_PER_JOB * jobs) / GET_MS


def demand(ages: Iterable[float], *, one_list: float | None) -> float:
    """What looking at jobs of these ages would cost in GETs a second, by GETs or, if it serves all, by lists.

    Args:
        one_list: What a list that shows all these jobs costs, or None if there is none.
    """
    rates = [1 / interval(age) for age in ages]
    by_gets = sum(rates)
    return by_gets if one_list is None else min(by_gets, max(rates, default=0.0) * one_list)


class Budget:
    """A rate that holds over any length of time, with bursts of a tenth of a second's worth."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._spent_until = 0.0

    async def available(self) -> None:
        """Wait until something may be spent."""
        wait = self._spent_until - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)

    def spend(self, cost: float) -> None:
        """Take from the budget, which may go into debt by this one time."""
        now = asyncio.get_running_loop().time()
        self._spent_until = max(self._spent_until, now - BURST_SECONDS) + cost / self.per_second
