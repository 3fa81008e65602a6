"""A queue of keys with client-go's semantics, on asyncio.

A key waits at most once, however often it is added. While it is processed it can be added again, and then runs
once more afterwards: no change is lost, and no two workers ever hold the same key. The queue holds keys only,
never objects, so whatever a worker reads is the newest, and a thousand sleeping keys cost next to nothing.

The clock is the event loop's: wall-clock jumps do not matter, and tests run in no time. Everything but ``run``
is synchronous and must be called on the event loop's thread.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from controller import metrics
from controller.kube.backoff import Backoff

_log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
Process = Callable[[Key], Awaitable[None]]

RETRIES = Backoff(base=0.2, cap=60)


class WorkQueue(Generic[Key]):
    """Keys that wait to be processed, now or later.

    ``name`` labels the queue's metrics.
    """

    def __init__(self, name: str, *, backoff: Backoff = RETRIES) -> None:
        self._backoff = backoff
        self._waiting: dict[Key, float] = {}  # in order of arrival, with the time of arrival
        self._processing: dict[Key, float] = {}  # with the time when a worker took it
        self._again: set[Key] = set()  # added while being processed
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._permits = asyncio.Semaphore(0)  # one for each waiting key
        self._last_taken = 0.0
        self._closed = False
        self._workers = 0
        self._metrics = metrics.QueueMetrics(
            name, depth=lambda: len(self._waiting), oldest=self.oldest, stalled=self.stalled_for
        )

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Have the key processed as soon as a worker is free."""
        if self._closed or key in self._waiting:
            return
        if key in self._processing:
            self._again.add(key)
        else:
            self._waiting[key] = _now()
            self._permits.release()

    def add_after(self, key: Key, delay: float) -> None:
        """Have the key added after ``delay`` seconds, unless it is already due to be added earlier."""
        if self._closed:
            return
        if delay <= 0:
            self.add(key)
            return
        due = _now() + delay
        earlier = self._timers.get(key)
        if earlier is not None:
            if earlier.when() <= due:
                return
            earlier.cancel()
        self._timers[key] = asyncio.get_running_loop().call_at(due, self._fire, key)

    def add_rate_limited(self, key: Key) -> None:
        """Have the key added after a delay that grows with each call, until ``forget``."""
        self._failures[key] = self._failures.get(key, 0) + 1
        self._metrics.retries.inc()
        self.add_after(key, self._backoff.delay(self._failures[key]))

    def forget(self, key: Key) -> None:
        """Start the key's backoff afresh."""
        self._failures.pop(key, None)

    def discard(self, key: Key) -> None:
        """Forget all about a key whose object is gone; a worker that holds it finishes undisturbed."""
        self.forget(key)
        self._again.discard(key)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def oldest(self) -> float:
        """For how many seconds the key that came first has been waiting; 0 if none waits."""
        return _now() - next(iter(self._waiting.values())) if self._waiting else 0.0

    def stalled_for(self) -> float:
        """A sign of life: for how many seconds nothing has moved although there is work.

        That is the longest that a worker has been busy with one key, or that keys wait without any being taken.
        A long backlog alone is no stall.
        """
        longest = max((_now() - started for started in self._processing.values()), default=0.0)
        untaken = min(self.oldest(), _now() - self._last_taken) if self._waiting else 0.0
        return max(longest, untaken)

    async def run(self, process: Process[Key], *, workers: int) -> None:
        """Process keys, ``workers`` at a time, until ``close``.

        An exception from ``process`` is logged and has its key tried again with backoff; it never stops a
        worker. A key whose processing succeeds without asking for ``add_rate_limited`` starts afresh.
        """
        self._workers += workers
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(process), name=f"worker {number}")

    def close(self) -> None:
        """Take no more keys, drop those that wait, and let ``run`` return once those in hand are finished."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._waiting.clear()
        self._again.clear()
        for _ in range(self._workers):
            self._permits.release()

    async def _work(self, process: Process[Key]) -> None:
        while True:
            await self._permits.acquire()
            if self._closed:
                return
            await self._process_next(process)

    async def _process_next(self, process: Process[Key]) -> None:
        key = self._take()
        failures = self._failures.get(key, 0)
        try:
            with self._metrics.duration.time():
                await process(key)
        except Exception:
            _log.exception("Processing %s failed; it will be tried again.", key)
            self.add_rate_limited(key)
        else:
            if self._failures.get(key, 0) == failures:
                self.forget(key)
        finally:
            self._release(key)

    def _take(self) -> Key:
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._processing[key] = self._last_taken = _now()
        return key

    def _release(self, key: Key) -> None:
        del self._processing[key]
        if key in self._again:
            self._again.remove(key)
            self.add(key)

    def _fire(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)


def _now() -> float:
    return asyncio.get_running_loop().time()
