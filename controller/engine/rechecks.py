"""Jobs whose meaning changes with time alone.

A job that waits for a node looks the same from one hour to the next; that it has waited for too long is not something that Bacalhau will
report. What was seen of it last is kept here until the time comes to judge it again.
"""

import heapq
from collections.abc import Iterator

from controller.engine.observations import JobSeen


class Rechecks:
    """The latest sightings of waiting jobs, by their node, with the Unix time in seconds of the next look."""

    def __init__(self) -> None:
        self._sightings: dict[int, tuple[float, JobSeen]] = {}
        self._times: list[tuple[float, int]] = []

    def put(self, index: int, seen: JobSeen, time: float) -> None:
        """Judge a node's sighting again at this time, instead of whatever was planned for the node."""
        self._sightings[index] = (time, seen)
        heapq.heappush(self._times, (time, index))

    def drop(self, index: int) -> None:
        """Forget what was planned for a node."""
        self._sightings.pop(index, None)

    def due(self, now: float) -> Iterator[tuple[int, JobSeen]]:
        """Take out, one by one, the sightings whose time has come."""
        while (time := self.next_time()) is not None and time <= now:
            _, index = heapq.heappop(self._times)
            yield index, self._sightings.pop(index)[1]

    def next_time(self) -> float | None:
        """Give the time of the next look; None if no job waits."""
        while self._times and self._is_outdated(*self._times[0]):
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def _is_outdated(self, time: float, index: int) -> bool:
        return index not in self._sightings or self._sightings[index][0] != time
