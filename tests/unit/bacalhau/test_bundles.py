"""The results of a fan-out as one directory, and what lies in a result."""

import asyncio
from typing import Any

import httpx
import pytest

from controller.api.artifact import Artifact
from controller.bacalhau.bundles import bundle
from controller.bacalhau.cids import canonical
from controller.bacalhau.errors import InputUnresolved, Refused, Transient
from controller.bacalhau.ipfs import MAX_AT_ONCE, IpfsApi
from controller.bacalhau.listing import list_files
from controller.bacalhau.submission import prepare
from tests.support.bacalhau_jobs import a_job
from tests.support.fake_kubo import FakeKubo

Json = dict[str, Any]

pytestmark = pytest.mark.looptime


def mount(cid: str, target: str) -> Json:
    return {"Source": {"Type": "ipfs", "Params": {"CID": cid}}, "Target": target}


def from_s3(target: str) -> Json:
    return {"Source": {"Type": "s3", "Params": {"Bucket": "b", "Key": "k/*"}}, "Target": target}


def results(kubo: FakeKubo, count: int) -> list[str]:
    """Results of so many items."""
    return [kubo.add_directory({"outputs/part": f"part {number}".encode()}) for number in range(count)]


async def test_what_lies_below_a_directory_becomes_one_mount() -> None:
    kubo = FakeKubo()
    cids = results(kubo, 3)
    own = [mount(cids[0], "/tool"), from_s3("/data")]
    inputs = [own[0], *(mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(cids)), own[1]]
    *others, made = await bundle(inputs, "/inputs/w", IpfsApi(kubo.channel()))
    assert others == own
    assert made["Target"] == "/inputs/w"
    for number in range(3):
        path = f"{made['Source']['Params']['CID']}/{number}/outputs/part"
        assert kubo.cat(path) == f"part {number}".encode()


async def test_a_bundle_is_kept_by_the_node() -> None:
    kubo = FakeKubo()
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 2))]
    (made,) = await bundle(inputs, "/inputs/w", IpfsApi(kubo.channel()))
    assert kubo.pinned == {made["Source"]["Params"]["CID"]}


def unbundled(kubo: FakeKubo) -> dict[str, list[Json]]:
    """Inputs of which none, or not all, can be entries of one directory."""
    one, two = results(kubo, 2)
    return {
        "none": [],
        "none below": [mount(one, "/inputs/a"), mount(two, "/inputs/b")],
        "one alone": [mount(one, "/inputs/w/0"), mount(two, "/inputs/b")],
        "the directory itself": [mount(one, "/inputs/w"), mount(two, "/inputs/w/0")],
        "a name that only begins alike": [mount(one, "/inputs/w2/0"), mount(two, "/inputs/w2/1")],
        "one from elsewhere": [mount(one, "/inputs/w/0"), mount(two, "/inputs/w/1"), from_s3("/inputs/w/2")],
        "all from elsewhere": [from_s3("/inputs/w/0"), from_s3("/inputs/w/1")],
        "one deeper": [mount(one, "/inputs/w/0"), mount(two, "/inputs/w/1"), mount(one, "/inputs/w/2/x")],
        "one without a source": [
            mount(one, "/inputs/w/0"),
            mount(two, "/inputs/w/1"),
            {"Target": "/inputs/w/2"},
        ],
    }


@pytest.mark.parametrize("case", unbundled(FakeKubo()))
async def test_what_cannot_be_one_directory_stays_as_it_is(case: str) -> None:
    kubo = FakeKubo()
    inputs = unbundled(kubo)[case]
    assert await bundle(inputs, "/inputs/w", IpfsApi(kubo.channel())) == inputs
    assert kubo.requests == []


# As a part of a submission


def a_reader(*inputs: Json) -> Json:
    document = a_job()
    document["Tasks"][0]["InputSources"] = list(inputs)
    return document


def mounted(document: Any) -> dict[str, str]:
    sources = document["Tasks"][0]["InputSources"]
    return {source["Target"]: source["Source"]["Params"].get("CID", "") for source in sources}


async def test_parts_of_results_are_bundled() -> None:
    kubo = FakeKubo()
    inputs = [mount(f"{cid}/outputs", f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 2))]
    job = await prepare(a_reader(*inputs), ipfs=IpfsApi(kubo.channel()), bundles=["/inputs/w"])
    (cid,) = mounted(job).values()
    assert [kubo.cat(f"{cid}/{number}/part") for number in (0, 1)] == [b"part 0", b"part 1"]


async def test_every_spelling_of_a_result_is_bundled() -> None:
    kubo = FakeKubo()
    one, two = results(kubo, 2)
    inputs = [mount(f"ipfs://{one.upper()}", "/inputs/w/0"), mount(f"/ipfs/{two}", "/inputs/w/1")]
    job = await prepare(a_reader(*inputs), ipfs=IpfsApi(kubo.channel()), bundles=["/inputs/w"])
    assert kubo.cat(f"{mounted(job)['/inputs/w']}/1/outputs/part") == b"part 1"


async def test_a_bundle_is_spelled_for_its_attempt_alone_and_the_same_each_time() -> None:
    kubo = FakeKubo()
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 2))]
    first, second = a_reader(*inputs), a_reader(*inputs) | {"Name": "another"}
    one, again, other = [
        mounted(await prepare(document, ipfs=IpfsApi(kubo.channel()), bundles=["/inputs/w"]))["/inputs/w"]
        for document in (first, first, second)
    ]
    assert one == again != other
    assert canonical(one) == canonical(other)


