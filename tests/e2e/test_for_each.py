"""Fan-outs and fan-ins on real servers: items from a published directory, from stdout and from parameters, and all results in one directory."""

from __future__ import annotations

import pytest

from controller.api.dag import BacalhauDAG
from controller.api.status import NodePhase, RunPhase
from controller.engine.identity import node_of
from dev.servers.controller import Controller
from tests.support import wasm
from tests.support.dags import job_step, manifest, s3, step
from tests.support.workspace import Workspace, attempts, cid, status

pytestmark = pytest.mark.e2e


def ends(dag: BacalhauDAG) -> dict[str, str]:
    """How each node, and each item, stands."""
    return {name: node.phase.value for name, node in status(dag).nodes.items()}


async def test_each_file_of_a_result_is_worked_on_and_all_results_come_together(workspace: Workspace) -> None:
    words = [
        "write",
        "/outputs/a.txt",
        "alpha",
        "write",
        "/outputs/b.txt",
        "beta",
        "write",
        "/outputs/c.txt",
        "gamma",
    ]
    gather = [part for n in range(3) for part in ("copy", f"/inputs/count/{n}/outputs/part", f"/outputs/{n}")]
    workspace.apply(
        manifest(
            "map-reduce",
            step("split", *words, "exit", "0"),
            step(
                "count",
                "copy",
                "/inputs/split/${{ item }}",
                "/outputs/part",
                "exit",
                "0",
                inputs=["split"],
                forEach={"items": "${{ nodes.split.outputs.files }}"},
            ),
            step("reduce", *gather, "exit", "0", inputs=["count"]),
        )
    )
    dag = await workspace.succeeded("map-reduce")

    assert ends(dag) == dict.fromkeys(
        ["split", "count", "count[0]", "count[1]", "count[2]", "reduce"], "Succeeded"
    )
    assert status(dag).progress == "5/5"
    assert workspace.plane.ipfs.read_directory(f"{cid(dag, 'result')}/outputs") == {
        "0": b"alpha",
        "1": b"beta",
        "2": b"gamma",
    }
    (reduce,) = (job for job in workspace.jobs(dag) if node_of(job.meta) == "reduce")
    assert {source["Target"] for source in reduce.tasks[0]["InputSources"]} == {"/tool.wasm", "/inputs/count"}


async def test_items_come_from_stdout_and_their_output_in_their_order(workspace: Workspace) -> None:
    workspace.apply(
        manifest(
            "order",
            step("list", "stdout", "[30, 10, 20]", "exit", "0"),
            step(
                "work",
                "sleep",
                "${{ string(item) }}",
                "stdout",
                "${{ index }}:${{ item }}",
                "exit",
                "0",
                forEach={"items": "${{ nodes.list.json }}", "parallelism": 2},
            ),
            step("sum", "stdout", "${{ nodes.work.items.map(i, i.stdout.trim()).join(' ') }}", "exit", "0"),
        )
    )
    dag = await workspace.succeeded("order")
    (job,) = (job for job in workspace.jobs(dag) if node_of(job.meta) == "sum")
    assert job.tasks[0]["Engine"]["Params"]["Parameters"] == ["stdout", "0:30 1:10 2:20", "exit", "0"]


async def test_some_items_may_fail(workspace: Workspace) -> None:
    workspace.apply(
        manifest(
            "most",
            step(
                "try",
                "write",
                "/outputs/x",
                "${{ string(item) }}",
                "exit",
                "${{ item == 1 ? '3' : '0' }}",
                forEach={"range": {"count": 3}, "minSucceeded": 2},
            ),
            step(
                "rest",
                "copy",
                "/inputs/try/0/outputs/x",
                "/outputs/0",
                "copy",
                "/inputs/try/2/outputs/x",
                "/outputs/2",
                "exit",
                "0",
                inputs=["try"],
            ),
        )
    )
    dag = await workspace.succeeded("most")
    assert ends(dag) == {
        "try": "Succeeded",
        "try[0]": "Succeeded",
        "try[1]": "Failed",
        "try[2]": "Succeeded",
        "rest": "Succeeded",
    }
    assert status(dag).nodes["try"].message == "2 of 3 items succeeded"


