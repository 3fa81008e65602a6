"""The two servers that the contract holds for: the one in memory and the real one."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.http import Channel, Endpoint
from tests.contract.servers import Server, fate
from tests.support.fake_bacalhau import FakeBacalhau


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
