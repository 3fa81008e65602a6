"""What both sides run: levels of jobs that do nothing, each mounting the results of the whole level before it.

A chain is many levels of one job; a fan is one job, many, and one that joins them. The jobs do nothing so that all
the time that is measured is the platform's and the operator's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support import wasm

Body = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A graph of jobs by the number of jobs in each level."""

    name: str
    levels: tuple[int, ...]
    target: float
    """The ratio of wall times, operator to script, that is to be kept."""

    @property
    def size(self) -> int:
        """How many jobs it has."""
        return sum(self.levels)

    def named_levels(self) -> Iterator[list[str]]:
        """The names of the jobs, level by level."""
        for depth, width in enumerate(self.levels):
            yield [f"n{depth}-{number}" for number in range(width)]

    def dag(self, name: str) -> Body:
        """The workload as a BacalhauDAG."""
        nodes: list[Body] = []
        parents: list[str] = []
        for level in self.named_levels():
            inputs = [{"from": parent} for parent in parents]
            nodes += [{"name": node, "template": "noop", "inputs": inputs} for node in level]
            parents = level
        return {
            "apiVersion": "bacalhau.org/v1alpha1",
            "kind": "BacalhauDAG",
            "metadata": {"name": name},
            "spec": {"jobTemplates": [{"name": "noop", "job": job()}], "nodes": nodes},
        }


def job() -> Body:
    """A job that returns at once and publishes what it printed, which is nothing.

    It asks for so little CPU that a node runs the whole fan at once: a job that does not fit waits in Bacalhau's queue
    for seconds, which would hide every other cost.
    """
    task = {
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "/tool.wasm", "Entrypoint": "_start"}},
        "InputSources": [wasm.inline_source(wasm.noop())],
        "Publisher": {"Type": "ipfs"},
        "Resources": {"CPU": "10m", "Memory": "16Mb"},
        "Network": {"Type": "None"},
        "Timeouts": {"ExecutionTimeout": 120, "QueueTimeout": 120, "TotalTimeout": 300},
    }
    return {"Type": "batch", "Count": 1, "Tasks": [task]}


def chain(length: int) -> Workload:
    """Jobs one after another."""
    return Workload(f"chain of {length}", (1,) * length, target=1.5)


def fan(width: int) -> Workload:
    """A root, as many jobs at once, and one that joins them."""
    return Workload(f"fan of {width}", (1, width, 1), target=1.3)
