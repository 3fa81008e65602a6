"""The results as a table for people, or as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from benchmarks.sides import Pair, Result, Sample

Measure = Callable[[Sample], float]


def as_json(results: Iterable[Result], *, peak_memory: int) -> str:
    """Everything that was measured."""
    return json.dumps(
        {
            "results": [
                {**asdict(result), "size": result.workload.size, "ratio": result.ratio} for result in results
            ],
            "controller_peak_memory_bytes": peak_memory,
        },
        indent=2,
    )


def show(results: Iterable[Result], *, peak_memory: int, console: Console) -> None:
    """Prints a table with a pair of columns for each workload."""
    for result in results:
        console.print(_table(result))
    console.print(f"Peak memory of the controller: {peak_memory / 2**20:.0f} MiB")


def _table(result: Result) -> Table:
    nodes = result.workload.size
    title = f"{result.workload.name}, {result.old_jobs:,} old jobs, {len(result.pairs)} pairs"
    table = Table("", "script", "operator", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    seconds = [_range(result.pairs, side, lambda sample: sample.seconds) for side in (_floor, _operator)]
    table.add_row("wall time (s): min, median, max", *seconds)
    table.add_row("ratio: min, median, max", "", _spread(pair.ratio for pair in result.pairs))
    for label, measure, scale in _COSTS:
        floor, operator = (
            statistics.median(measure(side(pair)) for pair in result.pairs) * scale / nodes
            for side in (_floor, _operator)
        )
        table.add_row(label, f"{floor:.1f}", f"{operator:.1f}")
    return table


_COSTS: tuple[tuple[str, Measure, float], ...] = (
    ("Bacalhau API calls per node", lambda sample: sample.bacalhau_requests, 1),
    ("Bacalhau API kB per node", lambda sample: sample.bacalhau_bytes, 1e-3),
    ("Kubernetes API calls per node", lambda sample: sample.kubernetes_requests, 1),
    ("Kubernetes API kB per node", lambda sample: sample.kubernetes_bytes, 1e-3),
    ("CPU of script or operator, ms per node", lambda sample: sample.client_cpu, 1e3),
    ("CPU of Bacalhau, ms per node", lambda sample: sample.bacalhau_cpu, 1e3),
    ("CPU of Kubo, ms per node", lambda sample: sample.ipfs_cpu, 1e3),
    ("CPU of the API server, ms per node", lambda sample: sample.api_server_cpu, 1e3),
    ("CPU of etcd, ms per node", lambda sample: sample.etcd_cpu, 1e3),
)


def _floor(pair: Pair) -> Sample:
    return pair.floor


def _operator(pair: Pair) -> Sample:
    return pair.operator


def _range(pairs: Iterable[Pair], side: Callable[[Pair], Sample], measure: Measure) -> str:
    return _spread(measure(side(pair)) for pair in pairs)


def _spread(values: Iterable[float]) -> str:
    ordered = sorted(values)
    return f"{ordered[0]:.2f}  {statistics.median(ordered):.2f}  {ordered[-1]:.2f}"
