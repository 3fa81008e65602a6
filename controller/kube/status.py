"""Writing an object's status: coalesced, fenced, paced, and never lost while there is hope.

The reconciler hands over deltas and goes on; a task of the writer's own brings them to the API server. It exists
only while there is something to write.

*Pace.* A write costs the API server what the whole object weighs, not the patch: 20 ms for a status of 50 nodes,
close to a second for 2,000. So the writer clocks itself: after a write that took t, the next one waits ten times
t, and what is handed over in between is merged into it. However large the object, the API server spends no more
than a tenth of its time on it. What is urgent, a change of phase, goes as soon as the one in flight is back.

*Fence.* Each write names the resourceVersion that it builds upon. A conflict is answered by reading again and
writing the own delta again, unless the object is another or gone, or somebody else has finished it: then this
process is the one that is out of date, and falls silent.

*Refusal.* An object that outgrows etcd's limit keeps its last good status. The writer gives up the details that
may be given up, says so once, and goes on writing the rest.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

from controller import metrics
from controller.kube import merge
from controller.kube.backoff import Backoff
from controller.kube.budget import WriteBudget
from controller.kube.errors import Conflict, Gone, KubeError, Refused, Sealed, Unavailable
from controller.kube.objects import Body
from controller.kube.stored import StoredObject

_log = logging.getLogger(__name__)

TERMINAL_PHASES = frozenset({"Succeeded", "Failed", "Error", "Cancelled"})

PACE = 10
"""How many times as long as a write took the next one waits."""
MIN_PAUSE = 0.1
MAX_PAUSE = 60.0

RETRIES = Backoff(base=0.1, cap=30)

OnWritten = Callable[[], None]
OnRefused = Callable[[Refused], Mapping[str, Any]]


class Lost(Enum):
    """Why a writer has fallen silent for good."""

    GONE = "gone"
    REPLACED = "replaced"
    FINISHED = "finished by another"
    FENCED = "no longer ours to write"
    CLOSED = "closed"


class StatusWriter:
    """Brings one object's status to the API server.

    ``on_refused`` is called once, when the API server will not store the status, mostly because it is too large.
    It returns the small delta to write instead, such as a condition. From then on the parts of the status named
    by ``expendable`` are not written any more; their last good state stays.
    """

    def __init__(
        self,
        stored: StoredObject,
        *,
        budget: WriteBudget | None = None,
        on_refused: OnRefused | None = None,
        expendable: Sequence[str] = ("nodes",),
    ) -> None:
        self.stored = stored
        self.lost: Lost | None = None
        self._budget = budget or WriteBudget()
        self._on_refused = on_refused
        self._expendable = frozenset(expendable)
        self._curtailed = False
        self._pending: dict[str, Any] = {}
        self._callbacks: list[OnWritten] = []
        self._hurry = asyncio.Event()
        self._not_before = 0.0
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def resource_version(self) -> int:
        """The newest known resourceVersion; a copy of the object with a lower one is out of date."""
        return self.stored.version

    @property
    def idle(self) -> bool:
        """Whether everything that was handed over is written, or given up."""
        return not self._outstanding and (self._task is None or self._task.done())

    @property
    def _outstanding(self) -> bool:
        return bool(self._pending or self._callbacks)

    def is_stale(self, body: Body) -> bool:
        """Whether a copy of the object is older than the writer's own last write."""
        return self.stored.is_stale(body)

    def observe(self, body: Body) -> None:
        """Take note of a copy that the watch brought, so that the next write builds upon it."""
        if self.stored.is_another(body):
            self._lose(Lost.REPLACED)
        else:
            self.stored.observe(body)

    def update(
        self, delta: Mapping[str, Any], *, urgent: bool = False, on_written: OnWritten | None = None
    ) -> None:
        """Hand over a merge patch of the status. Never waits, never raises.

        ``on_written`` is called once the delta is stored, or turns out to be stored already. If it never will be,
        because the object is gone or in other hands, it is not called.
        """
        if self.lost:
            return
        self._pending = merge.compose(self._pending, delta)
        if on_written:
            self._callbacks.append(on_written)
        if urgent:
            self._hurry.set()
        self._start()

    async def flush(self) -> None:
        """Wait until everything handed over so far is written or given up, without the pauses between writes.

        With the API server away this waits as long as it is; bound it with a timeout. Cancelling it leaves the
        writer at work.
        """
        while not self.idle:
            self._hurry.set()
            await asyncio.wait({self._start()})

    def when_idle(self, call: Callable[[], None]) -> None:
        """Have ``call`` called once everything handed over so far is written or given up, without the pauses between writes."""
        self._hurry.set()
        self._start().add_done_callback(lambda _: call())

    async def close(self) -> None:
        """Stop writing at once; what is not written stays unwritten."""
        self.lost = self.lost or Lost.CLOSED
        self._drop()
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _start(self) -> asyncio.Task[None]:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name=f"status writer of {self.stored.ref}")
        return self._task

    async def _drain(self) -> None:
        while self._outstanding:
            await self._turn()
            async with self.stored.lane:
                retry_after = await self._attempt()
            await asyncio.sleep(retry_after)

    async def _turn(self) -> None:
        """Wait for the next write's turn; something urgent does not wait, nor finish a wait begun."""
        await self._pause(self._not_before - _now())
        await self._pause(self._budget.reserve())
        self._hurry.clear()

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._hurry.wait()

    async def _attempt(self) -> float:
        """Write what is pending; returns for how many seconds to hold still, after a failure."""
        delta, callbacks = self._take()
        try:
            await self._write(delta)
        except Unavailable as error:
            self._put_back(delta, callbacks)
            return self._note_failure(error, "unavailable", at_least=error.retry_after)
        except Conflict as error:
            self._put_back(delta, callbacks)
            delay = self._note_failure(error, "conflict")
            return 0.0 if await self._read_again(delta) and self._failures == 1 else delay
        except Refused as error:
            self._callbacks = callbacks + self._callbacks
            self._curtail(delta, error)
        except Gone:
            self._lose(Lost.GONE)
        except Sealed:
            self._lose(Lost.FENCED)
        except Exception as error:
            _log.exception("Writing the status of %s failed in an unforeseen way.", self.stored.ref)
            self._put_back(delta, callbacks)
            return self._note_failure(error, "failed")
        except asyncio.CancelledError:
            self._put_back(delta, callbacks)
            raise
        else:
            self._failures = 0
            _run(callbacks)
        return 0.0

    async def _write(self, delta: Mapping[str, Any]) -> None:
        changes = merge.difference(self.stored.status, delta)
        if not changes:
            metrics.STATUS_WRITES.labels("unchanged").inc()
            return
        size, started = len(json.dumps(changes)), _now()
        try:
            await self.stored.patch_status(changes)
        finally:
            took = _now() - started
            self._not_before = _now() + min(max(took * PACE, MIN_PAUSE), MAX_PAUSE)
        metrics.STATUS_WRITES.labels("written").inc()
        metrics.STATUS_WRITE_BYTES.inc(size)
        metrics.STATUS_WRITE_SECONDS.observe(took)

    async def _read_again(self, delta: Mapping[str, Any]) -> bool:
        """Find out what was in the way; whether it could be read."""
        was_finished = _finished(self.stored.status)
        try:
            body = await self.stored.read()
        except Gone:
            self._lose(Lost.GONE)
        except KubeError:
            return False
        else:
            if self.stored.is_another(body):
                self._lose(Lost.REPLACED)
            elif _finished(self.stored.status) and not was_finished and self._is_news(delta):
                self._lose(Lost.FINISHED)
        return True

    def _is_news(self, delta: Mapping[str, Any]) -> bool:
        """Whether a delta is not stored: if it is, it was an own write whose answer got lost."""
        return bool(merge.difference(self.stored.status, delta))

    def _curtail(self, delta: Mapping[str, Any], error: Refused) -> None:
        """Give up the details of a status that the API server will not store; once, or it would never end."""
        metrics.STATUS_WRITES.labels("refused").inc()
        if self._curtailed:
            _log.error("The status of %s was refused again, and is left as it is: %s", self.stored.ref, error)
            self._drop()
            return
        _log.error("The status of %s was refused; its details are given up: %s", self.stored.ref, error)
        self._curtailed = True
        instead = self._on_refused(error) if self._on_refused else {}
        self._pending = merge.compose(merge.compose(delta, self._pending), instead)
        self._hurry.set()

    def _take(self) -> tuple[dict[str, Any], list[OnWritten]]:
        delta, self._pending = self._pending, {}
        callbacks, self._callbacks = self._callbacks, []
        if self._curtailed:
            delta = {key: value for key, value in delta.items() if key not in self._expendable}
        return delta, callbacks

    def _put_back(self, delta: Mapping[str, Any], callbacks: list[OnWritten]) -> None:
        """Have a delta written with the next attempt, which need not wait for its turn again."""
        if not self.lost:
            self._pending = merge.compose(delta, self._pending)
            self._callbacks = callbacks + self._callbacks
            self._hurry.set()

    def _note_failure(self, error: Exception, result: str, *, at_least: float = 0.0) -> float:
        metrics.STATUS_WRITES.labels(result).inc()
        self._failures += 1
        delay = max(RETRIES.delay(self._failures), at_least)
        _log.debug("The status of %s is not written yet (%s): %s", self.stored.ref, result, error)
        return delay

    def _lose(self, why: Lost) -> None:
        _log.info("The status of %s is not written any more: it is %s.", self.stored.ref, why.value)
        metrics.STATUS_WRITES.labels("lost").inc()
        self.lost = why
        self._drop()

    def _drop(self) -> None:
        self._pending = {}
        self._callbacks = []


def _run(callbacks: list[OnWritten]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:
            _log.exception("A callback after a status write failed.")


def _finished(status: Mapping[str, Any]) -> bool:
    return status.get("phase") in TERMINAL_PHASES


def _now() -> float:
    return asyncio.get_running_loop().time()
