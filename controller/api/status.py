"""The status of a ``BacalhauDAG``: how its run goes, node by node. Written by the operator alone."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from controller.api.artifact import Artifact
from controller.api.types import (
    ATOMIC_LIST,
    ATOMIC_MAP,
    BY_TYPE,
    MAX_NODES,
    Identifier,
    Message,
    Model,
    Timestamp,
)

MAX_RECORDED = 64 * 1024
"""Characters that a run takes from ConfigMaps in all: they are kept in its status."""


class RunPhase(StrEnum):
    """Where a run stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"
    CANCELLED = "Cancelled"

    @property
    def is_terminal(self) -> bool:
        """Tell whether a run in this phase has ended for good."""
        return self in (RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.ERROR, RunPhase.CANCELLED)


class NodePhase(StrEnum):
    """Where a node stands. Failed: the job's program said no. Error: the platform could not run it. Suspended: it waits for an approval."""

    PENDING = "Pending"
    SUBMITTED = "Submitted"
    QUEUED = "Queued"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"
    OMITTED = "Omitted"

    @property
    def is_terminal(self) -> bool:
        """Tell whether a node in this phase has ended for good."""
        return self not in _UNFINISHED

    @property
    def is_live(self) -> bool:
        """Tell whether a node in this phase may have a job in Bacalhau that has not ended."""
        return self in _LIVE


_LIVE = frozenset({NodePhase.SUBMITTED, NodePhase.QUEUED, NodePhase.RUNNING})
_UNFINISHED = _LIVE | {NodePhase.PENDING, NodePhase.SUSPENDED}


class AttemptStatus(Model):
    """An earlier attempt of a node."""

    attempt: Annotated[int, Field(ge=1)] = Field(description="Number of the attempt.")
    phase: NodePhase = Field(description="How it ended.")
    job_id: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, alias="jobID", description="Its Bacalhau job."
    )
    exit_code: int | None = Field(None, description="Exit code of the program.")
    reason: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, description="Why it ended so, in one word."
    )
    finished_at: Timestamp | None = Field(None, description="When it ended.")


class ItemsStatus(Model):
    """How the items of a node with forEach stand. Those that are not counted otherwise have not started."""

    total: Annotated[int, Field(ge=0)] = Field(description="Number of the items.")
    succeeded: Annotated[int, Field(ge=0)] = Field(0, description="Items that succeeded.")
    failed: Annotated[int, Field(ge=0)] = Field(
        0, description="Items that did not succeed: Failed, Error or Cancelled."
    )
    running: Annotated[int, Field(ge=0)] = Field(0, description="Items with a job that has not ended.")
    skipped: Annotated[int, Field(ge=0)] = Field(0, description="Items that were Skipped or Omitted.")


class NodeStatus(Model):
    """What became of a node."""

    phase: NodePhase = Field(description="Where the node stands.")
    attempt: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Number of the latest attempt, from 1."
    )
    job_id: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, alias="jobID", description="Bacalhau job of the latest attempt."
    )
    job_namespace: Annotated[str, StringConstraints(max_length=512)] | None = Field(
        None, description="Bacalhau namespace of that job, if it is not the run's: the result was taken over."
    )
    started_at: Timestamp | None = Field(
        None, description="When Bacalhau accepted the job of the latest attempt."
    )
    finished_at: Timestamp | None = Field(None, description="When the job of the latest attempt ended.")
    exit_code: int | None = Field(None, description="Exit code of the program.")
    reason: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, description="Why the node is in this phase, in one word."
    )
    message: Message | None = Field(None, description="Why the node is in this phase, for people.")
    outputs: Artifact | None = Field(None, description="Where the node's published result is.")
    failures: Annotated[int, Field(ge=0)] | None = Field(None, description="Attempts that failed.")
    errors: Annotated[int, Field(ge=0)] | None = Field(None, description="Attempts that ended in an error.")
    lost: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Attempts that the platform lost, which do not count as errors."
    )
    first_started_at: Timestamp | None = Field(
        None, description="When the first of several attempts started."
    )
    retry_at: Timestamp | None = Field(None, description="When the next attempt starts.")
    attempts: Annotated[list[AttemptStatus], Field(max_length=10)] | None = Field(
        None, description="The latest earlier attempts, oldest first.", json_schema_extra=ATOMIC_LIST
    )
    item: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, description="Of an item of a node with forEach: what it is, shortened."
    )
    items: ItemsStatus | None = Field(
        None,
        description="How the items of a node with forEach stand; each has an entry of its own beside it.",
    )


class Condition(Model):
    """A fact about the run, in the form that Kubernetes tools understand."""

    type: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="Succeeded, Ready, Reconciling or Stalled."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Annotated[str, StringConstraints(max_length=128)] = Field(description="Why, in one word.")
    message: Message = Field(description="Why, for people.")
    observed_generation: int | None = Field(None, description="Generation of the DAG that this was said of.")
    last_transition_time: Timestamp = Field(description="When the status last changed.")


class JobDefaultsStatus(Model):
    """Timeouts of jobs that do not set their own, in seconds."""

    queue_timeout: Annotated[int, Field(ge=0)] = Field(
        description="Seconds that a job may wait for a node with room."
    )
    execution_timeout: Annotated[int, Field(ge=0)] = Field(description="Seconds that one execution may take.")


class DAGStatus(Model):
    """How the run goes. Written by the operator alone."""

    observed_generation: int | None = Field(
        None,
        description="Generation of the DAG that this status is about; -1 before the operator saw it.",
        json_schema_extra={"default": -1},
    )
    phase: RunPhase | None = Field(
        None, description="Where the run stands.", json_schema_extra={"default": RunPhase.PENDING.value}
    )
    progress: Annotated[str, StringConstraints(max_length=32)] | None = Field(
        None, description="Nodes that ended well, of all nodes."
    )
    message: Message | None = Field(None, description="How the run goes, in one line.")
    start_time: Timestamp | None = Field(None, description="When the run started.")
    completion_time: Timestamp | None = Field(None, description="When the run ended.")
    bacalhau_namespace: Annotated[str, StringConstraints(max_length=512)] | None = Field(
        None, description="Bacalhau namespace of the run's jobs, as in `bacalhau job list --namespace`."
    )
    graph_hash: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="Fingerprint of the graph that the run started with."
    )
    job_defaults: JobDefaultsStatus | None = Field(
        None,
        description="Timeouts of jobs that do not set their own, as the connection had them when the run started.",
    )
    parameters: Annotated[
        dict[Identifier, Annotated[str, StringConstraints(max_length=MAX_RECORDED)]], Field(max_length=200)
    ] = Field(
        {},
        description="What was read from ConfigMaps when the run started, as it is written there.",
        json_schema_extra=ATOMIC_MAP,
    )
    retry_id: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, alias="retryID", description="The spec.retry.id that was acted on last."
    )
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        [], description="Facts about the run, for kubectl wait and GitOps tools.", json_schema_extra=BY_TYPE
    )
    outputs: Annotated[dict[str, Artifact], Field(max_length=200)] = Field(
        {}, description="Results of the whole DAG by name.", json_schema_extra=ATOMIC_MAP
    )
    nodes: Annotated[dict[str, NodeStatus], Field(max_length=MAX_NODES)] = Field(
        {},
        description="Nodes by name. Items of a node with forEach follow as <node>[0], <node>[1], …",
        json_schema_extra=ATOMIC_MAP,
    )
