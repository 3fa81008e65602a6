"""What the engine costs: milliseconds of CPU to validate graphs, and to run them from the first node to the last.

    python -m benchmarks.engine [--repeat N] [-o json]

A run is played on a clock of its own, against jobs that end at once: every submission is answered, then seen running, then completed, one
observation to a pass, and every pass is reported, as the operator does at its worst. So the figures hold what rendering and reporting cost, and a
time that grows faster than nodes and edges together shows a pass that looks at more than what changed.
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import graphs
from benchmarks.graphs import Document
from controller.api.bacalhau import ComputeState, Execution, Job, JobSighting, JobState, RunOutput, SpecConfig
from controller.api.dag import DAGSpec
from controller.api.status import NodePhase, NodeStatus, RunPhase
from controller.engine import (
    Controls,
    Graph,
    InvalidDAG,
    JobSeen,
    JobSubmitted,
    Observation,
    Reporter,
    Run,
    RunContext,
    StopJob,
    SubmitJob,
    reset,
)

WORKFLOWS = Path(__file__).resolve().parents[1] / "../shared/dags"
CONTEXT = RunContext(
    namespace="bench",
    name="graph",
    uid="00000000-0000-4000-8000-000000000000",
    bacalhau_namespace="bench.graph",
    queue_timeout=300,
    execution_timeout=3600,
)

progress = Console(stderr=True, highlight=False, soft_wrap=True)


# What is measured


@dataclass(frozen=True, kw_only=True)
class Case:
    """A graph, and the node of it that fails, if one does."""

    name: str
    document: Document
    fails: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a graph takes, in milliseconds of CPU. A graph that is refused has no run."""

    graph: str
    nodes: int
    edges: int | None = None
    read_ms: float
    """From JSON to a typed spec."""
    validate_ms: float
    """From the spec to a checked graph, or to the reasons against it."""
    run_ms: float | None = None
    """From the first pass to the last."""
    passes: int | None = None
    rerun_ms: float | None = None
    """To find what runs again after a node that everything else may depend on."""
    refused: str | None = None

    @property
    def pass_us(self) -> float | None:
        """Microseconds of a pass of the run."""
        return self.run_ms * 1000 / self.passes if self.run_ms and self.passes else None


def cases(scale: float) -> Iterator[Case]:
    """The cliffs, in sizes between nothing and, at a scale of 1, those that were reported."""

    def sized(size: int) -> int:
        return max(2, round(size * scale))

    length = sized(101)
    yield Case(name=f"dense, 5 × {length}", document=graphs.dense(5, length))
    yield Case(name="dense, with a cycle", document=graphs.dense(5, length, cyclic=True))
    yield Case(name=f"chain of {sized(60)} results", document=graphs.chain(sized(60)))
    yield Case(name=f"{sized(10)} full layers of {sized(10)}", document=graphs.layered(sized(10), sized(10)))
    for width in map(sized, (250, 500, 1000, 2000)):
        yield Case(name=f"fan-in of {width:,}", document=graphs.fan_in(width))
    wide = sized(1000)
    yield Case(name=f"fan-out of {wide:,} items", document=graphs.fan_out(wide))
    for policy in ("FailFast", "FailFastCancel"):
        document = graphs.fan_in(wide, failurePolicy=policy)
        yield Case(name=f"{policy}, {wide:,}", document=document, fails="n0")
    yield Case(name=f"{wide:,} unknown names", document=graphs.misspelt(wide))


def measure(case: Case, *, repeat: int) -> Cost:
    """Read, validate and play a graph."""
    spec = DAGSpec.model_validate(case.document)
    read_ms = milliseconds(lambda: DAGSpec.model_validate(case.document), repeat=repeat)
    graph = validated(spec)
    validate_ms = milliseconds(lambda: validated(spec), repeat=repeat)
    cost = Cost(graph=case.name, nodes=len(spec.nodes), read_ms=read_ms, validate_ms=validate_ms)
    if isinstance(graph, InvalidDAG):
        return replace(cost, refused=str(graph))
    return replace(
        cost,
        edges=sum(len(node.dependencies) for node in graph.nodes),
        passes=play(graph, fails=case.fails),
        run_ms=milliseconds(lambda: play(graph, fails=case.fails), repeat=repeat),
        rerun_ms=milliseconds(lambda: rerun(graph), repeat=repeat),
    )


def milliseconds(work: Callable[[], object], *, repeat: int) -> float:
    """The least CPU time of several tries: unlike the time on the wall it does not depend on what else the machine does."""

    def once() -> float:
        start = time.process_time()
        work()
        return (time.process_time() - start) * 1000

    return min(once() for _ in range(repeat))


