"""A Bacalhau cluster as the operator uses it: clients, tracker and limits, shared by all runs of one BacalhauConnection.

A connection outlives its credentials. When the resource or its Secrets change, the clients inside are exchanged, and whoever holds the
connection goes on with it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from controller import metrics
from controller.api.connection import ConnectionSpec
from controller.api.types import duration_seconds
from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.errors import BacalhauError, CredentialsRejected
from controller.bacalhau.http import Channel, Endpoint, Exchange
from controller.bacalhau.ipfs import IpfsApi
from controller.bacalhau.tracker import Tracker
from controller.reconciler.slots import JobSlots

MAX_SUBMISSIONS = 16
"""Submissions under way at once. Bacalhau accepts no more jobs per second when more are."""

Key = tuple[str, str]
"""Namespace and name of an object."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something cannot go on now: one word for a condition, and a sentence that says what to do."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Access:
    """All that is needed to talk to a cluster: the spec, with its Secrets looked up. Equal access needs no new clients."""

    spec: ConnectionSpec
    endpoint: Endpoint


def problem_of(error: BacalhauError) -> Problem:
    """Say for people why Bacalhau did not do what it was asked to."""
    reason = "CredentialsRejected" if isinstance(error, CredentialsRejected) else "BacalhauUnavailable"
    return Problem(reason, str(error))


class Connection:
    """One Bacalhau cluster.

    Args:
        on_change: called when it becomes usable, or stops being so.
        recheck: has the connection checked soon, which finds out whether it is usable.
    """

    def __init__(
        self, key: Key, access: Access, *, on_change: Callable[[], None], recheck: Callable[[], None]
    ) -> None:
        self.key = key
        self.access = access
        self.recheck = recheck
        self.problem: Problem | None = None
        self.client = BacalhauClient(_channel(access))
        self.ipfs = _ipfs(access)
        self.slots = JobSlots(access.spec.limits.max_active_jobs)
        self.submissions = asyncio.Semaphore(MAX_SUBMISSIONS)
        self.tracker = Tracker(
            self.client,
            requests_per_second=access.spec.limits.requests_per_second,
            on_unreachable=lambda error: self.report(problem_of(error)),
            on_recovered=lambda: self.report(None),
        )
        self._on_change = on_change
        self._tracking = asyncio.create_task(self.tracker.run(), name=f"tracker of {'/'.join(key)}")

    @property
    def queue_timeout(self) -> int:
        """Seconds that a job may wait for a node, unless it says itself."""
        return round(duration_seconds(self.access.spec.job_defaults.queue_timeout))

    @property
    def execution_timeout(self) -> int:
        """Seconds that an execution may take, unless the job says itself."""
        return round(duration_seconds(self.access.spec.job_defaults.execution_timeout))

    def report(self, problem: Problem | None) -> None:
        """Note that the cluster cannot be used, or can again."""
        if problem != self.problem:
            self.problem = problem
            self._on_change()

    async def renew(self, access: Access) -> None:
        """Go on with another spec or other credentials. Requests under way fail as if the network had."""
        if access == self.access:
            return
        self.access = access
        self.slots.resize(access.spec.limits.max_active_jobs)
        self.tracker.allow(requests_per_second=access.spec.limits.requests_per_second)
        retired, self.ipfs = self.ipfs, _ipfs(access)
        await self.client.use(_channel(access)).aclose()
        if retired:
            await retired.aclose()

    async def aclose(self) -> None:
        """End the tracker and close all connections."""
        self._tracking.cancel()
        await asyncio.wait({self._tracking})
        await self.client.aclose()
        if self.ipfs:
            await self.ipfs.aclose()


def _channel(access: Access) -> Channel:
    return Channel(access.endpoint, observe=_measure)


def _ipfs(access: Access) -> IpfsApi | None:
    if access.spec.ipfs is None:
        return None
    return IpfsApi(Channel(Endpoint(url=access.spec.ipfs.api_url), name="The IPFS node"))


def _measure(exchange: Exchange) -> None:
    code = str(exchange.status or "unanswered")
    metrics.BACALHAU_REQUESTS.labels(exchange.operation, code).observe(exchange.seconds)
    metrics.BACALHAU_BYTES.labels("sent").inc(exchange.sent)
    metrics.BACALHAU_BYTES.labels("received").inc(exchange.received)
