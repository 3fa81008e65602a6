"""Fan-outs: a node with ``forEach`` is many nodes, one for each item of a list, and stands for all of them.

The items are nodes of their own, named ``count[0]``, ``count[1]``, … . They are retried, timed out, stopped and shown like any other. The
node itself runs no job: it ends when its items have.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from controller.api.node import ForEach, Node
from controller.api.status import NodePhase
from controller.api.types import MAX_NODES
from controller.engine.expressions import has_expression
from controller.engine.identity import fingerprint
from controller.engine.problems import RenderError, shown
from controller.engine.state import UNSUCCESSFUL, NodeState
from controller.engine.stopping import ENDED_BY_THE_RUN
from controller.engine.verdict import Finished

_WORST_FIRST = (*UNSUCCESSFUL, NodePhase.OMITTED)


@dataclass(frozen=True, slots=True)
class Item:
    """Which item of which fan-out a node is: the fan-out's name and number in the graph, and the item's number."""

    node: str
    index: int
    number: int


@dataclass(slots=True)
class FanOut:
    """The items of a fan-out, as numbers of the nodes that they are."""

    nodes: list[int] = field(default_factory=list)
    values: Sequence[Any] | None = None
    """What the items are. None until that is worked out, which after a restart may be later than items are known."""
    waiting: deque[int] = field(default_factory=deque)
    """Items that could start if fewer were under way."""
    under_way: set[int] = field(default_factory=set)
    """Items that were let start and have not ended. One that waits for its next attempt keeps its place."""
    is_closed: bool = False
    """No more items follow, and none starts of which it is not known what it is."""
    verdict: Finished | None = None
    """How the fan-out ends, if not by its items."""

    @property
    def is_known(self) -> bool:
        """Tell whether it is known which items there are."""
        return self.values is not None or self.is_closed

    def value(self, number: int) -> Any:
        """Give an item's value."""
        return self.values[number] if self.values else None

    def admit(self, index: int, spec: Node) -> bool:
        """Let an item start, or have it wait until others have ended, or until its value is known; tell which."""
        if self.values is None:
            return False
        if index in self.under_way or self._has_room(spec):
            self.under_way.add(index)
            return True
        self.waiting.append(index)
        return False

    def released(self, index: int, spec: Node) -> Iterator[int]:
        """Take away an item that has ended; gives those that may start in its place."""
        self.under_way.discard(index)
        while self.waiting and self._has_room(spec):
            following = self.waiting.popleft()
            self.under_way.add(following)
            yield following

    def _has_room(self, spec: Node) -> bool:
        parallelism = spec.for_each.parallelism if spec.for_each else None
        return parallelism is None or len(self.under_way) < parallelism


# What the items are


def given(for_each: ForEach) -> dict[str, Any]:
    """Give the parts of ``forEach`` that make the list, for their expressions to be compiled."""
    parts = {"items", "range", "matrix", "exclude", "include"}
    return for_each.model_dump(by_alias=True, exclude_unset=True, include=parts)


def items_of(parts: Mapping[str, Any], field: str) -> list[Any]:
    """Give the items, from the evaluated parts of ``forEach``.

    Args:
        parts: what ``given`` gave, with its expressions evaluated.
        field: place of ``forEach`` in the resource, for messages.

    Raises:
        RenderError: a part is not what it should be, or there are too many items.
    """
    if parts.get("range") is not None:
        items: Sequence[Any] = _numbers(parts["range"], f"{field}.range")
    elif parts.get("matrix") is not None:
        items = _combinations(parts, field)
    else:
        items = _list(parts["items"], f"{field}.items")
    if len(items) > MAX_NODES:
        raise RenderError(field, f"{len(items)} items are too many; a DAG has at most {MAX_NODES} nodes.")
    return list(items)


def _numbers(parts: Mapping[str, Any], field: str) -> range:
    count, start, step = (
        _whole(parts.get(name, default), f"{field}.{name}")
        for name, default in (("count", 0), ("start", 0), ("step", 1))
    )
    if count < 0:
        raise RenderError(f"{field}.count", f"{count} is less than 0.")
    if step == 0:
        raise RenderError(f"{field}.step", "0 would repeat one number; write 1 or another step.")
    return range(start, start + count * step, step)