async def test_several_fan_outs_are_bundled_each_for_itself() -> None:
    kubo = FakeKubo()
    inputs = [
        mount(cid, f"/inputs/{name}/{number}")
        for name in ("w", "w2")
        for number, cid in enumerate(results(kubo, 2))
    ]
    bundles = ["/inputs/w", "/inputs/w2"]
    job = await prepare(a_reader(*inputs), ipfs=IpfsApi(kubo.channel()), bundles=bundles)
    assert sorted(mounted(job)) == bundles


async def test_a_thousand_results_are_one_mount() -> None:
    kubo = FakeKubo()
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 1000))]
    job = await prepare(a_reader(*inputs), ipfs=IpfsApi(kubo.channel()), bundles=["/inputs/w"])
    assert kubo.cat(f"{mounted(job)['/inputs/w']}/999/outputs/part") == b"part 999"


@pytest.mark.parametrize("bundles", [["/inputs/w"], []])
async def test_without_a_node_results_are_mounted_one_by_one(bundles: list[str]) -> None:
    kubo = FakeKubo()
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 2))]
    job = await prepare(a_reader(*inputs), ipfs=None, bundles=bundles)
    assert sorted(mounted(job)) == ["/inputs/w/0", "/inputs/w/1"]


async def test_only_fan_outs_are_bundled() -> None:
    kubo = FakeKubo()
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 2))]
    job = await prepare(a_reader(*inputs), ipfs=IpfsApi(kubo.channel()))
    assert sorted(mounted(job)) == ["/inputs/w/0", "/inputs/w/1"]


async def test_a_node_in_trouble_is_asked_again_later() -> None:
    kubo = FakeKubo()
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 2))]
    kubo.trouble = "context deadline exceeded"
    with pytest.raises(Transient, match="context deadline exceeded"):
        await prepare(a_reader(*inputs), ipfs=IpfsApi(kubo.channel()), bundles=["/inputs/w"])


async def test_what_is_not_kubo_makes_no_bundle() -> None:
    kubo = FakeKubo()
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 2))]
    kubo.stranger = True
    with pytest.raises(Refused, match=r"spec\.ipfs\.apiURL"):
        await prepare(a_reader(*inputs), ipfs=IpfsApi(kubo.channel()), bundles=["/inputs/w"])


async def test_a_result_s_size_is_asked_for_once() -> None:
    kubo = FakeKubo()
    one, two = results(kubo, 2)
    ipfs = IpfsApi(kubo.channel())
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate((one, one, two))]
    for _ in range(3):
        await prepare(a_reader(*inputs), ipfs=ipfs, bundles=["/inputs/w"])
    assert sorted(kubo.requests) == sorted([f"/ipfs/{one}", f"/ipfs/{two}", *["dag/put"] * 3])


async def test_nothing_more_is_asked_for_once_a_result_could_not_be_read() -> None:
    kubo = FakeKubo()
    inputs = [mount(cid, f"/inputs/w/{number}") for number, cid in enumerate(results(kubo, 100))]
    kubo.trouble = "block was not found locally (offline)"
    with pytest.raises(Transient, match="not found locally"):
        await prepare(a_reader(*inputs), ipfs=IpfsApi(kubo.channel()), bundles=["/inputs/w"])
    asked = len(kubo.requests)
    await asyncio.sleep(1)
    assert len(kubo.requests) == asked <= 2 * MAX_AT_ONCE


# Files


async def test_files_are_those_of_every_result_path() -> None:
    kubo = FakeKubo()
    files = {"stdout": b"", "exitCode": b"0", "b/2": b"", "b/10": b"", "a/deep/x": b"", "a/file": b""}
    root = kubo.add_directory(files)
    found = await list_files(Artifact(uri=f"ipfs://{root}", cid=root), IpfsApi(kubo.channel()))
    assert found == ("a/deep", "a/file", "b/10", "b/2")


async def test_a_result_without_result_paths_has_no_files() -> None:
    kubo = FakeKubo()
    root = kubo.add_directory({"stdout": b"", "stderr": b"", "exitCode": b"0"})
    assert await list_files(Artifact(uri=f"ipfs://{root}", cid=root), IpfsApi(kubo.channel())) == ()


@pytest.mark.parametrize("uri", ["s3://bucket/key/", "http://10.0.0.1:6001/x.tar.gz"])
async def test_only_results_on_ipfs_are_listed(uri: str) -> None:
    with pytest.raises(
        InputUnresolved, match=rf"files of {uri} cannot be listed\. Publish the result to ipfs"
    ):
        await list_files(Artifact(uri=uri), IpfsApi(FakeKubo().channel()))


async def test_nothing_is_listed_without_a_node() -> None:
    with pytest.raises(InputUnresolved, match=r"Set spec\.ipfs\.apiURL of the BacalhauConnection"):
        await list_files(Artifact(uri="ipfs://QmX", cid="QmX"), None)


async def test_files_can_be_listed_later_if_a_node_is_in_trouble() -> None:
    kubo = FakeKubo()
    root = kubo.add_directory({"outputs/x": b""})
    kubo.trouble = "out of order"
    with pytest.raises(Transient, match="out of order"):
        await list_files(Artifact(uri=f"ipfs://{root}", cid=root), IpfsApi(kubo.channel()))


@pytest.mark.parametrize("answer", [{}, {"Objects": []}, {"Objects": [{}]}, {"Objects": [{"Links": [{}]}]}])
async def test_an_answer_that_is_none_of_kubo_s_is_no_list(
    answer: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubo = FakeKubo()
    monkeypatch.setattr(kubo, "_reply", lambda *_: httpx.Response(200, json=answer))
    with pytest.raises(Refused, match="did not answer as Kubo's RPC API does"):
        await IpfsApi(kubo.channel()).list("QmX")
