"""``BacalhauDAG``: one run of one graph of Bacalhau jobs."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from controller.api.job import Job, Whole
from controller.api.parameters import DAGParameter, Parameter
from controller.api.types import (
    MAX_NODES,
    AbsolutePath,
    AnyValue,
    Arguments,
    Description,
    Duration,
    Identifier,
    Message,
    Model,
    Name,
    NodeOrItem,
    ResourceName,
    Timestamp,
)

Expression = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
RelativePath = Annotated[str, StringConstraints(pattern=r"^[^/].*$", max_length=1024)]

ATOMIC_LIST: JsonDict = {"x-kubernetes-list-type": "atomic"}
ATOMIC_MAP: JsonDict = {"x-kubernetes-map-type": "atomic"}
BY_NAME: JsonDict = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
BY_TYPE: JsonDict = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


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


class Input(Model):
    """The result of another node, mounted before the job starts. An input is an edge of the graph."""

    from_: Name = Field(alias="from", description="Node whose published result is mounted.")
    output: RelativePath | None = Field(
        None,
        description="Part of the result to mount, most often the name of a ResultPath; may contain expressions. "
        "Default: the whole result, which holds stdout, stderr, exitCode and one directory for each ResultPath. Needs a "
        "result in S3 (plain), or on IPFS with spec.ipfs.apiURL set on the connection.",
    )
    target: AbsolutePath | None = Field(
        None,
        description="Path at which the job sees the data. Default: /inputs/<from>. Of a node with forEach, the result of "
        "each item is mounted in a directory named by its number: /inputs/<from>/0, /inputs/<from>/1, …",
    )
    optional: bool = Field(
        False,
        description="Leave the mount out if the node published nothing, as one that was skipped or failed may have. "
        "Without it such an input is an Error.",
    )

    @property
    def path(self) -> str:
        """Where the job sees the data."""
        return (self.target or f"/inputs/{self.from_}").rstrip("/") or "/"


class Artifact(Model):
    """Where a published result is."""

    uri: Annotated[str, StringConstraints(max_length=4096)] = Field(
        description="Address of the result: ipfs://…, s3://… or http://…"
    )
    cid: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        None, description="Content identifier of a result on IPFS. Default: the one in the uri."
    )
    endpoint: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        None, description="Endpoint of the S3 service, when it is not AWS."
    )
    region: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="Region of the S3 bucket."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_cid_from_uri(cls, value: Any) -> Any:
        """Whoever gives a node a result writes ``ipfs://…`` and may leave it at that."""
        if not isinstance(value, dict) or value.get("cid"):
            return value
        scheme, _, cid = str(value.get("uri", "")).partition("://")
        return value | {"cid": cid} if scheme == "ipfs" and cid and "/" not in cid else value


class RetryPolicy(StrEnum):
    """Which ends of an attempt are followed by another."""

    ON_FAILURE = "OnFailure"
    ON_ERROR = "OnError"
    ALWAYS = "Always"


class Backoff(Model):
    """How long to wait before the next attempt: duration × factor^(n-1) after the n-th one, counted from its end."""

    duration: Duration = Field("2s", description="Wait after the first attempt. Default: 2s.")
    factor: Annotated[float, Field(ge=1, le=100)] = Field(
        2.0, description="By how much each wait is longer than the one before. Default: 2."
    )
    cap: Duration | None = Field(None, description="Longest wait. Default: none.")
    jitter: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="Share of a wait by which it may be longer or shorter. Default: 0.1."
    )
    max_duration: Duration | None = Field(
        None, description="No attempt starts later than this after the start of the first. Default: none."
    )


class Retry(Model):
    """When a node that did not succeed is tried again."""

    limit: Annotated[int, Field(ge=0, le=1000)] = Field(
        description="How many failures (the program said no) are followed by another attempt."
    )
    error_limit: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None,
        description="How many errors (the platform failed) are followed by another attempt. Default: limit.",
    )
    policy: RetryPolicy = Field(
        RetryPolicy.ON_FAILURE,
        description="What is tried again: OnFailure (default), OnError, or Always, which is both.",
    )
    condition: Expression | None = Field(
        None,
        description="CEL condition on the attempt that has just ended, as last.phase, last.exitCode, last.reason, "
        "last.message, last.stdout, last.attempt and last.seconds. If it is false the node is not tried again.",
    )
    backoff: Backoff | None = Field(None, description="Wait between attempts. Default: none.")


class Approval(Model):
    """A node that runs no job but waits for a time, or for somebody to release it through spec.approvals."""

    message: Description | None = Field(None, description="What is to be decided, for whoever decides.")
    timeout: Duration | None = Field(
        None, description="How long to wait. Then the node has Failed. Default: no limit."
    )
    duration: Duration | None = Field(
        None, description="How long to wait. Then the node has Succeeded. Not together with timeout."
    )


