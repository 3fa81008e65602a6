"""The state of a run: what is known of each node, and the counts that make a pass cheap."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.api.artifact import Artifact
from controller.api.status import AttemptStatus, ItemsStatus, NodePhase, NodeStatus

MAX_ATTEMPTS_SHOWN = 10

LIVE_PHASES = tuple(phase for phase in NodePhase if phase.is_live)
WENT_WELL = frozenset({NodePhase.SUCCEEDED, NodePhase.SKIPPED})
UNSUCCESSFUL = (NodePhase.FAILED, NodePhase.ERROR, NodePhase.CANCELLED)
"""Ends of a node that ran, or could not, the worst first."""

RETRYING = "Retrying"
REPLACED = "Replaced"
"""Reasons of a pending node whose last attempt is followed by another."""


@dataclass(slots=True)
class NodeState:
    """What is known of a node: its phase, its latest attempt, and what earlier ones came to. Times are Unix seconds."""

    phase: NodePhase = NodePhase.PENDING
    attempt: int = 0
    job_id: str | None = None
    job_namespace: str | None = None
    """Bacalhau namespace of the job, if it is another run's: the result was taken over."""
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    artifact: Artifact | None = None
    stdout: str | None = None
    """Beginning of what the program printed; None if not known, as after a restart."""
    failures: int = 0
    """Attempts that failed."""
    errors: int = 0
    """Attempts that ended in an error."""
    lost: int = 0
    """Attempts that the platform lost. These three count from the node's last reset by a rerun."""
    first_started_at: float | None = None
    retry_at: float | None = None
    """When the next attempt starts, while the node waits for it."""
    attempts: list[AttemptStatus] = field(default_factory=list)
    """The latest earlier attempts."""
    running_since: float | None = None
    """Since when the latest attempt does not wait any more."""
    stopping: bool = False
    """Its job has been asked to stop."""
    waiting_for: int = 0
    """Dependencies that have not ended yet."""
    is_finally: bool = False
    """It is one of the nodes of ``finally``."""
    fan_out: int | None = None
    """The fan-out that it is an item of."""
    item: str | None = None
    """What it is, if it is an item, for people."""
    items: Counter[NodePhase] | None = None
    """Its items by phase, once it is a fan-out that has some."""
    failing_since: float | None = None
    """Since when it is known that a fan-out will fail."""
    files: tuple[str, ...] | None = None
    """What lies in its published result, once that was asked for."""

    @property
    def is_between_attempts(self) -> bool:
        """Tell whether an attempt was made and another one follows by itself, which is nothing new that starts."""
        return self.phase is NodePhase.PENDING and self.reason in (RETRYING, REPLACED)

    @property
    def is_under_way(self) -> bool:
        """Tell whether an attempt goes on, or one was made and another follows."""
        return self.phase.is_live or self.is_between_attempts

    @property
    def is_new(self) -> bool:
        """Tell whether the node has nothing under way: it waits for its first start or for a decision, not for a further attempt."""
        return self.is_waiting and not self.is_between_attempts

    @property
    def is_waiting(self) -> bool:
        """Tell whether the node waits to start, for its next attempt or for a decision."""
        return self.phase in (NodePhase.PENDING, NodePhase.SUSPENDED)

    @property
    def is_stoppable(self) -> bool:
        """Tell whether the node has an unfinished job that has not been asked to stop."""
        return self.phase.is_live and self.job_id is not None and not self.stopping

    def to_status(self) -> NodeStatus:
        """Give the node's part of the resource's status."""
        started_at, first_started_at = timestamp(self.started_at), timestamp(self.first_started_at)
        return NodeStatus(
            phase=self.phase,
            attempt=self.attempt or None,
            job_id=self.job_id,
            job_namespace=self.job_namespace,
            started_at=started_at,
            finished_at=timestamp(self.finished_at),
            exit_code=self.exit_code,
            reason=self.reason,
            message=self.message,
            outputs=self.artifact,
            failures=self.failures or None,
            errors=self.errors or None,
            lost=self.lost or None,
            first_started_at=first_started_at if first_started_at != started_at else None,
            retry_at=timestamp(self.retry_at),
            attempts=self.attempts or None,
            item=self.item,
            items=_summary(self.items) if self.items else None,
        )

    @classmethod
    def from_status(cls, status: NodeStatus | None) -> "NodeState":
        """Take up what an earlier controller wrote.

        A job that was on its way to Bacalhau without an answer counts as never sent: its next submission finds it by name.
        """
        if status is None:
            return cls()
        was_sent = status.job_id is not None or not status.phase.is_live
        return cls(
            phase=status.phase if was_sent else NodePhase.PENDING,
            attempt=(status.attempt or 0) if was_sent else (status.attempt or 1) - 1,
            job_id=status.job_id,
            job_namespace=status.job_namespace,
            started_at=unix_time(status.started_at),
            finished_at=unix_time(status.finished_at),
            exit_code=status.exit_code,
            reason=status.reason,
            message=status.message,
            artifact=status.outputs,
            failures=status.failures or 0,
            errors=status.errors or 0,
            lost=status.lost or 0,
            first_started_at=unix_time(status.first_started_at or status.started_at),
            retry_at=unix_time(status.retry_at),
            attempts=list(status.attempts or ()),
            item=status.item,
        )

    def remember_attempt(self) -> None:
        """Put the attempt that has just ended among the earlier ones."""
        self.attempts = attempts_of(self.to_status())

    def clear_attempt(self) -> None:
        """Make room for the next attempt."""
        self.job_id = self.job_namespace = None
        self.started_at = self.finished_at = self.running_since = None
        self.exit_code = self.reason = self.message = self.artifact = self.stdout = self.retry_at = None
        self.stopping = False


