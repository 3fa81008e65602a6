"""Results travel from node to node through each of Bacalhau's publishers, whole or in part."""

from __future__ import annotations

import pytest

from controller.api.status import NodePhase
from tests.support.dags import job_step, manifest, s3, step
from tests.support.workspace import Workspace, cid, status

pytestmark = pytest.mark.e2e


WRITE = ("write", "/outputs/greeting", "hello")


async def test_a_result_on_ipfs_is_mounted_whole_or_in_part(workspace: Workspace) -> None:
    part = {"from": "write", "output": "outputs", "target": "/part"}
    both = step(
        "read",
        *(
            "copy",
            "/inputs/write/outputs/greeting",
            "/outputs/whole",
            "copy",
            "/part/greeting",
            "/outputs/part",
        ),
        inputs=["write", part],
    )
    workspace.apply(manifest("ipfs", step("write", *WRITE), both))

    dag = await workspace.succeeded("ipfs")

    result = workspace.plane.ipfs.read_directory(cid(dag))
    assert result["outputs/whole"] == result["outputs/part"] == b"hello"
    assert status(dag).outputs["result"].uri == f"ipfs://{cid(dag)}"


async def test_a_result_in_s3_is_mounted_whole_or_in_part(workspace: Workspace) -> None:
    publisher = s3(workspace.plane, "plain-results")
    part = {"from": "write", "output": "outputs", "target": "/part"}
    both = job_step(
        "read",
        *(
            "copy",
            "/inputs/write/outputs/greeting",
            "/outputs/whole",
            "copy",
            "/part/greeting",
            "/outputs/part",
        ),
        inputs=["write", part],
        publisher=publisher,
    )
    workspace.apply(manifest("s3", job_step("write", *WRITE, publisher=publisher), both))

    dag = await workspace.succeeded("s3")

    result = status(dag).outputs["result"]
    assert result.cid is None
    assert result.endpoint == workspace.plane.s3.endpoint
    prefix = result.uri.removeprefix("s3://plain-results/")
    assert workspace.plane.s3.get("plain-results", f"{prefix}outputs/whole") == b"hello"
    assert workspace.plane.s3.get("plain-results", f"{prefix}outputs/part") == b"hello"


async def test_a_result_of_the_local_publisher_is_mounted_as_an_archive(workspace: Workspace) -> None:
    write = job_step("write", *WRITE, publisher={"Type": "local"})
    archive = "${{ nodes.write.outputs.uri.split('/')[3] }}"
    read = step("read", "copy", f"/inputs/write/{archive}", "/outputs/archive.tar.gz", inputs=["write"])
    workspace.apply(manifest("local", write, read))

    dag = await workspace.succeeded("local")

    archived = workspace.plane.ipfs.cat(f"{cid(dag)}/outputs/archive.tar.gz")
    assert archived.startswith(b"\x1f\x8b")
    assert status(dag).nodes["write"].outputs is not None


async def test_a_part_of_an_archive_is_refused_with_the_reason(workspace: Workspace) -> None:
    write = job_step("write", *WRITE, publisher={"Type": "local"})
    read = step("read", "exit", "0", inputs=[{"from": "write", "output": "outputs"}])
    workspace.apply(manifest("part-of-local", write, read))

    dag = await workspace.ended("part-of-local")

    node = status(dag).nodes["read"]
    assert node.phase is NodePhase.ERROR
    assert node.message is not None
    assert "spec.nodes[read].inputs[0].output" in node.message
    assert '"outputs" cannot be mounted alone' in node.message
    assert "publish to ipfs or s3" in node.message


async def test_an_unpublished_result_cannot_be_mounted(workspace: Workspace) -> None:
    quiet = job_step("quiet", "stdout", "nobody keeps this", publisher=None)
    workspace.apply(manifest("unpublished", quiet, step("read", "exit", "0", inputs=["quiet"])))

    dag = await workspace.ended("unpublished")

    node = status(dag).nodes["read"]
    assert node.phase is NodePhase.ERROR
    assert node.message is not None
    assert 'node "quiet" published nothing' in node.message
