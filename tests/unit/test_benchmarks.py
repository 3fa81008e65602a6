"""The engine's benchmark plays every graph to its end; what it measures is for people to judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import engine, graphs
from controller.api.dag import DAGSpec
from controller.engine import Graph, InvalidDAG

SMALL = ["--scale", "0.03", "--repeat", "1"]


def test_every_graph_is_validated_and_those_that_are_valid_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.main([*SMALL, "-o", "json", "--workflows", str(tmp_path / "absent")])

    printed = capsys.readouterr()
    costs = {cost["graph"]: cost for cost in json.loads(printed.out)}
    assert len(costs) == len(list(engine.cases(1)))
    assert all(cost["validate_ms"] > 0 for cost in costs.values())
    refused = {name for name, cost in costs.items() if cost["refused"]}
    assert refused == {"dense, with a cycle", "30 unknown names"}
    assert all(costs[name]["run_ms"] > 0 for name in costs.keys() - refused)
    assert "the nodes form a cycle" in costs["dense, with a cycle"]["refused"]
    assert "there is no folder" in printed.err


def test_people_get_a_table_with_the_workflows_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [{"id": "first", "parents": []}, {"id": "second", "parents": ["first"]}]
    (tmp_path / "pair.dag.json").write_text(json.dumps({"tasks": tasks}))

    engine.main([*SMALL, "--workflows", str(tmp_path)])

    printed = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80
    assert any(line.split()[:3] == ["pair", "2", "1"] for line in printed.splitlines())


def test_the_dense_graph_has_the_size_that_was_reported() -> None:
    graph = Graph.compile(DAGSpec.model_validate(graphs.dense(5, 101)))
    assert len(graph.nodes) == 505
    assert sum(len(node.dependencies) for node in graph.nodes) == 25_250
    with pytest.raises(InvalidDAG, match="cycle"):
        Graph.compile(DAGSpec.model_validate(graphs.dense(5, 101, cyclic=True)))
