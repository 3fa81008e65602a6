"""What the engine costs: milliseconds of CPU to compile graphs, and to run them from the first node to the last.

    python -m benchmarks.engine [--repeat N]

A run is played against jobs that end at once: every submission is answered, then seen running, then completed, one observation to a pass,
and every pass is reported, as the operator does at its worst. So the figures hold what rendering and reporting cost, and a column that
grows faster than nodes and edges together shows a pass that looks at more than what changed.
"""

import argparse
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from controller.api.bacalhau import ComputeState, Execution, Job, JobSighting, JobState, RunOutput, SpecConfig
from controller.api.dag import DAGSpec, RunPhase
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
)

REAL_GRAPHS = Path(__file__).resolve().parents[1] / "../shared/dags"
CONTEXT = RunContext(
    namespace="bench",
    name="graph",
    uid="00000000-0000-4000-8000-000000000000",
    bacalhau_namespace="bench.graph",
    queue_timeout=300,
    execution_timeout=3600,
)
Document = dict[str, Any]


# Graphs


def node(name: str, *, after: Sequence[str] = (), inputs: Sequence[str] = (), step: str = "x") -> Document:
    """A node that uses the template below."""
    mounted = [{"from": producer} for producer in inputs]
    return {
        "name": name,
        "template": "tool",
        "arguments": {"step": step},
        "dependencies": list(after),
        "inputs": mounted,
    }


def dag(nodes: Sequence[Document], **fields: Any) -> Document:
    """A DAG whose nodes share one template."""
    job = {
        "Tasks": [
            {
                "Engine": {
                    "Type": "wasm",
                    "Params": {"EntryModule": "/tool.wasm", "Parameters": ["${{ inputs.step }}"]},
                },
                "Publisher": {"Type": "ipfs"},
                "ResultPaths": [{"Name": "outputs", "Path": "/outputs"}],
            }
        ]
    }
    template = {"name": "tool", "parameters": [{"name": "step"}], "job": job}
    return {"nodes": list(nodes), "jobTemplates": [template], "failurePolicy": "RunAll"} | fields


def dense(*, cyclic: bool = False) -> Document:
    """505 nodes with 25,250 edges: each depends on some fifty before it; with a cycle on request."""
    rng = random.Random(505)
    nodes = []
    for number in range(505):
        producers = rng.sample(range(number), min(number, 53 if number < 421 else 52))
        nodes.append(node(f"n{number}", after=[f"n{producer}" for producer in producers]))
    if cyclic:
        nodes[0]["dependencies"] = ["n504"]
    return dag(nodes)


def chain(length: int) -> Document:
    """A chain in which each node mounts the result of the one before and reads its exit code."""
    nodes = [node("n0")]
    for number in range(1, length):
        code = f"${{{{ string(nodes.n{number - 1}.exitCode) }}}}"
        nodes.append(node(f"n{number}", inputs=[f"n{number - 1}"], step=code))
    return dag(nodes)


def layered(width: int, depth: int) -> Document:
    """Layers of which each node depends on all of the layer before."""
    return dag(
        [
            node(
                f"l{layer}-{place}",
                after=[f"l{layer - 1}-{producer}" for producer in range(width)] if layer else [],
            )
            for layer in range(depth)
            for place in range(width)
        ]
    )


def fan_in(width: int, **fields: Any) -> Document:
    """Many nodes, and one that mounts all their results."""
    names = [f"n{number}" for number in range(width)]
    return dag([*(node(name) for name in names), node("sink", inputs=names)], **fields)


def real(path: Path) -> Document:
    """A workflow that people ran. Names that are too long keep their ends, which hold the numbers."""
    tasks = json.loads(path.read_text())["tasks"]
    names = {task["id"]: task["id"][-63:].lstrip("_-.") for task in tasks}
    return dag(
        [node(names[task["id"]], inputs=[names[parent] for parent in task["parents"]]) for task in tasks]
    )


# Measuring


def milliseconds(work: Callable[[], object], *, repeat: int) -> float:
    """The least CPU time of several tries: unlike the time on the wall it does not depend on what else the machine does."""

    def once() -> float:
        start = time.process_time()
        work()
        return (time.process_time() - start) * 1000

    return min(once() for _ in range(repeat))


def compile_graph(spec: DAGSpec) -> Graph | InvalidDAG:
    """Compile a graph, or say why not."""
    try:
        return Graph.compile(spec)
    except InvalidDAG as error:
        return error


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
    reporter = Reporter(run, None, now=cluster.now)
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


def report(name: str, document: Document, *, repeat: int, fails: str | None = None) -> None:
    """Measure one graph and print a line."""
    spec = DAGSpec.model_validate(document)
    compiled = compile_graph(spec)
    compile_ms = milliseconds(lambda: compile_graph(spec), repeat=repeat)
    if isinstance(compiled, InvalidDAG):
        print(f"{name:<34} {len(spec.nodes):>6} {'':>7} {compile_ms:>9.1f}   refused: {str(compiled)[:60]}…")
        return
    edges = sum(len(item.dependencies) for item in compiled.nodes)
    passes = play(compiled, fails=fails)
    run_ms = milliseconds(lambda: play(compiled, fails=fails), repeat=repeat)
    each = run_ms * 1000 / passes
    print(
        f"{name:<34} {len(spec.nodes):>6} {edges:>7} {compile_ms:>9.1f} {run_ms:>9.1f} {passes:>7} {each:>8.0f}"
    )


def main() -> None:
    """Measure all graphs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, help="take the best of so many (default: 3)")
    repeat = parser.parse_args().repeat
    print(f"{'graph':<34} {'nodes':>6} {'edges':>7} {'compile':>9} {'run':>9} {'passes':>7} {'µs/pass':>8}")
    report("dense", dense(), repeat=repeat)
    report("dense, with a cycle", dense(cyclic=True), repeat=repeat)
    report("chain of 60 with results", chain(60), repeat=repeat)
    report("layers 10×10, bipartite", layered(10, 10), repeat=repeat)
    for width in (250, 500, 1000, 2000):
        report(f"fan-in {width:,}", fan_in(width), repeat=repeat)
    for policy in ("FailFast", "FailFastCancel"):
        report(f"fan-in 1,000, {policy}", fan_in(1000, failurePolicy=policy), repeat=repeat, fails="n0")
    names = [document["name"] for document in fan_in(1000)["nodes"][:-1]]
    misspelt = dag([*(node(name) for name in names), node("sink", after=[f"{name}x" for name in names])])
    report("1,000 unknown names", misspelt, repeat=repeat)
    if not REAL_GRAPHS.is_dir():
        print(f"Real graphs are left out: there is no folder {REAL_GRAPHS.resolve()}.")
        return
    for path in sorted(REAL_GRAPHS.glob("*.dag.json"), key=lambda path: path.stat().st_size):
        report(path.name.removesuffix(".dag.json"), real(path), repeat=repeat)


if __name__ == "__main__":
    main()
