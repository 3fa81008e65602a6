"""Why a job was stopped, written where no crash can lose it: in the job itself.

Bacalhau keeps the reason that a stop request gives as the message of the job's state. A controller that died between stopping a job and
drawing the consequence reads there what was decided.
"""

from enum import StrEnum


class StopCause(StrEnum):
    """What follows for the node once its job has stopped."""

    REPLACED = "Replaced"
    """The platform lost the attempt: another attempt follows."""
    GIVEN_UP = "GivenUp"
    """Bacalhau would keep the job waiting although it cannot succeed: the node is an Error."""
    TIMED_OUT = "TimedOut"
    """It took too long: the attempt has failed."""
    RUN_TIMED_OUT = "RunTimedOut"
    """The run took too long: the node has failed for good, whatever its own rules would forgive."""
    CANCELLED = "Cancelled"
    """The run no longer wants the node."""


ENDED_BY_THE_RUN = frozenset({StopCause.CANCELLED.value, StopCause.RUN_TIMED_OUT.value})
"""Reasons of nodes that were stopped because the run ended early. That is neither forgiven nor tried again."""


def stop_reason(cause: StopCause, message: str) -> str:
    """Give the text that a stop request carries."""
    return f"{cause.value}: {message}"


def read_stop_reason(text: str) -> tuple[StopCause | None, str]:
    """Read the cause and the message of a stopped job; no cause if somebody else stopped it."""
    word, separator, message = text.partition(": ")
    if separator and word in {cause.value for cause in StopCause}:
        return StopCause(word), message
    return None, text
