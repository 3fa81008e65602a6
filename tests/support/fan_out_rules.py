"""What must hold of the fan-outs of a simulated world, by the words of the documentation and by another program than the engine's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from controller.api.bacalhau import JobState
from controller.api.node import ForEach
from controller.api.status import NodePhase
from controller.engine import Graph, SubmitJob
from controller.engine.expressions import as_text
from controller.engine.state import NodeState
from tests.support.builders import Json, job

if TYPE_CHECKING:
    from tests.support.simulation import SimulatedBacalhau, SimulatedJob

Phases = Mapping[str, NodePhase]

WORST_FIRST = (NodePhase.FAILED, NodePhase.ERROR, NodePhase.CANCELLED, NodePhase.OMITTED)
UNSUCCESSFUL = WORST_FIRST[:3]
ENDED_BY_THE_RUN = ("Cancelled", "RunTimedOut")

_ITEM = re.compile(r"(\w+)\[(\d+)\]")
_LIST = re.compile(r"nodes\.(\w+)\.\??(json|outputs)")


def item_job() -> Json:
    """A job that is told which item it works on."""
    return job(Env={"ITEM": "${{ item }}", "INDEX": "${{ index }}"})


def parent_of(name: str) -> str:
    """The fan-out of an item, or else the node itself."""
    match = _ITEM.fullmatch(name)
    return match[1] if match else name


def number_of(name: str) -> int:
    """The number of an item."""
    return int(name.rpartition("[")[2].removesuffix("]"))


def items_of(name: str, phases: Phases) -> list[str]:
    """The items of a fan-out, in their order."""
    items = (item for item in phases if item != name and parent_of(item) == name)
    return sorted(items, key=number_of)


class FanOutRules:
    """The fan-outs of a graph, whose jobs are in this Bacalhau."""

    def __init__(self, graph: Graph, bacalhau: SimulatedBacalhau) -> None:
        self._bacalhau = bacalhau
        self._lists = {
            node.name: node.spec.for_each for node in graph.nodes if node.spec.for_each is not None
        }

    def values(self, name: str, phases: Phases) -> list[Any] | None:
        """What the items of a fan-out are, once all that it waits for has ended; None if nobody can say."""
        for_each = self._lists[name]
        if for_each.range:
            return list(range(int(for_each.range.count)))
        if isinstance(for_each.items, list):
            return for_each.items
        match = _LIST.search(str(for_each.items))
        assert match
        found = self._printed(match[1], phases) if match[2] == "json" else self._files(match[1], phases)
        has_default = "?" in str(for_each.items)
        return [] if found is None and has_default else found

    def _printed(self, name: str, phases: Phases) -> list[Any] | None:
        if name in self._lists:
            return [self._printed(item, phases) for item in items_of(name, phases)]
        last = self._last_completed(name, phases)
        return last.printed if last else None

    def _files(self, name: str, phases: Phases) -> list[Any] | None:
        last = self._last_completed(name, phases)
        return list(last.files) if last else None

    def _last_completed(self, name: str, phases: Phases) -> SimulatedJob | None:
        jobs = [known for known in self._bacalhau.attempts() if known.node == name]
        came_to_something = phases[name] in (NodePhase.SUCCEEDED, NodePhase.FAILED)
        return jobs[-1] if came_to_something and jobs[-1].state is JobState.COMPLETED else None

    def doomed(self, phases: Phases) -> set[str]:
        """The fan-outs that cannot succeed any more, as far as these nodes have ended."""
        return {name for name, for_each in self._lists.items() if self._is_doomed(name, for_each, phases)}

    def _is_doomed(self, name: str, for_each: ForEach, phases: Phases) -> bool:
        ended = Counter(phases[item] for item in items_of(name, phases))
        if for_each.min_succeeded is None:
            return any(ended[phase] for phase in UNSUCCESSFUL)
        if not ended:
            return False
        total = len(self.values(name, phases) or ())
        return total - ended.total() + ended[NodePhase.SUCCEEDED] < for_each.min_succeeded

    def check_ends(self, states: Mapping[str, NodeState]) -> None:
        """Check how each fan-out ended that has ended, and has items."""
        phases = {name: state.phase for name, state in states.items()}
        for name, for_each in self._lists.items():
            items = [states[item] for item in items_of(name, phases)]
            is_wrong = states[name].reason == "InvalidJob"
            if phases[name].is_terminal and items and not is_wrong:
                assert phases[name] is _end(for_each, items), "a fan-out did not end by its items"

    def check_parallelism(self) -> None:
        """Check that no more items are under way in Bacalhau than may be."""
        live = Counter(parent_of(known.node) for known in self._bacalhau.unfinished)
        for name, for_each in self._lists.items():
            assert for_each.parallelism is None or live[name] <= for_each.parallelism, (
                "too many items at once"
            )

    def check_item(self, effect: SubmitJob, states: Mapping[str, NodeState]) -> None:
        """Check that an item has its own value, and has its turn after those before it."""
        name, number = parent_of(effect.node), number_of(effect.node)
        phases = {name: state.phase for name, state in states.items()}
        values = self.values(name, phases)
        assert values is not None, "an item started of a list that nobody knows"
        env = effect.job["Tasks"][0]["Env"]
        assert (env["ITEM"], env["INDEX"]) == (as_text(values[number]), str(number)), "a wrong item"
        for before in items_of(name, phases)[:number]:
            had_its_turn = states[before].attempt > 0 or phases[before].is_terminal
            assert had_its_turn, "an item started before its turn"

    def holds(self, name: str, result: str, phases: Phases) -> bool:
        """Tell whether the items of a fan-out ended as ``depends`` asks."""
        ends = [phases[item] for item in items_of(name, phases)]
        if result == "AnySucceeded":
            return NodePhase.SUCCEEDED in ends
        return bool(ends) and set(ends) <= {NodePhase.FAILED, NodePhase.ERROR}

    def mounted(self, name: str, phases: Phases) -> list[str]:
        """Where the results of a fan-out's items are mounted."""
        succeeded = (item for item in items_of(name, phases) if phases[item] is NodePhase.SUCCEEDED)
        return [f"/inputs/{name}/{number_of(item)}" for item in succeeded]


def _end(for_each: ForEach, items: list[NodeState]) -> NodePhase:
    phases = [item.phase for item in items]
    assert all(phase.is_terminal for phase in phases), "a fan-out ended before its items"
    succeeded = phases.count(NodePhase.SUCCEEDED)
    minimum = for_each.min_succeeded
    was_cut_short = any(item.reason in ENDED_BY_THE_RUN for item in items)
    if minimum is not None and succeeded >= minimum and not was_cut_short:
        return NodePhase.SUCCEEDED
    worst = next((phase for phase in WORST_FIRST if phase in phases), None)
    may_be_omitted = succeeded + phases.count(NodePhase.OMITTED) >= (minimum or 0)
    if worst and (worst in UNSUCCESSFUL or may_be_omitted):
        return worst
    if minimum is not None:
        return NodePhase.FAILED
    return NodePhase.SUCCEEDED if succeeded else NodePhase.SKIPPED
