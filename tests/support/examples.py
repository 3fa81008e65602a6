"""The examples below `examples/`, and what they promise in the comment at their head.

A reader is told there how to run an example and how it ends. Tests read the same lines, so they cannot become untrue:

    # Run it:
    #   kubectl apply -f diamond.yaml
    #
    # How it ends:
    #   run       Succeeded   All 4 nodes succeeded.
    #   extract   Succeeded

The commands are those of a shell in the example's folder. What follows a phase is a part of what the status says about the run or the node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.api.dag import BacalhauDAG
from controller.api.status import NodeStatus
from tests.support.workspace import status

FOLDER = Path(__file__).parent.parent.parent / "examples"

RUN = "run"
"""What the line about the run itself begins with."""

_COMMANDS = re.compile(r"^# Run .*:\n((?:#   .*\n)+)", re.MULTILINE)
_ENDINGS = re.compile(r"^# How it ends:\n((?:#   .*\n)+)", re.MULTILINE)
_ENDING = re.compile(r"(\S+) +(\w+)(?: +(.+))?")


class Unpromising(Exception):
    """An example that does not say how it is run or how it ends."""


@dataclass(frozen=True)
class Ending:
    """How the run, or one of its nodes, ends."""

    of: str
    phase: str
    says: str = ""


@dataclass(frozen=True)
class Example:
    """One manifest, which holds one DAG."""

    file: Path

    @property
    def title(self) -> str:
        """What tells it from the others, for people."""
        return str(self.file.relative_to(FOLDER).with_suffix(""))

    @property
    def body(self) -> dict[str, Any]:
        """The DAG."""
        body: dict[str, Any] = yaml.safe_load(self.file.read_text())
        return body

    @property
    def name(self) -> str:
        """The name of the DAG."""
        return str(self.body["metadata"]["name"])

    @property
    def needs_containers(self) -> bool:
        """Whether any of its jobs runs in a container."""
        return bool(re.search(r"Type: *\"?docker", self.file.read_text()))

    @property
    def commands(self) -> str:
        """What a reader types to run it, as a script. Raises Unpromising if it does not say."""
        return "\n".join(self._lines(_COMMANDS, "# Run it:"))

    @property
    def endings(self) -> list[Ending]:
        """How the run and its nodes end. Raises Unpromising if it does not say."""
        lines = self._lines(_ENDINGS, "# How it ends:")
        found = [match for line in lines if (match := _ENDING.fullmatch(line))]
        return [Ending(match[1], match[2], match[3] or "") for match in found]

    def _lines(self, block: re.Pattern[str], header: str) -> list[str]:
        found = block.search(self.file.read_text())
        if found is None:
            raise Unpromising(f'{self.file} needs a comment "{header}"; see {__name__}.')
        return [line.removeprefix("#").strip() for line in found[1].splitlines()]


def all_examples() -> list[Example]:
    """Every manifest of a DAG below `examples/`."""
    return [
        Example(file) for file in sorted(FOLDER.rglob("*.yaml")) if "kind: BacalhauDAG" in file.read_text()
    ]


def surprises(example: Example, dag: BacalhauDAG) -> list[str]:
    """In what the end of a run differs from what its example promises."""
    ends = dict(_ends(dag))
    promised = {ending.of: ending for ending in example.endings}
    differences = [
        f"{name} is not mentioned; it is {ends[name][0]}" for name in ends.keys() - promised.keys()
    ]
    for name, ending in promised.items():
        phase, says = ends.get(name, ("absent", ""))
        if phase != ending.phase or ending.says not in says:
            differences.append(f"{name} is {phase}, not {ending.phase} {ending.says}: {says}")
    return differences


def _ends(dag: BacalhauDAG) -> Iterator[tuple[str, tuple[str, str]]]:
    """The phase of the run and of each node, each with what can be read about it."""
    yield RUN, (str(status(dag).phase), status(dag).message or "")
    for name, node in status(dag).nodes.items():
        yield name, (str(node.phase), _said_of(node))


def _said_of(node: NodeStatus) -> str:
    return f"{node.reason}: {node.message}\nattempt {node.attempt}: {node.message}"
