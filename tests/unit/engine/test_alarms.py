"""What has to be looked at again when its time has come."""

from controller.engine.alarms import Alarms
from controller.engine.observations import JobSeen
from tests.support.builders import queued


def seen(node: str) -> JobSeen:
    return JobSeen(node=node, attempt=1, sighting=queued())


def test_sightings_come_back_in_the_order_of_their_times() -> None:
    alarms: Alarms[JobSeen] = Alarms()
    alarms.put(1, seen("b"), 20.0)
    alarms.put(0, seen("a"), 10.0)
    assert alarms.next_time() == 10.0
    assert list(alarms.due(9.9)) == []
    assert list(alarms.due(20.0)) == [(0, seen("a")), (1, seen("b"))]
    assert alarms.next_time() is None


def test_the_latest_plan_counts() -> None:
    alarms: Alarms[JobSeen] = Alarms()
    alarms.put(0, seen("a"), 10.0)
    alarms.put(0, seen("a"), 30.0)
    alarms.put(1, seen("b"), 10.0)
    alarms.drop(1)
    assert alarms.next_time() == 30.0
    assert list(alarms.due(30.0)) == [(0, seen("a"))]


def test_a_sighting_is_due_once() -> None:
    alarms: Alarms[JobSeen] = Alarms()
    alarms.put(0, seen("a"), 10.0)
    alarms.put(0, seen("a"), 10.0)
    assert list(alarms.due(50.0)) == [(0, seen("a"))]
