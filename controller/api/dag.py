"""``BacalhauDAG``: one run of one graph of Bacalhau jobs."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from controller.api.artifact import Artifact
from controller.api.job import Job
from controller.api.node import Node, RelativePath
from controller.api.parameters import DAGParameter, Parameter
from controller.api.status import DAGStatus
from controller.api.types import (
    ATOMIC_LIST,
    ATOMIC_MAP,
    BY_NAME,
    MAX_NODES,
    Arguments,
    Description,
    Duration,
    Model,
    Name,
    NodeOrItem,
    ResourceName,
)


class JobTemplate(Model):
    """A job under a name, for several nodes to share."""

    name: Name = Field(description="Name by which nodes refer to the template.")
    description: Description | None = Field(None, description="What the template does.")
    parameters: Annotated[list[Parameter], Field(max_length=200)] = Field(
        [],
        description="Values the template takes; expressions read them as inputs.<name>.",
        json_schema_extra=BY_NAME,
    )
    job: Job = Field(
        description="The Bacalhau job. Expressions (${{ … }}) are evaluated for each node.",
        json_schema_extra=ATOMIC_MAP,
    )


class RunTimeouts(Model):
    """Bounds on the time of a run. Time while it is suspended counts."""

    dag: Duration | None = Field(None, description="How long the whole run may take. Default: no limit.")
    nodes: Duration | None = Field(
        None, description="How long the nodes may take. Default: what dag leaves after finally."
    )
    finally_: Duration | None = Field(
        None, alias="finally", description="How long the nodes of finally may take; reserved out of dag."
    )


class Shutdown(StrEnum):
    """How a run is ended early."""

    CANCEL = "Cancel"
    CANCEL_RUN_FINALLY = "CancelRunFinally"
    STOP_RUN_FINALLY = "StopRunFinally"


class Decision(Model):
    """What somebody decided about an approval node."""

    name: Name = Field(description="Name of the approval node.")
    approved: bool = Field(True, description="False has the node fail. Default: true.")
    message: Description | None = Field(None, description="Why, for whoever reads the status.")
    outputs: Artifact | None = Field(
        None, description="A result for the node, as if it had published it, such as a CID that was chosen."
    )


class Rerun(Model):
    """Asks that a run which has ended goes on with what did not go well."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="Any text. Each new one has the DAG run again once."
    )
    nodes: Annotated[list[NodeOrItem], Field(max_length=MAX_NODES)] = Field(
        [],
        description="Further nodes, or items such as count[3], to run again, with all that depends on them, although they "
        "succeeded.",
        json_schema_extra=ATOMIC_LIST,
    )


class Reuse(Model):
    """Names an earlier DAG whose results are taken over."""

    name: ResourceName = Field(description="Name of a BacalhauDAG in the same namespace.")


class Output(Model):
    """A result of the whole DAG."""

    name: Name = Field(description="Name under which the result appears in status.outputs.")
    from_: Name = Field(alias="from", description="Node whose published result this is.")
    output: RelativePath | None = Field(
        None, description="Part of the result, such as the name of a ResultPath. Default: the whole result."
    )


class ConnectionRef(Model):
    """Names a BacalhauConnection in the DAG's namespace."""

    name: ResourceName = Field(description="Name of the BacalhauConnection.")


class FailurePolicy(StrEnum):
    """What a failed node means for the nodes that do not depend on it."""

    FAIL_FAST = "FailFast"
    FAIL_FAST_CANCEL = "FailFastCancel"
    RUN_ALL = "RunAll"


DEFAULT_CONNECTION = ConnectionRef(name="default")


