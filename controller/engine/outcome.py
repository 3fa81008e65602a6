"""What the nodes' phases mean for the run: its phase, its progress, and the line that says why it failed."""

from controller.api.dag import NodePhase, RunPhase
from controller.engine.graph import Graph
from controller.engine.state import NodeState, RunState

_WORST_FIRST = (
    (NodePhase.FAILED, RunPhase.FAILED),
    (NodePhase.ERROR, RunPhase.ERROR),
    (NodePhase.CANCELLED, RunPhase.CANCELLED),
    (NodePhase.OMITTED, RunPhase.CANCELLED),
)
_UNSUCCESSFUL = (NodePhase.FAILED, NodePhase.ERROR, NodePhase.CANCELLED)


def run_phase(state: RunState, *, suspended: bool) -> RunPhase:
    """Give the phase of a run. It ends when its last node does; the worst end of a node is the run's.

    A node is omitted only after another did not succeed or the run was cancelled, so an omitted node alone means cancelled.
    """
    if state.unfinished:
        return RunPhase.SUSPENDED if suspended else RunPhase.RUNNING
    return next((run for node, run in _WORST_FIRST if state.counts[node]), RunPhase.SUCCEEDED)


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


def first_failure(state: RunState) -> int | None:
    """Find the node that failed first, or else the one that was cancelled first; nothing if none was.

    Nodes that this run cancelled are a consequence, whatever the clocks of Bacalhau and of the controller say.
    """
    if not any(state.counts[phase] for phase in _UNSUCCESSFUL):
        return None
    failed = (index for index, node in enumerate(state.nodes) if node.phase in _UNSUCCESSFUL)
    return min(failed, key=lambda index: _blame(state.nodes[index]))


def _blame(node: NodeState) -> tuple[bool, float]:
    return node.phase is NodePhase.CANCELLED, node.finished_at or 0.0


def failure_summary(graph: Graph, state: RunState) -> str | None:
    """Say which node failed first, and why; nothing if none did."""
    index = first_failure(state)
    if index is None:
        return None
    more = sum(state.counts[phase] for phase in _UNSUCCESSFUL) - 1
    others = f" ({more} more nodes did not succeed)" if more else ""
    node = state.nodes[index]
    return f'node "{graph.nodes[index].name}": {node.message or node.reason}{others}'
