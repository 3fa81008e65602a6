"""Nodes while their edges are gathered, and how edges become a graph without a cycle."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from controller.api.node import Node
from controller.api.parameters import DAGParameter, Parameter
from controller.engine.expressions import Expression, Template
from controller.engine.logic import Logic
from controller.engine.nodes import CompiledNode
from controller.engine.problems import Problem
from controller.engine.secrets import secrets_read


@dataclass(slots=True)
class Draft:
    """A node while its edges are gathered."""

    spec: Node
    job: Template
    arguments: Template
    parameters: tuple[Parameter, ...]
    is_finally: bool = False
    depends: Logic | None = None
    when: Expression | None = None
    retry_condition: Expression | None = None
    part: Template = field(default_factory=lambda: Template({}))
    for_each: Template | None = None
    when_is_of_items: bool = False
    dependencies: dict[int, None] = field(default_factory=dict)
    dependents: list[int] = field(default_factory=list)
    handlers: list[int] = field(default_factory=list)
    reads: dict[int, None] = field(default_factory=dict)
    listed: dict[int, None] = field(default_factory=dict)

    @property
    def references(self) -> frozenset[tuple[str, str]]:
        """What all expressions of the node read."""
        return frozenset(pair for source in self._sources for pair in source.references)

    @property
    def listings(self) -> frozenset[str]:
        """The nodes of whose results any expression of the node reads the files."""
        return frozenset(name for source in self._sources for name in source.listings)

    @property
    def _sources(self) -> Iterator[Template | Expression]:
        yield from (self.job, self.arguments, self.part)
        yield from (source for source in (self.when, self.for_each) if source)


def connect(drafts: Sequence[Draft]) -> None:
    """Tell each node which others depend on it, and which deal with its failure."""
    for number, draft in enumerate(drafts):
        dealt_with = set(draft.depends.names()) if draft.depends and not draft.is_finally else set()
        for producer in draft.dependencies:
            drafts[producer].dependents.append(number)
            if drafts[producer].spec.name in dealt_with:
                drafts[producer].handlers.append(number)


def cycle_problems(drafts: Sequence[Draft]) -> Iterator[Problem]:
    """Walk the connected graph in Kahn's order; what is left over holds a cycle."""
    waiting = [len(draft.dependencies) for draft in drafts]
    ready = deque(number for number, count in enumerate(waiting) if count == 0)
    while ready:
        for number in drafts[ready.popleft()].dependents:
            waiting[number] -= 1
            if waiting[number] == 0:
                ready.append(number)
    left = [number for number, count in enumerate(waiting) if count > 0]
    if left:
        yield Problem("spec.nodes", f"the nodes form a cycle: {' → '.join(_cycle(drafts, set(left)))}.")


def _cycle(drafts: Sequence[Draft], left: set[int]) -> Iterable[str]:
    """Follow dependencies among the nodes left over until one comes round again, and name them in running order."""
    path: dict[int, int] = {}
    number = min(left)
    while number not in path:
        path[number] = len(path)
        number = next(producer for producer in drafts[number].dependencies if producer in left)
    cycle = [drafts[member].spec.name for member in path if path[member] >= path[number]]
    return [*reversed(cycle), cycle[-1]]


def finished(number: int, draft: Draft, parameters: Iterable[DAGParameter]) -> CompiledNode:
    """Give the node with its edges. ``number`` is its own."""
    return CompiledNode(
        index=number,
        name=draft.spec.name,
        spec=draft.spec,
        job=draft.job,
        parameters=draft.parameters,
        arguments=draft.arguments,
        dependencies=tuple(draft.dependencies),
        dependents=tuple(draft.dependents),
        reads=tuple(draft.reads),
        references=draft.references,
        depends=draft.depends,
        when=draft.when,
        retry_condition=draft.retry_condition,
        handlers=tuple(draft.handlers),
        is_finally=draft.is_finally,
        part=draft.part,
        for_each=draft.for_each,
        when_is_of_items=draft.when_is_of_items,
        listings=tuple(draft.listed),
        secrets=secrets_read(parameters, draft.job.references | draft.arguments.references),
    )
