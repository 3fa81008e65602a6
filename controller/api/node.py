"""A node of a ``BacalhauDAG``: its job, what it reads, when it runs, and what follows if it does not succeed."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from controller.api.artifact import Artifact
from controller.api.job import Job, Whole
from controller.api.types import (
    ATOMIC_LIST,
    ATOMIC_MAP,
    MAX_NODES,
    AbsolutePath,
    AnyValue,
    Arguments,
    Description,
    Duration,
    Identifier,
    Model,
    Name,
)

Expression = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
RelativePath = Annotated[str, StringConstraints(pattern=r"^[^/].*$", max_length=1024)]


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