@dataclass(slots=True)
class RunState:
    """The nodes of a run by their number in the graph. Items of fan-outs follow, in the order in which they became known."""

    nodes: list[NodeState]
    counts: Counter[NodePhase] = field(default_factory=Counter)
    """Nodes by phase, those of ``finally`` apart."""
    finally_counts: Counter[NodePhase] = field(default_factory=Counter)
    fan_outs: Counter[NodePhase] = field(default_factory=Counter)
    """Those of them that have items, and so stand for others."""
    changed: set[int] = field(default_factory=set)
    """Nodes whose status has not been handed to the writer yet."""
    stoppable: set[int] = field(default_factory=set)
    """Nodes with an unfinished job that has not been asked to stop."""
    failing: set[int] = field(default_factory=set)
    """Fan-outs of which it is known that they will fail."""
    suspended: set[int] = field(default_factory=set)
    """Nodes that wait for an approval."""

    def __post_init__(self) -> None:
        for index in range(len(self.nodes)):
            self._enter(index)

    def _enter(self, index: int) -> None:
        """Have a node take part in the counts and sets."""
        node = self.nodes[index]
        for counts in self._counts_of(node):
            counts[node.phase] += 1
        self._keep_sets(index)

    def _keep_sets(self, index: int) -> None:
        _keep(self.stoppable, index, self.nodes[index].is_stoppable)
        _keep(self.suspended, index, self.nodes[index].phase is NodePhase.SUSPENDED)

    def _counts_of(self, node: NodeState) -> Iterator[Counter[NodePhase]]:
        """Give the counts that a node takes part in."""
        yield self.finally_counts if node.is_finally else self.counts
        if node.items is not None:
            yield self.fan_outs

    def add_item(self, fan_out: int, item: NodeState) -> int:
        """Add an item to a fan-out; gives the number that it has among the nodes."""
        parent = self.nodes[fan_out]
        if parent.items is None:
            parent.items = Counter()
            self.fan_outs[parent.phase] += 1
        item.fan_out, item.is_finally = fan_out, parent.is_finally
        self.nodes.append(item)
        parent.items[item.phase] += 1
        index = len(self.nodes) - 1
        self._enter(index)
        return index

    def move(self, index: int, phase: NodePhase) -> None:
        """Put a node into another phase and keep the counts and sets true."""
        node = self.nodes[index]
        for counts in self._counts_of(node):
            counts[node.phase] -= 1
            counts[phase] += 1
        if node.fan_out is not None:
            self._count_item(node.fan_out, node.phase, phase)
        node.phase = phase
        self.changed.add(index)
        self._keep_sets(index)
        if phase.is_terminal:
            node.failing_since = None
            self.failing.discard(index)

    def _count_item(self, fan_out: int, before: NodePhase, after: NodePhase) -> None:
        items = self.nodes[fan_out].items
        if items is not None:
            items[before] -= 1
            items[after] += 1
            self.changed.add(fan_out)

    def accept(self, index: int, job_id: str) -> None:
        """Note that Bacalhau accepted the job of a node."""
        node = self.nodes[index]
        if node.job_id != job_id:
            node.job_id = job_id
            self.move(index, node.phase)

    def name_item(self, index: int, item: str) -> None:
        """Note what an item is, for people."""
        if self.nodes[index].item != item:
            self.nodes[index].item = item
            self.changed.add(index)

    def expect_failure(self, index: int, message: str, now: float) -> None:
        """Note that a fan-out will fail, however its other items end."""
        self.nodes[index].failing_since, self.nodes[index].message = now, message
        self.failing.add(index)
        self.changed.add(index)

    def ask_to_stop(self, index: int) -> None:
        """Note that a node's job has been asked to stop."""
        self.nodes[index].stopping = True
        self.stoppable.discard(index)

    def before_finally(self) -> "RunState":
        """Give the nodes that are not part of ``finally``, as a state of their own."""
        return RunState([node for node in self.nodes if not node.is_finally])

    @property
    def leaves(self) -> Counter[NodePhase]:
        """The nodes by phase, with the items of a fan-out in place of it."""
        return self.counts + self.finally_counts - self.fan_outs

    @property
    def live(self) -> int:
        """Nodes that have, or may have, an unfinished job."""
        return sum(
            self.counts[phase] + self.finally_counts[phase] - self.fan_outs[phase] for phase in LIVE_PHASES
        )

    @property
    def pending(self) -> int:
        """Nodes before ``finally`` that have not started, or wait for another attempt."""
        return self.counts[NodePhase.PENDING]

    @property
    def pending_finally(self) -> int:
        """The same of ``finally``."""
        return self.finally_counts[NodePhase.PENDING]

    @property
    def unfinished(self) -> int:
        """Nodes before ``finally`` that have not ended."""
        return sum(self.counts[phase] for phase in NodePhase if not phase.is_terminal)

    @property
    def unfinished_finally(self) -> int:
        """Nodes of ``finally`` that have not ended."""
        return sum(self.finally_counts[phase] for phase in NodePhase if not phase.is_terminal)


