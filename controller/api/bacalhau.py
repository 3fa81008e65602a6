"""What Bacalhau reports about jobs and executions, as the rest of the operator reads it.

Only what a decision depends on is typed; unknown keys are dropped and nulls become defaults, so that a
newer server does not break an older operator. Wire names are aliases: code that builds these models (tests,
mostly) uses the Python names. Three peculiarities of the wire are undone here and nowhere else:

- times are unix nanoseconds there and float seconds here;
- job states travel as words, compute states as integers;
- "nothing published" is a result with an empty type there and ``None`` here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import override

__all__ = [
    "META_PREFIX",
    "META_SPEC_HASH",
    "ComputeNode",
    "ComputeState",
    "Execution",
    "Job",
    "JobSighting",
    "JobState",
    "RunOutput",
    "SpecConfig",
]

META_PREFIX = "dag.bacalhau.org/"
"""What the operator's own keys in a job's Meta begin with. The server drops keys under ``bacalhau.org/``."""

META_SPEC_HASH = META_PREFIX + "spec-hash"
"""The Meta key with the hash of the rendered job: what tells one's own job from another of the same name."""


class JobState(StrEnum):
    """The state of a job. Anything this version does not know reads as ``UNDEFINED``."""

    UNDEFINED = "Undefined"
    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"

    @classmethod
    @override
    def _missing_(cls, value: object) -> "JobState":
        return cls.UNDEFINED

    @property
    def is_terminal(self) -> bool:
        """Whether the job will never change its state again by itself."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.STOPPED)


class ComputeState(IntEnum):
    """The state of an execution, as its compute node told the orchestrator.

    The orchestrator never learns RUNNING and PUBLISHING: a running execution shows BID_ACCEPTED.
    """

    UNDEFINED = 0
    NEW = 1
    ASK_FOR_BID = 2
    ASK_FOR_BID_ACCEPTED = 3
    ASK_FOR_BID_REJECTED = 4
    BID_ACCEPTED = 5
    RUNNING = 6
    PUBLISHING = 7
    BID_REJECTED = 8
    COMPLETED = 9
    FAILED = 10
    CANCELLED = 11

    @classmethod
    @override
    def _missing_(cls, value: object) -> "ComputeState":
        return cls.UNDEFINED

    @property
    def is_terminal(self) -> bool:
        """Whether the execution will never change its state again."""
        return self in _TERMINAL_COMPUTE_STATES


_TERMINAL_COMPUTE_STATES = frozenset(
    {
        ComputeState.ASK_FOR_BID_REJECTED,
        ComputeState.BID_REJECTED,
        ComputeState.COMPLETED,
        ComputeState.FAILED,
        ComputeState.CANCELLED,
    }
)


def _seconds(value: object) -> object:
    """Nanoseconds (an int, as the wire has them) to seconds; a float is taken as seconds already."""
    return value / 1e9 if isinstance(value, int) else value


Timestamp = Annotated[float, BeforeValidator(_seconds)]
"""Unix time in seconds. An ``int`` is read as the wire's nanoseconds: give floats when building by hand."""


