"""How far a DAG has come, as its object says: whether it has started, has ended, and has been asked to run again."""

from collections.abc import Mapping
from typing import Any

from controller.api.status import RunPhase
from controller.kube import finalizer
from controller.kube.objects import Body


def status_of(body: Body) -> Mapping[str, Any]:
    """Give an object's status; empty if there is none."""
    status: Mapping[str, Any] = body.get("status") or {}
    return status


def has_started(status: Mapping[str, Any]) -> bool:
    """Tell whether a run has begun. From then on its graph is fixed."""
    return bool(status.get("startTime"))


def has_ended(body: Body, status: Mapping[str, Any]) -> bool:
    """Tell whether nothing remains to be done. A DAG that was rejected before it started has a chance with each new spec."""
    if not status.get("phase") or not RunPhase(status["phase"]).is_terminal:
        return False
    return has_started(status) or status.get("observedGeneration") == body["metadata"]["generation"]


def wants_rerun(body: Body, status: Mapping[str, Any]) -> bool:
    """Tell whether a DAG that ran and ended has been asked, since then, to go on with what did not go well."""
    asked = (body["spec"].get("retry") or {}).get("id")
    return bool(asked) and asked != status.get("retryID") and has_started(status)


def is_settled(body: Body) -> bool:
    """Tell whether a DAG has ended, does not hold the finalizer any more, and is not asked to run again."""
    status = status_of(body)
    is_held = finalizer.FINALIZER in body["metadata"].get("finalizers", ())
    return has_ended(body, status) and not is_held and not wants_rerun(body, status)
