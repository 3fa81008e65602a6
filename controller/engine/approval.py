"""Nodes that run no job but wait for somebody's decision, or for a time.

The decision stands in ``spec.approvals``, so it survives every restart, shows who may take it (whoever may change the DAG), and works through GitOps.
"""

from collections.abc import Mapping

from controller.api.dag import DAGSpec, Decision
from controller.api.node import Node
from controller.api.status import NodePhase
from controller.api.types import duration_seconds
from controller.engine.deadlines import Deadline
from controller.engine.problems import Problem, unknown
from controller.engine.state import NodeState
from controller.engine.verdict import Finished

WAITING_FOR_APPROVAL = "WaitingForApproval"


def decided(spec: Node, node: NodeState, decisions: Mapping[str, Decision], now: float) -> Finished | None:
    """Give the end of an approval node; None while it waits. A decision counts even if it comes together with the timeout."""
    decision = decisions.get(spec.name)
    if decision is None:
        deadline = approval_deadline(spec, node)
        return _undecided(spec, deadline) if deadline and now >= deadline.time else None
    if decision.approved:
        return Finished(
            phase=NodePhase.SUCCEEDED, reason="Approved", message=decision.message, artifact=decision.outputs
        )
    return Finished(
        phase=NodePhase.FAILED, reason="Rejected", message=decision.message or "it was not approved"
    )


def misdirected(spec: DAGSpec) -> Problem | None:
    """Find a decision about a node that asks for none. It is no reason to refuse a DAG, which may have started long ago."""
    asking = [node.name for node in (*spec.nodes, *spec.finally_) if node.suspend]
    for number, decision in enumerate(spec.approvals):
        if decision.name not in asking:
            return unknown(f"spec.approvals[{number}].name", decision.name, "a node with suspend", asking)
    return None


def _undecided(spec: Node, deadline: Deadline) -> Finished:
    """Give the end of an approval node whose time is over: that is what some wait for, and the others do not."""
    if spec.suspend and spec.suspend.duration:
        return Finished(phase=NodePhase.SUCCEEDED, reason="Waited", message=deadline.message)
    return Finished(phase=NodePhase.FAILED, reason="TimedOut", message=deadline.message)


def approval_deadline(spec: Node, node: NodeState) -> Deadline | None:
    """Give the time until which an approval node waits."""
    if spec.suspend is None or node.started_at is None:
        return None
    if spec.suspend.duration:
        end = node.started_at + duration_seconds(spec.suspend.duration)
        return Deadline(end, f"it waited for {spec.suspend.duration}")
    if spec.suspend.timeout:
        end = node.started_at + duration_seconds(spec.suspend.timeout)
        return Deadline(end, f"nobody decided within the timeout: {spec.suspend.timeout}")
    return None
