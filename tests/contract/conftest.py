"""The two servers that the contract holds for: the one in memory and the real one."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.http import Channel, Endpoint
from tests.support.bacalhau_jobs import a_job
from tests.support.fake_bacalhau import FakeBacalhau, Fate


@dataclass(frozen=True)
class Server:
    """A Bacalhau with at least one compute node, and a namespace that nobody else uses."""

    client: BacalhauClient
    channel: Channel
    namespace: str

    def job(self, name: str = "job-1", **fields: Any) -> dict[str, Any]:
        """A small job in the namespace."""
        return a_job(name, namespace=self.namespace, **fields)


def fate(job: dict[str, Any]) -> Fate:
    """What a real server makes of the jobs of these tests."""
    if job["Count"] == 0:
        return Fate(ends_after=0.0)
    if "impossible" in job["Name"]:
        return Fate(starts_after=10**6)
    return Fate(ends_after=0.05, exit_code=-1)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.e2e)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server, either of the two."""
    namespace = f"contract-{uuid4().hex[:8]}"
    if request.param == "fake":
        fake = FakeBacalhau(script=fate)
        channel = fake.channel()
        yield Server(fake.client(), channel, namespace)
        return
    endpoint = Endpoint(url=request.getfixturevalue("plane").bacalhau.url)
    async with Channel(endpoint) as channel, BacalhauClient(Channel(endpoint)) as client:
        yield Server(client, channel, namespace)