def validated(spec: DAGSpec) -> Graph | InvalidDAG:
    """Compile a graph, or say why not."""
    try:
        return Graph.compile(spec)
    except InvalidDAG as error:
        return error


def rerun(graph: Graph) -> dict[str, NodeStatus | None]:
    """Have the first node of a run that succeeded run again, with all that depends on it."""
    ended = {node.name: NodeStatus(phase=NodePhase.SUCCEEDED, attempt=1) for node in graph.nodes}
    return reset(graph, ended, [graph.nodes[0].name])


# A run without servers


class Cluster:
    """Jobs that end at once."""

    def __init__(self, *, fails: str | None = None) -> None:
        self.now = 1_800_000_000.0
        self.fails = fails

    def answers(self, effect: SubmitJob) -> Iterator[Observation]:
        """All that is seen of a job."""
        self.now += 0.001
        known: Document = {"id": effect.job["Name"], "version": 1, "tasks": tuple(effect.job["Tasks"])}
        known |= {"created_at": self.now, "modified_at": self.now}
        at: Document = {"node": effect.node, "attempt": effect.attempt}
        yield JobSubmitted(**at, job_id=effect.job["Name"])
        yield JobSeen(**at, sighting=JobSighting(job=Job(**known, state=JobState.QUEUED)))
        yield JobSeen(**at, sighting=JobSighting(job=Job(**known, state=JobState.RUNNING)))
        output = RunOutput(exit_code=1 if effect.node == self.fails else 0)
        published = SpecConfig(type="ipfs", params={"CID": "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"})
        ended = Execution(
            job_version=1, compute_state=ComputeState.COMPLETED, run_output=output, published_result=published
        )
        yield JobSeen(
            **at, sighting=JobSighting(job=Job(**known, state=JobState.COMPLETED, executions=(ended,)))
        )

    def stopped(self, effect: StopJob) -> JobSeen:
        """A job after it was stopped."""
        job = Job(id=effect.job_id, state=JobState.STOPPED, state_message=effect.reason, modified_at=self.now)
        return JobSeen(node=effect.node, attempt=effect.attempt, sighting=JobSighting(job=job))


def play(graph: Graph, *, fails: str | None = None) -> int:
    """Run a graph to its end, one observation to a pass; give the number of passes."""
    cluster = Cluster(fails=fails)
    run = Run(graph, CONTEXT)
    reporter = Reporter(run, None)
    inbox: deque[Observation] = deque()
    passes = 0
    while not run.phase.is_terminal:
        observations = [inbox.popleft()] if inbox else []
        for effect in run.advance(observations, Controls(), cluster.now):
            if isinstance(effect, SubmitJob):
                inbox.extend(cluster.answers(effect))
            elif isinstance(effect, StopJob):
                inbox.append(cluster.stopped(effect))
        reporter.delta(generation=1, now=cluster.now, hindrance=None)
        passes += 1
    expected = RunPhase.FAILED if fails else RunPhase.SUCCEEDED
    assert run.phase is expected, run.phase
    return passes


# What is printed


def table(costs: Sequence[Cost]) -> Table:
    """A line for each graph."""
    title = "Milliseconds of CPU"
    shown = Table(
        "graph", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left", show_edge=False
    )
    shown.columns[0].overflow = "fold"
    for column in ("nodes", "edges", "read", "validate", "run", "µs/pass", "rerun"):
        shown.add_column(column, justify="right")
    for cost in costs:
        measured = [f"{cost.nodes:,}", _number(cost.edges, ",")]
        measured += [_number(time, ",.1f") for time in (cost.read_ms, cost.validate_ms, cost.run_ms)]
        measured += [_number(cost.pass_us, ",.0f"), _number(cost.rerun_ms, ",.1f")]
        shown.add_row(cost.graph, *measured)
    return shown


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all graphs and print what they cost."""
    options = _options(arguments)
    chosen = list(cases(options.scale))
    if options.workflows.is_dir():
        chosen += [
            Case(name=name, document=document) for name, document in graphs.workflows(options.workflows)
        ]
    else:
        progress.print(f"Workflows that people ran are left out: there is no folder {options.workflows}.")
    costs = [measure(case, repeat=options.repeat) for case in chosen]
    if options.output == "json":
        print(json.dumps([asdict(cost) for cost in costs], indent=2))
    else:
        Console(highlight=False).print(table(costs))


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeat", type=int, default=3, help="take the best of so many (default: 3)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="shrink the graphs (default: 1, as they were reported)"
    )
    parser.add_argument(
        "--workflows",
        type=Path,
        default=WORKFLOWS.resolve(),
        help="folder of further graphs, *.dag.json (default: %(default)s)",
    )
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
