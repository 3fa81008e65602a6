"""What the shell tells the engine: the facts that a run's next decisions rest on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.api.bacalhau import JobSighting
from controller.api.dag import Decision, Shutdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The fields of a DAG that may change while it runs."""

    suspend: bool = False
    parallelism: int | None = None
    shutdown: Shutdown | None = None
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """What was decided about approval nodes, by their names."""
    cancel: bool = False
    """The DAG is being deleted: stop what runs, start nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted:
    """Bacalhau accepted the job of an attempt."""

    node: str
    attempt: int
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRefused:
    """The job of an attempt can never be accepted as it is."""

    node: str
    attempt: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionWithheld:
    """The job of an attempt was not sent, because something that it needs is not there yet, such as a Secret."""

    node: str
    attempt: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
    """The job of an attempt, as Bacalhau reports it. A job that has ended comes with its executions."""

    node: str
    attempt: int
    sighting: JobSighting


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLost:
    """Bacalhau repeatedly said that it does not know the job of an attempt."""

    node: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesListed:
    """What lies in the published result of a node: paths inside it, in alphabetical order."""

    node: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesUnknown:
    """Nobody can say what lies in the published result of a node."""

    node: str
    message: str


JobObservation = JobSubmitted | SubmissionRefused | SubmissionWithheld | JobSeen | JobLost
Observation = JobObservation | FilesListed | FilesUnknown