def _whole(value: Any, field: str) -> int:
    """Read a whole number. A parameter may hold it as text, and CEL has numbers with a point."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise RenderError(field, f"{shown(value)} is not a whole number.")
    return int(text)


def _list(value: Any, field: str) -> Sequence[Any]:
    if value is None:
        raise RenderError(field, "null is not a list; .json is null where a program printed no JSON.")
    if not isinstance(value, list):
        raise RenderError(field, f"{shown(value)} is not a list.")
    return value


def _combinations(parts: Mapping[str, Any], field: str) -> list[Any]:
    lists = {name: _list(value, f"{field}.matrix.{name}") for name, value in sorted(parts["matrix"].items())}
    size = 1
    for values in lists.values():
        size *= len(values)
    if size > MAX_NODES:
        raise RenderError(
            f"{field}.matrix", f"{size} combinations are too many; a DAG has at most {MAX_NODES} nodes."
        )
    combinations = (dict(zip(lists, values, strict=True)) for values in product(*lists.values()))
    excluded = parts.get("exclude", [])
    kept = [item for item in combinations if not any(_matches(item, entry) for entry in excluded)]
    return [*kept, *parts.get("include", [])]


def _matches(item: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return all(
        name in item and fingerprint(item[name]) == fingerprint(value) for name, value in entry.items()
    )


def for_each_problems(for_each: ForEach) -> Iterator[tuple[str, str]]:
    """Find what is wrong with ``forEach`` whatever its expressions give, as pairs of a part of it and a sentence."""
    lists = {"items": for_each.items, "range": for_each.range, "matrix": for_each.matrix}
    if sum(value is not None for value in lists.values()) != 1:
        yield "", "forEach has exactly one of items, range and matrix."
    if for_each.items is not None and not (
        isinstance(for_each.items, list) or has_expression(for_each.items)
    ):
        yield ".items", f"{shown(for_each.items)} is not a list, nor an expression that could give one."
    if for_each.matrix is not None and not for_each.matrix:
        yield ".matrix", "a matrix has at least one list."
    if for_each.matrix is None:
        for name in ("exclude", "include"):
            if getattr(for_each, name):
                yield f".{name}", f"{name} belongs to a matrix."
        return
    for name in sorted({name for entry in for_each.exclude for name in entry} - for_each.matrix.keys()):
        yield ".exclude", f"{shown(name)} is not a list of the matrix."


# What its items come to


def cannot_succeed(for_each: ForEach, items: Mapping[NodePhase, int], *, all_known: bool) -> bool:
    """Tell whether too many items did not succeed, however the others end.

    ``items`` counts them by phase; after a restart, more than these may be still to come.
    """
    if for_each.min_succeeded is None:
        return any(items[phase] for phase in UNSUCCESSFUL)
    hopeful = sum(count for phase, count in items.items() if not phase.is_terminal)
    return all_known and items[NodePhase.SUCCEEDED] + hopeful < for_each.min_succeeded


def verdict(for_each: ForEach, items: Sequence[tuple[str, NodeState]]) -> Finished:
    """Say how a fan-out ended whose items have all ended, by the worst of them."""
    phases = [state.phase for _, state in items]
    succeeded = phases.count(NodePhase.SUCCEEDED)
    worst = _worst(items)
    is_enough = for_each.min_succeeded is not None and succeeded >= for_each.min_succeeded
    if is_enough and not any(state.reason in ENDED_BY_THE_RUN for _, state in items):
        return Finished(
            phase=NodePhase.SUCCEEDED, reason="EnoughItems", message=_tally(succeeded, len(items))
        )
    if _had_too_few(for_each, phases):
        message = f"{_tally(succeeded, len(items))}; minSucceeded is {for_each.min_succeeded}"
        return Finished(phase=NodePhase.FAILED, reason="TooFewItems", message=message)
    if worst is None:
        return Finished(phase=NodePhase.SUCCEEDED if succeeded else NodePhase.SKIPPED, reason="AllItems")
    return _as_the_worst(*worst, others=sum(phase in _WORST_FIRST for phase in phases) - 1)


def _had_too_few(for_each: ForEach, phases: Sequence[NodePhase]) -> bool:
    """Tell whether a fan-out fails although none of its items did: even with those that were left out for that, they were too few."""
    if for_each.min_succeeded is None or any(phase in UNSUCCESSFUL for phase in phases):
        return False
    return phases.count(NodePhase.SUCCEEDED) + phases.count(NodePhase.OMITTED) < for_each.min_succeeded


def _tally(succeeded: int, total: int) -> str:
    return f"{succeeded} of {total} items succeeded"


def _worst(items: Iterable[tuple[str, NodeState]]) -> tuple[str, NodeState] | None:
    unsuccessful = [item for item in items if item[1].phase in _WORST_FIRST]
    return min(unsuccessful, key=lambda item: _WORST_FIRST.index(item[1].phase), default=None)


def _as_the_worst(name: str, state: NodeState, *, others: int) -> Finished:
    """End like this item. What the run itself ended keeps its reason, by which the run knows its own doing again."""
    if state.phase is NodePhase.OMITTED or state.reason in ENDED_BY_THE_RUN:
        return Finished(phase=state.phase, reason=state.reason or "", message=state.message)
    more = f" ({others} more items did not succeed)" if others else ""
    return Finished(
        phase=state.phase,
        reason="ItemsFailed",
        message=f"{name}: {state.message or state.reason}{more}",
    )
