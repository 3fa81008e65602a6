"""A shared rate, in writes per second, that many writers keep to together."""

import asyncio


class WriteBudget:
    """Hands out the times at which writes may go.

    A status write costs the operator about 3 ms of CPU with the watch event that it brings back. Each writer
    paces itself by how long its own writes take, but a thousand writers pacing themselves can still fill a core;
    this bounds what they take together. ``burst`` writes may go at once after a quiet time.
    """

    def __init__(self, *, rate: float = 50.0, burst: int = 50) -> None:
        self._interval = 1 / rate
        self._allowance = burst / rate
        self._spent_until = 0.0

    def reserve(self) -> float:
        """Take one write out of the budget; returns for how many seconds it should wait.

        A write that cannot wait reserves, too, and goes anyway: those that can wait then wait longer.
        """
        now = asyncio.get_running_loop().time()
        delay = max(self._spent_until - now - self._allowance + self._interval, 0.0)
        self._spent_until = max(self._spent_until, now) + self._interval
        return delay
