"""What the nodes' phases mean for the run: its phase, its progress, and the line that says why it failed."""

from collections.abc import Iterator

from controller.api.dag import NodePhase, RunPhase
from controller.engine.graph import Graph
from controller.engine.state import NodeState, RunState

_WORST_FIRST = (
    (NodePhase.FAILED, RunPhase.FAILED),
    (NodePhase.ERROR, RunPhase.ERROR),
    (NodePhase.CANCELLED, RunPhase.CANCELLED),
)
_UNSUCCESSFUL = tuple(phase for phase, _ in _WORST_FIRST)


def run_phase(graph: Graph, state: RunState, *, suspended: bool, cancelled: bool) -> RunPhase:
    """Give the phase of a run. It ends when its last node does; the worst end that nobody forgave is the run's."""
    if state.unfinished:
        return RunPhase.SUSPENDED if suspended else RunPhase.RUNNING
    ends = {state.nodes[index].phase for index in unforgiven(graph, state)}
    worst = next((run for node, run in _WORST_FIRST if node in ends), RunPhase.SUCCEEDED)
    return RunPhase.CANCELLED if cancelled and worst is RunPhase.SUCCEEDED else worst


def unforgiven(graph: Graph, state: RunState) -> Iterator[int]:
    """Find the nodes whose end the run does not forgive.

    It forgives a node with ``continueOnFailure``, and one whose end another node deals with: a node whose ``depends`` names it,
    unless that was omitted.
    """
    if not any(state.counts[phase] for phase in _UNSUCCESSFUL):
        return
    for index, node in enumerate(state.nodes):
        if node.phase in _UNSUCCESSFUL and not _is_forgiven(graph, state, index):
            yield index


def _is_forgiven(graph: Graph, state: RunState, index: int) -> bool:
    node = graph.nodes[index]
    return node.spec.continue_on_failure or any(
        state.nodes[handler].phase is not NodePhase.OMITTED for handler in node.handlers
    )


def progress(state: RunState) -> str:
    """Give the nodes that ended well, of all nodes."""
    done = state.counts[NodePhase.SUCCEEDED] + state.counts[NodePhase.SKIPPED]
    return f"{done}/{len(state.nodes)}"


def tally(state: RunState) -> str:
    """Count the nodes by what they do, in one line."""
    counts = state.counts
    if counts[NodePhase.SUCCEEDED] == len(state.nodes):
        return f"All {len(state.nodes)} nodes succeeded."
    parts = [
        f"succeeded {counts[NodePhase.SUCCEEDED]}",
        f"failed {counts[NodePhase.FAILED] + counts[NodePhase.ERROR]}",
        f"running {state.live}",
        f"waiting {counts[NodePhase.PENDING]}",
    ]
    parts += [
        f"{phase.value.lower()} {counts[phase]}"
        for phase in (NodePhase.SKIPPED, NodePhase.OMITTED, NodePhase.CANCELLED)
        if counts[phase]
    ]
    return f"Nodes: {', '.join(parts)}."


def first_failure(graph: Graph, state: RunState) -> int | None:
    """Find the node that failed first, or else the one that was cancelled first; nothing if all is well or forgiven.

    Nodes that this run cancelled are a consequence, whatever the clocks of Bacalhau and of the controller say.
    """
    return min(unforgiven(graph, state), key=lambda index: _blame(state.nodes[index]), default=None)


def _blame(node: NodeState) -> tuple[bool, float]:
    return node.phase is NodePhase.CANCELLED, node.finished_at or 0.0


def failure_summary(graph: Graph, state: RunState) -> str | None:
    """Say which node failed first, and why; nothing if none did."""
    index = first_failure(graph, state)
    if index is None:
        return None
    more = sum(1 for _ in unforgiven(graph, state)) - 1
    others = f" ({more} more nodes did not succeed)" if more else ""
    node = state.nodes[index]
    return f'node "{graph.nodes[index].name}": {node.message or node.reason}{others}'