class DAGSpec(Model):
    """The graph, its parameters and how it runs."""

    description: Description | None = Field(None, description="What the DAG does.")
    connection_ref: ConnectionRef = Field(
        DEFAULT_CONNECTION,
        description='Where the jobs run. Default: the BacalhauConnection named "default" in the namespace of the DAG.',
    )
    parameters: Annotated[list[DAGParameter], Field(max_length=200)] = Field(
        [],
        description="Values the DAG takes; expressions read them as params.<name>.",
        json_schema_extra=BY_NAME,
    )
    arguments: Arguments = Field({}, description="Values for the parameters.", json_schema_extra=ATOMIC_MAP)
    job_templates: Annotated[list[JobTemplate], Field(max_length=500)] = Field(
        [],
        description="Jobs that several nodes share. They keep a large graph small.",
        json_schema_extra=BY_NAME,
    )
    nodes: Annotated[list[Node], Field(min_length=1, max_length=MAX_NODES)] = Field(
        description="The nodes of the graph. Immutable once the DAG has started.", json_schema_extra=BY_NAME
    )
    targets: Annotated[list[Name], Field(max_length=200)] = Field(
        [],
        description="Run only these nodes and those they need. Default: all nodes.",
        json_schema_extra=ATOMIC_LIST,
    )
    outputs: Annotated[list[Output], Field(max_length=200)] = Field(
        [], description="Results of the whole DAG, reported in status.outputs.", json_schema_extra=BY_NAME
    )
    finally_: Annotated[list[Node], Field(max_length=100)] = Field(
        [],
        alias="finally",
        description="Nodes that run when all others have ended, however they ended. Their expressions may read every node "
        "(nodes.<name>.phase, .reason, …) and the run (run.phase, run.message).",
        json_schema_extra=BY_NAME,
    )
    timeouts: RunTimeouts | None = Field(None, description="Bounds on the time of the run.")
    parallelism: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="How many nodes may run at once. Default: no limit but the connection's."
    )
    failure_policy: FailurePolicy = Field(
        FailurePolicy.FAIL_FAST,
        description="What happens when a node does not succeed. FailFast (default): nothing new starts, running "
        "nodes finish. FailFastCancel: running nodes are stopped too. RunAll: every node that does not depend on it "
        "still runs.",
    )
    suspend: bool = Field(
        False, description="While true nothing new starts; running jobs go on. May change at any time."
    )
    approvals: Annotated[list[Decision], Field(max_length=MAX_NODES)] = Field(
        [], description="Decisions about approval nodes. May be added at any time.", json_schema_extra=BY_NAME
    )
    retry: Rerun | None = Field(
        None,
        description="Has a run that has ended go on with what did not succeed: set id to any new value. Nodes that "
        "succeeded keep their results, unless they are named here or depend on what runs again.",
    )
    reuse_from: Reuse | None = Field(
        None,
        description="Takes over the results of an earlier DAG that has ended, however it ended: of the nodes that succeeded there and "
        "are written here as they were there, with all that they depend on. The other nodes run.",
    )
    shutdown: Shutdown | None = Field(
        None,
        description="Ends the run early, at any time. Cancel: jobs are stopped, nothing else runs. CancelRunFinally: jobs are "
        "stopped, then finally runs. StopRunFinally: running nodes finish, retries included, then finally runs.",
    )


class Metadata(Model):
    """The part of an object's metadata that the operator reads."""

    model_config = Model.model_config | {"extra": "ignore"}

    name: str
    namespace: str
    uid: str
    generation: int = 1
    resource_version: str = ""
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()


class BacalhauDAG(Model):
    """A graph of Bacalhau jobs that runs once, from its roots to its outputs."""

    api_version: str = Field(description="API version.")
    kind: Literal["BacalhauDAG"] = Field(description="Kind of the resource.")
    metadata: Metadata
    spec: DAGSpec = Field(description="The graph, its parameters and how it runs.")
    status: DAGStatus | None = Field(None, description="How the run goes. Written by the operator alone.")


def parse_dag(body: dict[str, Any]) -> BacalhauDAG:
    """Read an object as the API server stores it.

    Raises:
        pydantic.ValidationError: the object does not follow the schema.
    """
    return BacalhauDAG.model_validate(body)
