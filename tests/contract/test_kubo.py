"""What the operator asks of an IPFS node: the node in memory and the real one give the same answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from controller.api.artifact import Artifact
from controller.bacalhau import cids
from controller.bacalhau.errors import InputUnresolved, Transient
from controller.bacalhau.http import Channel, Endpoint
from controller.bacalhau.ipfs import Entry, IpfsApi
from controller.bacalhau.listing import list_files
from tests.support.fake_kubo import FakeKubo

if TYPE_CHECKING:
    from dev.servers.kubo import Kubo

UNKNOWN = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
"""A CID of content that no node has."""


@dataclass(frozen=True)
class Node:
    """A node, as the operator asks it and as content is put there."""

    api: IpfsApi
    store: FakeKubo | Kubo


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.e2e)])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    """A node, either of the two."""
    if request.param == "fake":
        fake = FakeKubo()
        found = Node(IpfsApi(fake.channel()), fake)
    else:
        kubo = request.getfixturevalue("plane").ipfs
        found = Node(IpfsApi(Channel(Endpoint(url=kubo.api_url), name="IPFS node")), kubo)
    yield found
    await found.api.aclose()


FILES = {
    "outputs/a.txt": b"hello",
    "outputs/deep/b.txt": b"deep",
    "exitCode": b"0",
    "stdout": b"one\ntwo\nthree\n",
}


# Paths


async def test_paths_lead_to_files_and_directories(node: Node) -> None:
    root = node.store.add_directory(FILES)
    assert node.store.cat(await node.api.resolve(root, "outputs/a.txt")) == b"hello"
    assert node.store.cat(await node.api.resolve(root, "outputs/deep") + "/b.txt") == b"deep"
    assert node.store.cat(await node.api.resolve(cids.spell(root, "any"), "outputs/a.txt")) == b"hello"


@pytest.mark.parametrize("path", ["inputs", "outputs/b.txt", "outputs/a.txt/c"])
async def test_paths_that_lead_nowhere_are_told(node: Node, path: str) -> None:
    root = node.store.add_directory(FILES)
    with pytest.raises(InputUnresolved, match=f"no entry: {path}"):
        await node.api.resolve(root, path)
    with pytest.raises(InputUnresolved, match=f"no entry: {path}"):
        await node.api.list(f"{root}/{path}")


@pytest.mark.parametrize(("size", "end"), [(6, "three\n"), (100, "one\ntwo\nthree\n"), (1, "\n")])
async def test_a_file_is_read_from_its_end(node: Node, size: int, end: str) -> None:
    assert await node.api.tail(node.store.add_directory(FILES), "stdout", size=size) == end


# Lists


async def test_a_directory_is_listed(node: Node) -> None:
    root = node.store.add_directory(FILES)
    assert sorted(await node.api.list(root), key=lambda entry: entry.name) == [
        Entry("exitCode", is_directory=False),
        Entry("outputs", is_directory=True),
        Entry("stdout", is_directory=False),
    ]
    assert sorted(await node.api.list(f"{root}/outputs"), key=lambda entry: entry.name) == [
        Entry("a.txt", is_directory=False),
        Entry("deep", is_directory=True),
    ]


async def test_a_file_has_no_entries(node: Node) -> None:
    root = node.store.add_directory(FILES)
    assert await node.api.list(f"{root}/outputs/a.txt") == []


async def test_content_that_a_node_does_not_have_may_come_later(node: Node) -> None:
    for question in (node.api.list(UNKNOWN), node.api.bundle({"0": UNKNOWN, "1": UNKNOWN})):
        with pytest.raises(Transient):
            await question


async def test_the_files_of_a_result_are_what_lies_in_its_directories(node: Node) -> None:
    names = [f"outputs/part-{number}" for number in (10, 9, 1)]
    large = {"stdout": b"x" * 600_000}  # of which Kubo lists the parts
    more = {"more/z": b"z", "more-of-it/a": b"a"}
    root = node.store.add_directory(FILES | large | dict.fromkeys(names, b"x") | more)
    artifact = Artifact(uri=f"ipfs://{root}", cid=root)
    assert await list_files(artifact, node.api) == (
        "more-of-it/a",
        "more/z",
        "outputs/a.txt",
        "outputs/deep",
        "outputs/part-1",
        "outputs/part-10",
        "outputs/part-9",
    )


# Bundles


async def test_a_bundle_is_a_directory_of_what_is_there(node: Node) -> None:
    first, second = (node.store.add_directory({"outputs/part": content}) for content in (b"one", b"two"))
    file = node.store.add(b"three")
    cid = await node.api.bundle({"0": first, "1": second, "10": file})
    assert cids.canonical(cid) == cid
    assert node.store.cat(f"{cid}/0/outputs/part") == b"one"
    assert node.store.cat(f"{cid}/1/outputs/part") == b"two"
    assert node.store.cat(f"{cid}/10") == b"three"
    assert sorted(entry.name for entry in await node.api.list(cid)) == ["0", "1", "10"]


async def test_a_bundle_of_the_same_is_the_same(node: Node) -> None:
    entries = {str(number): node.store.add(f"file {number}".encode()) for number in range(12)}
    cid = await node.api.bundle(entries)
    assert await node.api.bundle(dict(reversed(entries.items()))) == cid
    assert await node.api.bundle(entries | {"12": node.store.add(b"one more")}) != cid


async def test_one_content_may_have_many_places_in_a_bundle(node: Node) -> None:
    file = node.store.add(b"same")
    cid = await node.api.bundle({str(number): file for number in range(200)})
    assert len(await node.api.list(cid)) == 200
    assert node.store.cat(f"{cid}/199") == b"same"


async def test_a_bundle_may_hold_bundles(node: Node) -> None:
    file = node.store.add(b"inside")
    inner = await node.api.bundle({"0": file, "1": file})
    outer = await node.api.bundle({"a": inner, "b": file})
    assert node.store.cat(f"{outer}/a/1") == b"inside"
