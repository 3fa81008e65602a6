"""Since when an orchestrator schedules: what tells a job that waits from one that waits in vain.

An orchestrator that restarts forgets which jobs it had to look at again, and those that were Pending or Queued stay so
for ever. It does not say when it started, but compute nodes have to connect anew, and it says since when they are
connected. A job that is older than that and waits on, while nothing keeps it waiting, was forgotten.
"""

import asyncio
import logging

from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.errors import BacalhauError

__all__ = ["OrchestratorEpoch"]

logger = logging.getLogger(__name__)

FRESH_SECONDS = 10.0


class OrchestratorEpoch:
    """When the longest connected compute node connected, asked for rarely. See ``JobSighting.orchestrator_epoch``."""

    def __init__(self, client: BacalhauClient) -> None:
        self._client = client
        self._asked = float("-inf")
        self._epoch: float | None = None
        self._one_at_a_time = asyncio.Lock()

    async def get(self) -> float | None:
        """The epoch as unix time in seconds, ten seconds old at most, or None if no compute node is connected."""
        async with self._one_at_a_time:
            if asyncio.get_running_loop().time() - self._asked >= FRESH_SECONDS:
                await self._ask()
            return self._epoch

    async def _ask(self) -> None:
        """Ask, and keep what was known if there is no answer: the epoch is a hint that can wait."""
        try:
            nodes = await self._client.nodes()
        except BacalhauError as error:
            logger.info("The nodes of %s are not known: %s", self._client, error)
        else:
            since = [node.connected_since for node in nodes if node.is_connected_compute]
            self._epoch = min((time for time in since if time is not None), default=None)
        self._asked = asyncio.get_running_loop().time()
