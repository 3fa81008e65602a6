"""The layout of a graph as a tree.

A graph is not a tree, so each node hangs below its immediate dominator: the nearest node that every path to it passes. A join thus stands
beside the branches that it joins, with their names behind an arrow, and no node is shown twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from graphlib import TopologicalSorter

from controller.api.dag import DAGSpec
from controller.engine import Graph, InvalidDAG

MANY = 3
"""Up to so many nodes a join lists by name."""

Edges = Mapping[str, Sequence[str]]
"""The nodes that each node waits for."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the tree: the guide lines left of the name, those left of what is below, and the nodes it joins, if several."""

    guide: str
    below: str
    name: str
    joins: str


@dataclass(frozen=True, slots=True)
class Tree:
    """The nodes of a run, parents before children, and those of ``finally``, which wait for all others."""

    nodes: tuple[Row, ...]
    last: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them."""
        return self.nodes + self.last


def layout(spec: DAGSpec) -> Tree:
    """Lay out the nodes that run, children in the order of the spec."""
    edges = dependencies(spec)
    return Tree(tuple(_rows(edges)), tuple(_rows({node.name: () for node in spec.finally_})))


def dependencies(spec: DAGSpec) -> Edges:
    """Name what each node before ``finally`` waits for, in whatever way it says so. A graph that is refused has no edges."""
    try:
        graph = Graph.compile(spec)
    except InvalidDAG:
        return {node.name: () for node in spec.nodes}
    names = [node.name for node in graph.nodes]
    return {
        node.name: [names[producer] for producer in node.dependencies] for node in graph.nodes[: graph.main]
    }


def _rows(edges: Edges) -> list[Row]:
    parents = dominators(edges)
    children: dict[str | None, list[str]] = {}
    for name in edges:
        children.setdefault(parents[name], []).append(name)
    laid: list[Row] = []
    waiting = _siblings("", children.get(None, []))
    while waiting:
        guide, below, name = waiting.pop()
        laid.append(Row(guide, below, name, _joins(edges[name])))
        waiting.extend(_siblings(below, children.get(name, [])))
    return laid


def _siblings(indent: str, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """(guide, indent of what is below, name) of the children of one node, the last first: they are popped."""
    return [
        (indent + ("├─ " if i else "└─ "), indent + ("│  " if i else "   "), name)
        for i, name in enumerate(reversed(names))
    ]


def _joins(edges: Sequence[str]) -> str:
    if len(edges) > MANY:
        return f"  ← {edges[0]} … {edges[-1]} ({len(edges)})"
    return f"  ← {', '.join(edges)}" if len(edges) > 1 else ""


def dominators(edges: Edges) -> dict[str, str | None]:
    """Give each node's immediate dominator: the nearest node on every path to it, None for the start itself.

    In an acyclic graph this is the lowest common ancestor, among dominators, of a node's dependencies.
    """
    parent: dict[str | None, str | None] = {}
    depth: dict[str | None, int] = {None: 0}

    def common(a: str | None, b: str | None) -> str | None:
        while a != b:
            if depth[a] < depth[b]:
                a, b = b, a
            a = parent[a]
        return a

    for name in TopologicalSorter(edges).static_order():
        sources: list[str | None] = [*edges[name]] or [None]
        above = reduce(common, sources)
        parent[name] = above
        depth[name] = depth[above] + 1
    return {name: parent[name] for name in edges}
