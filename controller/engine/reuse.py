"""Taking over the successes of an earlier DAG.

A node keeps its earlier result if it is written as it was, and so is all that it depends on: what it reads is then the same, too. So one
changed node runs again with all that depends on it, and no other. What is taken over is decided once, and written into the status
before anything starts: the earlier DAG may be gone a moment later.

A node that was skipped is evaluated again. If nothing has changed that it reads it is skipped once more, so that those that depend on it
keep their results. Approvals and ``finally`` belong to one run and are never taken over.

A fan-out is taken over if all of its items went well. Otherwise the items that succeeded are, and the others run: if nothing that it depends
on has changed, its list has not either.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.api.status import NodePhase, NodeStatus
from controller.engine.graph import Graph, closure
from controller.engine.identity import fingerprint, item_name
from controller.engine.nodes import CompiledNode
from controller.engine.parameters import bound
from controller.engine.state import WENT_WELL

REUSED = "Reused"
"""Reason of a node whose result was taken over."""

_COMPARED_OTHERWISE = {"job", "template", "arguments", "dependencies"}
_NOT_OF_THE_RESULT = {"description", "retry", "timeout", "total_timeout", "continue_on_failure"}
"""What a node may say without a difference to its result. Any other field makes one, also a field that is added later."""
_NOT_OF_AN_ITEM = {"parallelism", "min_succeeded"}
"""The same of a fan-out: it is taken over whole only if all items went well, however few would do."""
_LEFT_OUT = dict.fromkeys(_COMPARED_OTHERWISE | _NOT_OF_THE_RESULT, True) | {"for_each": _NOT_OF_AN_ITEM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A DAG whose nodes are compared: its graph, and what expressions read of the DAG itself."""

    graph: Graph
    name: str
    namespace: str
    uid: str

    def definitions(self) -> dict[str, str]:
        """Fingerprint what makes the result of each node before ``finally``, apart from the results that it reads."""
        jobs = {item.name: fingerprint(_untimed(item.job.tree())) for item in self.graph.spec.job_templates}
        return {node.name: self._definition(node, jobs) for node in self.graph.nodes[: self.graph.main]}

    def _definition(self, node: CompiledNode, jobs: Mapping[str, str]) -> str:
        spec = node.spec
        return fingerprint(
            {
                "connection": self.graph.spec.connection_ref.name,
                "job": fingerprint(_untimed(spec.job.tree())) if spec.job else jobs.get(spec.template or ""),
                "inputs": bound(node.parameters, spec.arguments),
                "types": {parameter.name: parameter.type for parameter in node.parameters},
                "dependencies": sorted(self.graph.nodes[index].name for index in node.dependencies),
                "values": list(self._values(node)),
                "secrets": {name: ref.model_dump() for name, ref in node.secrets.items()},
                "node": spec.model_dump(mode="json", exclude_defaults=True, exclude=_LEFT_OUT),
            }
        )

    def _values(self, node: CompiledNode) -> Iterator[tuple[str, str, Any]]:
        """Give what the node's expressions read of parameters and of the DAG. What is not known here counts as this DAG's own."""
        dag = {"name": self.name, "namespace": self.namespace, "uid": self.uid}
        known = {"params": self.graph.params, "dag": dag}
        for root, name in sorted(node.references):
            if root in known:
                yield root, name, known[root].get(name, self.uid) if name else known[root]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier(Candidate):
    """A DAG that has ended, and how its nodes did."""

    bacalhau_namespace: str
    nodes: Mapping[str, NodeStatus]

    def went_well(self, name: str) -> bool:
        """Tell whether a node went well, with all its items. A status that does not look as the operator writes it is no witness."""
        node = self.nodes.get(name)
        if node is None or node.phase not in WENT_WELL:
            return False
        if node.items:
            return all(self.went_well(item_name(name, number)) for number in range(node.items.total))
        return node.phase is NodePhase.SKIPPED or bool(node.job_id and node.finished_at)

    def results(self, name: str) -> Iterator[tuple[str, NodeStatus]]:
        """Give the statuses with which a node and its items are taken over: those that went well, but for a node that was skipped."""
        node = self.nodes.get(name)
        if node and node.phase is NodePhase.SUCCEEDED and self.went_well(name):
            yield name, self._result(node)
        for number in range(node.items.total if node and node.items else 0):
            item = item_name(name, number)
            if self.went_well(item):
                yield item, self._result(self.nodes[item])

    def _result(self, node: NodeStatus) -> NodeStatus:
        """Give the status of a node that takes over this DAG's result. No attempt of its own was made."""
        if node.phase is NodePhase.SKIPPED:
            return node
        return NodeStatus(
            phase=node.phase,
            job_id=node.job_id,
            job_namespace=(node.job_namespace or self.bacalhau_namespace) if node.job_id else None,
            started_at=node.started_at,
            finished_at=node.finished_at,
            exit_code=node.exit_code,
            outputs=node.outputs,
            items=node.items,
            reason=REUSED,
            message=f'The result of DAG "{self.name}" was taken over.',
        )


def reuse(new: Candidate, earlier: Earlier) -> dict[str, NodeStatus]:
    """Give the nodes, and items of fan-outs, that take over their results, with their statuses."""
    then, now = earlier.definitions(), new.definitions()
    nodes = new.graph.nodes[: new.graph.main]
    comparable = {
        node.index for node in nodes if then.get(node.name) == now[node.name] and not node.spec.suspend
    }
    changed = (
        node.index for node in nodes if node.index not in comparable or not earlier.went_well(node.name)
    )
    again = closure(changed, lambda index: new.graph.nodes[index].dependents)
    taken: dict[str, NodeStatus] = {}
    for node in nodes:
        if node.index in comparable and again.isdisjoint(node.dependencies):
            taken.update(earlier.results(node.name))
    return taken


def _untimed(job: Mapping[str, Any]) -> dict[str, Any]:
    """Give a job without the bounds on its time, which say nothing of its result."""
    tasks = [
        {field: value for field, value in task.items() if field != "Timeouts"}
        for task in job.get("Tasks") or ()
    ]
    return {**job, "Tasks": tasks}
