"""What ends a run early: a failure, somebody's wish, or a deadline. Each comes to a cut: which nodes do not start, and whether those that run are stopped."""

from dataclasses import dataclass
from enum import Enum

from controller.api.dag import FailurePolicy, Shutdown
from controller.engine.deadlines import Deadline
from controller.engine.graph import Graph
from controller.engine.observations import Controls
from controller.engine.outcome import CANCELLED, TIMED_OUT, first_failure
from controller.engine.state import NodeState, RunState
from controller.engine.stopping import StopCause

FAIL_FAST = "FailFast"


class Scope(Enum):
    """Nodes that a cut is about."""

    MAIN = "the nodes before finally"
    FINALLY = "the nodes of finally"
    ALL = "all nodes"

    def includes(self, node: NodeState) -> bool:
        """Tell whether a node is one of them."""
        return self is Scope.ALL or node.is_finally == (self is Scope.FINALLY)


@dataclass(frozen=True, slots=True)
class Cut:
    """Nodes of ``scope`` that have not started will not.

    With a cause, those that run are stopped, and none is tried again. Without one, only what is new does not start: an attempt
    that the platform lost, or that is tried again, is nothing new.
    """

    scope: Scope
    reason: str
    why: str
    cause: StopCause | None = None


def by_failure_policy(graph: Graph, state: RunState) -> Cut | None:
    """Say what a failure means for the nodes that do not depend on it."""
    policy = graph.spec.failure_policy
    may_stop = policy is FailurePolicy.FAIL_FAST_CANCEL and state.stoppable
    if policy is FailurePolicy.RUN_ALL or not (state.pending or state.suspended or may_stop):
        return None
    failed = first_failure(graph, state, of_finally=False)
    if failed is None:
        return None
    cause = StopCause.CANCELLED if policy is FailurePolicy.FAIL_FAST_CANCEL else None
    return Cut(Scope.MAIN, FAIL_FAST, f'node "{graph.nodes[failed].name}" did not succeed', cause)


def by_shutdown(controls: Controls) -> Cut | None:
    """Say what somebody's wish to end the run means."""
    if controls.cancel:
        return Cut(Scope.ALL, CANCELLED, "the DAG is being deleted", StopCause.CANCELLED)
    if controls.shutdown is None:
        return None
    scope = Scope.ALL if controls.shutdown is Shutdown.CANCEL else Scope.MAIN
    cause = None if controls.shutdown is Shutdown.STOP_RUN_FINALLY else StopCause.CANCELLED
    return Cut(scope, CANCELLED, f"spec.shutdown is {controls.shutdown.value}", cause)


def by_deadline(state: RunState, deadline: Deadline | None, now: float) -> Cut | None:
    """Say what a run's deadline means, once it has passed. ``now`` is Unix time in seconds."""
    if deadline is None or now < deadline.time:
        return None
    scope = Scope.MAIN if state.unfinished else Scope.FINALLY
    return Cut(scope, TIMED_OUT, deadline.message, StopCause.RUN_TIMED_OUT)
