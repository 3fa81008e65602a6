"""Jobs to be judged again when their time has come."""

from controller.engine.observations import JobSeen
from controller.engine.rechecks import Rechecks
from tests.support.builders import queued


def seen(node: str) -> JobSeen:
    return JobSeen(node=node, attempt=1, sighting=queued())


def test_sightings_come_back_in_the_order_of_their_times() -> None:
    rechecks = Rechecks()
    rechecks.put(1, seen("b"), 20.0)
    rechecks.put(0, seen("a"), 10.0)
    assert rechecks.next_time() == 10.0
    assert list(rechecks.due(9.9)) == []
    assert list(rechecks.due(20.0)) == [(0, seen("a")), (1, seen("b"))]
    assert rechecks.next_time() is None


def test_the_latest_plan_counts() -> None:
    rechecks = Rechecks()
    rechecks.put(0, seen("a"), 10.0)
    rechecks.put(0, seen("a"), 30.0)
    rechecks.put(1, seen("b"), 10.0)
    rechecks.drop(1)
    assert rechecks.next_time() == 30.0
    assert list(rechecks.due(30.0)) == [(0, seen("a"))]


def test_a_sighting_is_due_once() -> None:
    rechecks = Rechecks()
    rechecks.put(0, seen("a"), 10.0)
    rechecks.put(0, seen("a"), 10.0)
    assert list(rechecks.due(50.0)) == [(0, seen("a"))]
