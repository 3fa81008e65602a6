"""Delays between attempts: exponential, capped, and jittered so that many do not retry in step."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

_MAX_EXPONENT = 64
"""Beyond this every sensible cap is long reached, and a float would overflow some hundred failures later."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """An endless series of delays, in seconds.

    Iterating starts over each time and never ends, which is what kopf wants of ``error_backoffs``: once a
    finite series is spent, kopf lets the whole operator exit.
    """

    base: float
    cap: float
    factor: float = 2.0
    jitter: float = 0.5
    """The share of each delay that is random: 0.5 gives between half of the delay and all of it."""

    def delay(self, failures: int) -> float:
        """The delay after this many failures in a row; the first failure is 1."""
        exponent = min(max(failures, 1) - 1, _MAX_EXPONENT)
        return min(self.base * self.factor**exponent, self.cap) * random.uniform(1 - self.jitter, 1)

    def __iter__(self) -> Iterator[float]:
        return (self.delay(failures) for failures in count(1))
