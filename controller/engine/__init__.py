"""How a DAG advances, without a clock, a network or Kubernetes.

``Graph.compile`` checks a spec; ``Run.advance`` turns observations into effects; ``Reporter.delta`` writes down the result.
"""

from controller.engine.approval import misdirected
from controller.engine.effects import Effect, Emit, ListFiles, StopJob, SubmitJob, WakeAt
from controller.engine.graph import Graph, graph_hash
from controller.engine.identity import run_namespace
from controller.engine.observations import (
    Controls,
    FilesListed,
    FilesUnknown,
    JobLost,
    JobSeen,
    JobSubmitted,
    Observation,
    SubmissionRefused,
    SubmissionWithheld,
)
from controller.engine.parameters import default_text, values_of
from controller.engine.problems import InvalidDAG
from controller.engine.rendering import RunContext
from controller.engine.report import Reporter, opening, rejection
from controller.engine.rerun import reset
from controller.engine.reuse import Candidate, Earlier, reuse
from controller.engine.run import Run

__all__ = [
    "Candidate",
    "Controls",
    "Earlier",
    "Effect",
    "Emit",
    "FilesListed",
    "FilesUnknown",
    "Graph",
    "InvalidDAG",
    "JobLost",
    "JobSeen",
    "JobSubmitted",
    "ListFiles",
    "Observation",
    "Reporter",
    "Run",
    "RunContext",
    "StopJob",
    "SubmissionRefused",
    "SubmissionWithheld",
    "SubmitJob",
    "WakeAt",
    "default_text",
    "graph_hash",
    "misdirected",
    "opening",
    "rejection",
    "reset",
    "reuse",
    "run_namespace",
    "values_of",
]
