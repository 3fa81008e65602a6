"""What becomes of a node whose turn may have come: it starts, is skipped, is omitted, or waits on.

Nodes that are named by ``depends`` are looked at together, once all of them have ended. Without it, one dependency that did not go well decides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.engine.expressions import (
    VARIABLES,
    Expression,
    ExpressionError,
    compile_expression,
    condition_holds,
    paths,
)
from controller.engine.graph import Graph
from controller.engine.nodes import CompiledNode
from controller.engine.problems import shown
from controller.engine.state import UNSUCCESSFUL, WENT_WELL, RunState


@dataclass(frozen=True, slots=True)
class Omitted:
    """The node will not run, because of how others ended."""

    message: str


def is_satisfied(graph: Graph, state: RunState, producer: int) -> bool:
    """Tell whether nodes that simply depend on a node that has ended may run."""
    phase = state.nodes[producer].phase
    forgives = graph.nodes[producer].spec.continue_on_failure
    return phase in WENT_WELL or (forgives and phase in UNSUCCESSFUL)


def omission(graph: Graph, state: RunState, node: CompiledNode) -> Omitted | None:
    """Say why a node is left out, or None if nothing that is known so far speaks against it.

    With ``depends`` this is known when all its dependencies have ended, and not before. Nodes of ``finally`` run however the others ended.
    """
    if node.depends is not None:
        return _logic_omission(graph, state, node)
    if node.is_finally:
        return None
    for producer in node.dependencies:
        if state.nodes[producer].phase.is_terminal and not is_satisfied(graph, state, producer):
            return Omitted(f'node "{graph.nodes[producer].name}" did not succeed')
    return None


def _logic_omission(graph: Graph, state: RunState, node: CompiledNode) -> Omitted | None:
    if state.nodes[node.index].waiting_for or node.depends is None:
        return None
    if node.depends.holds(lambda name: state.nodes[graph.index[name]]):
        return None
    ends = ", ".join(
        f"{name} is {state.nodes[graph.index[name]].phase.value}"
        for name in dict.fromkeys(node.depends.names())
    )
    return Omitted(f"depends is false: {shown(node.spec.depends)} ({ends})")


def skip_message(node: CompiledNode, condition: Expression, variables: Mapping[str, Any]) -> str | None:
    """Evaluate ``when``: None if the node may run, or else the sentence that says which values decided.

    Raises:
        RenderError: the condition has no value, or one that is neither true nor false.
    """
    if condition_holds(condition, variables, field=f"{node.field}.when"):
        return None
    values = ", ".join(_values(condition, variables))
    return f"when is false: {condition.source}" + (f" ({values})" if values else "")


def _values(condition: Expression, variables: Mapping[str, Any]) -> Iterator[str]:
    more = tuple(name for name in variables if name not in VARIABLES)
    for path in paths(condition.source):
        try:
            yield f"{path} = {shown(compile_expression(path, more).evaluate(variables))}"
        except ExpressionError:  # a part of the condition that did not decide
            continue
