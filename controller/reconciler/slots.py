"""How many jobs of a connection may be unfinished at once."""

import asyncio
from collections import deque
from collections.abc import Hashable


class JobSlots:
    """Places for unfinished jobs. Whoever waits for one is served in order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[Hashable] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._holders)

    async def acquire(self, holder: Hashable) -> None:
        """Wait for a place and take it. A holder takes one place however often it asks."""
        while holder not in self._holders and len(self._holders) >= self._limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._pass_on(turn)
                raise
        self._holders.add(holder)

    def take(self, holder: Hashable) -> None:
        """Take a place for a job that runs already, even beyond the limit."""
        self._holders.add(holder)

    def release(self, holder: Hashable) -> None:
        """Give a place back; nothing happens if it was not taken."""
        if holder in self._holders:
            self._holders.remove(holder)
            self._wake_next()

    def resize(self, limit: int) -> None:
        """Change the number of places. Jobs beyond a smaller number run to their end."""
        self._limit = limit
        for _ in range(max(limit - len(self._holders), 0)):
            self._wake_next()

    def _pass_on(self, turn: "asyncio.Future[None]") -> None:
        """Leave the line; a turn that had come already is the next one's."""
        if turn.cancelled() or not turn.done():
            if turn in self._waiting:
                self._waiting.remove(turn)
        else:
            self._wake_next()

    def _wake_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
