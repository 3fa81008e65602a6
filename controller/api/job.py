"""A Bacalhau job as a user writes it: the fields that the operator reads are typed, everything else is kept as it is.

The spelling is Bacalhau's own, so that a YAML which ``bacalhau job run`` accepts can be pasted in. Any value may be an expression
(``${{ … }}``), which is why numbers also accept text here; the rendered job is checked again before it is submitted.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_pascal

from controller.api.types import AnyValue

Text = Annotated[str, StringConstraints(max_length=4096)]
ShortText = Annotated[str, StringConstraints(max_length=256)]
Whole = int | Annotated[str, StringConstraints(max_length=256)]
Params = Annotated[dict[str, AnyValue], Field(max_length=256)]


class JobModel(BaseModel):
    """A part of a Bacalhau job: PascalCase on the wire, unknown fields kept, the case of keys ignored as Bacalhau does."""

    model_config = ConfigDict(
        alias_generator=to_pascal,
        populate_by_name=True,
        extra="allow",
        frozen=True,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_any_case(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        spelled = {
            (field.alias or name).lower(): field.alias or name for name, field in cls.model_fields.items()
        }
        return {
            spelled.get(key.lower(), key) if isinstance(key, str) else key: item
            for key, item in value.items()
        }


class SpecConfig(JobModel):
    """A typed plug-in of Bacalhau with its parameters: an engine, a publisher or a storage source."""

    type: ShortText | None = Field(None, description="Kind of plug-in, such as docker, wasm, ipfs or s3.")
    params: Params | None = Field(
        None, description="Parameters of the plug-in, passed to Bacalhau unchanged."
    )


class InputSource(JobModel):
    """Data that is mounted into the task before it starts."""

    source: SpecConfig | None = Field(None, description="Where the data comes from.")
    target: Text | None = Field(None, description="Absolute path at which the task sees the data.")
    alias: ShortText | None = Field(
        None, description="Name by which the job's other parts may refer to this input."
    )


class ResultPath(JobModel):
    """A directory of the task that is published when it ends."""

    name: ShortText | None = Field(
        None,
        description="Name of the directory in the published result. Keep it equal to the last part of Path: "
        "the WASM engine mounts the output at /Name.",
    )
    path: Text | None = Field(None, description="Absolute path of the directory in the task.")


class JobTimeouts(JobModel):
    """Bounds on the time of a job, in whole seconds."""

    execution_timeout: Whole | None = Field(None, description="Seconds that one execution may take.")
    queue_timeout: Whole | None = Field(
        None, description="Seconds that the job may wait for a node with room."
    )
    total_timeout: Whole | None = Field(
        None, description="Seconds from submission to the end, queueing included."
    )


class Resources(JobModel):
    """What the task needs of a node."""

    cpu: ShortText | int | None = Field(None, alias="CPU", description="CPU, such as 500m or 2.")
    memory: ShortText | int | None = Field(None, description="Memory, such as 512mb (10^6) or 512Mi (2^20).")
    disk: ShortText | int | None = Field(None, description="Disk, such as 1gb.")
    gpu: ShortText | int | None = Field(None, alias="GPU", description="Number of GPUs.")


class Network(JobModel):
    """What the task may reach over the network."""

    type: ShortText | None = Field(None, description="None, Host, Full, HTTP or Bridge.")
    domains: Annotated[list[ShortText], Field(max_length=256)] | None = Field(
        None, description="Domains that may be reached; only with type HTTP."
    )


class Task(JobModel):
    """The task of a job: what runs, what it reads and what it publishes."""

    name: ShortText | None = Field(None, description="Name of the task. Default: main.")
    engine: SpecConfig | None = Field(
        None, description="What runs the task: wasm or docker with its parameters."
    )
    env: Annotated[dict[str, ShortText | int], Field(max_length=256)] | None = Field(
        None, description="Environment variables of the task. Names are upper case."
    )
    input_sources: Annotated[list[InputSource], Field(max_length=256)] | None = Field(
        None, description="Data mounted into the task. Inputs of the node are added to these."
    )
    result_paths: Annotated[list[ResultPath], Field(max_length=64)] | None = Field(
        None, description="Directories that are published when the task ends. Need a Publisher."
    )
    publisher: SpecConfig | None = Field(None, description="Where results go: ipfs, s3 or local.")
    resources: Resources | None = Field(None, description="What the task needs of a node.")
    network: Network | None = Field(None, description="What the task may reach over the network.")
    timeouts: JobTimeouts | None = Field(
        None, description="Bounds on time, in seconds. The operator fills in those left out."
    )


class Job(JobModel):
    """A Bacalhau job, spelled as `bacalhau job run` takes it. Fields that are not listed here are kept unchanged."""

    name: ShortText | None = Field(
        None, description="Ignored: the operator names each attempt so that it can be submitted only once."
    )
    namespace: ShortText | None = Field(
        None, description="Ignored: each run has a Bacalhau namespace of its own, or the connection's."
    )
    type: ShortText | None = Field(None, description="Kind of job: batch or ops. Default: batch.")
    count: Whole | None = Field(None, description="Number of partitions of a batch job. Default: 1.")
    priority: Whole | None = Field(None, description="Higher runs first in a compute node's queue.")
    labels: Annotated[dict[str, ShortText], Field(max_length=64)] | None = Field(
        None, description="Labels of the Bacalhau job; the operator adds its own."
    )
    meta: Annotated[dict[str, ShortText], Field(max_length=64)] | None = Field(
        None, description="Metadata of the Bacalhau job; the operator adds its own."
    )
    constraints: Annotated[list[AnyValue], Field(max_length=64)] | None = Field(
        None, description="Which nodes may run the job, by their labels: items of Key, Operator and Values."
    )
    tasks: Annotated[list[Task], Field(max_length=1)] | None = Field(
        None, description="The job's one task; Bacalhau runs only the first."
    )

    def tree(self) -> dict[str, Any]:
        """Give the job as the user wrote it, in Bacalhau's spelling."""
        return self.model_dump(by_alias=True, exclude_unset=True)
