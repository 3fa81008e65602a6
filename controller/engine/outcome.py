"""What the nodes' phases mean for the run: its phase, its progress, and the line that says why it failed."""

from collections.abc import Iterator, Sequence

from controller.api.status import NodePhase, RunPhase
from controller.engine.approval import WAITING_FOR_APPROVAL
from controller.engine.effects import Emit
from controller.engine.graph import Graph
from controller.engine.nodes import CompiledNode
from controller.engine.state import NodeState, RunState
from controller.engine.stopping import ENDED_BY_THE_RUN

MAX_ASKING = 3
"""Nodes that are named which wait for a decision."""

CANCELLED = "Cancelled"
TIMED_OUT = "TimedOut"

_WORST_FIRST = (RunPhase.FAILED, RunPhase.ERROR, RunPhase.CANCELLED)
_MEANING = {
    NodePhase.FAILED: RunPhase.FAILED,
    NodePhase.ERROR: RunPhase.ERROR,
    NodePhase.CANCELLED: RunPhase.CANCELLED,
}
_OMITTED_BY_THE_RUN = {CANCELLED: RunPhase.CANCELLED, TIMED_OUT: RunPhase.FAILED}
"""What it means that a node was omitted for one of these reasons; any other follows from another node's end."""


def run_phase(graph: Graph, state: RunState, *, suspended: bool) -> RunPhase:
    """Give the phase of a run. It ends when its last node does; the worst end that is not forgiven is the run's."""
    if state.unfinished or state.unfinished_finally:
        return RunPhase.SUSPENDED if suspended else RunPhase.RUNNING
    return outcome(graph, state)


def outcome(graph: Graph, state: RunState) -> RunPhase:
    """Give what the nodes that have ended come to, as if there were no others."""
    ends = {_MEANING.get(state.nodes[index].phase, RunPhase.FAILED) for index in unforgiven(graph, state)}
    ends |= {
        _OMITTED_BY_THE_RUN[node.reason]
        for node in state.nodes
        if node.phase is NodePhase.OMITTED and node.reason in _OMITTED_BY_THE_RUN
    }
    return next((phase for phase in _WORST_FIRST if phase in ends), RunPhase.SUCCEEDED)


def unforgiven(graph: Graph, state: RunState) -> Iterator[int]:
    """Find the nodes whose end the run does not forgive. A fan-out speaks for its items, as soon as it is known that it will fail.

    It forgives a node with ``continueOnFailure``, and one whose end another node deals with: a node whose ``depends`` names it,
    unless that was omitted. It does not forgive what it stopped itself.
    """
    if not state.failing and not any(state.counts[phase] + state.finally_counts[phase] for phase in _MEANING):
        return
    for index, node in enumerate(state.nodes[: len(graph.nodes)]):
        ends_badly = node.phase in _MEANING or node.failing_since is not None
        if ends_badly and node.fan_out is None and not _is_forgiven(graph, state, index):
            yield index


def _is_forgiven(graph: Graph, state: RunState, index: int) -> bool:
    node = graph.nodes[index]
    if state.nodes[index].reason in ENDED_BY_THE_RUN:
        return False
    return node.spec.continue_on_failure or any(
        state.nodes[handler].phase is not NodePhase.OMITTED for handler in node.handlers
    )


def progress(state: RunState) -> str:
    """Give the nodes that ended well, of all nodes."""
    counts = state.leaves
    return f"{counts[NodePhase.SUCCEEDED] + counts[NodePhase.SKIPPED]}/{counts.total()}"


def tally(state: RunState) -> str:
    """Count the nodes by what they do, in one line."""
    counts = state.leaves
    if counts[NodePhase.SUCCEEDED] == counts.total():
        return f"All {counts.total()} nodes succeeded."
    parts = [
        f"succeeded {counts[NodePhase.SUCCEEDED]}",
        f"failed {counts[NodePhase.FAILED] + counts[NodePhase.ERROR]}",
        f"running {state.live}",
        f"waiting {counts[NodePhase.PENDING]}",
    ]
    parts += [
        f"{phase.value.lower()} {counts[phase]}"
        for phase in (NodePhase.SUSPENDED, NodePhase.SKIPPED, NodePhase.OMITTED, NodePhase.CANCELLED)
        if counts[phase]
    ]
    return f"Nodes: {', '.join(parts)}."


def standing(nodes: Sequence[CompiledNode], state: RunState) -> str:
    """Say how a run stands: who is asked for a decision, and what its nodes do."""
    asking = [
        nodes[index].name
        for index in sorted(state.suspended)
        if state.nodes[index].reason == WAITING_FOR_APPROVAL
    ]
    if not asking:
        return tally(state)
    names = ", ".join(f'"{name}"' for name in asking[:MAX_ASKING])
    more = f" and {len(asking) - MAX_ASKING} more" if len(asking) > MAX_ASKING else ""
    return f"Waiting for a decision in spec.approvals about {names}{more}. {tally(state)}"


def first_failure(graph: Graph, state: RunState, *, of_finally: bool = True) -> int | None:
    """Find the node that failed first, or else the one that was cancelled first; nothing if all is well or forgiven.

    Nodes that this run cancelled are a consequence, whatever the clocks of Bacalhau and of the controller say. Without ``of_finally``
    the last nodes do not count: if a run is rebuilt, they may have failed before it is known again that a fan-out will.
    """
    found = (index for index in unforgiven(graph, state) if of_finally or index < graph.main)
    return min(found, key=lambda index: _blame(state.nodes[index]), default=None)


def _blame(node: NodeState) -> tuple[bool, float]:
    return node.phase is NodePhase.CANCELLED, node.finished_at or node.failing_since or 0.0


def failure_summary(graph: Graph, state: RunState) -> str | None:
    """Say which node failed first, and why, or what ended the run early; nothing if all is well or forgiven."""
    index = first_failure(graph, state)
    if index is None:
        return _early_end(state)
    more = sum(1 for _ in unforgiven(graph, state)) - 1
    others = f" ({more} more nodes did not succeed)" if more else ""
    node = state.nodes[index]
    return f'node "{graph.nodes[index].name}": {node.message or node.reason}{others}'


def closing_words(graph: Graph, state: RunState) -> str:
    """Say what a run that did not succeed comes to: how many nodes did what, and what it ended by."""
    index = first_failure(graph, state)
    if index is None:
        return f"{tally(state)} It ended early: {_early_end(state)}."
    return f'{tally(state)} The first that did not succeed was "{graph.nodes[index].name}".'


def announcement(graph: Graph, state: RunState, phase: RunPhase) -> Emit:
    """Say that a run has come into a phase."""
    match phase:
        case RunPhase.SUCCEEDED:
            return Emit(type="Normal", reason="Succeeded", message=tally(state))
        case RunPhase.RUNNING:
            return Emit(type="Normal", reason="Running", message=f"Running {len(graph.nodes)} nodes.")
        case RunPhase.SUSPENDED:
            message = "Nothing new starts until spec.suspend is false."
            return Emit(type="Normal", reason="Suspended", message=message)
        case _:
            return Emit(type="Warning", reason=phase.value, message=closing_words(graph, state))


def _early_end(state: RunState) -> str | None:
    return next(
        (
            node.message
            for node in state.nodes
            if node.phase is NodePhase.OMITTED and node.reason in _OMITTED_BY_THE_RUN
        ),
        None,
    )
