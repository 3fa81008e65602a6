"""The results as tables for people, or as JSON."""

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
    """Everything that was measured, run by run."""
    measured = [
        {"nodes": result.workload.size, "ratio": result.ratio, **asdict(result)} for result in results
    ]
    return json.dumps({"controller_peak_memory_bytes": peak_memory, "results": measured}, indent=2)


def show(results: Iterable[Result], *, peak_memory: int, console: Console) -> None:
    """Prints a table for each workload."""
    for result in results:
        console.print(_table(result))
    console.print(f"Peak memory of the operator: {peak_memory / 2**20:.0f} MiB")


def _table(result: Result) -> Table:
    title = f"{result.workload.name}, {result.old_jobs:,} old jobs, {len(result.pairs)} pairs"
    table = Table("", "script", "operator", title=title, title_justify="left", min_width=70)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, values in _times(result).items():
        table.add_row(label, *values)
    table.add_section()
    for label, measure, scale in _PER_NODE:
        table.add_row(label, *(f"{_median(result, side, measure) * scale:.1f}" for side in (_script, _dag)))
    return table


def _times(result: Result) -> dict[str, tuple[str, str]]:
    """Minimum, median and maximum of wall times and of their ratio."""
    script, dag = (_spread(side(pair).seconds for pair in result.pairs) for side in (_script, _dag))
    ratio = _spread(pair.ratio for pair in result.pairs)
    return {
        "wall time, s (min  median  max)": (script, dag),
        f"ratio (target: {result.workload.target:g})": ("", ratio),
    }


_PER_NODE: tuple[tuple[str, Measure, float], ...] = (
    ("Bacalhau API calls per node", lambda sample: sample.bacalhau_requests, 1),
    ("Bacalhau API kB per node", lambda sample: sample.bacalhau_bytes, 1e-3),
    ("Kubernetes API calls per node", lambda sample: sample.kubernetes_requests, 1),
    ("Kubernetes API kB per node", lambda sample: sample.kubernetes_bytes, 1e-3),
    ("own CPU, ms per node", lambda sample: sample.client_cpu, 1e3),
    ("Bacalhau CPU, ms per node", lambda sample: sample.bacalhau_cpu, 1e3),
    ("Kubo CPU, ms per node", lambda sample: sample.ipfs_cpu, 1e3),
    ("API server CPU, ms per node", lambda sample: sample.api_server_cpu, 1e3),
    ("etcd CPU, ms per node", lambda sample: sample.etcd_cpu, 1e3),
    ("CPU of all of them, ms per node", lambda sample: sample.all_cpu, 1e3),
)


def _median(result: Result, side: Callable[[Pair], Sample], measure: Measure) -> float:
    return statistics.median(measure(side(pair)) for pair in result.pairs) / result.workload.size


def _script(pair: Pair) -> Sample:
    return pair.floor


def _dag(pair: Pair) -> Sample:
    return pair.operator


def _spread(values: Iterable[float]) -> str:
    ordered = sorted(values)
    return f"{ordered[0]:.2f}  {statistics.median(ordered):.2f}  {ordered[-1]:.2f}"
