"""The state of a run: what is known of each node, and the counts that make a pass cheap."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.api.dag import Artifact, NodePhase, NodeStatus


@dataclass(slots=True)
class NodeState:
    """What is known of a node: its phase and its latest attempt. Times are Unix seconds."""

    phase: NodePhase = NodePhase.PENDING
    attempt: int = 0
    job_id: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    artifact: Artifact | None = None
    stdout: str | None = None
    """Beginning of what the program printed; None if not known, as after a restart."""
    stopping: bool = False
    """Its job has been asked to stop."""
    waiting_for: int = 0
    """Dependencies that have not succeeded yet."""

    @property
    def is_stoppable(self) -> bool:
        """Whether it has an unfinished job that has not been asked to stop."""
        return self.phase.is_live and self.job_id is not None and not self.stopping

    def to_status(self) -> NodeStatus:
        """Give the node's part of the resource's status."""
        return NodeStatus(
            phase=self.phase,
            attempt=self.attempt or None,
            job_id=self.job_id,
            started_at=timestamp(self.started_at),
            finished_at=timestamp(self.finished_at),
            exit_code=self.exit_code,
            reason=self.reason,
            message=self.message,
            outputs=self.artifact,
        )

    @classmethod
    def from_status(cls, status: NodeStatus | None) -> "NodeState":
        """Take up what an earlier controller wrote.

        A job that was on its way to Bacalhau without an answer counts as never sent: its next submission finds it by name.
        """
        if status is None:
            return cls()
        if status.phase.is_live and status.job_id is None:
            return cls(attempt=(status.attempt or 1) - 1)
        return cls(
            phase=status.phase,
            attempt=status.attempt or 0,
            job_id=status.job_id,
            started_at=unix_time(status.started_at),
            finished_at=unix_time(status.finished_at),
            exit_code=status.exit_code,
            reason=status.reason,
            message=status.message,
            artifact=status.outputs,
        )


@dataclass(slots=True)
class RunState:
    """The nodes of a run by their number in the graph."""

    nodes: list[NodeState]
    counts: Counter[NodePhase] = field(default_factory=Counter)
    changed: set[int] = field(default_factory=set)
    """Nodes whose status has not been handed to the writer yet."""
    stoppable: set[int] = field(default_factory=set)
    """Nodes with an unfinished job that has not been asked to stop."""

    def __post_init__(self) -> None:
        self.counts.update(node.phase for node in self.nodes)
        self.stoppable.update(index for index, node in enumerate(self.nodes) if node.is_stoppable)

    def move(self, index: int, phase: NodePhase) -> None:
        """Put a node into another phase and keep the counts and sets true."""
        node = self.nodes[index]
        self.counts[node.phase] -= 1
        self.counts[phase] += 1
        node.phase = phase
        self.changed.add(index)
        if node.is_stoppable:
            self.stoppable.add(index)
        else:
            self.stoppable.discard(index)

    def accept(self, index: int, job_id: str) -> None:
        """Note that Bacalhau accepted the job of a node."""
        node = self.nodes[index]
        if node.job_id != job_id:
            node.job_id = job_id
            self.move(index, node.phase)

    def ask_to_stop(self, index: int) -> None:
        """Note that a node's job has been asked to stop."""
        self.nodes[index].stopping = True
        self.stoppable.discard(index)

    @property
    def live(self) -> int:
        """Nodes that have, or may have, an unfinished job."""
        return sum(self.counts[phase] for phase in NodePhase if phase.is_live)

    @property
    def pending(self) -> int:
        """Nodes that have not started, or whose attempt the platform lost."""
        return self.counts[NodePhase.PENDING]

    @property
    def unfinished(self) -> int:
        """Nodes that have not ended."""
        return sum(self.counts[phase] for phase in NodePhase if not phase.is_terminal)


def timestamp(time: float | None) -> str | None:
    """Write a Unix time as RFC 3339 in UTC with milliseconds, which tells short jobs apart."""
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_time(text: str | None) -> float | None:
    """Read an RFC 3339 time as Unix seconds."""
    return None if text is None else datetime.fromisoformat(text).timestamp()
