"""Credentials and certificates, as the real server checks them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.errors import Forbidden, Unauthorized, Unreachable
from controller.bacalhau.http import Basic, Bearer, Channel, Endpoint
from dev.plane import ControlPlane
from dev.servers.bacalhau import BacalhauOptions, BacalhauServer
from tests.support.bacalhau_jobs import a_job

pytestmark = pytest.mark.e2e

KEY = "a-key-that-is-long-enough-for-bacalhau"
PASSWORD = "a-password-that-is-long-enough"


@pytest.fixture(scope="module")
def guarded(plane: ControlPlane) -> Iterator[BacalhauServer]:
    """A server that asks for credentials: an API key, or a user with a password."""
    everything = [{"Actions": ["*"]}]
    reading = [{"Actions": ["read:job", "read:node"]}]
    users = [
        {"Alias": "operator", "APIKey": KEY, "Capabilities": everything},
        {"Username": "ann", "Password": PASSWORD, "Capabilities": everything},
        {"Username": "reader", "Password": PASSWORD, "Capabilities": reading},
    ]
    options = BacalhauOptions(api_key=KEY, config={"API": {"Auth": {"Users": users}}})
    server = plane.start_bacalhau("guarded", options)
    yield server
    server.kill()


@asynccontextmanager
async def client(endpoint: Endpoint) -> AsyncIterator[BacalhauClient]:
    """A client of the endpoint."""
    async with BacalhauClient(Channel(endpoint)) as client:
        yield client


@pytest.mark.parametrize("auth", [Bearer(KEY), Basic("ann", PASSWORD)], ids=["key", "password"])
async def test_who_is_known_may_submit(guarded: BacalhauServer, auth: Bearer | Basic) -> None:
    async with client(Endpoint(url=guarded.url, auth=auth)) as bacalhau:
        job = a_job(f"by-{type(auth).__name__}")
        job_id = await bacalhau.submit(job)
        assert await bacalhau.get(job_id, namespace=job["Namespace"]) is not None


@pytest.mark.parametrize(
    "auth", [None, Bearer("wrong"), Basic("ann", "wrong")], ids=["none", "key", "password"]
)
async def test_who_is_unknown_is_told_where_to_look(
    guarded: BacalhauServer, auth: Bearer | Basic | None
) -> None:
    async with client(Endpoint(url=guarded.url, auth=auth)) as bacalhau:
        assert await bacalhau.alive()
        with pytest.raises(Unauthorized, match=r"spec\.auth"):
            await bacalhau.nodes()


async def test_who_may_only_read_cannot_submit(guarded: BacalhauServer) -> None:
    async with client(Endpoint(url=guarded.url, auth=Basic("reader", PASSWORD))) as bacalhau:
        assert await bacalhau.nodes()
        with pytest.raises(Forbidden, match="write:job"):
            await bacalhau.submit(a_job("by-reader"))


async def test_a_certificate_is_checked_against_the_authority(plane: ControlPlane) -> None:
    certificate = plane.issue_certificate("guarded-by-tls")
    server = plane.start_bacalhau("tls", BacalhauOptions(certificate=certificate, compute=False))
    authority = certificate.authority.read_text()
    async with client(Endpoint(url=server.url, ca=authority)) as bacalhau:
        assert (await bacalhau.version()).startswith("v1.")
    async with client(Endpoint(url=server.url, insecure=True)) as bacalhau:
        assert (await bacalhau.version()).startswith("v1.")
    async with client(Endpoint(url=server.url)) as bacalhau:
        with pytest.raises(Unreachable, match="certificate"):
            await bacalhau.version()
