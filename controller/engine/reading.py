"""What a node reads before it starts: the results that it mounts, and what its expressions know."""

from collections.abc import Mapping
from typing import Any

from controller.api.status import NodePhase
from controller.api.types import MAX_NODES
from controller.engine.fan_out import items_of
from controller.engine.nodes import CompiledNode
from controller.engine.outcome import failure_summary, outcome, tally
from controller.engine.problems import RenderError
from controller.engine.rendering import Result, RunContext, render_job, variables
from controller.engine.results import result_of, result_of_fan_out
from controller.engine.roster import Roster


class Reader:
    """Reads the nodes of a run for those that depend on them."""

    def __init__(self, roster: Roster, context: RunContext) -> None:
        self._roster = roster
        self._context = context
        self._results: dict[int, Mapping[str, Any]] = {}

    def job(self, node: CompiledNode, attempt: int) -> dict[str, Any]:
        """Give the Bacalhau job of a node's attempt.

        Raises:
            RenderError: an expression has no value, a result cannot be mounted, or a field has an impossible value.
        """
        index = self._roster.index
        return render_job(
            node=node,
            context=self._context,
            attempt=attempt,
            results={item.from_: self._published(index[item.from_]) for item in node.spec.inputs},
            bindings=self.variables(node),
        )

    def bundles(self, node: CompiledNode) -> tuple[str, ...]:
        """Give the directories into which a node's job mounts the results of fan-outs."""
        index, fan_outs = self._roster.index, self._roster.fan_outs
        return tuple(item.path for item in node.spec.inputs if index[item.from_] in fan_outs)

    def variables(self, node: CompiledNode, **more: Any) -> dict[str, Any]:
        """Give what the expressions of a node may read; ``more`` is what this place knows beyond that."""
        roster = self._roster
        results = {roster.name(index): self._result(index) for index in node.reads}
        if node.item:
            number = node.item.number
            more |= {"item": roster.fan_outs[node.item.index].value(number), "index": number}
        if node.is_finally:
            more["run"] = self._run()
        return variables(roster.graph, self._context, results, more)

    def values(self, node: CompiledNode) -> list[Any]:
        """Work out what the items of a fan-out are.

        Raises:
            RenderError: its list has no value, or is too long.
        """
        if node.for_each is None:
            return []
        field, roster = f"{node.field}.forEach", self._roster
        values = items_of(node.for_each.render(self.variables(node)), field)
        total = len(roster.nodes) - len(roster.fan_outs[node.index].nodes) + len(values)
        if total > MAX_NODES:
            raise RenderError(
                field, f"{len(values)} items would make {total} nodes; a DAG has at most {MAX_NODES}."
            )
        return values

    def missing_stdout(self) -> list[tuple[str, str]]:
        """Name the finished jobs, as pairs of node and job, whose stdout is read by nodes that may yet start.

        A node that runs already counts: if the platform loses its attempt, the next one is rendered again.
        """
        roster, states = self._roster, self._roster.state.nodes
        unfinished = (node for node in roster.nodes if not states[node.index].phase.is_terminal)
        read = {producer for node in unfinished for producer in node.reads}
        needed = read.union(*(roster.fan_outs[index].nodes for index in read & roster.fan_outs.keys()))
        return [
            (roster.name(index), job_id)
            for index in sorted(needed)
            if states[index].phase.is_terminal
            and states[index].stdout is None
            and (job_id := states[index].job_id)
        ]

    def _run(self) -> dict[str, str]:
        """Say how the run went before ``finally``: what one of its nodes does must not change how another is rendered."""
        graph, ended = self._roster.graph, self._roster.state.before_finally()
        message = failure_summary(graph, ended) or tally(ended)
        return {"phase": outcome(graph, ended).value, "message": message}

    def _published(self, index: int) -> Result:
        if index not in self._roster.fan_outs:
            return self._roster.state.nodes[index].artifact
        has_default = self._roster.nodes[index].spec.default_outputs is not None
        return {
            number: item.artifact
            for number, item in enumerate(self._roster.items(index))
            if item.phase is NodePhase.SUCCEEDED or has_default
        }

    def forget(self, index: int) -> None:
        """Notice that more is known of a node that has ended, or of a fan-out that it is an item of."""
        fan_out = self._roster.state.nodes[index].fan_out
        self._results.pop(index if fan_out is None else fan_out, None)

    def _result(self, index: int) -> Mapping[str, Any]:
        """Give what may be read of a node. Once it has ended that is made once: a thousand items may read it, and it be of a thousand.

        Before it is read, too: in a run that is rebuilt, an attempt may be looked at before what it depends on.
        """
        if index in self._results:
            return self._results[index]
        node, is_fan_out = self._roster.state.nodes[index], index in self._roster.fan_outs
        result = result_of_fan_out(node, self._roster.items(index)) if is_fan_out else result_of(node)
        if node.phase.is_terminal:
            self._results[index] = result
        return result
