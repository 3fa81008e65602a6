"""How many jobs of a connection may be unfinished at once."""

import asyncio
from collections import deque
from collections.abc import Hashable


class JobSlots:
    """Places for unfinished jobs. Whoever waits for one is served in order.

    A place that becomes free is given to the first in line at once, not offered: whoever asked later could otherwise take it before the
    first in line gets to run.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[Hashable] = set()
        self._waiting: deque[tuple[Hashable, asyncio.Future[None]]] = deque()

    def __len__(self) -> int:
        return len(self._holders)

    async def acquire(self, holder: Hashable) -> None:
        """Wait for a place and take it. A holder takes one place however often it asks."""
        if holder in self._holders or len(self._holders) < self._limit:
            self._holders.add(holder)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((holder, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(holder)
            raise

    def take(self, holder: Hashable) -> None:
        """Take a place for a job that runs already, even beyond the limit."""
        self._holders.add(holder)

    def release(self, holder: Hashable) -> None:
        """Give a place back; nothing happens if it was not taken."""
        self._holders.discard(holder)
        self._hand_out()

    def resize(self, limit: int) -> None:
        """Change the number of places. Jobs beyond a smaller number run to their end."""
        self._limit = limit
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free places to those in line; whoever gave up waiting is passed over."""
        while self._waiting and len(self._holders) < self._limit:
            holder, turn = self._waiting.popleft()
            if not turn.done():
                self._holders.add(holder)
                turn.set_result(None)
