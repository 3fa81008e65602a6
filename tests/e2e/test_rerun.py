"""Going on with what went well: a run that is opened again, and a DAG that begins with the results of another one.

The operator is killed in the middle of either. What counts at the end is Bacalhau's own list of jobs.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.api.bacalhau import JobState
from controller.api.dag import BacalhauDAG
from controller.api.status import NodePhase, RunPhase
from controller.engine.identity import NODE_LABEL
from dev.plane import ControlPlane
from dev.servers.controller import Controller
from tests.support import wasm
from tests.support.controller import running_controller
from tests.support.dags import Edges, Manifest, job_step, legacy, manifest, step
from tests.support.workspace import Workspace, attempts, cid, in_phase, phases, status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

LAYERS, WIDTH = 10, 5
WITHIN = 200.0
"""Seconds that fifty jobs may take on a machine that does other things, too."""

_numbers = itertools.count(1)


@pytest.fixture
def operator(own_plane: ControlPlane, tmp_path: Path) -> Iterator[Controller]:
    """An operator that may be killed, and started again without waiting for a Lease."""
    with running_controller(own_plane, tmp_path, lease_enabled="false") as operator:
        yield operator


@pytest.fixture
def workspace(own_plane: ControlPlane, operator: Controller) -> Workspace:
    """A namespace of the test's own on the plane of that operator."""
    assert operator.running
    workspace = Workspace(own_plane, f"rerun-{next(_numbers)}")
    workspace.kubectl("create", "namespace", workspace.namespace)
    workspace.connect()
    return workspace


async def restart(operator: Controller) -> None:
    """Have the operator die without a word, and another one take over."""
    operator.kill()
    await asyncio.to_thread(operator.start)


# A run that is opened again


def layered() -> Edges:
    """Fifty nodes in ten layers; each reads its neighbours in the layer before."""
    return {
        f"n{layer}-{column}": [f"n{layer - 1}-{near}" for near in range(max(column - 1, 0), column + 1)]
        if layer
        else []
        for layer, column in itertools.product(range(LAYERS), range(WIDTH))
    }


def descendants(names: set[str], edges: Edges) -> set[str]:
    """The nodes that have one of these among their ancestors."""
    return {name for name in edges if names & (legacy(name, edges) - {name})}


def guarded(plane: ControlPlane, name: str, bucket: str, edges: Edges) -> Manifest:
    """A node that fails until there is an object `go` in its bucket."""
    plane.s3.create_bucket(bucket)
    plane.s3.put(bucket, "signals/wait", b"")
    params = {"Bucket": bucket, "Key": "signals/*", "Endpoint": plane.s3.endpoint, "Region": plane.s3.region}
    signals = {"Source": {"Type": "s3", "Params": params}, "Target": "/signals"}
    sources = [wasm.inline_source(wasm.testtool()), signals]
    return job_step(name, "copy", "/signals/go", f"/outputs/{name}", inputs=edges[name], InputSources=sources)


def work(name: str, edges: Edges) -> Manifest:
    """A node that takes a moment and publishes its name."""
    return step(name, "sleep", "200", "write", f"/outputs/{name}", name, inputs=edges[name])


async def test_of_fifty_nodes_only_two_and_what_depends_on_them_run_again(
    workspace: Workspace, operator: Controller
) -> None:
    plane, edges = workspace.plane, layered()
    failing = {"n4-3", "n6-1"}
    after = descendants(failing, edges)
    nodes = [
        guarded(plane, name, f"{workspace.namespace}-{name}", edges) if name in failing else work(name, edges)
        for name in edges
    ]
    workspace.apply(manifest("fifty", *nodes, failurePolicy="RunAll"))
    first = await workspace.ended("fifty", within=WITHIN)
    assert set(in_phase(first, NodePhase.FAILED)) == failing
    assert set(in_phase(first, NodePhase.OMITTED)) == after
    before = {job.id for job in workspace.jobs(first)}

    for name in failing:
        plane.s3.put(f"{workspace.namespace}-{name}", "signals/go", b"now")
    await workspace.patch("fifty", retry={"id": "the signals are there"})
    done = len(edges) - len(failing) - len(after)
    middle = await workspace.until("fifty", lambda dag: len(in_phase(dag, NodePhase.SUCCEEDED)) >= done + 4)
    assert status(middle).phase is RunPhase.RUNNING
    await restart(operator)
    again = await workspace.succeeded("fifty", within=WITHIN)

    jobs = workspace.jobs(again)
    assert attempts(jobs) == sorted([(name, 1) for name in edges] + [(name, 2) for name in failing])
    assert {job.meta[NODE_LABEL] for job in jobs if job.id not in before} == failing | after
    assert {(job.version, job.state) for job in jobs} == {(1, JobState.COMPLETED)}
    kept = edges.keys() - failing - after
    assert results(again, kept) == results(first, kept)
    assert status(again).progress == "50/50"


def results(dag: BacalhauDAG, names: Iterable[str]) -> dict[str, Any]:
    """The job of each node, when it ended, and what it published."""
    nodes = {name: status(dag).nodes[name] for name in names}
    return {name: (node.job_id, node.finished_at, node.outputs) for name, node in nodes.items()}


# A DAG that begins with the results of another one


