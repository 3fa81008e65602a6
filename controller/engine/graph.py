"""The graph of a DAG, compiled once for each spec and immutable from then on.

Nodes are numbered in the order of the document, and edges are lists of numbers, so that advancing a run costs what changed and not what
the graph holds.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from controller.api.dag import DAGSpec
from controller.api.parameters import DAGParameter
from controller.api.rules import CONTROLS
from controller.engine.compiler import Compiler
from controller.engine.identity import fingerprint
from controller.engine.nodes import CompiledNode
from controller.engine.parameters import bound, from_config_maps
from controller.engine.secrets import placeholders, without_placeholders


@dataclass(frozen=True, slots=True)
class Graph:
    """A checked DAG. The nodes of ``finally`` come last."""

    spec: DAGSpec
    nodes: tuple[CompiledNode, ...]
    main: int
    """Number of the nodes before those of ``finally``."""
    index: dict[str, int]
    params: dict[str, Any]
    hash: str
    """Fingerprint of what must not change once the run has started."""

    @classmethod
    def compile(cls, spec: DAGSpec) -> "Graph":
        """Check a DAG and number its nodes and edges.

        Raises:
            InvalidDAG: with every problem found, each naming its field and its value.
        """
        graph = cls._of(spec)
        return graph.restricted(spec.targets) if spec.targets else graph

    @classmethod
    def _of(cls, spec: DAGSpec) -> "Graph":
        nodes = Compiler(spec).compile()
        return cls(
            spec=spec,
            nodes=nodes,
            main=len(spec.nodes),
            index={node.name: node.index for node in nodes},
            params=bound(spec.parameters, spec.arguments) | placeholders(spec.parameters),
            hash=graph_hash(spec),
        )

    @property
    def from_config_maps(self) -> tuple[DAGParameter, ...]:
        """The parameters whose values are read from ConfigMaps when the run starts."""
        return from_config_maps(self.spec.parameters, self.spec.arguments)

    def with_values(self, values: Mapping[str, Any]) -> "Graph":
        """Give the graph with values for the parameters that come from ConfigMaps."""
        return replace(self, params={**self.params, **without_placeholders(values)})

    def restricted(self, targets: Iterable[str]) -> "Graph":
        """Give the graph of the targets and of all that they need, as if the rest had never been written."""
        last = [node.index for node in self.nodes[self.main :]]
        roots = [*(self.index[name] for name in targets), *last]
        needed = closure(roots, lambda index: self.nodes[index].dependencies)
        spec = self.spec.model_copy(
            update={
                "nodes": [node.spec for node in self.nodes[: self.main] if node.index in needed],
                "outputs": [output for output in self.spec.outputs if self.index[output.from_] in needed],
            }
        )
        return replace(self._of(spec), hash=self.hash)


def closure(roots: Iterable[int], edges: Callable[[int], Iterable[int]]) -> set[int]:
    """Give the roots and all that can be reached from them, each visited once however many paths lead there."""
    reached: set[int] = set()
    stack = list(roots)
    while stack:
        index = stack.pop()
        if index not in reached:
            reached.add(index)
            stack.extend(edges(index))
    return reached


def graph_hash(spec: DAGSpec) -> str:
    """Fingerprint what makes the graph: everything but the controls that may change while it runs.

    Lists that are keyed by name count without their order, which server-side apply does not keep.
    """
    tree = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    graph = {name: value for name, value in tree.items() if name not in CONTROLS}
    for name in ("parameters", "jobTemplates", "nodes", "finally", "outputs"):
        graph[name] = sorted(graph.get(name, ()), key=itemgetter("name"))
    return fingerprint(graph)
