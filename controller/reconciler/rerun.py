"""A run that is opened again: what the status says from then on, and what people are told.

Every request is acted on once, also one that cannot be granted: its ID is noted, with an Event that says why nothing runs.
"""

from collections.abc import Mapping
from typing import Any

from controller.api.dag import DAGSpec, Rerun
from controller.api.status import NodeStatus, RunPhase
from controller.engine import Emit, Graph, InvalidDAG, reset
from controller.engine.state import timestamp

Opening = tuple[dict[str, Any], Emit]
"""A merge patch of the status, and the Event that goes with it."""


def reopened(graph: Graph, spec: DAGSpec, nodes: Mapping[str, NodeStatus], *, now: float) -> Opening:
    """Open a run again that has ended with these nodes, as ``spec.retry`` asks; ``now`` is Unix time in seconds."""
    asked = spec.retry or Rerun(id="")
    if spec.shutdown:
        return refused(asked.id, f"spec.shutdown is {spec.shutdown.value}, which would end the run again.")
    try:
        again = reset(graph, nodes, asked.nodes)
    except InvalidDAG as error:
        return refused(asked.id, str(error))
    if not again:
        reason = "Every node has succeeded or was skipped; name nodes in spec.retry.nodes to run them again."
        return refused(asked.id, reason)
    count = sum(name in graph.index for name in again)
    message = f"Running {count} of {len(graph.nodes)} nodes again."
    delta = {
        "retryID": asked.id,
        "phase": RunPhase.PENDING.value,
        "message": message,
        "startTime": timestamp(now),
        "completionTime": None,
        "outputs": None,
        "jobDefaults": None,
        "nodes": {
            name: node.model_dump(by_alias=True, mode="json") if node else None
            for name, node in again.items()
        },
    }
    return delta, Emit(type="Normal", reason="RunningAgain", message=message)


def refused(request: str, reason: str) -> Opening:
    """Leave a run as it ended."""
    message = f"Nothing runs again: {reason} Change that, and ask again with another spec.retry.id."
    return {"retryID": request}, Emit(type="Warning", reason="InvalidRetry", message=message)
