"""Running again only what did not go well.

Nodes that succeeded keep their results. Nodes that did not, and all that depends on them, become pending again; their attempts go on counting, so
that every job keeps a name of its own and the history stays. What is reset is decided once, and written into the status before anything starts.
"""

from collections.abc import Iterable, Mapping

from controller.api.dag import AttemptStatus, NodePhase, NodeStatus
from controller.engine.graph import Graph, closure
from controller.engine.problems import InvalidDAG, unknown
from controller.engine.state import MAX_ATTEMPTS_SHOWN

_KEPT = frozenset({NodePhase.SUCCEEDED, NodePhase.SKIPPED})


def reset(graph: Graph, nodes: Mapping[str, NodeStatus], chosen: Iterable[str] = ()) -> dict[str, NodeStatus]:
    """Give the nodes that run again, as they are before their next attempt: those that did not go well, those that were chosen,
    all that depends on either, and with them the nodes of ``finally``. None if that would be these last ones alone.

    Args:
        graph: the graph of the run.
        nodes: how the nodes ended.
        chosen: nodes to run again whatever became of them.

    Raises:
        InvalidDAG: a chosen node does not exist.
    """
    problems = [
        unknown(f"spec.retry.nodes[{number}]", name, "a node of this DAG", graph.index)
        for number, name in enumerate(chosen)
        if name not in graph.index
    ]
    if problems:
        raise InvalidDAG(problems)
    roots = [*(graph.index[name] for name in chosen), *_unsuccessful(graph, nodes)]
    again = closure(roots, lambda index: graph.nodes[index].dependents)
    again.update(range(graph.main, len(graph.nodes)) if roots else ())
    return {
        graph.nodes[index].name: _before_next_attempt(nodes.get(graph.nodes[index].name))
        for index in sorted(again)
    }


def _unsuccessful(graph: Graph, nodes: Mapping[str, NodeStatus]) -> list[int]:
    return [
        node.index for node in graph.nodes if node.name not in nodes or nodes[node.name].phase not in _KEPT
    ]


def _before_next_attempt(node: NodeStatus | None) -> NodeStatus:
    if node is None or not node.attempt:
        return NodeStatus(phase=NodePhase.PENDING)
    ended = AttemptStatus(
        attempt=node.attempt,
        phase=node.phase,
        job_id=node.job_id,
        exit_code=node.exit_code,
        reason=node.reason,
        finished_at=node.finished_at,
    )
    history = [*(node.attempts or ()), ended][-MAX_ATTEMPTS_SHOWN:]
    return NodeStatus(phase=NodePhase.PENDING, attempt=node.attempt, attempts=history)
