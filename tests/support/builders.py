"""DAGs, jobs and sightings for tests, so that a case says what it is about and nothing else.

Documents are built as a user would write them (``dag(node("a"), node("b", after=["a"]))``) and sightings as Bacalhau would report them
(``completed(7)``). ``Play`` advances a run by hand.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from controller.api.bacalhau import ComputeState, Execution, Job, JobSighting, JobState, RunOutput, SpecConfig
from controller.api.dag import DAGSpec
from controller.api.status import DAGStatus, NodePhase
from controller.engine import (
    Controls,
    Effect,
    Emit,
    Graph,
    JobSeen,
    JobSubmitted,
    Observation,
    Reporter,
    Run,
    RunContext,
    StopJob,
    SubmitJob,
    WakeAt,
)
from controller.engine.state import NodeState
from controller.kube.merge import apply

Json = dict[str, Any]

START = 1_800_000_000.0
"""When runs start in tests, in Unix seconds."""

CONTEXT = RunContext(
    namespace="lab",
    name="count",
    uid="6f1c0c6e-0000-4000-8000-000000000001",
    bacalhau_namespace="lab.count-6f1c0c6e",
    queue_timeout=300,
    execution_timeout=3600,
)


# Documents


def job(**task: Any) -> Json:
    """A small job that publishes to IPFS; the arguments are fields of its task."""
    engine = {"Type": "wasm", "Params": {"EntryModule": "/tool.wasm"}}
    return {
        "Type": "batch",
        "Tasks": [{"Name": "main", "Engine": engine, "Publisher": {"Type": "ipfs"}} | task],
    }


def node(
    name: str,
    *,
    after: Sequence[str] = (),
    inputs: Sequence[str | Mapping[str, Any]] = (),
    reads: Sequence[str] = (),
    **fields: Any,
) -> Json:
    """A node. ``reads`` names nodes whose stdout its job takes as parameters; ``fields`` are those of the resource."""
    document: Json = {"name": name, "dependencies": list(after)}
    document["inputs"] = [{"from": item} if isinstance(item, str) else dict(item) for item in inputs]
    if "job" not in fields and "template" not in fields:
        parameters = [f'${{{{ nodes["{producer}"].stdout }}}}' for producer in reads]
        engine = {"Type": "wasm", "Params": {"EntryModule": "/tool.wasm", "Parameters": parameters}}
        document["job"] = job(Engine=engine)
    return document | fields


def dag(*nodes: Json, **fields: Any) -> DAGSpec:
    """The spec of a DAG; ``fields`` are those of the resource, such as ``failurePolicy``."""
    return DAGSpec.model_validate({"nodes": list(nodes)} | fields)


# What Bacalhau reports


def execution(state: ComputeState = ComputeState.COMPLETED, **fields: Any) -> Execution:
    """An execution on the node n-1."""
    defaults: Json = {"id": "e-1", "node_id": "n-1", "job_version": 1, "compute_state": state}
    return Execution(**defaults | {"created_at": START + 1, "modified_at": START + 2} | fields)


def sighting(state: JobState, *, epoch: float | None = None, **fields: Any) -> JobSighting:
    """A job in this state; ``epoch`` is when its orchestrator started, ``fields`` are those of ``Job``."""
    defaults: Json = {"id": "j-1", "type": "batch", "state": state, "version": 1}
    defaults |= {"created_at": START, "modified_at": START + 3, "tasks": (rendered_task(),)}
    return JobSighting(job=Job(**defaults | fields), orchestrator_epoch=epoch)


def rendered_task(*, engine: str = "wasm", publisher: str = "ipfs", queue_timeout: int = 300) -> Json:
    """A task as Bacalhau stores it."""
    return {
        "Name": "main",
        "Engine": {"Type": engine},
        "Publisher": {"Type": publisher},
        "Timeouts": {"QueueTimeout": queue_timeout},
    }


def completed(
    exit_code: int = 0, *, cid: str | None = "QmResult", stdout: str = "", stderr: str = "", **fields: Any
) -> JobSighting:
    """A job whose program ended."""
    output = RunOutput(exit_code=exit_code, stdout=stdout, stderr=stderr)
    published = SpecConfig(type="ipfs", params={"CID": cid}) if cid else None
    ended = execution(run_output=output, published_result=published)
    return sighting(JobState.COMPLETED, **{"executions": (ended,)} | fields)


def failed(message: str = "memory limit exceeded", **fields: Any) -> JobSighting:
    """A job that the platform could not run."""
    scheduler = "not enough nodes to run job. requested: 1, available: 1, suitable: 0."
    lost = execution(ComputeState.FAILED, message=message)
    return sighting(JobState.FAILED, **{"executions": (lost,), "state_message": scheduler} | fields)


def queued(*failures: str, **fields: Any) -> JobSighting:
    """A job that waits for a node; ``failures`` are messages of executions that failed before."""
    lost = [
        execution(ComputeState.FAILED, id=f"e-{number}", message=message, modified_at=START + number)
        for number, message in enumerate(failures)
    ]
    return sighting(JobState.QUEUED, **{"executions": tuple(lost)} | fields)


def running(**fields: Any) -> JobSighting:
    """A job that a node runs."""
    return sighting(JobState.RUNNING, **fields)


def stopped(reason: str = "", **fields: Any) -> JobSighting:
    """A job that was stopped for this reason."""
    return sighting(JobState.STOPPED, **{"state_message": reason, "executions": ()} | fields)


# A run advanced by hand


class Play:
    """A run, its clock and its status, advanced step by step.

    ``controls`` are those of ``Controls``; they hold until they are changed.
    """

    def __init__(
        self, spec: DAGSpec, *, status: DAGStatus | None = None, now: float = START, **controls: Any
    ) -> None:
        self.graph = Graph.compile(spec)
        self.controls: Json = controls
        self.now = now
        self.effects: tuple[Effect, ...] = ()
        self.status: Json = status.model_dump(by_alias=True, mode="json", exclude_none=True) if status else {}
        self.begin(status)

    def begin(self, status: DAGStatus | None) -> None:
        """Start, as a new process would, from a status."""
        self.run = Run(self.graph, CONTEXT, status)
        self.reporter = Reporter(self.run, status)

    def restart(self) -> None:
        """Lose the process, but not the status that it wrote."""
        self.begin(DAGStatus.model_validate(self.status))

    def lose_all(self) -> None:
        """Lose the process and the status."""
        self.status = {}
        self.begin(None)

    def go(self, *observations: Observation, after: float = 1.0, **controls: Any) -> "Play":
        """Advance the run, and write its status."""
        self.controls |= controls
        self.now += after
        self.effects = self.run.advance(observations, Controls(**self.controls), self.now)
        delta = self.reporter.delta(generation=1, now=self.now, hindrance=None)
        self.status = apply(self.status, delta)
        return self

    def see(self, **sightings: JobSighting) -> "Play":
        """Advance after seeing the jobs of the latest attempts of nodes."""
        return self.go(*(self.seen(name, sighting) for name, sighting in sightings.items()))

    def seen(self, name: str, sighting: JobSighting, *, attempt: int | None = None) -> JobSeen:
        """Observe the job of a node's latest attempt. Each attempt has a job ID of its own."""
        number = self.run.node(name).attempt if attempt is None else attempt
        return JobSeen(node=name, attempt=number, sighting=identified(sighting, f"j-{name}-{number}"))

    def accept(self, *names: str) -> "Play":
        """Advance after Bacalhau accepted the jobs of nodes."""
        return self.go(
            *(
                JobSubmitted(
                    node=name,
                    attempt=self.run.node(name).attempt,
                    job_id=f"j-{name}-{self.run.node(name).attempt}",
                )
                for name in names
            )
        )

    def see_items(self, name: str, *sightings: JobSighting) -> "Play":
        """Advance after seeing the jobs of the first items of a fan-out."""
        return self.see(**{f"{name}[{number}]": seen for number, seen in enumerate(sightings)})

    def node(self, name: str) -> NodeState:
        """The state of a node."""
        return self.run.node(name)

    def items(self, name: str) -> list[NodePhase]:
        """The phases of a fan-out's items, in their order."""
        return [phase for item, phase in self.phases.items() if item.startswith(f"{name}[")]

    @property
    def phases(self) -> dict[str, NodePhase]:
        """The phases of all nodes, and of the items of fan-outs."""
        return {item.name: self.run.node(item.name).phase for item in self.run.nodes}

    @property
    def started(self) -> list[str]:
        """Nodes that the latest advance submitted."""
        return [effect.node for effect in self.effects if isinstance(effect, SubmitJob)]

    @property
    def jobs(self) -> dict[str, Json]:
        """Jobs that the latest advance submitted, by node."""
        return {effect.node: effect.job for effect in self.effects if isinstance(effect, SubmitJob)}

    @property
    def stops(self) -> dict[str, str]:
        """Nodes whose job the latest advance stopped, with the reason."""
        return {effect.node: effect.reason for effect in self.effects if isinstance(effect, StopJob)}

    @property
    def wakes(self) -> list[float]:
        """Times at which the latest advance wants to be woken, the earliest first."""
        return sorted({effect.time for effect in self.effects if isinstance(effect, WakeAt)})

    @property
    def events(self) -> list[tuple[str, str]]:
        """Reasons and messages of the latest advance's events."""
        return [(effect.reason, effect.message) for effect in self.effects if isinstance(effect, Emit)]


def identified(seen: JobSighting, job_id: str) -> JobSighting:
    """The same sighting of a job with another ID."""
    return JobSighting(
        job=seen.job.model_copy(update={"id": job_id}), orchestrator_epoch=seen.orchestrator_epoch
    )
