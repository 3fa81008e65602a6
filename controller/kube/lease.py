"""One operator at a time: leader election on a ``coordination.k8s.io`` Lease.

The protocol is client-go's, and so is its promise: at most one holder *as long as clocks run at about the same
speed*. A holder that stops for longer than the Lease lasts and then writes is fenced elsewhere, by the
resourceVersion that every write names.

- All times are taken from the monotonic clock of the event loop. The times in the Lease are for people; whether
  another's Lease has run out is told by how long *this* process has not seen it change.
- An own renewal counts from before its request was sent, so what others see is never older than what is assumed.
- No request outlives the deadline: one that hangs is given up in time to try again.
- Losing it calls back at once, before anything else; whatever ends ``keep``, other than its caller, is a loss.
- A holder that ends in order gives the Lease back, and the next one starts without waiting.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from controller import metrics
from controller.kube.errors import Conflict, Gone, KubeError
from controller.kube.objects import ObjectRef, Objects, Resource

_log = logging.getLogger(__name__)

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")

DURATION = 15.0
"""Seconds for which others wait after the last renewal that they saw."""
RENEW_DEADLINE = 10.0
"""Seconds without a renewal after which the holder considers it lost; leaves others' waiting time a margin."""
RETRY_EVERY = 2.0


class Lease:
    """The right to act, for one process at a time.

    ``identity`` must differ between any two processes, also between one and its successor on the same host.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float = DURATION,
        renew_deadline: float = RENEW_DEADLINE,
        retry_every: float = RETRY_EVERY,
    ) -> None:
        self._objects = objects
        self._ref = ObjectRef(LEASES, namespace, name)
        self._identity = identity
        self._duration = duration
        self._renew_deadline = renew_deadline
        self._retry_every = retry_every
        self._version: str | None = None  # what a renewal builds upon; None: read first
        self._renewed = 0.0
        self._others: tuple[Any, ...] = ()  # what somebody else last wrote
        self._others_since = 0.0

    async def acquire(self) -> None:
        """Wait until the Lease is this process's. Trouble with the API server is waited out."""
        _log.info("Waiting for the %s as %s.", self._ref, self._identity)
        while True:
            if await self._try_within(self._renew_deadline):
                break
            await asyncio.sleep(self._retry_every * random.uniform(1, 1.2))
        metrics.LEADER.set(1)
        _log.info("Holding the %s.", self._ref)

    async def keep(self, on_lost: Callable[[], None]) -> None:
        """Renew the Lease until it is lost; then call ``on_lost`` and return.

        Cancelling it is no loss; follow it with ``release``.
        """
        try:
            await self._renew_while_possible()
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._lose(on_lost)
            raise
        self._lose(on_lost)

    async def release(self) -> None:
        """Give the Lease back, if it is still held; failing that, others wait until it has run out."""
        metrics.LEADER.set(0)
        try:
            async with asyncio.timeout(self._retry_every):
                lease = await self._objects.get(self._ref)
                if _holder(lease) == self._identity:
                    free = {"holderIdentity": None, "leaseDurationSeconds": 1, "renewTime": _timestamp()}
                    await self._write(lease["metadata"]["resourceVersion"], free)
        except (KubeError, TimeoutError) as error:
            _log.warning("The Lease %s could not be given back: %r", self._ref, error)
        self._version = None

    async def _renew_while_possible(self) -> None:
        while True:
            if not await self._renew():
                return
            await asyncio.sleep(self._retry_every)

    async def _renew(self) -> bool:
        """Renew before the deadline; False if it has passed, or another has taken the Lease."""
        while (left := self._renewed + self._renew_deadline - _now()) > 0:
            if await self._try_within(min(left, self._renew_deadline / 2)):
                return True
            if self._others:
                return False
            await asyncio.sleep(min(left, self._retry_every / 2))
        return False

    async def _try_within(self, seconds: float) -> bool:
        """Take or renew the Lease; False if somebody else holds it, or it did not work in time."""
        asked = _now()
        try:
            async with asyncio.timeout(seconds):
                if not await self._take_or_renew():
                    return False
        except (KubeError, TimeoutError) as error:
            _log.warning("The Lease %s could not be taken or renewed: %r", self._ref, error)
            return False
        self._renewed = asked
        self._others = ()
        return True

    async def _take_or_renew(self) -> bool:
        if self._version is not None:
            with suppress(Conflict, Gone):
                await self._write(self._version, {"renewTime": _timestamp()})
                return True
            self._version = None
        try:
            return await self._take(await self._objects.get(self._ref))
        except Gone:
            return await self._create()

    async def _take(self, lease: dict[str, Any]) -> bool:
        spec, holder = lease.get("spec") or {}, _holder(lease)
        if holder not in (None, "", self._identity) and not self._has_run_out(spec):
            return False
        transitions = (spec.get("leaseTransitions") or 0) + (holder != self._identity)
        await self._write(
            lease["metadata"]["resourceVersion"], {**self._spec(), "leaseTransitions": transitions}
        )
        return True

    def _has_run_out(self, spec: dict[str, Any]) -> bool:
        """Whether another's Lease has not changed for as long as it says that it lasts."""
        record = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._others:
            self._others = record
            self._others_since = _now()
        return _now() - self._others_since >= (spec.get("leaseDurationSeconds") or self._duration)

    async def _create(self) -> bool:
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._ref.name, "namespace": self._ref.namespace},
            "spec": {**self._spec(), "leaseTransitions": 0},
        }
        created = await self._objects.create(LEASES, self._ref.namespace, body)
        self._version = created["metadata"]["resourceVersion"]
        return True

    async def _write(self, version: str, spec: dict[str, Any]) -> None:
        patch = {"metadata": {"resourceVersion": version}, "spec": spec}
        self._version = (await self._objects.patch(self._ref, patch))["resourceVersion"]

    def _spec(self) -> dict[str, Any]:
        now = _timestamp()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._duration),
            "acquireTime": now,
            "renewTime": now,
        }

    def _lose(self, on_lost: Callable[[], None]) -> None:
        on_lost()
        self._version = None
        metrics.LEADER.set(0)
        _log.error("The %s is lost; this process must not go on.", self._ref)


def _holder(lease: dict[str, Any]) -> str | None:
    return (lease.get("spec") or {}).get("holderIdentity")


def _timestamp() -> str:
    """Now, with the six decimals that the API server insists on in a Lease."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _now() -> float:
    return asyncio.get_running_loop().time()
