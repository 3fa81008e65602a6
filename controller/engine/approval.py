"""Nodes that run no job but wait for somebody's decision.

The decision stands in ``spec.approvals``, so it survives every restart, shows who may take it (whoever may change the DAG), and works through GitOps.
"""

from collections.abc import Mapping

from controller.api.dag import Decision, Node, NodePhase
from controller.api.types import duration_seconds
from controller.engine.deadlines import Deadline
from controller.engine.state import NodeState
from controller.engine.verdict import Finished


def decided(spec: Node, node: NodeState, decisions: Mapping[str, Decision], now: float) -> Finished | None:
    """Give the end of an approval node; None while it waits. A decision counts even if it comes together with the timeout."""
    decision = decisions.get(spec.name)
    if decision is None:
        deadline = approval_deadline(spec, node)
        if deadline is None or now < deadline.time:
            return None
        return Finished(phase=NodePhase.FAILED, reason="TimedOut", message=deadline.message)
    if decision.approved:
        return Finished(
            phase=NodePhase.SUCCEEDED, reason="Approved", message=decision.message, artifact=decision.outputs
        )
    return Finished(
        phase=NodePhase.FAILED, reason="Rejected", message=decision.message or "it was not approved"
    )


def approval_deadline(spec: Node, node: NodeState) -> Deadline | None:
    """Give the time until which an approval node waits."""
    if spec.suspend is None or spec.suspend.timeout is None or node.started_at is None:
        return None
    end = node.started_at + duration_seconds(spec.suspend.timeout)
    return Deadline(end, f"nobody decided within the timeout: {spec.suspend.timeout}")