def attempts_of(node: NodeStatus) -> list[AttemptStatus]:
    """Give the attempts of a node that another one follows: the earlier ones and the latest."""
    latest = AttemptStatus(
        attempt=node.attempt or 0,
        phase=node.phase,
        job_id=node.job_id,
        exit_code=node.exit_code,
        reason=node.reason,
        finished_at=node.finished_at,
    )
    return [*(node.attempts or ()), latest][-MAX_ATTEMPTS_SHOWN:]


def _summary(items: Counter[NodePhase]) -> ItemsStatus:
    return ItemsStatus(
        total=items.total(),
        succeeded=items[NodePhase.SUCCEEDED],
        failed=sum(items[phase] for phase in UNSUCCESSFUL),
        running=sum(items[phase] for phase in LIVE_PHASES),
        skipped=items[NodePhase.SKIPPED] + items[NodePhase.OMITTED],
    )


def _keep(members: set[int], index: int, belongs: bool) -> None:
    if belongs:
        members.add(index)
    else:
        members.discard(index)


def timestamp(time: float | None) -> str | None:
    """Write a Unix time as RFC 3339 in UTC with milliseconds, which tells short jobs apart."""
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_time(text: str | None) -> float | None:
    """Read an RFC 3339 time as Unix seconds."""
    return None if text is None else datetime.fromisoformat(text).timestamp()
