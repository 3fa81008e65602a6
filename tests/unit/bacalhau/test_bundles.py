"""The results of a fan-out are mounted as one directory, which costs little however many jobs read it."""

import asyncio
import base64
from typing import Any

import pytest

from controller.bacalhau import cids
from controller.bacalhau.errors import Transient
from controller.bacalhau.ipfs import MAX_AT_ONCE, IpfsApi
from controller.bacalhau.submission import prepare
from tests.support.bacalhau_jobs import a_job
from tests.support.fake_kubo import DIRECTORY, FakeKubo

pytestmark = pytest.mark.looptime

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
OTHER = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
S3 = {"Type": "s3", "Params": {"Bucket": "results", "Key": "w/1"}}


def on_ipfs(cid: str) -> dict[str, Any]:
    return {"Type": "ipfs", "Params": {"CID": cid}}


def a_cid(number: int) -> str:
    """The CID of a raw block of its own."""
    binary = b"\x01\x55\x12\x20" + number.to_bytes(32, "big")
    return "b" + base64.b32encode(binary).decode().lower().rstrip("=")


def a_reader(**sources: Any) -> dict[str, Any]:
    """A job that mounts these sources below /inputs/w, and one result beside it."""
    job = a_job()
    job["Tasks"][0]["InputSources"] = [
        {"Source": on_ipfs(OTHER), "Target": "/inputs/other"},
        *({"Source": source, "Target": f"/inputs/w/{name}"} for name, source in sources.items()),
    ]
    return job


async def mounts(job: dict[str, Any], ipfs: IpfsApi) -> dict[str, str]:
    """What a job mounts in the end, by where it sees it."""
    prepared = await prepare(job, ipfs=ipfs, bundles=["/inputs/w"])
    found = {}
    for entry in prepared["Tasks"][0]["InputSources"]:
        params = entry["Source"]["Params"]
        found[entry["Target"]] = cids.canonical(params["CID"]) if "CID" in params else params["Key"]
    return found


async def test_several_results_are_one_mount() -> None:
    kubo = FakeKubo({})
    job = a_reader(**{"10": on_ipfs(OTHER), "9": on_ipfs(CID)})
    assert await mounts(job, IpfsApi(kubo.channel())) == {"/inputs/other": OTHER, "/inputs/w": DIRECTORY}
    (made,) = kubo.made
    assert [(link["Name"], link["Hash"]["/"]) for link in made["Links"]] == [("10", OTHER), ("9", CID)]


@pytest.mark.parametrize("sources", [{"0": on_ipfs(CID)}, {"0": on_ipfs(CID), "1": S3}], ids=["one", "S3"])
async def test_other_results_are_mounted_each_for_itself(sources: dict[str, Any]) -> None:
    kubo = FakeKubo({})
    found = await mounts(a_reader(**sources), IpfsApi(kubo.channel()))
    assert found.keys() == {"/inputs/other", *(f"/inputs/w/{name}" for name in sources)}
    assert kubo.made == []


async def test_a_result_s_size_is_asked_for_once() -> None:
    kubo = FakeKubo({})
    ipfs = IpfsApi(kubo.channel())
    for _ in range(3):
        await mounts(a_reader(**{"0": on_ipfs(CID), "1": on_ipfs(CID), "2": on_ipfs(OTHER)}), ipfs)
    assert sorted(kubo.requests) == sorted([f"/ipfs/{CID}", f"/ipfs/{OTHER}", *["dag/put"] * 3])


async def test_nothing_more_is_asked_for_once_a_result_could_not_be_read() -> None:
    kubo = FakeKubo({})
    kubo.trouble = "block was not found locally (offline)"
    many = {str(number): on_ipfs(a_cid(number)) for number in range(100)}
    with pytest.raises(Transient, match="not found locally"):
        await mounts(a_reader(**many), IpfsApi(kubo.channel()))
    asked = len(kubo.requests)
    await asyncio.sleep(1)
    assert len(kubo.requests) == asked <= 2 * MAX_AT_ONCE