class Range(Model):
    """Evenly spaced numbers: start, start + step, … Each value may be an expression."""

    count: Whole = Field(description="How many numbers.")
    start: Whole = Field(0, description="The first number. Default: 0.")
    step: Whole = Field(1, description="From one number to the next. Default: 1.")


Combination = Annotated[dict[Identifier, AnyValue], Field(max_length=32)]


class ForEach(Model):
    """Runs a node once for each item of a list. Exactly one of items, range and matrix makes the list."""

    items: AnyValue = Field(
        None,
        description="The items: a list, or an expression that gives one, such as ${{ params.shards }}, "
        "${{ nodes.split.outputs.files }} (what lies in a published directory) or ${{ nodes.split.json }} (JSON on stdout).",
    )
    range: Range | None = Field(None, description="Numbers as items.")
    matrix: Combination | None = Field(
        None,
        description="Every combination of the values of several lists. Each item is an object with these names; a list may "
        "be an expression. The first name in the alphabet varies slowest.",
    )
    exclude: Annotated[list[Combination], Field(max_length=256)] = Field(
        [],
        description="Combinations of the matrix to leave out: all that have these values.",
        json_schema_extra=ATOMIC_LIST,
    )
    include: Annotated[list[Combination], Field(max_length=256)] = Field(
        [], description="Items to add after those of the matrix.", json_schema_extra=ATOMIC_LIST
    )
    parallelism: Annotated[int, Field(ge=1, le=MAX_NODES)] | None = Field(
        None, description="How many items may be under way at once. Default: no limit but the DAG's."
    )
    min_succeeded: Annotated[int, Field(ge=0, le=MAX_NODES)] | None = Field(
        None,
        description="How many items must succeed for the node to succeed. Default: all that are not skipped.",
    )


class Node(Model):
    """A node of the graph: one Bacalhau job, given inline or by a template, or an approval."""

    name: Name = Field(description="Name of the node, unique in the DAG.")
    description: Description | None = Field(None, description="What the node does.")
    job: Job | None = Field(
        None,
        description="The node's Bacalhau job, spelled as `bacalhau job run` takes it. Either this or template.",
        json_schema_extra=ATOMIC_MAP,
    )
    template: Name | None = Field(None, description="Name of the job template to use. Either this or job.")
    suspend: Approval | None = Field(
        None,
        description="In place of a job: wait until spec.approvals says that the graph may go on here, or for a time.",
    )
    arguments: Arguments = Field(
        {},
        description="Values for the template's parameters; they may contain expressions.",
        json_schema_extra=ATOMIC_MAP,
    )
    for_each: ForEach | None = Field(
        None,
        description="Run the node once for each item of a list. Its expressions read the item as item, and its number, "
        "from 0, as index. retry and timeouts are those of each item.",
    )
    inputs: Annotated[list[Input], Field(max_length=MAX_NODES)] = Field(
        [],
        description="Results of other nodes that the job reads. Each is also a dependency.",
        json_schema_extra=ATOMIC_LIST,
    )
    dependencies: Annotated[list[Name], Field(max_length=MAX_NODES)] = Field(
        [],
        description="Nodes that must succeed before this one starts, beyond those named by inputs and expressions.",
        json_schema_extra=ATOMIC_LIST,
    )
    depends: Expression | None = Field(
        None,
        description="Logic over how other nodes ended, in place of dependencies: a && (b.Failed || b.Errored). Results "
        "are Succeeded, Failed, Errored, Skipped, Omitted and Cancelled, and for nodes with forEach AnySucceeded and "
        "AllFailed; a bare name means Succeeded or Skipped. It is decided when all nodes that it names have ended; if it is false the node is Omitted.",
    )
    when: Expression | None = Field(
        None,
        description="CEL condition over params, dag and nodes that is evaluated when the node could start. If it is "
        "false the node is Skipped, and nodes that depend on it still run. With forEach, one that reads item or index is "
        "evaluated for each item.",
    )
    retry: Retry | None = Field(
        None, description="When a node that did not succeed is tried again. Default: never."
    )
    timeout: Duration | None = Field(
        None,
        description="How long an attempt may run, not counting the time in the queue. Then it has Failed.",
    )
    total_timeout: Duration | None = Field(
        None,
        description="How long the node may take from the start of its first attempt, with queueing and retries.",
    )
    default_outputs: Artifact | None = Field(
        None,
        description="What counts as the node's result if it publishes none: because it was skipped, say, or failed and "
        "continueOnFailure is set. With forEach, it is that of each item.",
    )
    continue_on_failure: bool = Field(
        False,
        description="If the node does not succeed, the nodes that depend on it run all the same, and the run does not "
        "fail because of it.",
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


MAX_RECORDED = 64 * 1024
"""Characters that a run takes from ConfigMaps in all: they are kept in its status."""

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