class _Reported(BaseModel):
    """A part of a report: frozen, tolerant, readable by wire name and by Python name."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _nulls_are_defaults(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {key: value for key, value in data.items() if value is not None}
        return data


class SpecConfig(_Reported):
    """A type and its parameters: an engine, a publisher, an input source or a published result."""

    type: str = Field(default="", alias="Type")
    params: dict[str, Any] = Field(default_factory=dict, alias="Params")


class RunOutput(_Reported):
    """What a finished execution printed (the first 2 KiB at most, often less) and its exit code."""

    stdout: str = Field(default="", alias="Stdout")
    stderr: str = Field(default="", alias="stderr")  # the wire spells this one in lower case
    exit_code: int = Field(default=0, alias="ExitCode")
    error_message: str = Field(default="", alias="ErrorMsg")
    stdout_truncated: bool = Field(default=False, alias="StdoutTruncated")
    stderr_truncated: bool = Field(default=False, alias="StderrTruncated")


def _published(value: object) -> object:
    """``None`` for the empty result that stands for "nothing published"."""
    if isinstance(value, Mapping) and not (value.get("Type") or value.get("type")):
        return None
    return value


class Execution(_Reported):
    """One try of a job on one compute node.

    ``run_output`` means something only when ``compute_state`` is COMPLETED: a failed execution reports
    exit code 0 and no output. ``message`` can be stale; it is worth reading when the execution failed.
    """

    id: str = Field(default="", alias="ID")
    node_id: str = Field(default="", alias="NodeID")
    job_version: int = Field(default=0, alias="JobVersion")
    partition_index: int = Field(default=0, alias="PartitionIndex")
    compute_state: ComputeState = Field(
        default=ComputeState.UNDEFINED, validation_alias=AliasPath("ComputeState", "StateType")
    )
    message: str = Field(default="", validation_alias=AliasPath("ComputeState", "Message"))
    published_result: Annotated[SpecConfig | None, BeforeValidator(_published)] = Field(
        default=None, alias="PublishedResult"
    )
    run_output: RunOutput | None = Field(default=None, alias="RunOutput")
    created_at: Timestamp = Field(default=0.0, alias="CreateTime")
    modified_at: Timestamp = Field(default=0.0, alias="ModifyTime")


def _without_env(tasks: object) -> object:
    """Tasks without environment variables: these can be values of Secrets, and nobody here needs them."""
    if not isinstance(tasks, list | tuple):
        return tasks
    return [
        {key: value for key, value in task.items() if key != "Env"} if isinstance(task, Mapping) else task
        for task in tasks
    ]


class Job(_Reported):
    """A job as Bacalhau last stored it. ``executions`` is ``None`` when nobody asked for them."""

    id: str = Field(default="", alias="ID")
    name: str = Field(default="", alias="Name")
    namespace: str = Field(default="", alias="Namespace")
    type: str = Field(default="", alias="Type")
    count: int = Field(default=1, alias="Count")
    state: JobState = Field(default=JobState.UNDEFINED, validation_alias=AliasPath("State", "StateType"))
    state_message: str = Field(default="", validation_alias=AliasPath("State", "Message"))
    version: int = Field(default=0, alias="Version")
    revision: int = Field(default=0, alias="Revision")
    created_at: Timestamp = Field(default=0.0, alias="CreateTime")
    modified_at: Timestamp = Field(default=0.0, alias="ModifyTime")
    labels: dict[str, str] = Field(default_factory=dict, alias="Labels")
    meta: dict[str, str] = Field(default_factory=dict, alias="Meta")
    tasks: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_without_env)] = Field(
        default=(), alias="Tasks"
    )
    executions: tuple[Execution, ...] | None = None


def _capacity(resource: str) -> AliasPath:
    return AliasPath("Info", "ComputeNodeInfo", "MaxCapacity", resource)


def _since(value: object) -> object:
    """An RFC 3339 time to unix seconds; Go's zero time, which means "never", to ``None``."""
    if not isinstance(value, str):
        return value
    moment = datetime.fromisoformat(value).timestamp()
    return moment if moment > 0 else None


class ComputeNode(_Reported):
    """A node of the cluster as the orchestrator sees it. CPU in cores, memory and disk in bytes."""

    id: str = Field(default="", validation_alias=AliasPath("Info", "NodeID"))
    type: str = Field(default="", validation_alias=AliasPath("Info", "NodeType"))
    status: str = Field(default="", validation_alias=AliasPath("ConnectionState", "Status"))
    connected_since: Annotated[float | None, BeforeValidator(_since)] = Field(
        default=None, validation_alias=AliasPath("ConnectionState", "ConnectedSince")
    )
    cpu: float = Field(default=0.0, validation_alias=_capacity("CPU"))
    memory: int = Field(default=0, validation_alias=_capacity("Memory"))
    disk: int = Field(default=0, validation_alias=_capacity("Disk"))
    gpu: int = Field(default=0, validation_alias=_capacity("GPU"))

    @property
    def is_connected_compute(self) -> bool:
        """Whether jobs can be sent to this node now."""
        return self.type == "Compute" and self.status == "CONNECTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSighting:
    """A job as the tracker saw it, with what the tracker knew of the cluster at that moment.

    ``orchestrator_epoch`` is the unix time (seconds) at which the longest connected compute node connected,
    or ``None`` where nobody asked or no node is connected. A restart of the orchestrator moves it forward: a
    job created before it that is still Queued a while after it is one that no scheduler looks at any more.
    """

    job: Job
    orchestrator_epoch: float | None = None
