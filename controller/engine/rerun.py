"""Running again only what did not go well.

Nodes that succeeded keep their results. Nodes that did not, and all that depends on them, become pending again; their attempts go on counting, so
that every job keeps a name of its own and the history stays. Of a fan-out, items that succeeded keep their results as well, as long as what its
list is made of has not run again: then the items may be others. What is reset is decided once, and written into the status before anything starts.
"""

from collections.abc import Collection, Mapping

from controller.api.status import NodePhase, NodeStatus
from controller.engine.graph import Graph, closure
from controller.engine.identity import parse_item
from controller.engine.problems import InvalidDAG, unknown
from controller.engine.state import WENT_WELL, attempts_of

Again = dict[str, NodeStatus | None]
"""Nodes and items as they are before their next attempt, by name. None for items that are forgotten."""


def reset(graph: Graph, nodes: Mapping[str, NodeStatus], chosen: Collection[str] = ()) -> Again:
    """Give what runs again: what did not go well, what was chosen, all that depends on either, and with them the nodes of ``finally``.

    Nothing if that would be these last ones alone.

    Args:
        graph: the graph of the run.
        nodes: how the nodes ended, and the items of fan-outs.
        chosen: nodes, or items, to run again whatever became of them.

    Raises:
        InvalidDAG: a chosen node does not exist.
    """
    problems = [
        unknown(f"spec.retry.nodes[{number}]", name, "a node of this DAG", graph.index)
        for number, name in enumerate(chosen)
        if name not in graph.index and not (name in nodes and parse_item(name))
    ]
    if problems:
        raise InvalidDAG(problems)
    roots = [*(graph.index[_node_of(name)] for name in chosen), *_unsuccessful(graph, nodes)]
    indexes = closure(roots, lambda index: graph.nodes[index].dependents)
    indexes.update(range(graph.main, len(graph.nodes)) if roots else ())
    again: Again = {}
    for index in sorted(indexes):
        node = graph.nodes[index]
        if node.for_each is None:
            again[node.name] = _before_next_attempt(nodes.get(node.name))
        elif indexes.isdisjoint(node.dependencies):
            again |= _with_its_items(node.name, nodes, chosen)
        else:
            again |= _with_other_items(node.name, nodes)
    return again


def _node_of(name: str) -> str:
    item = parse_item(name)
    return item[0] if item else name


def _with_its_items(name: str, nodes: Mapping[str, NodeStatus], chosen: Collection[str]) -> Again:
    """Run a fan-out again whose list stays what it was: only those of its items that need it."""
    items = {
        item: _before_next_attempt(status)
        for item, status in _items(name, nodes).items()
        if status.phase not in WENT_WELL or name in chosen or item in chosen
    }
    known = nodes.get(name)
    return {name: NodeStatus(phase=NodePhase.PENDING, attempt=known.attempt if known else None), **items}


def _with_other_items(name: str, nodes: Mapping[str, NodeStatus]) -> Again:
    """Run a fan-out again whose list may become another. The attempts of its items go on counting from the highest so far."""
    items = _items(name, nodes)
    attempts = [status.attempt or 0 for status in (*items.values(), nodes.get(name)) if status]
    return {
        name: NodeStatus(phase=NodePhase.PENDING, attempt=max(attempts, default=0)),
        **dict.fromkeys(items),
    }


def _items(name: str, nodes: Mapping[str, NodeStatus]) -> dict[str, NodeStatus]:
    return {item: status for item, status in nodes.items() if item.startswith(f"{name}[")}


def _unsuccessful(graph: Graph, nodes: Mapping[str, NodeStatus]) -> list[int]:
    return [
        node.index
        for node in graph.nodes
        if node.name not in nodes or nodes[node.name].phase not in WENT_WELL
    ]


def _before_next_attempt(node: NodeStatus | None) -> NodeStatus:
    if node is None or not node.attempt:
        return NodeStatus(phase=NodePhase.PENDING)
    return NodeStatus(phase=NodePhase.PENDING, attempt=node.attempt, attempts=attempts_of(node))
