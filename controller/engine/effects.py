"""What the engine asks the shell to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from controller.api.artifact import Artifact
from controller.api.references import SecretKeyRef


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob:
    """Make sure that the job of this attempt exists, once."""

    node: str
    attempt: int
    job: dict[str, Any]
    bundles: tuple[str, ...] = ()
    """Directories of the job into which the results of a fan-out are mounted, and which could be mounted as one."""
    secrets: Mapping[str, SecretKeyRef] = field(default_factory=dict)
    """Secrets whose values take the place of placeholders in Env of the job's task, by the parameters that they are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopJob:
    """Stop the job of this attempt. The reason stays with the job and is read again after a crash."""

    node: str
    attempt: int
    job_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFiles:
    """Find out what lies in the published result of a node."""

    node: str
    artifact: Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """Tell people, in ``kubectl describe``, once the status that says the same has been written."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeAt:
    """Advance the run again at this Unix time in seconds, if nothing wakes it before."""

    time: float


Effect = SubmitJob | StopJob | ListFiles | Emit | WakeAt
