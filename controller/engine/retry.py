"""Whether and when a node is tried again.

The policy is looked at before the wait: what will not be tried again does not wait first. Everything follows from the attempt's end and the node's
counts, jitter included, so a controller that starts anew in the middle of a wait comes to the same time.
"""

from controller.api.dag import Backoff, NodePhase, Retry, RetryPolicy
from controller.api.types import duration_seconds
from controller.engine.identity import fingerprint

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
