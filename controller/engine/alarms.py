"""What has to be looked at again at a certain time, although nothing may happen until then.

A job that waits for a node looks the same from one hour to the next, and a timeout is not something that Bacalhau will report.
"""

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

What = TypeVar("What")


class Alarms(Generic[What]):
    """One alarm for each node, by its number: when, in Unix seconds, and what to look at."""

    def __init__(self) -> None:
        self._set: dict[int, tuple[float, What]] = {}
        self._times: list[tuple[float, int]] = []

    def put(self, index: int, what: What, time: float) -> None:
        """Set a node's alarm, in place of the one it had."""
        self._set[index] = (time, what)
        heapq.heappush(self._times, (time, index))

    def drop(self, index: int) -> None:
        """Take back a node's alarm."""
        self._set.pop(index, None)

    def due(self, now: float) -> Iterator[tuple[int, What]]:
        """Take out, one by one, the alarms whose time has come."""
        while (time := self.next_time()) is not None and time <= now:
            _, index = heapq.heappop(self._times)
            yield index, self._set.pop(index)[1]

    def next_time(self) -> float | None:
        """Give the time of the next alarm; None if there is none."""
        while self._times and self._is_outdated(*self._times[0]):
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def _is_outdated(self, time: float, index: int) -> bool:
        return index not in self._set or self._set[index][0] != time
