"""What expressions may read of other nodes: ``nodes.<name>.…``."""

import json
from collections.abc import Iterable
from typing import Any

from controller.api.status import NodePhase
from controller.engine.state import NodeState

FIELDS = frozenset({"phase", "reason", "message", "exitCode", "jobID", "outputs", "stdout", "json"})
"""What there is to be read of a node that is one job."""
FIELDS_OF_FAN_OUTS = FIELDS - {"exitCode", "jobID", "outputs"} | {"items", "total", "succeeded"}
"""What there is to be read of a node that stands for its items."""
FIELDS_OF = {
    "last": frozenset({"phase", "attempt", "exitCode", "reason", "message", "stdout", "seconds"}),
    "run": frozenset({"phase", "message"}),
}
"""What there is to be read of the last attempt, and of the run."""


def result_of(node: NodeState) -> dict[str, Any]:
    """Give what expressions may read of a node that has ended."""
    return {
        "phase": node.phase.value,
        "reason": node.reason or "",
        "message": node.message or "",
        "exitCode": node.exit_code,
        "jobID": node.job_id,
        "outputs": _outputs(node),
        **_printed(node),
    }


def result_of_fan_out(node: NodeState, items: Iterable[NodeState]) -> dict[str, Any]:
    """Give what expressions may read of a fan-out, with its items in their order.

    Output is a list, so that no expression has to loop over the items to gather it: loops see values of a bounded size.
    """
    results = [result_of(item) | {"index": number} for number, item in enumerate(items)]
    phases = [result["phase"] for result in results]
    return result_of(node) | {
        "items": results,
        "stdout": [result.get("stdout") for result in results],
        "json": [result.get("json") for result in results],
        "total": len(results),
        "succeeded": phases.count(NodePhase.SUCCEEDED.value),
    }


def _printed(node: NodeState) -> dict[str, Any]:
    """Give the output of a program. Where the result was taken over and Bacalhau no longer knows its job, it is missing, not null."""
    if node.stdout is None and node.job_namespace:
        return {}
    return {"stdout": node.stdout, "json": _parsed(node.stdout)}


def _outputs(node: NodeState) -> dict[str, Any]:
    outputs = node.artifact.model_dump(by_alias=True, exclude_none=True) if node.artifact else {}
    return outputs if node.files is None else outputs | {"files": list(node.files)}


def _parsed(stdout: str | None) -> Any:
    """Read what a program printed as JSON; None if it is something else."""
    try:
        return json.loads(stdout or "")
    except (ValueError, RecursionError):
        return None