def measured(name: str, *, factor: str, **spec: Any) -> Manifest:
    """Read and count → scale → report, and a look beside them; scale fails without a factor."""
    scale = ("write", "/outputs/factor", factor) if factor else ("stderr", "no factor", "exit", "4")
    report = [
        word
        for item in ("read", "scale")
        for word in (
            "copy",
            f"/inputs/{item}/outputs/{'data' if item == 'read' else 'factor'}",
            f"/outputs/{item}",
        )
    ]
    return manifest(
        name,
        step("read", "write", "/outputs/data", "1 2 3"),
        step("count", "stdout", "three", "exit", "0", inputs=["read"]),
        step("look", "exit", "0", inputs=["read"]),
        step("scale", *scale, inputs=["count"]),
        step(
            "report",
            *report,
            "write",
            "/outputs/count",
            "${{ nodes.count.stdout.trim() }}",
            inputs=["read", "scale"],
        ),
        failurePolicy="RunAll",
        **spec,
    )


async def test_a_corrected_dag_takes_over_what_had_succeeded(
    workspace: Workspace, operator: Controller
) -> None:
    workspace.apply(measured("monday", factor=""))
    monday = await workspace.ended("monday")
    assert status(monday).phase is RunPhase.FAILED
    assert set(in_phase(monday, NodePhase.SUCCEEDED)) == {"read", "count", "look"}

    workspace.apply(measured("tuesday", factor="7", reuseFrom={"name": "monday"}))
    await workspace.until("tuesday", lambda dag: status(dag).start_time is not None)
    workspace.kubectl("delete", "bdag", "monday")
    await restart(operator)
    tuesday = await workspace.succeeded("tuesday")

    kept = {"read", "count", "look"}
    assert results(tuesday, kept) == results(monday, kept)
    assert {status(tuesday).nodes[name].reason for name in kept} == {"Reused"}
    assert attempts(workspace.jobs(tuesday)) == [("report", 1), ("scale", 1)]
    published = workspace.plane.ipfs.read_directory(f"{cid(tuesday)}/outputs")
    assert published == {"read": b"1 2 3", "scale": b"7", "count": b"three"}
    assert await workspace.event("ResultsTakenOver", about="tuesday") == (
        'Took over 3 of 5 nodes from DAG "monday".'
    )


async def test_a_chain_of_dags_computes_nothing_twice(workspace: Workspace) -> None:
    workspace.apply(measured("first", factor="7"))
    first = await workspace.succeeded("first")
    workspace.apply(measured("second", factor="8", reuseFrom={"name": "first"}))
    second = await workspace.succeeded("second")
    workspace.kubectl("delete", "bdag", "first")
    workspace.apply(measured("third", factor="8", reuseFrom={"name": "second"}))
    third = await workspace.succeeded("third")

    assert attempts(workspace.jobs(second)) == [("report", 1), ("scale", 1)]
    assert workspace.jobs(third) == []
    assert set(phases(third).values()) == {NodePhase.SUCCEEDED}
    assert results(third, ["read", "count", "look"]) == results(first, ["read", "count", "look"])
    assert cid(third) == cid(second) != cid(first)


async def test_an_earlier_dag_that_does_not_exist_is_waited_for(workspace: Workspace) -> None:
    workspace.apply(measured("heir", factor="7", reuseFrom={"name": "nobody"}))
    message = await workspace.hindered("heir", "EarlierDAGNotFound")
    assert message == (
        f'There is no BacalhauDAG "nobody" in namespace "{workspace.namespace}" whose results could be taken over; '
        "create it, or remove spec.reuseFrom."
    )
    await workspace.patch("heir", reuseFrom=None)
    await workspace.succeeded("heir")


# Fan-outs


async def test_of_a_fan_out_only_the_items_that_failed_run_again(workspace: Workspace) -> None:
    plane, bucket = workspace.plane, f"{workspace.namespace}-items"
    words = ("copy", "${{ item }}", "/outputs/part")
    node = guarded(plane, "each", bucket, {"each": []}) | {
        "forEach": {"items": ["/signals/wait", "/signals/go"]}
    }
    node["job"]["Tasks"][0]["Engine"]["Params"]["Parameters"] = list(words)
    workspace.apply(manifest("items", node, step("all", "exit", "0", inputs=["each"])))
    first = await workspace.ended("items")
    assert phases(first)["each[0]"] is NodePhase.SUCCEEDED

    plane.s3.put(bucket, "signals/go", b"now")
    workspace.apply(
        manifest("heirs", node, step("all", "exit", "0", inputs=["each"]), reuseFrom={"name": "items"})
    )
    heirs = await workspace.succeeded("heirs")
    await workspace.patch("items", retry={"id": "again"})
    await workspace.until("items", lambda dag: status(dag).phase is RunPhase.SUCCEEDED)
    again = await workspace.succeeded("items")

    assert attempts(workspace.jobs(again)) == [("all", 1), ("each[0]", 1), ("each[1]", 1), ("each[1]", 2)]
    assert attempts(workspace.jobs(heirs)) == [("all", 1), ("each[1]", 1)]
    assert results(heirs, ["each[0]"]) == results(again, ["each[0]"]) == results(first, ["each[0]"])
