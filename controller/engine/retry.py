"""Whether and when a node is tried again.

The policy is looked at before the wait: what will not be tried again does not wait first. Everything follows from the attempt's end and the node's
counts, jitter included, so a controller that starts anew in the middle of a wait comes to the same time.
"""

from typing import Any

from controller.api.node import Backoff, Retry, RetryPolicy
from controller.api.status import NodePhase
from controller.api.types import duration_seconds
from controller.engine.deadlines import total_deadline
from controller.engine.expressions import condition_holds
from controller.engine.identity import fingerprint
from controller.engine.nodes import CompiledNode
from controller.engine.reading import Reader
from controller.engine.state import NodeState

_RETRIED = {
    RetryPolicy.ON_FAILURE: frozenset({NodePhase.FAILED}),
    RetryPolicy.ON_ERROR: frozenset({NodePhase.ERROR}),
    RetryPolicy.ALWAYS: frozenset({NodePhase.FAILED, NodePhase.ERROR}),
}


def is_within_budget(retry: Retry, phase: NodePhase, *, failures: int, errors: int) -> bool:
    """Tell whether the policy and its two budgets allow another attempt. The counts include the one that has just ended."""
    if phase not in _RETRIED[retry.policy]:
        return False
    if phase is NodePhase.FAILED:
        return failures <= retry.limit
    return errors <= (retry.limit if retry.error_limit is None else retry.error_limit)


def next_attempt(compiled: CompiledNode, node: NodeState, reader: Reader, *, salt: str) -> float | None:
    """Give the Unix time of the attempt that follows the one that has just ended; None if none does.

    Args:
        compiled: the node.
        node: its state.
        reader: gives what the node's expressions may read.
        salt: makes the jitter this attempt's own.

    Raises:
        RenderError: ``retry.condition`` has no value.
    """
    retry = compiled.spec.retry
    if retry is None or not is_within_budget(retry, node.phase, failures=node.failures, errors=node.errors):
        return None
    finished_at = node.finished_at or 0.0
    if compiled.retry_condition:
        known = reader.variables(compiled, last=last_attempt(node, finished_at))
        if not condition_holds(compiled.retry_condition, known, field=f"{compiled.field}.retry.condition"):
            return None
    start = next_start(
        retry.backoff,
        ended=node.failures + node.errors,
        finished_at=finished_at,
        first_started_at=finished_at if node.first_started_at is None else node.first_started_at,
        salt=salt,
    )
    deadline = total_deadline(compiled.spec, node)
    return None if start is None or (deadline and start >= deadline.time) else start


def last_attempt(node: NodeState, finished_at: float) -> dict[str, Any]:
    """Give what a condition may read of the attempt that has just ended."""
    return {
        "phase": node.phase.value,
        "attempt": node.attempt,
        "exitCode": node.exit_code,
        "reason": node.reason or "",
        "message": node.message or "",
        "stdout": node.stdout or "",
        "seconds": finished_at - (node.started_at or finished_at),
    }


def next_start(
    backoff: Backoff | None, *, ended: int, finished_at: float, first_started_at: float, salt: str
) -> float | None:
    """Give the Unix time of the next attempt; None if it would come too late.

    Args:
        backoff: how to wait; None for not at all.
        ended: attempts that have ended so far.
        finished_at: when the last one ended.
        first_started_at: when the first one started.
        salt: what makes the jitter this attempt's own.
    """
    if backoff is None:
        return finished_at
    start = finished_at + wait_seconds(backoff, ended=ended, salt=salt)
    if backoff.max_duration and start > first_started_at + duration_seconds(backoff.max_duration):
        return None
    return start


def wait_seconds(backoff: Backoff, *, ended: int, salt: str) -> float:
    """Give the wait after so many attempts, in seconds."""
    cap = duration_seconds(backoff.cap) if backoff.cap else float("inf")
    try:
        wait = duration_seconds(backoff.duration) * backoff.factor ** (ended - 1)
    except OverflowError:
        wait = cap
    spread = int(fingerprint(salt)[:8], 16) / 0xFFFFFFFF * 2 - 1
    return min(min(wait, cap) * (1 + backoff.jitter * spread), MAX_WAIT)


MAX_WAIT = 365 * 24 * 3600.0
"""No wait is longer than a year: a time must stay a time."""
