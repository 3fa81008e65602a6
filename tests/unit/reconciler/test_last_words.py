"""What a failed program printed last is read from its published result, and the beginning does where it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from controller.api.bacalhau import JobSighting
from controller.bacalhau.http import Channel, Endpoint
from controller.bacalhau.ipfs import IpfsApi
from controller.reconciler.last_words import TAIL_BYTES, with_last_words
from tests.support import builders

STDERR = "loading\n" + "x" * TAIL_BYTES + "\nno such column: price\n"


def ipfs(answer: Callable[[httpx.Request], httpx.Response]) -> IpfsApi:
    """An IPFS node that answers so."""
    endpoint = Endpoint(url="http://kubo.test:5001")
    return IpfsApi(Channel(endpoint, name="IPFS node", transport=httpx.MockTransport(answer)))


def kubo(request: httpx.Request) -> httpx.Response:
    """What Kubo says of the result QmResult."""
    params = request.url.params
    if request.url.path == "/api/v0/files/stat" and params["arg"] == "/ipfs/QmResult/stderr":
        return httpx.Response(200, json={"Size": len(STDERR)})
    if request.url.path == "/api/v0/cat" and params["arg"] == "QmResult/stderr":
        start = int(params["offset"])
        return httpx.Response(200, text=STDERR[start : start + int(params["length"])])
    return httpx.Response(500, json={"Message": "no link named that"})


def broken(_: httpx.Request) -> httpx.Response:
    """A node in trouble."""
    return httpx.Response(500, json={"Message": "out of order"})


def stderr(sighting: JobSighting) -> str:
    (execution,) = sighting.job.executions or ()
    assert execution.run_output
    return execution.run_output.stderr


async def test_the_end_of_what_was_printed_replaces_the_beginning() -> None:
    failed = builders.completed(7, stderr="loading")
    explained = await with_last_words(failed, ipfs(kubo))
    assert stderr(explained) == STDERR[-TAIL_BYTES:]
    assert explained.job.id == failed.job.id


@pytest.mark.parametrize(
    ("sighting", "node"),
    [
        pytest.param(builders.completed(7, stderr="loading"), broken, id="a node in trouble"),
        pytest.param(
            builders.completed(7, stderr="loading", cid="QmGone"), kubo, id="a result that is not there"
        ),
        pytest.param(builders.completed(7, stderr="loading", cid=None), kubo, id="nothing published"),
        pytest.param(builders.completed(0, stderr="loading"), kubo, id="a success"),
    ],
)
async def test_otherwise_the_beginning_has_to_do(
    sighting: JobSighting, node: Callable[[httpx.Request], httpx.Response]
) -> None:
    assert stderr(await with_last_words(sighting, ipfs(node))) == "loading"


@pytest.mark.looptime
async def test_a_node_that_does_not_answer_is_not_waited_for() -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits so long")

    endpoint = Endpoint(url="http://kubo.test:5001")
    node = IpfsApi(Channel(endpoint, name="IPFS node", transport=httpx.MockTransport(silent), timeout=3600))
    assert stderr(await with_last_words(builders.completed(7, stderr="loading"), node)) == "loading"


async def test_without_an_ipfs_node_nothing_is_asked() -> None:
    failed = builders.completed(7, stderr="loading")
    assert await with_last_words(failed, None) is failed
