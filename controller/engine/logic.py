"""``depends``: when a node starts, as logic over how others ended, in Argo's terms.

``a && (b.Failed || b.Errored)``: a bare name means that the node succeeded or was skipped. It is a language of its own, and not CEL, so that names
with hyphens can be written as they are: ``count-0.Succeeded``. Nothing is decided before every node that is named has ended.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from controller.api.status import NodePhase
from controller.engine.problems import shown
from controller.engine.state import WENT_WELL, NodeState

RESULTS: dict[str, frozenset[NodePhase]] = {
    "Succeeded": frozenset({NodePhase.SUCCEEDED}),
    "Failed": frozenset({NodePhase.FAILED}),
    "Errored": frozenset({NodePhase.ERROR}),
    "Skipped": frozenset({NodePhase.SKIPPED}),
    "Omitted": frozenset({NodePhase.OMITTED}),
    "Cancelled": frozenset({NodePhase.CANCELLED}),
}
"""What can be asked of a node, by the phases that it is true of."""


MAX_DEPTH = 50

_TOKEN = re.compile(r"\s*(\|\||&&|[!()]|[A-Za-z0-9_][A-Za-z0-9_.-]*|\S)")

ANY_SUCCEEDED = "AnySucceeded"
ALL_FAILED = "AllFailed"
OF_ITEMS = (ANY_SUCCEEDED, ALL_FAILED)
"""What can be asked of a fan-out beyond that."""

_FAILED = RESULTS["Failed"] | RESULTS["Errored"]

StateOf = Callable[[str], NodeState]


class LogicError(Exception):
    """A ``depends`` that cannot be read."""


@dataclass(frozen=True, slots=True)
class Term:
    """How one node ended."""

    name: str
    phases: frozenset[NodePhase]

    def holds(self, state_of: StateOf) -> bool:
        """Tell whether the node ended so."""
        return state_of(self.name).phase in self.phases

    def names(self) -> Iterator[str]:
        """Name the node."""
        yield self.name


@dataclass(frozen=True, slots=True)
class ItemsTerm:
    """How the items of one fan-out ended. Of one without items, nothing can be said that is true."""

    name: str
    result: str

    def holds(self, state_of: StateOf) -> bool:
        """Tell whether its items ended so."""
        items = state_of(self.name).items or Counter()
        if self.result == ANY_SUCCEEDED:
            return items[NodePhase.SUCCEEDED] > 0
        return items.total() > 0 and items.total() == sum(items[phase] for phase in _FAILED)

    def names(self) -> Iterator[str]:
        """Name the node."""
        yield self.name


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    operand: "Logic"

    def holds(self, state_of: StateOf) -> bool:
        """Tell whether the operand does not hold."""
        return not self.operand.holds(state_of)

    def names(self) -> Iterator[str]:
        """Name the nodes of the operand."""
        return self.operand.names()


@dataclass(frozen=True, slots=True)
class Both:
    """All of several."""

    operands: tuple["Logic", ...]

    def holds(self, state_of: StateOf) -> bool:
        """Tell whether all hold."""
        return all(operand.holds(state_of) for operand in self.operands)

    def names(self) -> Iterator[str]:
        """Name the nodes of all."""
        for operand in self.operands:
            yield from operand.names()


@dataclass(frozen=True, slots=True)
class Either:
    """One or more of several."""

    operands: tuple["Logic", ...]

    def holds(self, state_of: StateOf) -> bool:
        """Tell whether any holds."""
        return any(operand.holds(state_of) for operand in self.operands)

    def names(self) -> Iterator[str]:
        """Name the nodes of all."""
        for operand in self.operands:
            yield from operand.names()


Logic = Term | ItemsTerm | Not | Both | Either


def parse_logic(source: str, nodes: Collection[str], *, fan_outs: Collection[str] = ()) -> Logic:
    """Read a ``depends``.

    Args:
        source: its text.
        nodes: the names of the graph, which tell a result from a part of a name with a dot.
        fan_outs: those of them that have items.

    Raises:
        LogicError: with a sentence that says what is wrong.
    """
    return _Parser(source, nodes, fan_outs).parse()


class _Parser:
    """Recursive descent: ``or`` binds least, then ``and``, then ``not``."""

    def __init__(self, source: str, nodes: Collection[str], fan_outs: Collection[str]) -> None:
        self._tokens = [match[1] for match in _TOKEN.finditer(source)]
        self._nodes = nodes
        self._fan_outs = fan_outs
        self._position = 0
        self._depth = 0

    def parse(self) -> Logic:
        logic = self._either()
        if self._position < len(self._tokens):
            raise LogicError(
                f"{shown(self._tokens[self._position])} is not expected here; write && or || between terms"
            )
        return logic

    def _either(self) -> Logic:
        operands = [self._both()]
        while self._accept("||"):
            operands.append(self._both())
        return operands[0] if len(operands) == 1 else Either(tuple(operands))

    def _both(self) -> Logic:
        operands = [self._not()]
        while self._accept("&&"):
            operands.append(self._not())
        return operands[0] if len(operands) == 1 else Both(tuple(operands))

    def _not(self) -> Logic:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise LogicError(f"it is nested more than {MAX_DEPTH} deep")
        try:
            return Not(self._not()) if self._accept("!") else self._primary()
        finally:
            self._depth -= 1

    def _primary(self) -> Logic:
        if self._accept("("):
            logic = self._either()
            if not self._accept(")"):
                raise LogicError('a ")" is missing')
            return logic
        if self._position == len(self._tokens):
            raise LogicError("it ends where the name of a node is expected")
        token = self._tokens[self._position]
        self._position += 1
        return self._term(token)

    def _term(self, token: str) -> Logic:
        if token in self._nodes:
            return Term(token, WENT_WELL)
        name, dot, result = token.rpartition(".")
        if dot and name in self._nodes:
            return self._result(name, result)
        missing = name if dot and (result in RESULTS or result in OF_ITEMS) else token
        raise LogicError(f"{shown(missing)} is not a node of this DAG")

    def _result(self, name: str, result: str) -> Logic:
        if result in RESULTS:
            return Term(name, RESULTS[result])
        if result not in OF_ITEMS:
            raise LogicError(
                f"{shown(result)} is not a result; write one of {', '.join((*RESULTS, *OF_ITEMS))}"
            )
        if name not in self._fan_outs:
            raise LogicError(f"{result} is said of nodes with forEach, and {shown(name)} has none")
        return ItemsTerm(name, result)

    def _accept(self, token: str) -> bool:
        if self._position < len(self._tokens) and self._tokens[self._position] == token:
            self._position += 1
            return True
        return False