async def test_a_fan_out_goes_on_after_the_operator_was_killed(
    workspace: Workspace, controller: Controller
) -> None:
    workspace.apply(
        manifest(
            "killed",
            step("split", "write", "/outputs/a", "1", "write", "/outputs/b", "2", "exit", "0"),
            step(
                "transform",
                "copy",
                "/inputs/split/${{ item }}",
                "/outputs/x",
                "sleep",
                "1500",
                "exit",
                "0",
                inputs=["split"],
                forEach={"items": "${{ nodes.split.outputs.files }}", "parallelism": 1},
            ),
            step(
                "all",
                "copy",
                "/inputs/transform/1/outputs/x",
                "/outputs/x",
                "exit",
                "0",
                inputs=["transform"],
            ),
        )
    )
    await workspace.until("killed", lambda dag: "transform[0]" in status(dag).nodes)
    controller.kill()
    controller.start()
    dag = await workspace.succeeded("killed")
    assert status(dag).phase is RunPhase.SUCCEEDED
    assert attempts(workspace.jobs(dag)) == [
        ("all", 1),
        ("split", 1),
        ("transform[0]", 1),
        ("transform[1]", 1),
    ]


def connect_without_ipfs(workspace: Workspace) -> None:
    """Make the connection `plain`, which knows Bacalhau alone."""
    spec = {"endpoint": workspace.plane.bacalhau.url}
    workspace.apply(
        {
            "apiVersion": "bacalhau.org/v1alpha1",
            "kind": "BacalhauConnection",
            "metadata": {"name": "plain"},
            "spec": spec,
        }
    )


GATHER = ("copy", "/inputs/make/0/outputs/x", "/outputs/0", "copy", "/inputs/make/1/outputs/x", "/outputs/1")
MAKE = ("write", "/outputs/x", "number ${{ index }}")


async def test_results_in_s3_come_together(workspace: Workspace) -> None:
    publisher = s3(workspace.plane, "fan-in")
    make = job_step("make", *MAKE, publisher=publisher) | {"forEach": {"range": {"count": 2}}}
    workspace.apply(manifest("from-s3", make, step("gather", *GATHER, inputs=["make"])))

    dag = await workspace.succeeded("from-s3")

    result = workspace.plane.ipfs.read_directory(f"{cid(dag, 'result')}/outputs")
    assert result == {"0": b"number 0", "1": b"number 1"}


async def test_results_come_together_one_by_one_without_an_ipfs_api(workspace: Workspace) -> None:
    connect_without_ipfs(workspace)
    make = step("make", *MAKE, forEach={"range": {"count": 2}})
    gather = step("gather", *GATHER, inputs=["make"])
    workspace.apply(manifest("one-by-one", make, gather, connectionRef={"name": "plain"}))

    dag = await workspace.succeeded("one-by-one")

    result = workspace.plane.ipfs.read_directory(f"{cid(dag, 'result')}/outputs")
    assert result == {"0": b"number 0", "1": b"number 1"}


async def test_the_files_of_a_result_are_unknown_without_an_ipfs_api(workspace: Workspace) -> None:
    connect_without_ipfs(workspace)
    work = step("work", "exit", "0", forEach={"items": "${{ nodes.split.outputs.files }}"})
    workspace.apply(
        manifest("unknown", step("split", *MAKE[:2], "1"), work, outputs=[], connectionRef={"name": "plain"})
    )
    dag = await workspace.ended("unknown")

    assert status(dag).nodes["work"].phase is NodePhase.ERROR
    message = status(dag).nodes["work"].message or ""
    assert "spec.nodes[work]: nodes.split.outputs.files" in message
    assert "Set spec.ipfs.apiURL of the BacalhauConnection" in message


async def test_only_the_items_that_failed_run_again(workspace: Workspace) -> None:
    """The second item reads an object that is not there before the run is asked to go on."""
    workspace.plane.s3.create_bucket("late-items")
    workspace.plane.s3.put("late-items", "0/x", b"zero")
    params = {"Bucket": "late-items", "Key": "${{ index }}/*", "Region": workspace.plane.s3.region}
    source = {"Type": "s3", "Params": params | {"Endpoint": workspace.plane.s3.endpoint}}
    work = job_step(
        "work",
        *("cat", "/late/x", "exit", "0"),
        InputSources=[wasm.inline_source(wasm.testtool()), {"Source": source, "Target": "/late"}],
    )
    workspace.apply(manifest("again", work | {"forEach": {"range": {"count": 2}}}, outputs=[]))
    dag = await workspace.ended("again")
    assert ends(dag) == {"work": "Failed", "work[0]": "Succeeded", "work[1]": "Failed"}

    workspace.plane.s3.put("late-items", "1/x", b"one")
    await workspace.patch("again", retry={"id": "again"})
    dag = await workspace.until("again", lambda dag: status(dag).phase is RunPhase.SUCCEEDED)
    assert attempts(workspace.jobs(dag)) == [("work[0]", 1), ("work[1]", 1), ("work[1]", 2)]
