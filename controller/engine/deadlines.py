"""When nodes and runs take too long.

Time in Bacalhau's queue and time at work are bounded apart, and time for ``finally`` is kept out of the time for the other nodes. All times
are Unix seconds and follow from what is stored, so they survive a restart.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from controller.api.dag import RunTimeouts
from controller.api.node import Node
from controller.api.types import duration_seconds
from controller.engine.problems import Problem, shown
from controller.engine.state import NodeState, RunState


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A time, and what to say once it has passed."""

    time: float
    message: str


def node_deadline(spec: Node, node: NodeState) -> Deadline | None:
    """Give the earliest time at which a node's latest attempt has taken too long."""
    candidates = []
    if spec.timeout and node.running_since is not None:
        end = node.running_since + duration_seconds(spec.timeout)
        candidates.append(
            Deadline(end, f"attempt {node.attempt} ran longer than its timeout: {spec.timeout}")
        )
    if total := total_deadline(spec, node):
        candidates.append(total)
    return min(candidates, default=None)


def total_deadline(spec: Node, node: NodeState) -> Deadline | None:
    """Give the time at which a node has taken too long, whatever the number of its attempts."""
    if spec.total_timeout is None or node.first_started_at is None:
        return None
    end = node.first_started_at + duration_seconds(spec.total_timeout)
    return Deadline(end, f"the node took longer than its totalTimeout: {spec.total_timeout}")


def run_deadline(timeouts: RunTimeouts | None, state: RunState, started_at: float) -> Deadline | None:
    """Give the time by which what is under way, the nodes or those of ``finally``, must have ended."""
    if timeouts is None:
        return None
    if state.unfinished:
        return nodes_deadline(timeouts, started_at)
    ends = [node.finished_at for node in state.nodes if not node.is_finally and node.finished_at is not None]
    # A result that was taken over, or kept by a rerun, is older than the run.
    return finally_deadline(timeouts, started_at, max([started_at, *ends]))


def nodes_deadline(timeouts: RunTimeouts, started_at: float) -> Deadline | None:
    """Give the time by which all nodes before ``finally`` must have ended."""
    candidates = []
    if timeouts.nodes:
        end = started_at + duration_seconds(timeouts.nodes)
        candidates.append(Deadline(end, f"the nodes took longer than timeouts.nodes: {timeouts.nodes}"))
    if timeouts.dag:
        reserved = duration_seconds(timeouts.finally_) if timeouts.finally_ else 0.0
        left = max(duration_seconds(timeouts.dag) - reserved, 0.0)
        candidates.append(Deadline(started_at + left, _out_of_time(timeouts, left)))
    return min(candidates, default=None)


def _out_of_time(timeouts: RunTimeouts, left: float) -> str:
    if timeouts.finally_ is None:
        return f"the DAG took longer than timeouts.dag: {timeouts.dag}"
    parts = f"timeouts.dag: {timeouts.dag} less timeouts.finally: {timeouts.finally_}"
    return f"the nodes took longer than {left:g}s ({parts})"


def timeout_problems(timeouts: RunTimeouts) -> Iterator[Problem]:
    """Find bounds that leave no time to run in."""
    dag, last = timeouts.dag, timeouts.finally_
    if dag and last and duration_seconds(last) >= duration_seconds(dag):
        message = f"{shown(last)} leaves no time for the other nodes; it is kept out of timeouts.dag: {dag}, so make it shorter."
        yield Problem("spec.timeouts.finally", message)


def finally_deadline(timeouts: RunTimeouts, started_at: float, opened_at: float) -> Deadline | None:
    """Give the time by which the nodes of ``finally`` must have ended, which began at ``opened_at``."""
    candidates = []
    if timeouts.finally_:
        end = opened_at + duration_seconds(timeouts.finally_)
        candidates.append(Deadline(end, f"finally took longer than timeouts.finally: {timeouts.finally_}"))
    elif timeouts.dag:
        end = started_at + duration_seconds(timeouts.dag)
        candidates.append(Deadline(end, f"the DAG took longer than timeouts.dag: {timeouts.dag}"))
    return min(candidates, default=None)
