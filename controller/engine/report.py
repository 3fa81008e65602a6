"""The status of a run as the resource shows it: what changed since the last report, as a merge patch."""

from collections.abc import Mapping
from typing import Any

from controller.api.status import Condition, DAGStatus, NodePhase, RunPhase
from controller.engine.artifacts import part_of
from controller.engine.graph import Graph
from controller.engine.outcome import failure_summary, progress, standing, tally
from controller.engine.problems import cut
from controller.engine.rendering import RunContext
from controller.engine.run import Run
from controller.engine.state import timestamp

MAX_STATUS_MESSAGE = 4096
"""Characters that the schema allows."""

CONDITION_TYPES = ("Succeeded", "Ready", "Reconciling", "Stalled")


class Reporter:
    """Writes down how a run goes. Remembers what it reported last, so that a report holds only what is new."""

    def __init__(self, run: Run, status: DAGStatus | None) -> None:
        self.run = run
        self.retry_id = _acted_on(run, status)
        self.conditions = {condition.type: condition for condition in (status.conditions if status else [])}

    def delta(self, *, generation: int, now: float, hindrance: tuple[str, str] | None) -> dict[str, Any]:
        """Give the merge patch for ``.status``.

        Args:
            generation: the generation of the DAG that was acted on.
            now: Unix time in seconds.
            hindrance: reason and message of what keeps the run from going on, such as an unreachable Bacalhau.
        """
        run = self.run
        message = cut(self._message(hindrance), MAX_STATUS_MESSAGE)
        status: dict[str, Any] = {
            "observedGeneration": generation,
            "phase": run.phase.value,
            "progress": progress(run.state),
            "message": message,
            "startTime": timestamp(run.started_at),
            "completionTime": timestamp(run.completed_at),
            "retryID": self.retry_id,
            **_fixed(run.graph, run.context),
            "conditions": self._conditions(message, generation, now, hindrance),
            "nodes": self._changed_nodes(),
        }
        if run.phase.is_terminal:
            status["outputs"] = self._outputs()
        return status

    def _message(self, hindrance: tuple[str, str] | None) -> str:
        if self.run.phase.is_terminal:
            return failure_summary(self.run.graph, self.run.state) or tally(self.run.state)
        return hindrance[1] if hindrance else standing(self.run.nodes, self.run.state)

    def _changed_nodes(self) -> dict[str, Any]:
        changed = sorted(self.run.state.changed)
        self.run.state.changed.clear()
        return {self.run.nodes[index].name: self._node(index) for index in changed}

    def _node(self, index: int) -> dict[str, Any]:
        """Give a node's status with nulls for what is not there, so that a merge patch takes away what was."""
        return self.run.state.nodes[index].to_status().model_dump(by_alias=True, mode="json")

    def _outputs(self) -> dict[str, Any]:
        outputs = {}
        for output in self.run.graph.spec.outputs:
            artifact = self.run.node(output.from_).artifact
            if artifact and self.run.node(output.from_).phase is NodePhase.SUCCEEDED:
                part = part_of(artifact, output.output)
                outputs[output.name] = part.model_dump(by_alias=True, exclude_none=True)
        return outputs

    def _conditions(
        self, message: str, generation: int, now: float, hindrance: tuple[str, str] | None
    ) -> list[dict[str, Any]]:
        reason = hindrance[0] if hindrance and not self.run.phase.is_terminal else self.run.phase.value
        statuses = condition_statuses(self.run.phase)
        self.conditions = {
            kind: condition(
                self.conditions.get(kind),
                kind,
                status=status,
                reason=reason,
                message=message,
                generation=generation,
                now=now,
            )
            for kind, status in statuses.items()
        }
        return [condition.model_dump(by_alias=True, mode="json") for condition in self.conditions.values()]


def opening(graph: Graph, context: RunContext, texts: Mapping[str, str], *, now: float) -> dict[str, Any]:
    """Give the status with which a run begins that reads ConfigMaps.

    It is written before anything is submitted: what was read could be read another way later, and then could not be known any more.
    """
    return {
        "phase": RunPhase.PENDING.value,
        "startTime": timestamp(now),
        "retryID": graph.spec.retry.id if graph.spec.retry else None,
        "parameters": dict(texts),
        **_fixed(graph, context),
    }


def _fixed(graph: Graph, context: RunContext) -> dict[str, Any]:
    """Give what stays as it is for the whole run, whatever becomes of where it was read."""
    return {
        "bacalhauNamespace": context.bacalhau_namespace,
        "graphHash": graph.hash,
        "jobDefaults": {
            "queueTimeout": context.queue_timeout,
            "executionTimeout": context.execution_timeout,
        },
    }


def _acted_on(run: Run, status: DAGStatus | None) -> str | None:
    """Give the request to run again that needs no more action: a DAG that is new has none to obey."""
    if status and status.start_time:
        return status.retry_id
    return run.graph.spec.retry.id if run.graph.spec.retry else None


def condition_statuses(phase: RunPhase) -> dict[str, str]:
    """Say which conditions hold in a phase, so that kubectl wait, Argo CD and Flux (kstatus) each read it rightly.

    kstatus looks at Reconciling, then Stalled, then Ready; a failed run must be Stalled, or Flux waits for its timeout.
    """
    if phase is RunPhase.SUCCEEDED:
        return dict(zip(CONDITION_TYPES, ("True", "True", "False", "False"), strict=True))
    if phase.is_terminal:
        return dict(zip(CONDITION_TYPES, ("False", "False", "False", "True"), strict=True))
    return dict(zip(CONDITION_TYPES, ("Unknown", "False", "True", "False"), strict=True))


def condition(
    before: Condition | None,
    kind: str,
    *,
    status: str,
    reason: str,
    message: str,
    generation: int,
    now: float,
) -> Condition:
    """Give a condition, with the time at which its status last changed."""
    unchanged = before is not None and before.status == status
    since = before.last_transition_time if before and unchanged else timestamp(now)
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": since,
        }
    )


def rejection(
    status: DAGStatus | None, *, phase: RunPhase, reason: str, message: str, generation: int, now: float
) -> dict[str, Any]:
    """Give the status of a DAG that has no run: one that is wrong, or one whose connection is not there yet."""
    before = {condition.type: condition for condition in (status.conditions if status else [])}
    message = cut(message, MAX_STATUS_MESSAGE)
    return {
        "observedGeneration": generation,
        "phase": phase.value,
        "message": message,
        "conditions": [
            condition(
                before.get(kind),
                kind,
                status=value,
                reason=reason,
                message=message,
                generation=generation,
                now=now,
            ).model_dump(by_alias=True, mode="json")
            for kind, value in condition_statuses(phase).items()
        ],
    }
