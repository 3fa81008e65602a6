"""Graphs of every shape run in order, and each node reads what the nodes before it wrote."""

from __future__ import annotations

import pytest

from controller.api.status import NodePhase
from dev.plane import ControlPlane
from tests.support.dags import Edges, heir, heirs, legacy, manifest, step
from tests.support.workspace import Workspace, attempts, cid, in_phase, status

pytestmark = pytest.mark.e2e

WIDE = [f"w{number}" for number in range(12)]
LONG = [f"n{number:02}" for number in range(60)]


@pytest.mark.parametrize(
    "edges",
    [
        pytest.param({"a": [], "b": ["a"], "c": ["b"]}, id="chain"),
        pytest.param({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}, id="diamond"),
        pytest.param(
            {"split": []} | {name: ["split"] for name in WIDE} | {"join": WIDE}, id="fan-out and fan-in"
        ),
        pytest.param({"left": [], "right": [], "both": ["left", "right"]}, id="two roots"),
        pytest.param(
            {name: LONG[max(number - 1, 0) : number] for number, name in enumerate(LONG)},
            id="chain of 60",
        ),
    ],
)
async def test_each_node_reads_what_the_nodes_before_it_wrote(workspace: Workspace, edges: Edges) -> None:
    workspace.apply(manifest("graph", *heirs(edges)))

    dag = await workspace.succeeded("graph")

    last = list(edges)[-1]
    assert files(workspace.plane, cid(dag)) == {name: name.encode() for name in legacy(last, edges)}
    assert sorted(in_phase(dag, NodePhase.SUCCEEDED)) == sorted(edges)
    assert status(dag).progress == f"{len(edges)}/{len(edges)}"
    assert attempts(workspace.jobs(dag)) == [(name, 1) for name in sorted(edges)]
    nodes = status(dag).nodes
    assert all(
        str(nodes[producer].finished_at) <= str(nodes[name].started_at)
        for name, producers in edges.items()
        for producer in producers
    )


async def test_a_value_that_one_node_prints_is_an_argument_of_the_next(workspace: Workspace) -> None:
    ask = step("ask", "stdout", "forty-two")
    answer = step("answer", "write", "/outputs/answer", "${{ nodes.ask.stdout }}")
    workspace.apply(manifest("values", ask, answer))

    dag = await workspace.succeeded("values")

    assert workspace.plane.ipfs.cat(f"{cid(dag)}/outputs/answer") == b"forty-two"


async def test_parameters_reach_the_jobs(workspace: Workspace) -> None:
    greet = step(
        "greet", "write", "/outputs/greeting", "Hello, ${{ params.whom }}! You are ${{ params.age }}."
    )
    parameters = [{"name": "whom"}, {"name": "age", "type": "integer", "default": 7}]
    workspace.apply(manifest("greeting", greet, parameters=parameters, arguments={"whom": "Ångström"}))

    dag = await workspace.succeeded("greeting")

    greeting = workspace.plane.ipfs.cat(f"{cid(dag)}/outputs/greeting").decode()
    assert greeting == "Hello, Ångström! You are 7."


async def test_every_output_that_is_asked_for_is_reported(workspace: Workspace) -> None:
    outputs = [{"name": "first", "from": "a"}, {"name": "second", "from": "b"}]
    workspace.apply(manifest("outputs", heir("a", {"a": []}), heir("b", {"b": []}), outputs=outputs))

    dag = await workspace.succeeded("outputs")

    assert files(workspace.plane, cid(dag, "first")) == {"a": b"a"}
    assert files(workspace.plane, cid(dag, "second")) == {"b": b"b"}


def files(plane: ControlPlane, cid: str) -> dict[str, bytes]:
    """The files that a node wrote, by name."""
    result = plane.ipfs.read_directory(cid)
    return {
        path.removeprefix("outputs/"): data for path, data in result.items() if path.startswith("outputs/")
    }
