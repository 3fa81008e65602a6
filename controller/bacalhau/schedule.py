"""A set of keys with the time at which each is due."""

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

__all__ = ["Schedule"]

Key = TypeVar("Key", bound=Hashable)


class Schedule(Generic[Key]):
    """Keys by due time. A key is there once; setting it again moves it.

    Entries that were overtaken stay in the heap until they surface, which makes moving as cheap as adding.
    """

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: Key, due: float) -> None:
        """Let the key be due at this time, whatever was said before."""
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))

    def discard(self, key: Key) -> None:
        """Forget the key."""
        self._due.pop(key, None)

    def is_due(self, key: Key, now: float) -> bool:
        """Whether the key is there and due."""
        return self._due.get(key, float("inf")) <= now

    def first(self) -> float | None:
        """When the first key is due, or None if there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> Key | None:
        """Take out the key that has been due for longest, or None if none is due."""
        due = self.first()
        if due is None or due > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due[key]
        return key
