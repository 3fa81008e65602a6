"""What expressions may read of a fan-out."""

from controller.api.dag import NodePhase
from controller.engine.results import result_of_fan_out
from controller.engine.state import NodeState


def test_items_keep_their_number_when_some_are_left_out() -> None:
    items = [NodeState(phase=phase) for phase in (NodePhase.FAILED, NodePhase.SUCCEEDED, NodePhase.SUCCEEDED)]
    result = result_of_fan_out(NodeState(phase=NodePhase.SUCCEEDED), items)
    assert [item["index"] for item in result["items"] if item["phase"] == "Succeeded"] == [1, 2]
    assert (result["total"], result["succeeded"]) == (3, 2)
