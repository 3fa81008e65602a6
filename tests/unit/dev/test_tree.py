"""The layout of a graph as a tree."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from controller.api.dag import DAGSpec
from dev import tree
from tests.support.builders import Json, dag, node


def graph(edges: Mapping[str, Sequence[str]]) -> DAGSpec:
    """A spec whose edges are inputs."""
    return dag(*(node(name, inputs=producers) for name, producers in edges.items()))


def lines(spec: DAGSpec) -> list[str]:
    """The tree as text."""
    return [row.guide + row.name + row.joins for row in tree.layout(spec).rows]


def test_a_join_hangs_beside_the_branches_it_joins() -> None:
    edges = {"split": [], "a": ["split"], "b": ["split"], "reduce": ["a", "b"], "report": ["reduce"]}
    assert lines(graph(edges)) == [
        "└─ split",
        "   ├─ a",
        "   ├─ b",
        "   └─ reduce  ← a, b",
        "      └─ report",
    ]


def test_a_join_of_many_nodes_names_the_first_and_the_last() -> None:
    branches = [f"n{number}" for number in range(9)]
    *_, last = lines(graph({**{name: [] for name in branches}, "join": branches}))
    assert last.endswith("  ← n0 … n8 (9)")


@pytest.mark.parametrize(
    "after",
    [
        pytest.param({"inputs": ["a"]}, id="inputs"),
        pytest.param({"after": ["a"]}, id="dependencies"),
        pytest.param({"depends": "a.Failed || a.Succeeded"}, id="depends"),
        pytest.param({"when": "nodes.a.exitCode == 0"}, id="when"),
        pytest.param({"reads": ["a"]}, id="an expression of its job"),
    ],
)
def test_a_node_hangs_below_what_it_waits_for_in_whatever_way(after: Json) -> None:
    assert lines(dag(node("a"), node("b", **after))) == ["└─ a", "   └─ b"]


def test_the_last_nodes_stand_apart_in_the_order_of_the_spec() -> None:
    last: list[Any] = [node("notify", reads=["a"]), node("clean")]
    laid = tree.layout(dag(node("a"), **{"finally": last}))
    assert [row.guide + row.name for row in laid.last] == ["├─ notify", "└─ clean"]
    assert [row.name for row in laid.nodes] == ["a"]


def test_only_what_the_targets_need_is_laid_out() -> None:
    spec = dag(node("a"), node("b", after=["a"]), node("c", after=["a"]), targets=["b"])
    assert lines(spec) == ["└─ a", "   └─ b"]


def test_a_graph_that_is_refused_is_a_list() -> None:
    assert lines(graph({"a": ["b"], "b": ["a"]})) == ["├─ a", "└─ b"]


@pytest.mark.parametrize(
    ("edges", "parents"),
    [
        pytest.param({"a": [], "b": []}, {"a": None, "b": None}, id="roots"),
        pytest.param(
            {"a": [], "b": [], "c": ["a", "b"]}, {"a": None, "b": None, "c": None}, id="join of roots"
        ),
        pytest.param({"c": ["b"], "b": ["a"], "a": []}, {"c": "b", "b": "a", "a": None}, id="any order"),
        pytest.param(
            {"a": [], "b": ["a"], "c": ["b"], "d": ["a"], "e": ["c", "d"]},
            {"a": None, "b": "a", "c": "b", "d": "a", "e": "a"},
            id="branches of different length",
        ),
        pytest.param({"a": [], "b": ["a"], "c": ["a", "b"]}, {"a": None, "b": "a", "c": "a"}, id="shortcut"),
    ],
)
def test_dominators(edges: dict[str, list[str]], parents: dict[str, str | None]) -> None:
    assert tree.dominators(edges) == parents


def test_every_node_is_shown_once_in_a_deep_and_wide_graph() -> None:
    layers = [[f"n{layer}-{place}" for place in range(5)] for layer in range(60)]
    edges = {name: layers[i - 1] if i else [] for i, layer in enumerate(layers) for name in layer}
    assert sorted(row.name for row in tree.layout(graph(edges)).nodes) == sorted(edges)
