"""The nodes of a run: those of its graph, and behind them the items of fan-outs, as they become known.

Items become known when their fan-out unfolds, and after a restart before that: from the status, or from a job that was found in Bacalhau.
"""

from collections.abc import Mapping

from controller.api.status import NodePhase, NodeStatus
from controller.api.types import MAX_NODES
from controller.engine.fan_out import FanOut, Item
from controller.engine.graph import Graph
from controller.engine.identity import item_name, parse_item
from controller.engine.nodes import CompiledNode
from controller.engine.state import NodeState, RunState


class Roster:
    """Who takes part in a run, by numbers and by names."""

    def __init__(self, graph: Graph, known: Mapping[str, NodeStatus]) -> None:
        self.graph = graph
        self.nodes: list[CompiledNode] = list(graph.nodes)
        self.index = dict(graph.index)
        self.fan_outs = {node.index: FanOut() for node in graph.nodes if node.for_each}
        self.state = _recalled(graph, known)
        self._recall_items(known)

    def name(self, index: int) -> str:
        """Give the name of a node."""
        return self.nodes[index].name

    def items(self, fan_out: int) -> list[NodeState]:
        """Give the items of a fan-out, in their order."""
        return [self.state.nodes[item] for item in self.fan_outs[fan_out].nodes]

    def lacks_items(self, index: int) -> bool:
        """Tell whether a fan-out is under way of which it is not known what its items are, as after a restart."""
        fan_out = self.fan_outs.get(index)
        return fan_out is not None and not fan_out.is_known and self.state.nodes[index].phase.is_live

    def is_news(self, name: str, attempt: int) -> bool:
        """Tell whether an attempt that was found says more than what is known.

        An older one does not, even if Bacalhau has lost those after it. An item may be found before it is known how many there are.
        """
        if name in self.index:
            node = self.state.nodes[self.index[name]]
            has_jobs = self.index[name] not in self.fan_outs
            return has_jobs and not node.phase.is_terminal and attempt >= node.attempt
        fan_out, number = self._fan_out_of(name)
        if fan_out is None or number >= MAX_NODES:
            return False
        node = self.state.nodes[fan_out]
        return not node.phase.is_terminal and attempt > node.attempt

    def locate(self, name: str, attempt: int) -> int | None:
        """Give the number of a node whose attempt was observed; None if it has none. An item that is not known yet is from now on."""
        fan_out, number = self._fan_out_of(name)
        if fan_out is not None and name not in self.index and self.is_news(name, attempt):
            self.know_items(fan_out, number + 1)
        index = self.index.get(name)
        return None if index in self.fan_outs else index

    def _fan_out_of(self, name: str) -> tuple[int | None, int]:
        node, number = parse_item(name) or ("", 0)
        index = self.graph.index.get(node)
        return (index if index in self.fan_outs else None), number

    def know_items(self, fan_out: int, size: int) -> None:
        """Have a fan-out be under way with so many items. Attempts of those that are new are counted from where the fan-out says."""
        parent = self.state.nodes[fan_out]
        while len(self.fan_outs[fan_out].nodes) < size:
            self.state.changed.add(self._add_item(fan_out, NodeState(attempt=parent.attempt)))
        if parent.phase is NodePhase.PENDING:
            self.state.move(fan_out, NodePhase.RUNNING)

    def _add_item(self, fan_out: int, state: NodeState) -> int:
        items, parent = self.fan_outs[fan_out].nodes, self.nodes[fan_out]
        item = Item(parent.name, fan_out, len(items))
        index, name = self.state.add_item(fan_out, state), item_name(parent.name, item.number)
        self.nodes.append(parent.as_item(index, name, item))
        self.index[name] = index
        items.append(index)
        return index

    def _recall_items(self, known: Mapping[str, NodeStatus]) -> None:
        """Take up what a status says of the items of fan-outs."""
        sizes: dict[int, int] = {}
        for name in known:
            fan_out, number = self._fan_out_of(name)
            if fan_out is not None and number < MAX_NODES:
                sizes[fan_out] = max(sizes.get(fan_out, 0), number + 1)
        for fan_out, size in sizes.items():
            self._recall_fan_out(fan_out, known.get(self.name(fan_out)))
            for number in range(size):
                status = known.get(item_name(self.name(fan_out), number))
                item = self._add_item(fan_out, NodeState.from_status(status))
                if status is None or status.phase is not self.state.nodes[item].phase:
                    self.state.changed.add(item)

    def _recall_fan_out(self, fan_out: int, status: NodeStatus | None) -> None:
        """Take a fan-out to be under way that was. It has no job by which that could be seen."""
        if status and status.phase.is_live:
            self.state.nodes[fan_out].attempt = status.attempt or 0
            self.state.move(fan_out, status.phase)
            self.state.changed.discard(fan_out)


def _recalled(graph: Graph, known: Mapping[str, NodeStatus]) -> RunState:
    """Take up what a status says of the nodes. What cannot be taken up as it is written counts as changed."""
    nodes = [NodeState.from_status(known.get(node.name)) for node in graph.nodes]
    for node in graph.nodes[graph.main :]:
        nodes[node.index].is_finally = True
    state = RunState(nodes)
    state.changed.update(
        node.index
        for node in graph.nodes
        if node.name in known and known[node.name].phase is not state.nodes[node.index].phase
    )
    return state
